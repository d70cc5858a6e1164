import { EventEmitter, once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { onTestFinished } from 'vitest'
import { type AppUnderTest, until } from './support.ts'

export interface Received {
  event: string
  id: string
  data: Record<string, unknown>
}

/** Reads server-sent events the slow and obvious way. */
export class EventReader extends EventEmitter {
  readonly answer: IncomingMessage
  readonly events: Received[] = []
  /** What came first. */
  head = ''
  /** Characters in all. */
  length = 0
  ended = false
  #rest = ''

  constructor(answer: IncomingMessage) {
    super()
    this.answer = answer
    answer.setEncoding('utf8')
    answer.on('error', () => {})
    answer.on('data', (chunk: string) => {
      this.length += chunk.length
      if (this.head.length < 100) this.head += chunk
      this.#parse(chunk)
      this.emit('change')
    })
    answer.on('close', () => {
      this.ended = true
      this.emit('change')
    })
  }

  static async open(app: AppUnderTest): Promise<EventReader> {
    const request = get(`${app.url}/api/v1/events`, { agent: false })
    request.on('error', () => {})
    onTestFinished(() => void request.destroy())
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    const reader = new EventReader(answer)
    await reader.has('hello')
    return reader
  }

  #parse(chunk: string): void {
    const blocks = `${this.#rest}${chunk}`.split('\n\n')
    this.#rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = new Map(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      const data = fields.get('data')
      if (data === undefined) continue
      this.events.push({ event: fields.get('event') ?? '', id: fields.get('id') ?? '', data: JSON.parse(data) })
    }
  }

  async has(event: string): Promise<Received> {
    const found = () => this.events.find((one) => one.event === event)
    await until(this, () => found() !== undefined)
    return found() as Received
  }
}
