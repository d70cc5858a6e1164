import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { onTestFinished } from 'vitest'
import { type Logger, ManualClock } from '../../src/base/index.ts'
import { loadRelayConfig, Relay, type RelayDeps, type RelayPlan, type RelaySettings } from '../../src/relay/index.ts'
import { until } from '../faults/support.ts'

export { until }

/** A logger that keeps what it is told. */
export class KeptLog implements Logger {
  readonly lines: { level: string; message: string; fields: Record<string, unknown> }[] = []
  trace(): void {}
  debug(): void {}
  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', message, fields: { ...fields } })
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', message, fields: { ...fields } })
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', message, fields: { ...fields } })
  }
  child(): Logger {
    return this
  }
  of(level: string): string[] {
    return this.lines.filter((line) => line.level === level).map(({ message }) => message)
  }
}

export function planOf(settings: RelaySettings, more: { vmName?: string; label?: string } = {}): RelayPlan {
  return loadRelayConfig({ env: {}, flags: settings, ...more })
}

export interface Running {
  readonly relay: Relay
  readonly log: KeptLog
  readonly clock: ManualClock
}

/** A relay whose time stands still unless told otherwise; stopped with the test. */
export async function startRelay(
  settings: RelaySettings,
  deps: Partial<RelayDeps> & { vmName?: string; label?: string } = {},
): Promise<Running> {
  const log = new KeptLog()
  const clock = new ManualClock()
  const { vmName, label, ...rest } = deps
  const plan = planOf(settings, {
    ...(vmName === undefined ? {} : { vmName }),
    ...(label === undefined ? {} : { label }),
  })
  const relay = new Relay(plan, { log, clock, random: () => 1, ...rest })
  await relay.start()
  onTestFinished(() => stopNow(relay, clock))
  return { relay, log, clock }
}

/** Streams that nobody ends are cut as soon as the clock says so. */
export async function stopNow(relay: Relay, clock: ManualClock): Promise<void> {
  const stopped = relay.stop()
  let done = false
  void stopped.then(() => {
    done = true
  })
  while (!done) {
    clock.advance(1_000_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** What listens where a relay dials to. */
export class FarEnd {
  readonly sockets: Socket[] = []
  readonly server: Server
  uri = ''

  private constructor(onSocket: (socket: Socket) => void) {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      socket.on('error', () => {})
      this.sockets.push(socket)
      onSocket(socket)
    })
  }

  /** @param path of a Unix socket; without one a free TCP port. */
  static async listen(options: { path?: string; onSocket?: (socket: Socket) => void } = {}): Promise<FarEnd> {
    const far = new FarEnd(options.onSocket ?? (() => {}))
    if (options.path !== undefined) far.server.listen({ path: options.path, backlog: 511 })
    else far.server.listen({ port: 0, host: '127.0.0.1', backlog: 511 })
    await once(far.server, 'listening')
    const address = far.server.address()
    far.uri = typeof address === 'string' ? `unix://${address}` : `tcp://127.0.0.1:${(address as AddressInfo).port}`
    onTestFinished(() => far.close())
    return far
  }

  /** The nth that came. */
  async socket(index = 0): Promise<Socket> {
    await until(`connection ${index}`, () => this.sockets.length > index)
    return this.sockets[index] as Socket
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy()
    if (this.server.listening) this.server.close()
  }
}

export function echo(socket: Socket): void {
  socket.pipe(socket)
}

/** Where a relay listens, as it says itself. */
export function listenUri(relay: Relay, route = 0): string {
  return relay.relaying[route]?.from ?? ''
}

export async function connectTo(uri: string): Promise<Socket> {
  const target = uri.startsWith('unix://')
    ? { path: uri.slice(7).replace(/\?.*/, '') }
    : { host: '127.0.0.1', port: Number(/:(\d+)(\?|$)/.exec(uri)?.[1]) }
  const socket = connect({ ...target, allowHalfOpen: true, noDelay: true })
  socket.on('error', () => {})
  onTestFinished(() => {
    socket.destroy()
  })
  await once(socket, 'connect')
  return socket
}

/** Two ends of one TCP connection. */
export async function tcpPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
  const [near] = await accepted
  server.close()
  for (const socket of [client, near]) socket.on('error', () => {})
  if (client.connecting) await once(client, 'connect')
  onTestFinished(() => {
    client.destroy()
    near.destroy()
  })
  return [client, near]
}

/** Reads `length` bytes and leaves the socket flowing. */
export function readExactly(socket: Duplex, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let got = 0
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk)
      got += chunk.length
      if (got < length) return
      socket.off('data', onData).off('close', onClose)
      resolve(Buffer.concat(chunks))
    }
    const onClose = (): void => reject(new Error(`closed after ${got} of ${length} bytes`))
    socket.on('data', onData).on('close', onClose)
  })
}

/** SHA-256 and length of everything up to the end. */
export async function digest(socket: Duplex): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    bytes += chunk.length
  })
  socket.resume()
  if (!socket.readableEnded) await once(socket, 'end')
  return { bytes, sha256: hash.digest('hex') }
}

/** Resolves when `socket` is closed. */
export async function closed(socket: Duplex): Promise<void> {
  socket.resume()
  if (!socket.closed) await once(socket, 'close')
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-relay-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
