import { EventEmitter } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import type { ConsoleAction, ConsoleMessage, ConsoleMode, ConsoleRequest, PortInfo } from '../../src/vspc/types.ts'

/**
 * A double of the server: answers as design.md 4.1 says, does what a test tells it, and remembers what it was sent. It
 * shares no code with the real one.
 */
export class FakeServer {
  readonly ports: FakePort[] = []
  /** Everything asked for, `GET /path` and `WS /path`. */
  readonly requests: { method: string; url: string; headers: IncomingMessage['headers'] }[] = []
  /** Answers a request or an upgrade with an error instead; null lets it through. */
  refuse: (method: string, url: URL) => Refusal | null = () => null
  /** False: upgrades without naming the subprotocol, as a server that is not ours would. */
  speakSubprotocol = true
  readonly #changes = new EventEmitter()
  readonly #upgrades = new WebSocketServer({
    noServer: true,
    handleProtocols: () => this.speakSubprotocol && 'vspc.v1',
  })
  #server: Server | null = null
  #tcpPort = 0

  static async start(...ports: FakePort[]): Promise<FakeServer> {
    const server = new FakeServer()
    for (const port of ports) server.add(port)
    await server.listen()
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${this.#tcpPort}`
  }

  add(port: FakePort): FakePort {
    this.ports.push(port)
    port.changed = () => this.#changes.emit('change')
    port.changed()
    return port
  }

  /** Starts listening; a second time on the same TCP port, as a restarted server does. */
  async listen(): Promise<void> {
    const server = createServer((request, response) => this.#request(request, response))
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => {})
      const url = this.#note('WS', request)
      const refusal = this.refuse('WS', url) ?? this.#missing(url)
      if (refusal) {
        const body = JSON.stringify(problem(refusal))
        socket.end(
          `HTTP/1.1 ${refusal.status} No\r\nContent-Type: application/problem+json\r\n` +
            `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
        )
        return
      }
      this.#upgrades.handleUpgrade(request, socket, head, (console) => this.#find(url)[0]!.attach(console, url))
    })
    await new Promise<void>((resolve) => server.listen(this.#tcpPort, '127.0.0.1', resolve))
    this.#server = server
    this.#tcpPort = (server.address() as AddressInfo).port
  }

  /** Stops as a killed server does: every connection is cut. */
  async stop(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (!server) return
    for (const port of this.ports) port.cut()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await this.until(() => this.ports.every(({ consoles }) => consoles.length === 0))
  }

  /** Waits until `happened()` is true; looked at after everything that reaches this server. */
  async until(happened: () => boolean, what = String(happened)): Promise<void> {
    const deadline = AbortSignal.timeout(10_000)
    while (!happened()) {
      await new Promise<void>((resolve, reject) => {
        const late = () => reject(new Error(`not within 10 s: ${what}`))
        deadline.addEventListener('abort', late, { once: true })
        this.#changes.once('change', () => {
          deadline.removeEventListener('abort', late)
          resolve()
        })
      })
    }
  }

  #note(method: string, request: IncomingMessage): URL {
    this.requests.push({ method, url: request.url ?? '', headers: request.headers })
    setImmediate(() => this.#changes.emit('change'))
    return new URL(request.url ?? '/', 'http://fake')
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    const url = this.#note(request.method ?? '', request)
    const isList = url.pathname === '/api/v1/ports'
    const refusal = this.refuse('GET', url) ?? (isList ? null : this.#missing(url))
    const port = this.#find(url)[0]
    if (refusal) {
      sendJson(response, refusal.status, problem(refusal), 'application/problem+json')
    } else if (isList || !port) {
      const list = this.ports.map(({ info }) => info)
      sendJson(response, 200, list)
    } else if (url.pathname.endsWith('/log')) {
      const start = port.clamp(Number(url.searchParams.get('start') ?? 0))
      response.setHeader('X-Vspc-Start', start)
      response.setHeader('X-Vspc-Next', port.next)
      response.setHeader('Content-Type', 'application/octet-stream')
      response.end(port.held.subarray(start - port.start))
    } else {
      sendJson(response, 200, port.info)
    }
  }

  #find(url: URL): FakePort[] {
    const asked = decodeURIComponent(url.pathname.split('/')[4] ?? '')
    return this.ports.filter(({ info }) => info.id === asked || info.vm.name === asked)
  }

  #missing(url: URL): Refusal | null {
    const found = this.#find(url).length
    if (found === 0)
      return { status: 404, code: 'VSPC_PORT_NOT_FOUND', detail: `no port matches ${url.pathname.split('/')[4]}` }
    if (found > 1) return { status: 409, code: 'VSPC_PORT_AMBIGUOUS', detail: `${found} ports match` }
    return null
  }
}

export interface Refusal {
  status: number
  code?: string
  detail?: string
}

/** One port of the double, with all the output it was told to make. */
export class FakePort {
  readonly info: PortInfo
  /** Offset of the first byte of `held`. */
  start = 0
  held: Buffer = Buffer.alloc(0)
  /** Everything consoles have typed, in order. */
  input: Buffer = Buffer.alloc(0)
  readonly controls: ConsoleRequest[] = []
  readonly consoles: WebSocket[] = []
  /** How often a console was attached. */
  attachments = 0
  /** Sent before `attached`, or instead of it. */
  greeting: ((mode: ConsoleMode) => ConsoleMessage[]) | null = null
  /** Answers to control messages. */
  answer: (request: ConsoleRequest, say: (message: ConsoleMessage) => void) => void = () => {}
  /** Called with everything typed. */
  typed: (bytes: Buffer) => void = () => {}
  changed: () => void = () => {}

  constructor(name: string, info: Partial<PortInfo> = {}) {
    this.info = { ...portInfo(name), ...info }
  }

  get next(): number {
    return this.start + this.held.length
  }

  clamp(offset: number): number {
    const absolute = offset < 0 ? this.next + offset : offset
    return Math.min(Math.max(absolute, this.start), this.next)
  }

  /** Forgets all history, as a server does that kept it in memory and was restarted. */
  forget(): void {
    this.start = 0
    this.held = Buffer.alloc(0)
  }

  /** Drops the oldest bytes. */
  trim(bytes: number): void {
    this.held = this.held.subarray(bytes)
    this.start += bytes
  }

  /** The VM prints. */
  output(data: string | Uint8Array): void {
    const bytes = Buffer.from(data as Uint8Array)
    this.held = Buffer.concat([this.held, bytes])
    for (const console of this.consoles) console.send(bytes, { binary: true })
  }

  say(message: ConsoleMessage): void {
    for (const console of this.consoles) console.send(JSON.stringify(message))
  }

  /** Ends all consoles in an orderly way. */
  close(): void {
    for (const console of this.consoles) console.close()
  }

  /** Cuts all consoles off without a word. */
  cut(): void {
    for (const console of this.consoles) console.terminate()
  }

  attach(console: WebSocket, url: URL): void {
    const mode = (url.searchParams.get('mode') ?? 'read') as ConsoleMode
    const from = url.searchParams.get('from')
    const offset = from === null ? this.next : this.clamp(Number(from))
    const say = (message: ConsoleMessage) => console.send(JSON.stringify(message))
    const { id: port, vm, state } = this.info
    const number = ++this.attachments
    const attached = {
      type: 'attached',
      port,
      name: vm.name,
      mode,
      offset,
      start: this.start,
      next: this.next,
      state,
      epoch: 'e',
      may: [] as ConsoleAction[],
    } as const
    for (const message of this.greeting?.(mode) ?? [{ ...attached, console: number }]) say(message)
    if (this.next > offset) console.send(this.held.subarray(offset - this.start), { binary: true })
    this.consoles.push(console)
    console.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) {
        this.input = Buffer.concat([this.input, data])
        this.typed(data)
      } else {
        const request = JSON.parse(data.toString()) as ConsoleRequest
        this.controls.push(request)
        this.answer(request, say)
      }
      this.changed()
    })
    console.on('error', () => {})
    console.on('close', () => {
      this.consoles.splice(this.consoles.indexOf(console), 1)
      this.changed()
    })
    this.changed()
  }
}

let uuids = 0

export function portInfo(name: string): PortInfo {
  const uuid = `564d0000-0000-0000-0000-${(++uuids).toString(16).padStart(12, '0')}`
  return {
    id: uuid,
    vm: { name, uuid },
    label: null,
    state: 'online',
    host: '10.0.0.1',
    transport: 'tcp',
    direction: 'server',
    serviceURI: 'vspc',
    consoles: 0,
    bytesFromVm: 0,
    bytesToVm: 0,
    connectedAt: '2026-01-01T00:00:00.000Z',
    vmotions: 0,
    historyStart: 0,
    protocol: 'vmware',
    line: null,
    lastOutputAt: null,
  }
}

function problem({ status, code, detail }: Refusal): object {
  return { type: 'about:blank', title: 'Refused', status, ...(code ? { code } : {}), ...(detail ? { detail } : {}) }
}

function sendJson(response: ServerResponse, status: number, body: unknown, type = 'application/json'): void {
  response.writeHead(status, { 'Content-Type': type })
  response.end(JSON.stringify(body))
}
