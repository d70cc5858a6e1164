import type { ConsoleRequest } from '../app/index.ts'
import { errorMessage } from '../base/index.ts'
import type { ConsoleFeed } from '../client/index.ts'
import type { ConsoleNews } from './console-news.ts'
import { formatKey } from './escape.ts'
import { lastLinesStart } from './piped-input.ts'
import { TIMING } from './timing.ts'
import type { Terminal } from './tty.ts'

/** What a key after the escape character does: something here, or a request to the server. */
interface AttachKey {
  readonly does: 'leave' | 'help' | 'suspend' | 'replay' | Prompted | ConsoleRequest
  readonly help: string
}

/** A line is asked for first. */
type Prompted = 'say' | 'kick' | 'hand-over'

/** Letters as in conserver's console, where it has them. */
const KEYS: { readonly [key: string]: AttachKey } = {
  '.': { does: 'leave', help: 'leave' },
  '?': { does: 'help', help: 'this help' },
  a: { does: { type: 'mode', mode: 'write' }, help: 'write, if nobody holds the port' },
  f: { does: { type: 'mode', mode: 'write', force: true }, help: 'write, whoever holds the port' },
  x: { does: { type: 'mode', mode: 'exclusive' }, help: 'write as the only one' },
  s: { does: { type: 'mode', mode: 'read' }, help: 'spy: read only' },
  q: { does: { type: 'mode', mode: 'write', wait: true }, help: 'queue: wait until it is your turn to write' },
  c: { does: { type: 'cancel' }, help: 'cancel waiting' },
  y: { does: { type: 'yield' }, help: 'yield: read only, and the next in the queue writes' },
  h: { does: 'hand-over', help: 'hand over to one that waits' },
  w: { does: { type: 'who' }, help: 'who else is attached' },
  b: { does: 'say', help: 'broadcast a line to all who are attached' },
  k: { does: 'kick', help: 'kick: end a console' },
  l: { does: { type: 'break' }, help: 'send a break' },
  r: { does: 'replay', help: `show the last ${TIMING.replayLines} lines again` },
  z: { does: 'suspend', help: 'suspend, as Ctrl-Z does in a shell' },
}

/** What the commands need from the session they belong to. */
export interface AttachCommandsHost {
  /** Words for the user, although quiet. */
  explain(text: string): void
  /** Output, as if it came now. */
  print(bytes: Uint8Array): void
  /** {@link AttachCommands.holdsOutput} is another. */
  holdChanged(): void
  /** Has the next line typed here, instead of to the VM; null = given up. */
  prompt(question: string, done: (text: string | null) => void): void
  leave(): void
}

interface AttachCommandsParts {
  readonly terminal: Pick<Terminal, 'suspend'>
  /** What history holds of a port's output between two offsets. */
  readonly history: (port: string, from: number, to: number) => Promise<Uint8Array>
}

/** Carries out the commands of an attached terminal. */
export class AttachCommands {
  readonly #escape: string
  readonly #feed: ConsoleFeed
  readonly #news: ConsoleNews
  readonly #parts: AttachCommandsParts
  readonly #host: AttachCommandsHost
  #wantsWho = false
  #replaying = false

  constructor(
    escapeByte: number,
    feed: ConsoleFeed,
    news: ConsoleNews,
    parts: AttachCommandsParts,
    host: AttachCommandsHost,
  ) {
    this.#escape = formatKey(escapeByte)
    this.#feed = feed
    this.#news = news
    this.#parts = parts
    this.#host = host
  }

  /** Output has to wait: older one is being fetched and shown. */
  get holdsOutput(): boolean {
    return this.#replaying
  }

  /** True once for each time the user asked who is there. */
  takeWho(): boolean {
    const wanted = this.#wantsWho
    this.#wantsWho = false
    return wanted
  }

  /** @param byte typed after the escape character. */
  run(byte: number): void {
    const key = String.fromCharCode(byte)
    const does = Object.hasOwn(KEYS, key) ? KEYS[key]?.does : undefined
    switch (does) {
      case undefined:
        this.#host.explain(
          `${this.#escape} ${formatKey(byte)} is no command, nothing was sent; ${this.#escape} ? lists them`,
        )
        return
      case 'leave':
        this.#host.leave()
        return
      case 'help':
        this.#host.explain(this.#help())
        return
      case 'suspend':
        this.#parts.terminal.suspend()
        return
      case 'replay':
        void this.#replay()
        return
      case 'say':
      case 'kick':
      case 'hand-over':
        this.#prompt(does)
        return
      default:
        this.#ask(does)
    }
  }

  #ask(request: ConsoleRequest): void {
    if (!this.#feed.request(request)) this.#host.explain('not connected')
    else if (request.type === 'break') this.#host.explain('sending a break')
    else if (request.type === 'who') this.#wantsWho = true
    else if (request.type === 'mode') this.#news.asked(request.mode)
  }

  #prompt(does: Prompted): void {
    const { prompt, explain } = this.#host
    if (does === 'say') {
      prompt('to all who are attached (Enter sends, Esc gives up):', (text) => {
        if (text) this.#ask({ type: 'say', text })
      })
      return
    }
    const question = does === 'kick' ? 'number of the console to end' : 'number of the console to hand over to'
    prompt(`${question}; ${this.#escape} w lists them (Enter, or Esc to give up):`, (text) => {
      if (text === null || text === '') return
      const console = Number(text)
      if (!/^\d{1,15}$/.test(text)) explain(`"${text}" is no number: nothing was done`)
      else this.#ask(does === 'kick' ? { type: 'kick', console } : { type: 'yield', to: console })
    })
  }

  #help(): string {
    const lines = Object.entries(KEYS).map(([key, { help }]) => `  ${this.#escape} ${key}  ${help}`)
    return ['escape commands:', ...lines, `  ${this.#escape} ${this.#escape}  send one ${this.#escape}`].join('\n')
  }

  async #replay(): Promise<void> {
    const upTo = this.#feed.offset
    if (this.#replaying || upTo === null) return
    this.#replaying = true
    this.#host.holdChanged()
    try {
      const seen = await this.#parts.history(this.#feed.port, Math.max(0, upTo - TIMING.replayBytes), upTo)
      this.#host.explain(`the last lines of ${this.#news.name}:`)
      this.#host.print(seen.subarray(lastLinesStart(seen, TIMING.replayLines)))
    } catch (error) {
      this.#host.explain(`no replay: ${errorMessage(error)}`)
    }
    this.#replaying = false
    this.#host.holdChanged()
  }
}
