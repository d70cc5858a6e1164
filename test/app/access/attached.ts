import { EventEmitter } from 'node:events'
import type { WebSocket } from 'ws'
import type { ConsoleMessage, ConsoleRequest } from '../../../src/app/index.ts'
import { until } from '../support.ts'

/** A console that remembers what it is told, on a socket of whoever it is. */
export class Attached extends EventEmitter {
  readonly socket: WebSocket
  readonly messages: ConsoleMessage[] = []
  #end: { code: number; reason: string } | null = null

  private constructor(socket: WebSocket) {
    super()
    this.socket = socket
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) this.messages.push(JSON.parse(data.toString('utf8')) as ConsoleMessage)
      this.emit('change')
    })
    socket.on('close', (code, reason) => {
      this.#end = { code, reason: reason.toString() }
      this.emit('change')
    })
  }

  /** Attached, or closed. */
  static async open(socket: WebSocket): Promise<Attached> {
    const console = new Attached(socket)
    await until(console, () => console.messages.length > 0 || console.#end !== null)
    return console
  }

  get #attached(): Extract<ConsoleMessage, { type: 'attached' }> {
    const [first] = this.messages
    if (first?.type !== 'attached') throw new Error(`not attached: ${JSON.stringify(first ?? this.#end)}`)
    return first
  }

  get id(): number {
    return this.#attached.console
  }

  get may(): readonly string[] {
    return this.#attached.may
  }

  /** The first message of these types, or error, that comes after asking. */
  async ask(request: ConsoleRequest, answers: readonly string[]): Promise<ConsoleMessage> {
    const from = this.messages.length
    this.socket.send(JSON.stringify(request))
    const found = () => this.messages.slice(from).find(({ type }) => type === 'error' || answers.includes(type))
    await until(this, () => found() !== undefined || this.#end !== null)
    return found() ?? { type: 'detached', reason: JSON.stringify(this.#end) }
  }

  async told(type: ConsoleMessage['type']): Promise<ConsoleMessage> {
    const found = () => this.messages.find((one) => one.type === type)
    await until(this, () => found() !== undefined)
    return found() as ConsoleMessage
  }

  async closed(): Promise<{ code: number; reason: string }> {
    await until(this, () => this.#end !== null)
    return this.#end as { code: number; reason: string }
  }
}
