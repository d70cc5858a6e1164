import type { ConsoleMessage, ConsoleMode } from '../app/index.ts'
import { type Clock, cleanText, type Timer, VspcError } from '../base/index.ts'
import { type Attached, ConsoleFeed, type OpenConsole } from '../client/index.ts'
import { AttachCommands } from './attach-commands.ts'
import { ConsoleNews } from './console-news.ts'
import { EscapeParser, formatKey } from './escape.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { LinePrompt } from './line-prompt.ts'
import { Linger } from './linger.ts'
import { MoveNews } from './move-news.ts'
import { cleanMessage } from './output.ts'
import { EnterKeys } from './piped-input.ts'
import { TIMING } from './timing.ts'
import type { Terminal, TerminalSignal } from './tty.ts'

export interface AttachOptions {
  readonly port: string
  readonly mode: ConsoleMode
  readonly force: boolean
  readonly from: number | null
  readonly quiet: boolean
  /** The escape character; null = none. Only used with a terminal. */
  readonly escape: number | null
  /** Piped input goes to the VM without turning line ends into the Enter key. */
  readonly rawInput: boolean
  readonly lingerMs: number
  /** Where somebody holds the port, wait for so long to write; may be infinite. Null: fail then. */
  readonly queueMs: number | null
}

export interface AttachParts {
  readonly open: OpenConsole
  readonly terminal: Terminal
  readonly clock: Clock
  /** 0 to 1, for jitter. */
  readonly random: () => number
  /** What history holds of a port's output between two offsets; for the replay key. */
  readonly history: (port: string, from: number, to: number) => Promise<Uint8Array>
}

/**
 * Joins a terminal (or pipes) and a port until the user leaves.
 * @throws CommandExit for an end by signal; VspcError when the server ends or refuses it. The terminal is restored first.
 */
export async function runAttach(options: AttachOptions, parts: AttachParts): Promise<void> {
  await new AttachSession(options, parts).run()
}

const SIGNAL_EXITS = { SIGINT: EXIT.interrupted, SIGTERM: EXIT.terminated, SIGHUP: EXIT.hangup } as const

class AttachSession {
  readonly #options: AttachOptions
  readonly #parts: AttachParts
  readonly #feed: ConsoleFeed
  readonly #escape: number | null
  readonly #escapes: EscapeParser
  readonly #enterKeys: EnterKeys | null
  readonly #commands: AttachCommands
  readonly #linger: Linger
  #silentHint: Timer | null = null
  /** Runs, or is infinite, while it waits for its first turn. */
  #queueEnd: Timer | null = null
  #waitsToBegin = false
  #prompt: LinePrompt | null = null
  readonly #news: ConsoleNews
  #finish: (error: Error | null) => void = () => {}
  #over = false
  #sawOutput = false
  #typed = false
  #toldDiscarding = false
  #toldReadOnly = false
  #inputEnded = false
  #outputFull = false
  readonly #moves: MoveNews

  constructor(options: AttachOptions, parts: AttachParts) {
    this.#options = options
    this.#parts = parts
    this.#moves = new MoveNews(parts.terminal, parts.clock, (text) => this.#tell(text))
    this.#news = new ConsoleNews(
      options.mode,
      (text) => this.#tell(text),
      (text) => this.#moves.take(text),
    )
    this.#escape = parts.terminal.interactive ? options.escape : null
    this.#escapes = new EscapeParser(this.#escape)
    this.#enterKeys = parts.terminal.interactive || options.rawInput ? null : new EnterKeys()
    this.#linger = new Linger(options.lingerMs, parts.clock, {
      canAnswer: () => this.#feed.attached && this.#news.state !== 'migrating',
      unsentBytes: () => this.#feed.unsentBytes,
      done: (wasQuiet) => {
        if (!this.#feed.attached) {
          this.#finish(
            new VspcError('VSPC_SERVER_UNREACHABLE', 'the connection was lost before the guest had answered'),
          )
          return
        }
        if (!wasQuiet) this.#tell(`the guest has not been quiet for ${this.#linger.capMs / 1000} s: leaving`)
        this.#finish(null)
      },
    })
    const target = { ...options, wait: options.queueMs !== null }
    this.#feed = new ConsoleFeed(target, parts.open, this.#feedListener(), parts.clock, parts.random)
    this.#commands = new AttachCommands(this.#escape ?? 0, this.#feed, this.#news, parts, {
      explain: (text) => this.#explain(text),
      print: (bytes) => this.#print(bytes),
      holdChanged: () => this.#updatePause(),
      prompt: (question, done) => this.#ask(question, done),
      leave: () => {
        this.#tell(`left ${this.#news.name}`)
        this.#finish(null)
      },
    })
  }

  async run(): Promise<void> {
    const { terminal } = this.#parts
    // Someone who only watches has no use for piped input, nor for its end (cron runs us on /dev/null).
    const readInput = terminal.interactive || this.#options.mode !== 'read'
    try {
      await new Promise<void>((resolve, reject) => {
        this.#finish = (error) => {
          this.#over = true
          if (error) reject(error)
          else resolve()
        }
        terminal.open(
          {
            input: (bytes) => this.#input(bytes),
            inputEnd: () => this.#inputEnd(),
            drained: () => this.#outputDrained(),
            signal: (name) => this.#signal(name),
          },
          readInput,
        )
        // Nothing is read before there is someone to give it to.
        if (!terminal.interactive) terminal.setInputPaused(true)
        this.#feed.start()
      })
    } finally {
      this.#over = true
      this.#linger.cancel()
      this.#silentHint?.cancel()
      this.#queueEnd?.cancel()
      terminal.restore()
      await this.#feed.close()
    }
  }

  // Output

  #feedListener(): ConstructorParameters<typeof ConsoleFeed>[2] {
    const { terminal } = this.#parts
    return {
      output: (bytes) => {
        this.#sawOutput = true
        this.#linger.touch()
        this.#print(bytes)
      },
      attached: (message, again) => this.#attached(message, again),
      message: (message) => this.#message(message),
      gap: (bytes) => this.#tell(`${bytes} bytes of output are lost: the server's history no longer holds them`),
      lost: (error) => this.#lost(error),
      waiting: (error) => this.#tell(`the server is back, waiting for the port: ${error.message}`),
      restarted: () => this.#tell('the server has restarted without its history: what follows is all it holds now'),
      demoted: (error) => this.#tell(`reading only: ${error.message}${this.#hint('f', 'takes it over')}`),
      drained: () => terminal.setInputPaused(false),
      ended: (error) => this.#finish(this.#explained(error)),
    }
  }

  #print(bytes: Uint8Array): void {
    if (this.#over) return
    const { terminal } = this.#parts
    if (!terminal.write(bytes)) {
      this.#outputFull = true
      this.#updatePause()
    }
    this.#moves.printed()
  }

  #outputDrained(): void {
    this.#outputFull = false
    this.#updatePause()
  }

  #updatePause(): void {
    this.#feed.setPaused(this.#outputFull || this.#commands.holdsOutput)
  }

  #attached(message: Attached, again: boolean): void {
    const { terminal, clock } = this.#parts
    this.#toldDiscarding = false
    if (again) {
      this.#news.attachedAgain(message)
    } else {
      if (!this.#granted(message) || !this.#usableWhenOffline(message)) return
      this.#news.attached(
        message,
        this.#escape === null ? '' : `, escape is ${formatKey(this.#escape)} then ? for help`,
      )
      this.#feed.request({ type: 'who' })
      if (this.#options.mode !== 'read' && message.mode === 'read') this.#beginWaiting()
      if (message.state === 'online') {
        this.#silentHint = clock.after(TIMING.silentHintMs, () => this.#hintSilent())
      }
    }
    // Piped input waits for our turn, too.
    if (message.mode === this.#options.mode) this.#waitsToBegin = false
    if (!terminal.interactive && !this.#waitsToBegin) terminal.setInputPaused(false)
  }

  #beginWaiting(): void {
    const { queueMs } = this.#options
    this.#waitsToBegin = true
    if (queueMs === null || !Number.isFinite(queueMs)) return
    this.#queueEnd = this.#parts.clock.after(queueMs, () => {
      const text = `${this.#news.name} is still held by someone else after ${queueMs / 1_000} s`
      if (this.#waitsToBegin) this.#finish(new VspcError('VSPC_WAIT_TIMEOUT', text))
    })
  }

  #turnCame(): void {
    if (!this.#waitsToBegin || this.#news.mode === 'read') return
    this.#waitsToBegin = false
    this.#queueEnd?.cancel()
    const { terminal } = this.#parts
    terminal.bell()
    if (!terminal.interactive) terminal.setInputPaused(false)
  }

  /** A server may give less than was asked for instead of refusing. */
  #granted(message: Attached): boolean {
    const asked = this.#options.mode
    if (asked === 'read' || message.mode === asked || message.mode === 'exclusive') return true
    if (this.#options.queueMs !== null) return true
    this.#finish(
      this.#explained(
        new VspcError('VSPC_CONSOLE_BUSY', `${cleanText(message.name)} gives ${message.mode} access only`),
      ),
    )
    return false
  }

  /** People wait for the VM; a script wants to know that its input would go nowhere. */
  #usableWhenOffline(message: Attached): boolean {
    if (message.state !== 'offline' || this.#parts.terminal.interactive || this.#options.mode === 'read') return true
    const name = cleanText(message.name) || cleanText(message.port)
    this.#finish(new CommandExit(EXIT.gone, `${name} is offline, no input was sent: --wait waits for it`))
    return false
  }

  #message(message: ConsoleMessage): void {
    switch (message.type) {
      case 'state':
        this.#news.stateChanged(message)
        this.#linger.stateChanged()
        break
      case 'writer':
        if (this.#news.writerChanged(message)) this.#toldReadOnly = false
        this.#turnCame()
        break
      case 'queued':
        this.#news.queued(message, this.#hint('c', 'ends waiting'))
        break
      case 'asked':
        this.#news.askedFor(message, this.#hint('y', 'hands over'))
        break
      case 'said':
        this.#news.said(message)
        break
      case 'renamed':
        this.#news.renamed(message)
        break
      case 'break':
        if (message.on) this.#tell('the guest sends a break')
        break
      case 'consoles':
        if (this.#commands.takeWho()) this.#explain(this.#news.list(message.consoles))
        else this.#news.otherWriters(message.consoles)
        break
      case 'error': {
        const hints = this.#hint('q', 'waits for it') + this.#hint('f', 'takes it over')
        const takeOver = message.code === 'VSPC_CONSOLE_BUSY' ? hints : ''
        this.#explain(cleanMessage(message.message) + takeOver)
        break
      }
      default:
        // Of a newer server.
        break
    }
  }

  #lost(error: VspcError): void {
    const { terminal } = this.#parts
    this.#silentHint?.cancel()
    if (terminal.interactive || this.#options.mode === 'read' || this.#inputEnded || this.#waitsToBegin) {
      this.#tell(`${error.message}; reconnecting${this.#hint('.', 'leaves')}`)
      if (terminal.interactive) terminal.setInputPaused(false)
      return
    }
    // Part of a script's input may be lost with the connection: going on would run the rest of it out of context.
    const text = `${error.message} before the end of the input: some of it may not have reached the VM`
    this.#finish(new VspcError('VSPC_SERVER_UNREACHABLE', text, { cause: error }))
  }

  #hintSilent(): void {
    if (this.#sawOutput || this.#typed || this.#inputEnded || this.#news.state !== 'online') return
    const enter = this.#news.mode !== 'read' && this.#parts.terminal.interactive ? 'press Enter, or ' : ''
    this.#tell(`no output yet: the guest is silent; ${enter}check that a getty or console runs on this serial port`)
  }

  // Input

  readonly #keySink = {
    data: (bytes: Uint8Array) => {
      if (this.#prompt) this.#prompt.push(bytes)
      else this.#send(bytes)
    },
    command: (byte: number) => {
      this.#prompt?.cancel()
      if (!this.#over) this.#commands.run(byte)
    },
  }

  #ask(question: string, done: (text: string | null) => void): void {
    const { terminal } = this.#parts
    terminal.notice(question)
    const prompt = new LinePrompt(terminal, (text) => {
      this.#prompt = null
      done(text)
    })
    this.#prompt = prompt
  }

  #input(bytes: Uint8Array): void {
    if (this.#over) return
    if (this.#enterKeys) this.#send(this.#enterKeys.convert(bytes))
    else this.#escapes.push(bytes, this.#keySink)
  }

  #send(bytes: Uint8Array): void {
    if (this.#over || bytes.length === 0) return
    this.#typed = true
    const { terminal } = this.#parts
    if (this.#feed.attached && this.#news.mode === 'read') {
      if (!terminal.interactive) {
        const text = `${this.#news.name} was taken over by someone else before the end of the input`
        this.#finish(new VspcError('VSPC_CONSOLE_BUSY', text))
        return
      }
      terminal.bell()
      if (!this.#toldReadOnly) this.#tell(`reading only, keys are not sent${this.#hint('f', 'takes over')}`)
      this.#toldReadOnly = true
      return
    }
    const result = this.#feed.send(bytes)
    if (result === 'held') terminal.setInputPaused(true)
    if (result !== 'dropped') return
    terminal.bell()
    if (!this.#toldDiscarding) this.#tell('not connected: what you type is discarded')
    this.#toldDiscarding = true
  }

  #inputEnd(): void {
    if (this.#inputEnded || this.#over) return
    this.#inputEnded = true
    this.#linger.begin()
  }

  #signal(name: TerminalSignal): void {
    this.#finish(new CommandExit(SIGNAL_EXITS[name]))
  }

  // Words

  /** News nobody asked for. */
  #tell(text: string): void {
    if (!this.#options.quiet && !this.#over) this.#parts.terminal.notice(text)
  }

  /** The answer to a key the user pressed. */
  #explain(text: string): void {
    if (!this.#over) this.#parts.terminal.notice(text)
  }

  /** `; ^] f takes it over`; empty where there are no escapes. */
  #hint(key: string, does: string): string {
    return this.#escape === null ? '' : `; ${formatKey(this.#escape)} ${key} ${does}`
  }

  #explained(error: VspcError): VspcError {
    if (error.code !== 'VSPC_CONSOLE_BUSY' || this.#options.force) return error
    return new VspcError(error.code, `${error.message}; --queue waits, -f takes it over, -s only watches`, {
      cause: error,
    })
  }
}
