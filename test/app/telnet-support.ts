import { EventEmitter, once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { onTestFinished } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import type { Limits } from '../../src/base/index.ts'
import { type AppUnderTest, eventually, startApp, until } from './support.ts'

/** A whole server with a TCP port for each serial port, and a menu. */
export async function startTelnet(settings: Settings = {}, limits: Partial<Limits> = {}): Promise<AppUnderTest> {
  const { telnet, ...more } = settings
  return startApp({ ...more, telnet: { ports: await freeRange(), menu: '127.0.0.1:0', ...telnet } }, limits)
}

export function menuPortOf(app: AppUnderTest): number {
  return Number(/\d+$/.exec(app.telnetMenu ?? '')?.[0])
}

/** At the menu, before anything was read of it. */
export async function atMenu(app: AppUnderTest): Promise<BareClient> {
  return BareClient.to(menuPortOf(app))
}

/** A range of TCP ports, of which at least most are free just now. */
export async function freeRange(count = 8): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  const first = Math.min(port, 65_535 - count)
  return `${first}-${first + count - 1}`
}

export async function telnetPortOf(app: AppUnderTest, port = 'vm1'): Promise<number> {
  await eventually(() => app.server.table.resolve(port).telnetPort !== null)
  return app.server.table.resolve(port).telnetPort as number
}

/** The bytes that a Telnet client sends and gets, as they are. */
export class BareClient extends EventEmitter {
  readonly socket: Socket
  #chunks: Buffer[] = []
  /** Bytes got, taken by `next` or not. */
  length = 0
  closed = false

  private constructor(socket: Socket) {
    super()
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.length += chunk.length
      this.emit('change')
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.emit('change')
    })
  }

  static async to(tcpPort: number): Promise<BareClient> {
    const socket = connect(tcpPort, '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    const client = new BareClient(socket)
    await once(socket, 'connect')
    return client
  }

  /** The same over TLS. */
  static async overTls(tcpPort: number): Promise<BareClient> {
    const socket = connectTls({ host: '127.0.0.1', port: tcpPort, rejectUnauthorized: false })
    onTestFinished(() => void socket.destroy())
    const client = new BareClient(socket)
    await once(socket, 'secureConnect')
    return client
  }

  get received(): Buffer {
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    return all
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  /** A string goes as Latin-1. */
  write(data: string | Uint8Array): void {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data)
  }

  async hears(text: string): Promise<void> {
    await until(this, () => this.text.includes(text)).catch(() => {
      throw new Error(`no ${JSON.stringify(text)} came; what came: ${JSON.stringify(this.text.slice(-800))}`)
    })
  }

  /** Waits for `text`, and resolves with what came before it since the last call. */
  async next(text: string): Promise<string> {
    await this.hears(text)
    const before = this.text.slice(0, this.text.indexOf(text))
    this.#chunks = [this.received.subarray(before.length + text.length)]
    return before
  }

  async ended(): Promise<void> {
    await until(this, () => this.closed)
  }
}
