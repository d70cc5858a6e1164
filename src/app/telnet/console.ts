/** A console of a port, for a Telnet client. Like every console it is a cursor into history: a stuck client costs its buffer. */
import { errorMessage, type Timer, VspcError } from '../../base/index.ts'
import { ABORT, AYT, BRK, EC, EL, EOF, IP, SUSP } from '../../telnet/index.ts'
import type {
  Console,
  ConsoleAction,
  ConsoleClient,
  ConsoleMessage,
  ConsoleMode,
  ConsoleRequest,
  Port,
} from '../../vspc/index.ts'
import { reviewConsole } from '../access/attendance.ts'
import { factsOf } from '../access/visitor.ts'
import { AlternateScreen } from './alternate-screen.ts'
import { commandHelp, type TelnetCommand, telnetCommand } from './commands.ts'
import type { TelnetConnection, TelnetUser } from './connection.ts'
import { ConsoleEscape, type EscapeSequence, formatEscape } from './escape.ts'
import { LineEditor } from './line-editor.ts'
import { TelnetWords } from './words.ts'

/** BREAKs in quicker succession are one: none is as short on a real line. */
const BREAK_MS = 50
/** Commands within a second: more are no person's, and each may look at hundreds of consoles. */
const MAX_COMMANDS = 20
const COMMANDS_MS = 1_000
/** A `^E` that nothing follows was meant for the guest. */
const HOLD_MS = 1_000

/** What keys are for commands of Telnet, as the guest's terminal has them by default. RFC 854, RFC 1184. */
const KEYS: { readonly [code: number]: number } = {
  [IP]: 0x03,
  [EC]: 0x7f,
  [EL]: 0x15,
  [EOF]: 0x04,
  [SUSP]: 0x1a,
  [ABORT]: 0x1c,
}

/** How somebody comes to a console. */
export interface Entry {
  /** Null: for writing, or for reading where that is not to be had. */
  readonly mode: ConsoleMode | null
  readonly force?: boolean
  readonly wait?: boolean
}

export interface TelnetConsoleOptions {
  /** False: the client gets nothing but the VM's output, and answers to its commands. */
  readonly notices: boolean
  readonly escape: EscapeSequence | null
  /** Goes back to the menu; null: it did not come from there. */
  readonly back: (() => void) | null
}

type Question = Extract<TelnetCommand['does'], { ask: string }>

export class TelnetConsole implements ConsoleClient, TelnetUser {
  readonly #connection: TelnetConnection
  readonly #port: Port
  readonly #words: TelnetWords
  readonly #options: TelnetConsoleOptions
  readonly #escape: ConsoleEscape
  #hold: Timer | null = null
  #question: { asked: Question; editor: LineEditor } | null = null
  #console: Console | null = null
  #may: readonly ConsoleAction[] = []
  #commands = 0
  #commandsAt = Number.NEGATIVE_INFINITY
  #wantsWho = false
  /** What is told now answers a command. */
  #commanding = false
  readonly #screen = new AlternateScreen()
  /** The last word on moves, which would spoil the picture of a full-screen program: said after it. */
  #held: string | null = null
  #lastBreak = Number.NEGATIVE_INFINITY
  #unattend: () => void = () => {}

  constructor(connection: TelnetConnection, port: Port, options: TelnetConsoleOptions) {
    this.#connection = connection
    this.#port = port
    this.#options = options
    this.#escape = new ConsoleEscape(options.escape)
    this.#words = new TelnetWords(port.info().host, options.escape === null ? null : formatEscape(options.escape))
  }

  /** Attaches, for reading where writing is not to be had; or says why not and leaves. */
  attach({ mode, force = false, wait = false }: Entry): void {
    const { visitor } = this.#connection
    const introduction = visitor.introduction(this.#port)
    const wanted = mode ?? (introduction.permit.may('write') ? 'write' : 'read')
    try {
      const options = { mode: wanted, from: null, via: 'telnet', force, wait } as const
      this.#console = this.#port.attachConsole(this, { ...options, ...introduction })
    } catch (error) {
      if (mode === null && wanted === 'write' && error instanceof VspcError && error.code === 'VSPC_CONSOLE_BUSY') {
        this.#say(error.message)
        this.attach({ mode: 'read' })
      } else {
        this.#refuse(error)
      }
      return
    }
    const console = this.#console
    this.#unattend = this.#connection.access.attendance.add({ review: () => reviewConsole(console, visitor) })
  }

  #refuse(error: unknown): void {
    if (error instanceof VspcError) {
      this.#connection.say(error.message)
    } else {
      const { log, counters } = this.#port.core
      counters.internalErrors++
      log.error({ port: this.#port.id, error: errorMessage(error) }, 'a console could not be attached')
      this.#connection.say('the server failed; its log says why')
    }
    this.#leave()
  }

  /** Back to where it came from. */
  #leave(): void {
    if (this.#options.back === null) this.#connection.end()
    else this.#goBack(this.#options.back)
  }

  #goBack(back: () => void): void {
    this.gone()
    // Input may have been held up for this port's sake.
    this.#connection.setPaused(false)
    back()
  }

  #say(text: string): void {
    if (this.#options.notices) this.#connection.say(text)
  }

  // ConsoleClient

  output(bytes: Uint8Array): boolean {
    this.#port.core.counters.consoleBytes += bytes.length
    const room = this.#connection.send(bytes)
    if (this.#options.notices) this.#screen.push(bytes)
    if (this.#held !== null && !this.#screen.on) this.#sayHeld(this.#held)
    return room
  }

  notify(message: ConsoleMessage): void {
    if (message.type === 'attached') this.#may = message.may
    if (message.type === 'consoles' && this.#wantsWho) {
      this.#wantsWho = false
      for (const line of this.#words.list(message.consoles)) this.#connection.say(line)
      return
    }
    const text = this.#words.of(message)
    if (text === null) return
    // Also for who wants no notices: it was asked for.
    if (this.#commanding && message.type !== 'said') this.#connection.say(text)
    else if (this.#words.move && this.#screen.on) this.#held = text
    else this.#say(text)
  }

  #sayHeld(text: string): void {
    this.#held = null
    this.#say(text)
  }

  setInputPaused(paused: boolean): void {
    this.#connection.setPaused(paused)
  }

  close(_reason: string, code?: string): void {
    const { back } = this.#options
    // Who may go on elsewhere does so from the menu.
    if (back !== null && (code === 'VSPC_CONSOLE_KICKED' || code === 'VSPC_PORT_REMOVED')) this.#goBack(back)
    else this.#connection.end()
  }

  // TelnetUser

  input(bytes: Uint8Array): void {
    this.#hold?.cancel()
    this.#hold = null
    let rest = bytes
    while (rest.length > 0 && this.#connection.user === this) {
      const used = this.#question === null ? this.#escape.push(rest, this) : this.#answer(rest)
      rest = rest.subarray(used)
    }
    const { user } = this.#connection
    if (rest.length > 0 && user !== null && user !== this) user.input(rest)
    if (this.#escape.isHolding) {
      this.#hold = this.#port.core.clock.after(HOLD_MS, () => this.#escape.release(this))
    }
  }

  command(code: number): void {
    const key = KEYS[code]
    if (code === BRK) this.#sendBreak()
    else if (key !== undefined) this.input(Uint8Array.of(key))
    // Without notices the answer would be taken for output; the client hears from the VM instead.
    else if (code === AYT) this.#say(`yes; ${this.#port.displayName} is ${this.#words.state}`)
  }

  #sendBreak(): void {
    const now = this.#port.core.clock.now()
    if (now - this.#lastBreak < BREAK_MS) return
    this.#lastBreak = now
    this.#request({ type: 'break' })
  }

  drained(): void {
    this.#console?.drained()
  }

  gone(): void {
    this.#hold?.cancel()
    this.#unattend()
    const console = this.#console
    this.#console = null
    if (console === null) return
    this.#connection.visitor.record('console.detached', factsOf(this.#port), true, `console ${console.id}`)
    console.detach()
  }

  // EscapeSink

  data(bytes: Uint8Array): void {
    this.#console?.write(bytes)
  }

  run(byte: number): boolean {
    if (this.#isTooMany()) return true
    const found = telnetCommand(byte)
    const { back } = this.#options
    if (found === null || (found.does === 'menu' && back === null)) {
      this.#connection.say(`that is no command; ${this.#escapeText} ? lists them`)
      return true
    }
    const { does } = found
    if (does === 'leave') {
      this.#connection.say(`left ${this.#port.displayName}`)
      this.#connection.end()
      return false
    }
    if (does === 'menu') {
      if (back !== null) this.#goBack(back)
      return false
    }
    if (does === 'help') {
      for (const line of commandHelp(this.#escapeText, back !== null, this.#may)) this.#connection.say(line)
    } else if ('ask' in does) {
      this.#question = { asked: does, editor: new LineEditor() }
      this.#connection.ask(does.ask)
      return false
    } else {
      if (does.type === 'break') this.#connection.say('sending a break')
      this.#obey(does)
    }
    return true
  }

  /** Said once a second. */
  #isTooMany(): boolean {
    const now = this.#port.core.clock.now()
    if (now - this.#commandsAt >= COMMANDS_MS) {
      this.#commandsAt = now
      this.#commands = 0
    }
    this.#commands++
    if (this.#commands === MAX_COMMANDS + 1) this.#connection.say('too many commands at once: some are left out')
    return this.#commands > MAX_COMMANDS
  }

  get #escapeText(): string {
    return formatEscape(this.#options.escape)
  }

  #obey(request: ConsoleRequest): void {
    if (request.type === 'who') this.#wantsWho = true
    if (request.type === 'mode') this.#words.asked(request.mode)
    this.#commanding = true
    this.#request(request)
    this.#commanding = false
  }

  #request(request: ConsoleRequest): void {
    this.#words.isRequest = true
    this.#console?.request(request)
    this.#words.isRequest = false
  }

  // Questions

  #answer(keys: Uint8Array): number {
    const question = this.#question
    if (question === null) return 0
    const { asked, editor } = question
    return editor.push(keys, {
      echo: (text) => this.#connection.echo(text),
      line: (text) => {
        this.#question = null
        const request = asked.request(text.trim())
        if (request === null) this.#connection.say('nothing done')
        else this.#obey(request)
        return false
      },
      leave: () => {
        this.#question = null
        this.#connection.say('nothing done')
      },
    })
  }
}
