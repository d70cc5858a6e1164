/** Who is it? Asks a Telnet client for a token before anything else is shown. */
import type { Timer } from '../../base/index.ts'
import { EC, EL, IP } from '../../telnet/index.ts'
import type { TelnetConnection, TelnetUser } from './connection.ts'
import { type EditorSink, LineEditor } from './line-editor.ts'

/** Tokens tried on one connection; how often an address may fail is limited besides. */
const MAX_TRIES = 3

export class TelnetLogin implements TelnetUser, EditorSink {
  readonly #connection: TelnetConnection
  readonly #done: () => void
  readonly #editor = new LineEditor()
  #tries = 0
  #deadline: Timer | null = null

  /** @param done called once it is known who it is: the visitor of the connection. */
  constructor(connection: TelnetConnection, done: () => void) {
    this.#connection = connection
    this.#done = done
  }

  open(): void {
    const { clock, limits } = this.#connection.server
    this.#deadline = clock.after(limits.telnetLoginMs, () => {
      this.#connection.say('no token in time')
      this.#connection.end()
    })
    this.#connection.say('this server wants to know who you are: a token, as "vspc token add" makes them')
    this.#ask()
  }

  // TelnetUser

  input(bytes: Uint8Array): void {
    const used = this.#editor.push(bytes, this)
    const { user } = this.#connection
    if (used < bytes.length && user !== null && user !== this) user.input(bytes.subarray(used))
  }

  command(code: number): void {
    if (code === EC) this.#editor.erase(this)
    else if (code === EL || code === IP) this.#editor.clear(this)
  }

  drained(): void {}

  gone(): void {
    this.#deadline?.cancel()
  }

  // EditorSink

  /** A secret is not shown. */
  echo(): void {}

  line(text: string): boolean {
    const { access, from, address, visitor } = this.#connection
    this.#connection.print('\r\n')
    const shown = text.trim()
    if (shown === '' && !visitor.mayNothing) {
      this.#enter()
      return false
    }
    const known = access.authenticateToken(shown, from, address)
    if (typeof known !== 'string') {
      this.#connection.visitor = known
      known.record('login', null, true)
      this.#enter()
      return false
    }
    this.#connection.say(known)
    this.#tries++
    if (this.#tries < MAX_TRIES) {
      this.#ask()
      return true
    }
    this.#connection.end()
    return false
  }

  leave(): void {
    this.#connection.end()
  }

  #ask(): void {
    const without = this.#connection.visitor.mayNothing ? '' : ' (Enter: without one)'
    this.#connection.ask(`token${without}: `)
  }

  #enter(): void {
    this.gone()
    this.#done()
  }
}
