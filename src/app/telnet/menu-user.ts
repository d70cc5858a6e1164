/** The menu, for one Telnet client. */
import { AYT, EC, EL, IP } from '../../telnet/index.ts'
import type { Port } from '../../vspc/index.ts'
import type { TelnetConnection, TelnetUser } from './connection.ts'
import { TelnetConsole } from './console.ts'
import { type EditorSink, LineEditor } from './line-editor.ts'
import { Menu, type MenuEntry } from './menu.ts'

/** Each search looks at every port: a flood of them must not keep VMs waiting. */
const MAX_LINES_PER_CHUNK = 4
/** Answers that the client has not taken; until then it is not listened to. */
const UNSENT_BYTES = 32_768

export interface ListedPort extends MenuEntry {
  readonly port: Port
}

export class MenuUser implements TelnetUser, EditorSink {
  readonly #connection: TelnetConnection
  readonly #menu: Menu<ListedPort>
  readonly #editor = new LineEditor()
  readonly #notices: boolean
  #lines = 0
  #paused = false

  constructor(connection: TelnetConnection, list: () => readonly ListedPort[], notices: boolean) {
    this.#connection = connection
    this.#menu = new Menu(list)
    this.#notices = notices
  }

  open(): void {
    this.#connection.print(this.#menu.open())
  }

  // TelnetUser

  input(bytes: Uint8Array): void {
    // What comes although nobody listens, in a chunk on its way, is nothing that somebody typed at the prompt.
    if (this.#paused) return
    this.#lines = 0
    const used = this.#editor.push(bytes, this)
    const { user } = this.#connection
    if (used < bytes.length && user !== null && user !== this) user.input(bytes.subarray(used))
    if (this.#connection.unsent > UNSENT_BYTES && user === this) {
      this.#paused = true
      this.#connection.setPaused(true)
    }
  }

  command(code: number): void {
    if (code === EC) this.#editor.erase(this)
    else if (code === EL || code === IP) this.#editor.clear(this)
    else if (code === AYT) this.#connection.say('yes; this is the menu')
  }

  drained(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#connection.setPaused(false)
  }

  gone(): void {}

  // EditorSink

  echo(text: string | Uint8Array): void {
    if (!this.#connection.echoes) return
    if (typeof text === 'string') this.#connection.print(text)
    else if (this.#connection.unsent <= UNSENT_BYTES) this.#connection.send(text)
  }

  line(text: string): boolean {
    const answer = this.#menu.answer(text)
    if (answer.kind === 'leave') {
      this.leave()
      return false
    }
    if (answer.kind === 'attach') {
      this.#attach(answer.entry.port, answer.mode)
      return false
    }
    this.#connection.print(answer.text)
    this.#lines++
    return this.#lines < MAX_LINES_PER_CHUNK
  }

  leave(): void {
    this.#connection.end()
  }

  #attach(port: Port, mode: 'read' | 'write'): void {
    if (port.core.table.get(port.id) !== port) {
      this.#connection.say('that port is gone; Enter lists those there are')
      return
    }
    const console = new TelnetConsole(this.#connection, port, this.#notices)
    this.#connection.handOver(console)
    console.attach(mode)
  }
}
