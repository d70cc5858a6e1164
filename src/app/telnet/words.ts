/** What a person with a Telnet client is told about the port. Pure; names are cleaned where they come from. */
import type { ConsoleMessage, ConsoleMode, PortState } from '../../vspc/index.ts'

const MODES: { readonly [mode in ConsoleMode]: string } = {
  read: 'you read only now',
  write: 'you can write now',
  exclusive: 'you alone can write now',
}

export class TelnetWords {
  #state: PortState = 'online'
  #host: string | null
  #mode: ConsoleMode = 'write'
  #refusedInput = false
  /** What was said last is about a move, and nobody has to act on it. */
  move = false

  /** @param host where the VM runs. */
  constructor(host: string | null) {
    this.#host = host
  }

  /** Null: nothing worth a line. */
  of(message: ConsoleMessage): string | null {
    this.move = message.type === 'state' && message.state !== 'offline' && this.#state !== 'offline'
    switch (message.type) {
      case 'attached':
        return this.#attached(message)
      case 'state':
        return this.#stateChanged(message.state, message.host, message.reason)
      case 'writer': {
        const before = this.#mode
        this.#mode = message.mode
        this.#refusedInput = false
        return message.mode === before ? null : `${MODES[message.mode]} (${message.reason})`
      }
      case 'gap':
        return `${message.bytes} bytes of output are missing here: history no longer holds them`
      case 'renamed':
        return `the VM is now called ${message.name}`
      case 'error':
        return this.#error(message.code, message.message)
      case 'detached':
        return message.reason
      case 'said':
        return message.from === null ? message.text : `${message.from.who} says: ${message.text}`
      case 'asked':
        return `${message.by.who} asks for the keyboard`
      case 'queued':
      case 'break':
      case 'consoles':
        return null
    }
  }

  /** Also the answer to ARE YOU THERE. */
  get state(): string {
    const where = this.#host === null ? '' : ` on ${this.#host}`
    if (this.#state === 'online') return `online${where}`
    return this.#state === 'offline' ? 'offline, waiting for it' : 'moving to another host'
  }

  #attached({ name, port, mode, state }: Extract<ConsoleMessage, { type: 'attached' }>): string {
    this.#mode = mode
    this.#state = state
    const id = name === port ? '' : ` (${port})`
    const how = mode === 'read' ? ', reading only' : ''
    return `${name}${id}, ${this.state}${how}; to leave: ^] then "quit"`
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
    if (code !== 'VSPC_CONSOLE_READ_ONLY') return text
    if (this.#refusedInput) return null
    this.#refusedInput = true
    return 'reading only: what you type is discarded'
  }
}
