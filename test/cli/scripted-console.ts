import type { VspcError } from '../../src/base/index.ts'
import type { Terminal, TerminalEvents } from '../../src/cli/tty.ts'
import type {
  ConsoleConnection,
  ConsoleListener,
  ConsoleTarget,
  OpenConsole,
} from '../../src/client/console-connection.ts'
import type { Attached } from '../../src/client/console-message.ts'
import type { ConsoleRequest } from '../../src/vspc/types.ts'

/** One attachment, played by the test. */
export class ScriptedConsole implements ConsoleConnection {
  readonly target: ConsoleTarget
  readonly listener: ConsoleListener
  input = ''
  readonly requests: ConsoleRequest[] = []
  paused = false
  closedByUs = false
  unsentBytes = 0
  /** What `send` answers. */
  room = true

  constructor(target: ConsoleTarget, listener: ConsoleListener) {
    this.target = target
    this.listener = listener
  }

  send(bytes: Uint8Array): boolean {
    this.input += Buffer.from(bytes).toString('latin1')
    return this.room
  }

  request(request: ConsoleRequest): void {
    this.requests.push(request)
  }

  setPaused(paused: boolean): void {
    this.paused = paused
  }

  async close(): Promise<void> {
    this.closedByUs = true
  }

  /** The server's first message; all of history is held and the port is online unless `more` says otherwise. */
  attach(offset: number, more: Partial<Attached> = {}): void {
    const { mode } = this.target
    this.listener.message({
      type: 'attached',
      port: 'id-1',
      name: 'web1',
      mode,
      offset,
      start: 0,
      next: offset,
      state: 'online',
      console: 7,
      epoch: 'e',
      may: [],
      ...more,
    })
  }

  print(text: string): void {
    this.listener.output(Buffer.from(text, 'latin1'))
  }

  lose(error: VspcError): void {
    this.listener.closed(error)
  }
}

/** Remembers every attachment asked for; the last one is `current`. */
export class ScriptedConsoles {
  readonly all: ScriptedConsole[] = []

  readonly open: OpenConsole = (target, listener) => {
    const console = new ScriptedConsole(target, listener)
    this.all.push(console)
    return console
  }

  get current(): ScriptedConsole {
    const last = this.all.at(-1)
    if (!last) throw new Error('nothing was attached yet')
    return last
  }
}

/** A terminal, or pipes, without any process. */
export class ScriptedTerminal implements Terminal {
  readonly interactive: boolean
  events: TerminalEvents | null = null
  readsInput = false
  inputPaused = false
  screen = ''
  notices: string[] = []
  bells = 0
  suspended = 0
  restored = false
  room = true
  fullScreen = false

  constructor(interactive: boolean) {
    this.interactive = interactive
  }

  open(events: TerminalEvents, readInput: boolean): void {
    this.events = events
    this.readsInput = readInput
  }

  setInputPaused(paused: boolean): void {
    this.inputPaused = paused
  }

  write(bytes: Uint8Array): boolean {
    this.screen += Buffer.from(bytes).toString('latin1')
    return this.room
  }

  notice(text: string): void {
    this.notices.push(text)
  }

  bell(): void {
    this.bells++
  }

  suspend(): void {
    this.suspended++
  }

  restore(): void {
    this.restored = true
  }

  type(text: string): void {
    this.events?.input(Buffer.from(text, 'latin1'))
  }

  /** The notices since the last look. */
  news(): string[] {
    return this.notices.splice(0)
  }
}
