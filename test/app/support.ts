import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { type Config, createLogger, loadConfig, type RunningApp, type Settings, start } from '../../src/app/index.ts'
import type { Limits } from '../../src/base/index.ts'
import type { TcpEndpoint } from '../../src/transport/index.ts'
import type { ConsoleMessage, ConsoleRequest } from '../../src/vspc/index.ts'

/** A stream with what was logged, a parsed line each. */
export class LogLines {
  readonly lines: Record<string, unknown>[] = []

  write(line: string): void {
    this.lines.push(JSON.parse(line) as Record<string, unknown>)
  }

  find(text: string): Record<string, unknown> | undefined {
    return this.lines.find(({ msg }) => String(msg).includes(text))
  }
}

export interface AppUnderTest extends RunningApp {
  readonly config: Config
  readonly logged: LogLines
  readonly url: string
}

export const RAW_VM = 'tcp://127.0.0.1:0?protocol=raw&name=vm1'

/** Ends what a test, or a group of tests, has opened. */
let whenDone: (end: () => void | Promise<void>) => void = onTestFinished

/** One server for a group of tests that change nothing; `prepare` connects what they look at. */
export function sharedApp(
  prepare: (app: AppUnderTest) => Promise<void>,
  settings: () => Settings | Promise<Settings> = () => ({}),
): () => AppUnderTest {
  let app: AppUnderTest | null = null
  const ends: (() => void | Promise<void>)[] = []
  beforeAll(async () => {
    whenDone = (end) => ends.unshift(end)
    try {
      app = await startApp(await settings())
      await prepare(app)
    } finally {
      whenDone = onTestFinished
    }
  })
  afterAll(async () => {
    for (const end of ends) await end()
  })
  return () => app as AppUnderTest
}

/** A whole server on free ports, stopped when the test ends. Limits may be out of range here, to make tests fast. */
export async function startApp(settings: Settings = {}, limits: Partial<Limits> = {}): Promise<AppUnderTest> {
  const home = mkdtempSync(join(tmpdir(), 'vspc-app-'))
  whenDone(() => rmSync(home, { recursive: true, force: true }))
  const config = loadConfig({ env: { HOME: home }, flags: { listen: [RAW_VM], http: '127.0.0.1:0', ...settings } })
  const logged = new LogLines()
  const log = createLogger(config.logLevel, logged)
  const used = { ...config, limits: { ...config.limits, drainMs: 1_000, ...limits } }
  const app = await start(used, { log })
  whenDone(() => app.stop())
  return Object.assign(app, { logged, config: used, url: app.http?.url ?? '' })
}

/** Resolves when `happened()` is true, looked at each time `emitter` says something. */
export async function until(emitter: EventEmitter, happened: () => boolean, event = 'change'): Promise<void> {
  const signal = AbortSignal.timeout(10_000)
  while (!happened()) await once(emitter, event, { signal })
}

/** Resolves when `happened()` is true, for what tells nobody. */
export async function eventually(happened: () => boolean | Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(10_000)
  while (!(await happened())) {
    signal.throwIfAborted()
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** The other end of a raw VM listener. */
export class RawVm extends EventEmitter {
  readonly socket: Socket
  received = Buffer.alloc(0)
  closed = false

  private constructor(socket: Socket) {
    super()
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk])
      this.emit('change')
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.emit('change')
    })
  }

  /** Connects and waits until the server has the port. @param index which listener. */
  static async connect(app: RunningApp, index = 0): Promise<RawVm> {
    const { tcpPort } = app.server.listening[index] as TcpEndpoint
    const before = app.server.counters.connectionsAccepted
    const socket = connect(tcpPort, '127.0.0.1')
    whenDone(() => void socket.destroy())
    await once(socket, 'connect')
    await eventually(() => app.server.counters.connectionsAccepted > before)
    return new RawVm(socket)
  }

  /** Sends and waits until the port's history has it. */
  async print(app: RunningApp, text: string | Uint8Array, port = 'vm1'): Promise<void> {
    const bytes = Buffer.from(text as string)
    const { history } = app.server.table.resolve(port)
    const expected = history.next + bytes.length
    this.socket.write(bytes)
    await eventually(() => history.visible >= expected)
  }

  async hears(text: string): Promise<void> {
    await until(this, () => this.received.toString('latin1').includes(text))
  }
}

export interface Refused {
  status: number
  contentType: string
  headers: Record<string, string | string[] | undefined>
  body: Record<string, unknown>
}

/** A console on a WebSocket that remembers all it is told. */
export class TestConsole extends EventEmitter {
  readonly socket: WebSocket
  readonly messages: ConsoleMessage[] = []
  #chunks: Buffer[] = []
  /** Bytes of output, also of what {@link discard} threw away. */
  length = 0
  /** Close code and reason. */
  end: { code: number; reason: string } | null = null

  private constructor(socket: WebSocket) {
    super()
    this.socket = socket
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) {
        this.#chunks.push(data)
        this.length += data.length
      } else this.messages.push(JSON.parse(data.toString('utf8')) as ConsoleMessage)
      this.emit('change')
    })
    socket.on('error', () => {})
    socket.on('close', (code, reason) => {
      this.end = { code, reason: reason.toString() }
      this.emit('change')
    })
  }

  get output(): Buffer {
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    return all
  }

  discard(): void {
    this.#chunks = []
  }

  /** Attached, or closed with an error message. @param query such as `mode=write&from=0`. */
  static async open(app: AppUnderTest, query = '', port = 'vm1', protocols = ['vspc.v1']): Promise<TestConsole> {
    const console = new TestConsole(new WebSocket(consoleUrl(app, query, port), protocols))
    onTestFinished(() => console.socket.terminate())
    await until(console, () => console.messages.length > 0 || console.end !== null)
    return console
  }

  /** The first message of a type; waits for it. */
  async message<Type extends ConsoleMessage['type']>(type: Type): Promise<Extract<ConsoleMessage, { type: Type }>> {
    const found = () => this.messages.find((one) => one.type === type)
    await until(this, () => found() !== undefined)
    return found() as Extract<ConsoleMessage, { type: Type }>
  }

  async hears(text: string): Promise<void> {
    await until(this, () => this.output.toString('latin1').includes(text))
  }

  async hasBytes(count: number): Promise<void> {
    await until(this, () => this.length >= count)
  }

  async closed(): Promise<{ code: number; reason: string }> {
    await until(this, () => this.end !== null)
    return this.end as { code: number; reason: string }
  }

  request(request: ConsoleRequest): void {
    this.socket.send(JSON.stringify(request))
  }
}

export function consoleUrl(app: AppUnderTest, query = '', port = 'vm1'): string {
  return `${app.url.replace('http', 'ws')}/api/v1/ports/${encodeURIComponent(port)}/console?${query}`
}

/** An upgrade that must be refused: the answer to it. */
export async function refusedUpgrade(
  url: string,
  options: { protocols?: string[]; headers?: Record<string, string> } = {},
): Promise<Refused> {
  const socket = new WebSocket(url, options.protocols ?? ['vspc.v1'], { headers: options.headers ?? {} })
  socket.on('error', () => {})
  return new Promise((resolve, reject) => {
    socket.on('open', () => {
      socket.terminate()
      reject(new Error('it was upgraded'))
    })
    socket.on('unexpected-response', (request, response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        request.destroy()
        resolve({
          status: response.statusCode ?? 0,
          contentType: response.headers['content-type'] ?? '',
          headers: response.headers,
          body: JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>,
        })
      })
    })
  })
}
