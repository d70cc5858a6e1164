/** Who else is at a console's port, who of them may type, and who waits for it. */
import type { ConsoleAction, ConsoleInfo, ConsoleMessage, ConsoleMode, ConsoleRequest } from '../../vspc/index.ts'
import { askedNews, idleWords, ownModeNews, queueNews } from './console-news.ts'
import { askKick, askWords } from './dialogs.ts'
import { PeopleDialog } from './people-dialog.ts'
import { Strip, type StripChoice } from './strip.ts'
import { clockTime } from './words.ts'

/** News about our own mode is not replaced for this long by what all consoles are told of the same change. */
const FRESH_MS = 1_000

/** While somebody waits: who gives up, or types, changes the list without a word. */
const LOOK_MS = 2_000

type Queued = Extract<ConsoleMessage, { type: 'queued' }>

export interface PeopleHost {
  /** False: not connected. */
  request(request: ConsoleRequest): boolean
  news(text: string): void
  /** Who is there, who may type, or what we may do is to be shown anew. */
  changed(): void
}

export class ConsolePeople {
  /** About the keyboard. */
  readonly question = new Strip(true)
  /** What others have said. */
  readonly note = new Strip(true)
  readonly #host: PeopleHost
  readonly #looking: number
  readonly #dialog: PeopleDialog
  #own: number | null = null
  /** Null before we know. */
  #may: readonly ConsoleAction[] | null = null
  /** We have been put out. */
  #out: { text: string; comeBack(): void } | null = null
  #mode: ConsoleMode = 'read'
  #modeChangedAt = Number.NEGATIVE_INFINITY
  #all: readonly ConsoleInfo[] = []
  #writers: readonly ConsoleInfo[] = []
  /** Our place in the queue. */
  #queue: Queued | null = null
  /** Consoles that we have been asked by, and have not answered. */
  #asks: readonly ConsoleInfo[] = []
  #idleTakeoverMs: number | null = null
  /** What stands in the way of what we asked for. */
  #refusal: { text: string; mode: ConsoleMode } | null = null

  constructor(host: PeopleHost) {
    this.#host = host
    this.#dialog = new PeopleDialog({
      refresh: () => void host.request({ type: 'who' }),
      handOver: (id) => this.#request({ type: 'yield', to: id }),
      putOut: (one) => void this.#kick(one),
      say: () => void this.say(),
    })
    this.#looking = window.setInterval(() => {
      if (this.#queue !== null || this.#asks.length > 0) host.request({ type: 'who' })
    }, LOOK_MS)
  }

  dispose(): void {
    window.clearInterval(this.#looking)
    this.#dialog.close()
  }

  /** How many are attached. */
  get size(): number {
    return this.#all.length
  }

  /** All that may type but us. */
  get writers(): readonly ConsoleInfo[] {
    return this.#writers.filter(({ id }) => id !== this.#own)
  }

  get waiting(): boolean {
    return this.#queue !== null
  }

  may(action: ConsoleAction): boolean {
    return this.#may?.includes(action) ?? true
  }

  message(message: ConsoleMessage): void {
    switch (message.type) {
      case 'attached':
        this.#attached(message)
        break
      case 'writer':
        this.#writers = message.writers
        this.#asks = message.mode === 'read' ? [] : this.#asks
        this.#refusal = null
        this.#writersNews(message)
        this.#host.request({ type: 'who' })
        break
      case 'consoles':
        this.#all = message.consoles
        this.#writers = message.consoles.filter(({ mode }) => mode !== 'read')
        // Who gave up, or went.
        this.#asks = this.#asks.filter(({ id }) => this.#all.some((one) => one.id === id && one.waiting !== null))
        break
      case 'queued':
        this.#queue = message.position === 0 ? null : message
        this.#refusal = null
        if (message.position === 0 && message.reason !== undefined) this.#host.news(message.reason)
        break
      case 'asked':
        this.#asks = [...this.#asks.filter(({ id }) => id !== message.by.id), message.by]
        this.#idleTakeoverMs = message.idleTakeoverMs
        this.#host.request({ type: 'who' })
        break
      case 'said':
        this.#said(message)
        break
      default:
        return
    }
    this.#show()
  }

  /** Somebody is in the way of a mode that we have asked for, and we did not wait. */
  refused(text: string, mode: ConsoleMode): void {
    this.#refusal = { text, mode }
    this.#show()
  }

  /** We have been put out, or may not be here (any more). */
  putOut(text: string, comeBack: () => void): void {
    this.#out = { text: `You are no longer attached: ${text}`, comeBack }
    this.#all = []
    this.#writers = []
    this.#asks = []
    this.#queue = null
    this.#refusal = null
    this.#mode = 'read'
    this.#show()
  }

  /** Asks for a mode; where somebody is in the way, we wait, if we may. */
  ask(mode: ConsoleMode, force = false): void {
    this.#refusal = null
    this.#show()
    this.#request({ type: 'mode', mode, force, wait: !force && mode !== 'read' && this.may('request') })
  }

  stopWaiting(): void {
    this.#request({ type: 'cancel' })
  }

  show(): void {
    this.#dialog.open()
    this.#show()
    this.#host.request({ type: 'who' })
  }

  async say(): Promise<void> {
    const text = await askWords('Say something to all at this console', 'Words', 'Say it', { most: 500 })
    if (text !== null) this.#request({ type: 'say', text })
  }

  #request(request: ConsoleRequest): void {
    if (!this.#host.request(request)) this.#host.news('not connected')
  }

  async #kick(one: ConsoleInfo): Promise<void> {
    const reason = await askKick(one.who)
    if (reason !== null) this.#request({ type: 'kick', console: one.id, ...(reason === '' ? {} : { reason }) })
  }

  #attached({ console, mode, may }: Extract<ConsoleMessage, { type: 'attached' }>): void {
    const waited = this.#queue
    this.#own = console
    this.#out = null
    this.#mode = mode
    this.#may = may
    this.#writers = []
    this.#asks = []
    this.#queue = null
    // Our place in the queue went with the connection.
    if (waited !== null && mode === 'read') this.#host.request({ type: 'mode', mode: waited.mode, wait: true })
    this.#host.request({ type: 'who' })
  }

  #said({ from, text, at }: Extract<ConsoleMessage, { type: 'said' }>): void {
    if (from !== null && from.id === this.#own) {
      this.#host.news('said to all')
      return
    }
    const close = { label: 'Close', run: () => this.note.hide() }
    const answer = this.may('say') ? [{ label: 'Answer…', run: () => void this.say() }] : []
    this.note.show(`${clockTime(at)} ${from === null ? 'the server' : from.who}: ${text}`, [...answer, close])
  }

  #show(): void {
    const { text, choices } = this.#question()
    this.question.show(text, choices)
    this.#dialog.show({
      consoles: this.#all,
      own: this.#own,
      holds: this.#mode !== 'read',
      mayKick: this.may('kick'),
      maySay: this.may('say'),
    })
    this.#host.changed()
  }

  #question(): { text: string; choices: StripChoice[] } {
    const queue = this.#queue
    const out = this.#out
    if (out !== null) return { text: out.text, choices: [{ label: 'Come back', kind: 'main', run: out.comeBack }] }
    const takeOver = (mode: ConsoleMode): StripChoice[] =>
      this.may('force') ? [{ label: 'Take over', kind: 'danger', run: () => this.ask(mode, true) }] : []
    if (queue !== null) {
      const stop = { label: 'Stop waiting', run: () => this.stopWaiting() }
      const holders = queue.holders.map((one) => this.#all.find(({ id }) => id === one.id) ?? one)
      return { text: queueNews({ ...queue, holders }, Date.now()), choices: [...takeOver(queue.mode), stop] }
    }
    const [asking] = this.#asks
    if (asking !== undefined && this.#mode !== 'read') {
      const keep = () => {
        this.#asks = this.#asks.slice(1)
        this.#show()
      }
      const handOver = () => this.#request({ type: 'yield', to: asking.id })
      return {
        text: askedNews(asking.who, this.#asks.length, this.#idleTakeoverMs),
        choices: [
          { label: 'Hand over', kind: 'main', run: handOver },
          { label: 'Keep it', run: keep },
        ],
      }
    }
    const refusal = this.#refusal
    if (refusal === null) return { text: '', choices: [] }
    const { mode } = refusal
    const wait: StripChoice[] = this.may('request') ? [{ label: 'Ask for it', run: () => this.ask(mode) }] : []
    const leave = () => {
      this.#refusal = null
      this.#show()
    }
    return { text: refusal.text, choices: [...wait, ...takeOver(mode), { label: 'Leave it', run: leave }] }
  }

  /** Who lost the keyboard is told that first, and then what everybody is told. */
  #writersNews({ mode, reason }: Extract<ConsoleMessage, { type: 'writer' }>): void {
    const changed = mode !== this.#mode
    this.#mode = mode
    if (!changed && performance.now() - this.#modeChangedAt < FRESH_MS) return
    if (changed) this.#modeChangedAt = performance.now()
    this.#host.news(changed ? ownModeNews(mode, reason) : reason)
  }

  /** In the words of the status line. */
  get summary(): string {
    const [first, ...more] = this.writers
    const others = first === undefined ? '' : more.length === 0 ? first.who : `${first.who} and ${more.length} more`
    const idle = first === undefined || more.length > 0 ? '' : idleWords(first, Date.now())
    const held = others === '' ? '' : `${others} may type${idle}`
    const text =
      this.#mode === 'exclusive'
        ? 'you type alone'
        : this.#mode === 'write'
          ? others === ''
            ? 'you may type'
            : `you may type, ${others} too`
          : [this.waiting ? 'waiting to type' : 'reading', held].filter(Boolean).join('; ')
    return this.size > 1 ? `${text} · ${this.size} attached` : text
  }
}
