/** What `vspc doctor` finds out here: about this machine, its configuration, and the server. */

import { lookup } from 'node:dns/promises'
import { constants } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { dirname } from 'node:path'
import type { Config, HealthInfo, PortInfo } from '../app/index.ts'
import { limitsWith, systemClock, VspcError } from '../base/index.ts'
import { notOurs, type ServerAddress, ServerClient } from '../client/index.ts'
import { type ByteStream, dial, formatEndpoint, listen, openFileLimit, parseEndpoint } from '../transport/index.ts'
import {
  type Asked,
  ask,
  type ConfigFacts,
  type HealthFacts,
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
    keepsHistory: config.history === 'disk',
    dataDir: config.dataDir,
    dataDirUsable: await ask(() => mayWrite(config.dataDir)),
    tls: await ask(() => lookAtTls(config)),
  }
}

/** As `vspc config check` does. */
async function lookAtTls(config: Config): Promise<readonly string[] | null> {
  if (!config.listen.some((endpoint) => 'tls' in endpoint && endpoint.tls !== null)) return null
  const app = await import('../app/index.ts')
  return app.checkTlsFiles(config, systemClock.wall())
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

/** @param config of this machine; its listeners are tried where the server is here, too, and does not name its own. */
export async function gatherServer(address: Asked<ServerAddress>, config: Config | null): Promise<ServerFacts> {
  if (!address.ok) return { url: '', ready: address, ports: address, health: address, listeners: new Map() }
  const { url } = address.value
  const client = new ServerClient(address.value)
  const ready = await ask(async () => {
    await client.getJson('/readyz')
    return null
  })
  const answers = ready.ok || ready.code === 'VSPC_SERVER_STARTING'
  const [ports, health] = await Promise.all([
    answers ? ask(() => readPorts(client)) : ready,
    answers ? ask(() => readHealth(client)) : ready,
  ])
  const isHere = /^(?:127\.|localhost$|\[::1\]$)/.test(url.hostname)
  const tried = ready.ok && isHere ? listenersToTry(health, config) : []
  const listeners = await Promise.all(
    tried.map(async ({ uri, host, tcpPort }) => [uri, await ask(() => tryListener(host, tcpPort))] as const),
  )
  return { url: url.href.replace(/\/$/, ''), ready, ports, health, listeners: new Map(listeners) }
}

async function readHealth(client: ServerClient): Promise<HealthFacts> {
  const before = systemClock.wall()
  const answer = (await client.getJson('/api/v1/health')) as Partial<HealthInfo>
  const tookMs = Math.max(0, systemClock.wall() - before)
  const parts = [answer.listeners, answer.openFiles, answer.history, answer.refusals, answer.lost, answer.eventLoop]
  if (typeof answer.at !== 'string' || parts.some((part) => typeof part !== 'object' || part === null)) {
    throw notOurs(client.address, 'it does not say how it is')
  }
  return { info: answer as HealthInfo, aheadMs: Date.parse(answer.at) - before - tookMs / 2, tookMs }
}

interface ToTry {
  readonly uri: string
  readonly host: string
  readonly tcpPort: number
}

function listenersToTry(health: Asked<HealthFacts>, config: Config | null): ToTry[] {
  if (health.ok) {
    return health.value.info.listeners.flatMap(({ uri, host, tcpPort }) =>
      host === null || tcpPort === null ? [] : [{ uri, host, tcpPort }],
    )
  }
  return (config?.listen ?? []).flatMap((endpoint) =>
    endpoint.scheme === 'tcp' || endpoint.scheme === 'tls'
      ? [{ uri: formatEndpoint(endpoint), host: endpoint.host, tcpPort: endpoint.tcpPort }]
      : [],
  )
}

async function readPorts(client: ServerClient): Promise<readonly PortInfo[]> {
  const list = await client.getJson('/api/v1/ports')
  const valid = Array.isArray(list) && list.every((port) => typeof port?.id === 'string' && typeof port.vm === 'object')
  if (!valid) throw notOurs(client.address, 'no list of ports')
  return list as PortInfo[]
}

/** Who listens on all addresses is reached by its own. */
function tryListener(host: string, tcpPort: number): Promise<null> {
  return tryTcp(/^(?:0\.0\.0\.0|::)$/.test(host) ? '127.0.0.1' : host, tcpPort)
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
