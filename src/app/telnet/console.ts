/** A console of a port, for a Telnet client. Like every console it is a cursor into history: a stuck client costs its buffer. */
import { errorMessage, VspcError } from '../../base/index.ts'
import { AYT, BRK, IP } from '../../telnet/index.ts'
import type { Console, ConsoleClient, ConsoleMessage, ConsoleMode, Port } from '../../vspc/index.ts'
import { AlternateScreen } from './alternate-screen.ts'
import type { TelnetConnection, TelnetUser } from './connection.ts'
import { TelnetWords } from './words.ts'

/** BREAKs in quicker succession are one: none is as short on a real line. */
const BREAK_MS = 50

export class TelnetConsole implements ConsoleClient, TelnetUser {
  readonly #connection: TelnetConnection
  readonly #port: Port
  readonly #words: TelnetWords
  readonly #notices: boolean
  #console: Console | null = null
  readonly #screen = new AlternateScreen()
  /** The last word on moves, which would spoil the picture of a full-screen program: said after it. */
  #held: string | null = null
  #lastBreak = Number.NEGATIVE_INFINITY

  /** @param notices false: the client gets nothing but the VM's output. */
  constructor(connection: TelnetConnection, port: Port, notices: boolean) {
    this.#connection = connection
    this.#port = port
    this.#notices = notices
    this.#words = new TelnetWords(port.info().host)
  }

  /** Attaches, for reading where writing is not to be had; or says why not and closes. */
  attach(mode: Exclude<ConsoleMode, 'exclusive'>): void {
    const who = `telnet:${this.#connection.peer}`
    try {
      this.#console = this.#port.attachConsole(this, { mode, from: null, who, via: 'telnet', force: false })
    } catch (error) {
      if (mode === 'write' && error instanceof VspcError && error.code === 'VSPC_CONSOLE_BUSY') {
        this.#say(error.message)
        this.attach('read')
        return
      }
      this.#refuse(error)
    }
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
    this.#connection.end()
  }

  #say(text: string): void {
    if (this.#notices) this.#connection.say(text)
  }

  // ConsoleClient

  output(bytes: Uint8Array): boolean {
    this.#port.core.counters.consoleBytes += bytes.length
    const room = this.#connection.send(bytes)
    if (this.#notices) this.#screen.push(bytes)
    if (this.#held !== null && !this.#screen.on) this.#sayHeld(this.#held)
    return room
  }

  notify(message: ConsoleMessage): void {
    const text = this.#words.of(message)
    if (text === null) return
    if (this.#words.move && this.#screen.on) this.#held = text
    else this.#say(text)
  }

  #sayHeld(text: string): void {
    this.#held = null
    this.#say(text)
  }

  setInputPaused(paused: boolean): void {
    this.#connection.setPaused(paused)
  }

  close(): void {
    this.#connection.end()
  }

  // TelnetUser

  input(bytes: Uint8Array): void {
    this.#console?.write(bytes)
  }

  command(code: number): void {
    if (code === BRK || code === IP) this.#sendBreak()
    // Without notices the answer would be taken for output; the client hears from the VM instead.
    else if (code === AYT) this.#say(`yes; ${this.#port.displayName} is ${this.#words.state}`)
  }

  #sendBreak(): void {
    const now = this.#port.core.clock.now()
    if (now - this.#lastBreak < BREAK_MS) return
    this.#lastBreak = now
    this.#console?.request({ type: 'break' })
  }

  drained(): void {
    this.#console?.drained()
  }

  gone(): void {
    this.#console?.detach()
  }
}
