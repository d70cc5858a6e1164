/**
 * A healthy VM with somebody at its console, while others misbehave: it must notice nothing.
 *
 * The console types a numbered line, the VM answers with a numbered line, and so on: a heartbeat. Both keep what they
 * got, so that a byte lost, doubled or reordered in either direction shows; and how long an answer took at most.
 */
import type { Socket } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { SimConnection, type SimConnectionHandler } from '../../src/sim/index.ts'
import type { ConsoleMessage } from '../../src/vspc/index.ts'
import { type Serve, until } from './support.ts'

/** Between two heartbeats: often enough to be in the middle of everything, seldom enough to cost nothing. */
const BEAT_MS = 5
/** With bytes that are easily lost: 0x00, 0xFF, 0x11 and a lone CR. */
const AWKWARD = '\0\xff\x11\r'

const typed = (n: number): string => `>${n}${AWKWARD}\n`
const printed = (n: number): string => `<${n}${AWKWARD}\n`

/** UUID and name of VM `n`, as ESX spells them. */
export function identityOf(n: number): { vcUuid: string; name: string; id: string } {
  const hex = n.toString(16).padStart(12, '0')
  const pairs = (hex.match(/../g) ?? []).join(' ')
  return {
    vcUuid: `fa 01 75 00 00 00 00 00-00 00 ${pairs}`,
    name: `vm-${n}`,
    id: `fa017500-0000-0000-0000-${hex}`,
  }
}

/** Identifies VM `n` on a connection to `serve`; resolves when its port is online. */
export async function bootVm(serve: Serve, n: number, handler: SimConnectionHandler = {}): Promise<SimConnection> {
  const { vcUuid, name, id } = identityOf(n)
  const vm = new SimConnection({ target: serve.target, identity: { vcUuid, name }, noDelay: true, handler })
  onTestFinished(() => vm.abort())
  await vm.opened
  await vm.expect('WILL-PROXY')
  await until(`${id} is online`, async () => (await portInfo(serve, id))?.['state'] === 'online')
  return vm
}

export async function portInfo(serve: Serve, id: string): Promise<Record<string, unknown> | undefined> {
  const answer = await fetch(`${serve.url}/api/v1/ports/${id}`)
  return answer.ok ? ((await answer.json()) as Record<string, unknown>) : undefined
}

/** A console over a WebSocket that keeps what it gets. */
export class Attached {
  readonly socket: WebSocket
  readonly messages: ConsoleMessage[] = []
  readonly #chunks: Buffer[] = []
  readonly #taker: ((bytes: Buffer) => void) | null

  private constructor(socket: WebSocket, taker: ((bytes: Buffer) => void) | null) {
    this.socket = socket
    this.#taker = taker
    socket.on('error', () => {})
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) {
        this.messages.push(JSON.parse(data.toString('utf8')) as ConsoleMessage)
        return
      }
      if (this.#taker === null) this.#chunks.push(data)
      else this.#taker(data)
    })
  }

  /** Resolves when it is attached to port `id`. @param taker gets the output, which is then not kept. */
  static async open(
    serve: Serve,
    id: string,
    query = 'mode=write',
    taker: ((bytes: Buffer) => void) | null = null,
  ): Promise<Attached> {
    const url = `${serve.url.replace('http', 'ws')}/api/v1/ports/${id}/console?${query}`
    const attached = new Attached(new WebSocket(url, 'vspc.v1'), taker)
    onTestFinished(() => attached.socket.terminate())
    await until(`a console of ${id} is attached`, () => attached.messages.length > 0)
    return attached
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString('latin1')
  }

  of<Type extends ConsoleMessage['type']>(type: Type): Extract<ConsoleMessage, { type: Type }>[] {
    return this.messages.filter((one): one is Extract<ConsoleMessage, { type: Type }> => one.type === type)
  }

  /** Where it goes on: the offset of the first byte that it has not got. */
  get next(): number {
    const [first] = this.of('attached')
    const gaps = this.of('gap').reduce((sum, { bytes }) => sum + bytes, 0)
    return (first?.offset ?? 0) + gaps + this.#chunks.reduce((sum, { length }) => sum + length, 0)
  }

  type(text: string): void {
    this.socket.send(Buffer.from(text, 'latin1'))
  }

  async expectText(text: string): Promise<void> {
    await until(`${JSON.stringify(text)} at the console`, () => this.text.includes(text))
  }

  /** The TCP connection below. */
  get tcp(): Socket {
    return (this.socket as unknown as { _socket: Socket })._socket
  }
}

/** The VM's half and the console's half of a heartbeat. */
export interface Pair {
  readonly vm: SimConnection
  /** Types at the console. */
  type(bytes: Buffer): void
}

export class Bystander {
  readonly #pair: Pair
  /** The longest that a heartbeat took, there and back, ms. */
  slowestMs = 0
  readonly #received = { vm: '', console: '' }
  #line = ''
  #beats = 0
  #sentAt = 0
  #stopped = false

  /** Begins to beat. The owner says what was heard on either side. */
  constructor(pair: Pair) {
    this.#pair = pair
  }

  /** At a server of its own process. @param n number of the VM, one that nobody else uses. */
  static async start(serve: Serve, n = 999_999): Promise<Bystander> {
    const handler: SimConnectionHandler = {}
    const vm = await bootVm(serve, n, handler)
    const { id } = identityOf(n)
    const console = await Attached.open(serve, id, 'mode=write', (bytes) => bystander.heardByConsole(bytes))
    const bystander: Bystander = new Bystander({ vm, type: (bytes) => console.socket.send(bytes) })
    handler.data = (_, bytes) => bystander.heardByVm(bytes)
    bystander.beat()
    return bystander
  }

  get beats(): number {
    return this.#beats
  }

  /** The first one; the others follow by themselves. */
  beat(): void {
    this.#sentAt = performance.now()
    this.#pair.type(Buffer.from(typed(this.#beats), 'latin1'))
  }

  heardByVm(bytes: Uint8Array): void {
    const text = Buffer.from(bytes).toString('latin1')
    this.#received.vm += text
    for (const letter of text) {
      if (letter !== '\n') {
        this.#line += letter
        continue
      }
      const n = Number(/^>(\d+)/.exec(this.#line)?.[1])
      this.#line = ''
      this.#pair.vm.data(Buffer.from(printed(n), 'latin1'))
    }
  }

  heardByConsole(bytes: Uint8Array): void {
    const text = Buffer.from(bytes).toString('latin1')
    this.#received.console += text
    if (!text.endsWith('\n')) return
    this.slowestMs = Math.max(this.slowestMs, performance.now() - this.#sentAt)
    this.#beats++
    setTimeout(() => {
      if (!this.#stopped) this.beat()
    }, BEAT_MS)
  }

  /** Beats on a few times more: it is alive now, not only before. */
  async beatsOn(more = 3): Promise<void> {
    const goal = this.#beats + more
    await until(`the bystander goes on beating past ${this.#beats}`, () => this.#beats >= goal)
  }

  stop(): void {
    this.#stopped = true
  }

  /** Ends the heartbeat and judges both streams, from the first byte to the last. */
  async verify(): Promise<void> {
    await this.beatsOn()
    this.stop()
    const numbers = Array.from({ length: this.#beats }, (_, n) => n)
    const [input, output] = [numbers.map(typed).join(''), numbers.map(printed).join('')]
    const { vm, console } = this.#received
    // One more heartbeat may be on its way.
    expect(vm.slice(0, input.length) === input && vm.length <= input.length + typed(this.#beats).length).toBe(true)
    expect(console.slice(0, output.length) === output).toBe(true)
  }
}
