import { networkInterfaces } from 'node:os'
import type { Command } from 'commander'
import type { HealthInfo, ListenerInfo } from '../app/index.ts'
import { systemClock, VspcError } from '../base/index.ts'
import { notOurs, ServerClient } from '../client/index.ts'
import { readCertificate } from '../transport/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { printData } from './output.ts'
import { printableJson } from './point-report.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { formatNova, formatUris, type UriReport, uriReport } from './uri-lines.ts'

interface UriFlags extends ServerOptions {
  config?: string
  listen?: string[]
  host?: string
  nova?: true
  json?: true
}

const HELP = `
Of each listener: the proxy URI ("vSPC URI" in vCenter) with the certificate
pinned by its SHA-1 thumbprint, the one without TLS, and the service URI ("Port
URI") to go with them. What --host says must be what ESXi hosts call the
server; without it, the listener's own address, a name of the certificate, or
an address of this machine is taken.

The server that runs is asked, and says what it really shows; with --config or
--listen the files are read instead, and no server is needed.

Examples:
  vspc uri --host vspc.example.com
  vspc uri --host vspc.example.com --nova >> nova.conf     the section [vmware]
  vspc uri --config /etc/vspc.yaml --json | jq -r '.listeners[].pinned'
  vspc uri --listen 'tcp://0.0.0.0:13370?cert=crt.pem&key=key.pem'
`

export function registerUri(program: Command): void {
  const command = program
    .command('uri')
    .option('--host <host>', 'name or address by which ESXi hosts reach the server')
    .option('--config <file>', "read the listeners of this configuration, not the server's")
    .option('--listen <uri>', 'a listener as of vspc serve; several times for several', collect)
    .option('--nova', 'print the section [vmware] of nova.conf alone')
    .option('--json', 'print JSON')
  addServerOptions(command).addHelpText('after', HELP).action(uri)
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value]
}

async function uri(flags: UriFlags): Promise<void> {
  const host = hostFlag(flags.host)
  const isLocal = flags.config !== undefined || flags.listen !== undefined
  const known = isLocal ? await fromFiles(flags) : await fromServer(flags)
  const report = uriReport({ ...known, host, now: systemClock.wall() })
  if (flags.json === true) printData(`${printableJson(report)}\n`)
  else if (flags.nova === true) printData(`${formatNova(novaOf(report)).join('\n')}\n`)
  else printData(`${formatUris(report).join('\n')}\n`)
  if (!report.listeners.some(({ pinned, plain, direct }) => (pinned ?? plain ?? direct) !== null)) {
    throw new CommandExit(EXIT.other, 'no listener is there for ESXi hosts; see vspc serve --listen')
  }
}

function novaOf({ nova }: UriReport): NonNullable<UriReport['nova']> {
  if (nova !== null) return nova
  throw new CommandExit(
    EXIT.other,
    'no listener is there for Nova: one with protocol=vmware, the default, on tcp: or tls:',
  )
}

function hostFlag(text: string | undefined): string | null {
  if (text === undefined) return null
  const host = text.replace(/^\[(.*)\]$/, '$1')
  if (/^[A-Za-z0-9.:_-]{1,253}$/.test(host)) return host
  throw new VspcError('VSPC_USAGE', `--host: "${text}" is no host: give a name or an address, without port`)
}

type Known = Pick<Parameters<typeof uriReport>[0], 'listeners' | 'serviceUris' | 'guesses'>

async function fromFiles({ config: file, listen }: UriFlags): Promise<Known> {
  const app = await import('../app/index.ts')
  const config = app.loadConfig({
    env: file === undefined ? {} : process.env,
    flags: listen === undefined ? {} : { listen },
    ...(file === undefined ? {} : { file }),
  })
  const listeners = await Promise.all(
    config.listen.map(async (endpoint): Promise<ListenerInfo> => {
      const cert = 'tls' in endpoint ? (endpoint.tls?.cert ?? null) : null
      return app.listenerInfo(endpoint, cert === null ? null : await readCertificate(cert))
    }),
  )
  return { listeners, serviceUris: config.serviceUris, guesses: ownAddresses() }
}

async function fromServer(flags: UriFlags): Promise<Known> {
  const address = resolveServer(flags, process.env)
  const health = (await new ServerClient(address).getJson('/api/v1/health')) as Partial<HealthInfo>
  const { listeners, serviceUris } = health
  if (!Array.isArray(listeners) || !Array.isArray(serviceUris)) throw notOurs(address, 'it tells no listeners')
  const { hostname } = address.url
  const isHere = /^(?:127\.|localhost$|\[::1\]$)/.test(hostname)
  return { listeners, serviceUris, guesses: isHere ? ownAddresses() : [hostname.replace(/^\[|\]$/g, '')] }
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  return all.filter(({ internal, address }) => !internal && !/^fe80/i.test(address)).map(({ address }) => address)
}
