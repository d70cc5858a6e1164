import type { ConsoleInfo, ConsoleMessage, ConsoleMode, PortState } from '../app/index.ts'
import { cleanText } from '../base/index.ts'

type Of<Type extends ConsoleMessage['type']> = Extract<ConsoleMessage, { type: Type }>

const MODE_WORDS = {
  read: 'you read only now',
  write: 'you can write now',
  exclusive: 'you alone can write now',
} as const satisfies Record<ConsoleMode, string>

/**
 * What the server tells an attached console, kept and put into words for the user. Pure: words go to `tell`, everything
 * from the wire cleaned.
 */
export class ConsoleNews {
  readonly #tell: (text: string) => void
  readonly #tellMove: (text: string) => void
  #name = ''
  #self = 0
  #mode: ConsoleMode
  #state: PortState = 'online'
  #host: string | null = null
  #otherWriters = ''
  #asked: ConsoleMode | null = null

  /** @param tellMove for moves, which nobody has to act on. */
  constructor(mode: ConsoleMode, tell: (text: string) => void, tellMove: (text: string) => void) {
    this.#mode = mode
    this.#tell = tell
    this.#tellMove = tellMove
  }

  /** The VM's name, or the port's id while it has none. */
  get name(): string {
    return this.#name
  }

  get mode(): ConsoleMode {
    return this.#mode
  }

  get state(): PortState {
    return this.#state
  }

  /** The first attachment. @param help how to get help, if there is a way. */
  attached(message: Of<'attached'>, help: string): void {
    this.#take(message)
    const modes = { read: ', reading only', write: '', exclusive: ', exclusively' }
    this.#tell(`attached to ${this.#name} (${cleanText(message.port)})${modes[message.mode] ?? ''}${help}`)
    if (message.state !== 'online') this.#tellState('')
  }

  attachedAgain(message: Of<'attached'>): void {
    const { mode, state } = { mode: this.#mode, state: this.#state }
    this.#take(message)
    this.#tell(`attached to ${this.#name} again${message.mode === mode ? '' : `; ${MODE_WORDS[message.mode]}`}`)
    if (message.state !== state) this.#tellState('')
  }

  stateChanged(message: Of<'state'>): void {
    const { state, host } = { state: this.#state, host: this.#host }
    this.#state = message.state
    this.#host = message.host === null ? null : cleanText(message.host)
    const where = this.#host ?? 'an unknown host'
    const reason = cleanText(message.reason)
    if (message.state !== 'online') {
      if (message.state !== state) this.#tellState(reason)
    } else if (state === 'migrating') {
      const stayed = this.#host !== null && this.#host === host
      this.#tellMove(stayed ? `stayed on ${where}${inBrackets(reason)}` : `now on ${where}`)
    } else if (state === 'offline') {
      this.#tell(`the VM is online again, on ${where}`)
    } else if (host !== null && this.#host !== host) {
      this.#tellMove(`now on ${where}`)
    }
  }

  /** The user asked for this mode: its coming needs no reason. */
  asked(mode: ConsoleMode): void {
    this.#asked = mode
  }

  /** @returns true when this console's own mode changed. */
  writerChanged(message: Of<'writer'>): boolean {
    const changed = message.mode !== this.#mode
    this.#mode = message.mode
    const reason = message.mode === this.#asked ? '' : cleanText(message.reason)
    if (changed) this.#tell(`${MODE_WORDS[message.mode]}${inBrackets(reason)}`)
    this.#asked = null
    this.otherWriters(message.writers)
    return changed
  }

  /** Tells of others who can write here, when they are not the same as before. */
  otherWriters(consoles: readonly ConsoleInfo[]): void {
    const others = consoles.filter((console) => console.id !== this.#self && console.mode !== 'read')
    const who = others.map((console) => cleanText(console.who)).join(', ')
    if (who !== '' && who !== this.#otherWriters) this.#tell(`also writing here: ${who}`)
    this.#otherWriters = who
  }

  /** @param give what hands over, if there is a way. */
  askedFor({ by, mode, idleTakeoverMs }: Of<'asked'>, give: string): void {
    const what = mode === 'exclusive' ? 'asks to write alone' : 'asks for the keyboard'
    const idle = idleTakeoverMs === null ? '' : `, and has it in ${seconds(idleTakeoverMs)} unless you type`
    this.#tell(`${cleanText(by.who)} (console ${by.id}) ${what}${idle}${give}`)
  }

  /** @param leave what ends waiting, if there is a way. */
  queued({ position, holders, idleTakeoverMs, reason }: Of<'queued'>, leave: string): void {
    // What was asked for comes later, and for a reason.
    this.#asked = null
    if (position === 0) {
      if (reason) this.#tell(`waiting no longer (${cleanText(reason)})`)
      return
    }
    const who = holders.map((one) => cleanText(one.who)).join(', ')
    const place = position === 1 ? 'you are next' : `you are number ${position} in the queue`
    const idle =
      idleTakeoverMs === null || position > 1 ? '' : `; yours in ${seconds(idleTakeoverMs)} if they type nothing`
    this.#tell(`held by ${who === '' ? 'others' : who}: ${place}${idle}${leave}`)
  }

  said({ from, text }: Of<'said'>): void {
    const clean = cleanText(text, 600)
    if (from === null) this.#tell(`to all: ${clean}`)
    else this.#tell(from.id === this.#self ? `you to all: ${clean}` : `${cleanText(from.who)} to all: ${clean}`)
  }

  renamed(message: Of<'renamed'>): void {
    this.#name = cleanText(message.name) || this.#name
    this.#tell(`the VM is now called ${this.#name}`)
  }

  /** Who is attached, one per line, this console marked. */
  list(consoles: readonly ConsoleInfo[]): string {
    const lines = consoles.map((console) => {
      const since = cleanText(console.attachedAt)
        .replace('T', ' ')
        .replace(/\.\d+(?=Z$)/, '')
      const you = console.id === this.#self ? ' (you)' : ''
      const waits = console.waiting ? `, number ${console.waiting} in the queue` : ''
      return `  ${console.id}  ${cleanText(console.who)}, ${cleanText(console.mode)}${waits}, since ${since}${you}`
    })
    return [`${consoles.length} attached to ${this.#name}:`, ...lines].join('\n')
  }

  #take(message: Of<'attached'>): void {
    this.#self = message.console
    this.#mode = message.mode
    this.#state = message.state
    this.#name = cleanText(message.name) || cleanText(message.port)
  }

  #tellState(reason: string): void {
    if (this.#state === 'offline') this.#tell(`the VM is offline, waiting for it${inBrackets(reason)}`)
    else if (this.#state === 'migrating') this.#tellMove('the VM is moving to another host...')
    else this.#tell('the VM is online')
  }
}

function seconds(ms: number): string {
  return `${Math.max(1, Math.round(ms / 1_000))} s`
}

function inBrackets(reason: string): string {
  return reason === '' ? '' : ` (${reason})`
}
