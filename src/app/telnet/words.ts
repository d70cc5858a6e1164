/** What a person with a Telnet client is told about the port. Pure; names are cleaned where they come from. */
import type { ConsoleInfo, ConsoleMessage, ConsoleMode, PortState } from '../../vspc/index.ts'

type Of<Type extends ConsoleMessage['type']> = Extract<ConsoleMessage, { type: Type }>

const MODES: { readonly [mode in ConsoleMode]: string } = {
  read: 'you read only now',
  write: 'you can write now',
  exclusive: 'you alone can write now',
}

export class TelnetWords {
  readonly #escape: string | null
  #self = 0
  #others = ''
  #asked: ConsoleMode | null = null
  #state: PortState = 'online'
  #host: string | null
  #mode: ConsoleMode = 'write'
  #refusedInput = false
  /** What comes is the answer to a request, not to a key. */
  isRequest = false
  /** What was said last is about a move, and nobody has to act on it. */
  move = false

  /** @param host where the VM runs. @param keys what begins a command, as people write it; null: there are none. */
  constructor(host: string | null, keys: string | null) {
    this.#host = host
    this.#escape = keys
  }

  /** The user asked for this mode: its coming needs no reason. */
  asked(mode: ConsoleMode): void {
    this.#asked = mode
  }

  /** Null: nothing worth a line. */
  of(message: ConsoleMessage): string | null {
    this.move = message.type === 'state' && message.state !== 'offline' && this.#state !== 'offline'
    switch (message.type) {
      case 'attached':
        return this.#attached(message)
      case 'state':
        return this.#stateChanged(message.state, message.host, message.reason)
      case 'writer':
        return this.#writers(message)
      case 'gap':
        return `${message.bytes} bytes of output are missing here: history no longer holds them`
      case 'renamed':
        return `the VM is now called ${message.name}`
      case 'error':
        return this.#error(message.code, message.message)
      case 'detached':
        return message.reason
      case 'said':
        return message.from === null ? `from the server: ${message.text}` : `${message.from.who} says: ${message.text}`
      case 'asked': {
        const wish = message.mode === 'exclusive' ? 'to be the only one who writes' : 'to write'
        const idle = message.idleTakeoverMs === null ? '' : `; ${afterIdle(message.idleTakeoverMs)}`
        return `${message.by.who} asks ${wish}${this.#hint('y', 'hands over')}${idle}`
      }
      case 'queued':
        return this.#queued(message)
      case 'break':
      case 'consoles':
        return null
    }
  }

  /** Who is attached, a line each, this console marked. */
  list(consoles: readonly ConsoleInfo[]): string[] {
    const lines = consoles.map((one) => `${consoleLine(one)}${one.id === this.#self ? ' (you)' : ''}`)
    return [`${consoles.length} attached:`, ...lines]
  }

  /** Also the answer to ARE YOU THERE. */
  get state(): string {
    const where = this.#host === null ? '' : ` on ${this.#host}`
    if (this.#state === 'online') return `online${where}`
    return this.#state === 'offline' ? 'offline, waiting for it' : 'moving to another host'
  }

  #writers({ mode, writers, reason }: Of<'writer'>): string | null {
    const before = { mode: this.#mode, others: this.#others }
    const others = writers.filter(({ id }) => id !== this.#self).map(({ who }) => who)
    this.#mode = mode
    this.#others = others.join(', ')
    this.#refusedInput = false
    const wasAsked = mode === this.#asked
    this.#asked = null
    const also = this.#others === '' || this.#others === before.others ? '' : `who can write here, too: ${this.#others}`
    // That they are gone, and by whom.
    if (mode === before.mode) return this.#others === before.others ? null : also || reason
    return `${MODES[mode]}${wasAsked ? '' : ` (${reason})`}${mode === 'exclusive' || also === '' ? '' : `; ${also}`}`
  }

  #queued({ position, holders, idleTakeoverMs, reason = '' }: Of<'queued'>): string | null {
    // Without a reason: its turn has come, which is told by its mode.
    if (position === 0) return reason === '' ? null : `no longer in the queue: ${reason}`
    this.#asked = null
    const who = holders.map((one) => one.who).join(', ')
    const idle = idleTakeoverMs === null ? '' : `; ${afterIdle(idleTakeoverMs)}`
    const place = position === 1 ? 'you are next' : `number ${position} in the queue`
    return `asked ${who === '' ? '' : `${who}, `}${place}${idle}${this.#hint('c', 'asks no longer')}`
  }

  #hint(key: string, does: string): string {
    return this.#escape === null ? '' : `; ${this.#escape} ${key} ${does}`
  }

  #attached({ name, port, mode, state, console }: Of<'attached'>): string {
    this.#self = console
    this.#mode = mode
    this.#state = state
    const id = name === port ? '' : ` (${port})`
    const how = mode === 'read' ? ', reading only' : ''
    const leave =
      this.#escape === null ? 'to leave: ^] then "quit"' : `${this.#escape} ? for help, ${this.#escape} . leaves`
    return `${name}${id}, ${this.state}${how}; ${leave}`
  }

  #stateChanged(state: PortState, host: string | null, reason: string): string | null {
    const before = { state: this.#state, host: this.#host }
    this.#state = state
    this.#host = host
    const why = reason === '' ? '' : ` (${reason})`
    const where = host ?? 'an unknown host'
    if (state !== 'online') {
      if (state === before.state) return null
      return state === 'offline' ? `the VM is offline, waiting for it${why}` : 'the VM is moving to another host...'
    }
    if (before.state === 'offline') return `the VM is online again, on ${where}`
    if (before.state === 'migrating' && host === before.host) return `stayed on ${where}${why}`
    return host === before.host ? null : `now on ${where}`
  }

  /** That input is discarded is said once, not for every key. */
  #error(code: string, text: string): string | null {
    this.#asked = null
    if (code === 'VSPC_CONSOLE_BUSY') return `${text}${this.#hint('q', 'asks for it')}`
    if (code !== 'VSPC_CONSOLE_READ_ONLY' || this.isRequest) return text
    if (this.#refusedInput) return null
    this.#refusedInput = true
    return `reading only: what you type is discarded${this.#hint('q', 'asks for the keyboard')}`
  }
}

/** `12  alice (10.0.0.7:1234), telnet, write, since 2026-11-23 04:05:06Z`: the number is what commands take. */
export function consoleLine({ id, who, address, via, mode, attachedAt, lastInputAt, waiting }: ConsoleInfo): string {
  const from = address === undefined ? '' : ` (${address})`
  const typed = lastInputAt === null ? '' : `, last key ${shortTime(lastInputAt)}`
  const place = waiting === null ? '' : `, asks to write: number ${waiting}`
  return `${id}  ${who}${from}, ${via}, ${mode}, since ${shortTime(attachedAt)}${typed}${place}`
}

function afterIdle(ms: number): string {
  return `it goes over after ${Math.ceil(ms / 1_000)} s without a key`
}

/** `2026-11-23 04:05:06Z`. */
function shortTime(iso: string): string {
  return iso.replace('T', ' ').replace(/\.\d+(?=Z$)/, '')
}
