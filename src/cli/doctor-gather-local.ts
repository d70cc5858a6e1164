/** What `vspc doctor` finds out here: about this machine, its configuration, and the server. */

import { lookup } from 'node:dns/promises'
import { constants } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { dirname } from 'node:path'
import type { Config, PortInfo } from '../app/index.ts'
import { limitsWith, systemClock, VspcError } from '../base/index.ts'
import { notOurs, type ServerAddress, ServerClient } from '../client/index.ts'
import {
  type ByteStream,
  dial,
  type Endpoint,
  formatEndpoint,
  listen,
  openFileLimit,
  parseEndpoint,
} from '../transport/index.ts'
import {
  type Asked,
  ask,
  type ConfigFacts,
  type LocalFacts,
  type ProxyFacts,
  type ServerFacts,
} from './doctor-facts.ts'
import { liveClock } from './live-clock.ts'

/** For a connection that is only tried, and for a name that is looked up. */
const TRY_MS = 3_000

export interface LocalInputs {
  /** Configuration file; null: that of VSPC_CONFIG, if any. */
  readonly config: string | null
  readonly env: NodeJS.ProcessEnv
}

export async function gatherLocal(inputs: LocalInputs): Promise<{ local: LocalFacts; config: Config | null }> {
  const loaded = await ask(() => loadConfig(inputs))
  const [vsock, neededNode, config] = await Promise.all([
    ask(tryVsock),
    oldestNode(),
    loaded.ok ? configFacts(loaded.value) : null,
  ])
  const local: LocalFacts = {
    node: process.versions.node,
    neededNode,
    openFiles: openFileLimit(),
    vsock,
    config: loaded.ok && config !== null ? { ok: true, value: config } : (loaded as Asked<never>),
    addresses: ownAddresses(),
  }
  return { local, config: loaded.ok ? loaded.value : null }
}

/** The server's own reading of it is loaded late: with it comes the whole server. */
async function loadConfig({ config, env }: LocalInputs): Promise<Config> {
  const app = await import('../app/index.ts')
  return app.loadConfig({ ...(config === null ? {} : { file: config }), env, flags: {} })
}

async function oldestNode(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  const { engines } = JSON.parse(text) as { engines?: { node?: string } }
  return /[\d.]+/.exec(engines?.node ?? '')?.[0] ?? '20.19'
}

async function configFacts(config: Config): Promise<ConfigFacts> {
  return {
    file: config.file,
    listen: config.listen.map(formatEndpoint),
    loopbackOnly: config.listen.length > 0 && config.listen.every(isLoopback),
    keepsHistory: config.history === 'disk',
    dataDir: config.dataDir,
    dataDirUsable: await ask(() => mayWrite(config.dataDir)),
  }
}

/** Only this machine itself reaches it, over the network. */
function isLoopback(endpoint: Endpoint): boolean {
  if (endpoint.scheme !== 'tcp' && endpoint.scheme !== 'tls') return false
  return /^(?:127\.|localhost$|\[?::1\]?$)/.test(endpoint.host)
}

/** The folder, or where it would be made. */
async function mayWrite(path: string): Promise<null> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const found = await stat(at)
      if (!found.isDirectory()) throw new VspcError('VSPC_CONFIG_INVALID', `${at} is no folder`)
      await access(at, constants.W_OK | constants.X_OK)
      return null
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || at === dirname(at)) throw error
    }
  }
}

/** Listens for a moment, on any free port: whatever is missing for that says so itself. */
async function tryVsock(): Promise<null> {
  const handlers = { stream: (stream: ByteStream) => stream.socket.destroy(), problem: () => {} }
  const options = { limits: limitsWith(), clock: systemClock }
  const listening = await listen(parseEndpoint('vsock://any:0', 'listen', 'plain'), handlers, options)
  await listening.close()
  return null
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  return all.filter(({ internal, address }) => !internal && !/^fe80/i.test(address)).map(({ address }) => address)
}

/** @param config of this machine; its listeners are tried where the server is here, too. */
export async function gatherServer(address: Asked<ServerAddress>, config: Config | null): Promise<ServerFacts> {
  if (!address.ok) return { url: '', ready: address, ports: address, listeners: new Map() }
  const { url } = address.value
  const client = new ServerClient(address.value)
  const ready = await ask(async () => {
    await client.getJson('/readyz')
    return null
  })
  const ports = ready.ok || ready.code === 'VSPC_SERVER_STARTING' ? await ask(() => readPorts(client)) : ready
  const isHere = /^(?:127\.|localhost$|\[::1\]$)/.test(url.hostname)
  const tried =
    ready.ok && isHere ? (config?.listen ?? []).filter(({ scheme }) => scheme === 'tcp' || scheme === 'tls') : []
  const listeners = await Promise.all(
    tried.map(async (endpoint) => [formatEndpoint(endpoint), await ask(() => tryListener(endpoint))] as const),
  )
  return { url: url.href.replace(/\/$/, ''), ready, ports, listeners: new Map(listeners) }
}

async function readPorts(client: ServerClient): Promise<readonly PortInfo[]> {
  const list = await client.getJson('/api/v1/ports')
  const valid = Array.isArray(list) && list.every((port) => typeof port?.id === 'string' && typeof port.vm === 'object')
  if (!valid) throw notOurs(client.address, 'no list of ports')
  return list as PortInfo[]
}

function tryListener(endpoint: Endpoint): Promise<null> {
  if (endpoint.scheme !== 'tcp' && endpoint.scheme !== 'tls') return Promise.resolve(null)
  // Who listens on all addresses is reached by its own.
  const host = /^(?:0\.0\.0\.0|::)$/.test(endpoint.host) ? '127.0.0.1' : endpoint.host
  return tryTcp(host, endpoint.tcpPort)
}

/** Connects over TCP, and hangs up. */
async function tryTcp(host: string, tcpPort: number): Promise<null> {
  const shown = host.includes(':') ? `[${host}]` : host
  const endpoint = parseEndpoint(`tcp://${shown}:${tcpPort}`, 'dial', 'plain')
  const stream = await dial(endpoint, { clock: liveClock, timeoutMs: TRY_MS })
  stream.socket.destroy()
  return null
}

/** Where a proxyURI leads to, seen from here. */
export async function gatherProxy(host: string, tcpPort: number): Promise<ProxyFacts> {
  const [addresses, reached] = await Promise.all([ask(() => resolve(host)), ask(() => tryTcp(host, tcpPort))])
  return { host, tcpPort, addresses, reached }
}

async function resolve(host: string): Promise<readonly string[]> {
  let timer = { cancel: (): void => {} }
  const tooLong = new Promise<never>((_resolve, reject) => {
    timer = liveClock.after(TRY_MS, () => reject(new Error(`no answer within ${TRY_MS / 1_000} s`)))
  })
  try {
    const found = await Promise.race([lookup(host, { all: true }), tooLong])
    return [...new Set(found.map(({ address }) => address))]
  } finally {
    timer.cancel()
  }
}
