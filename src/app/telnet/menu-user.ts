/** The menu, for one Telnet client. */
import type { Timer } from '../../base/index.ts'
import { AYT, EC, EL, IP } from '../../telnet/index.ts'
import type { Console, Port } from '../../vspc/index.ts'
import { factsOf } from '../access/visitor.ts'
import type { TelnetConnection, TelnetUser } from './connection.ts'
import { type Entry, TelnetConsole } from './console.ts'
import { formatEscape } from './escape.ts'
import { type EditorSink, LineEditor } from './line-editor.ts'
import { Menu, type MenuEntry, PROMPT } from './menu.ts'
import type { TelnetConfig } from './settings.ts'
import { consoleLine } from './words.ts'

/** Each search looks at every port: a flood of them must not keep VMs waiting. */
const MAX_LINES_PER_CHUNK = 4
/** Answers that the client has not taken; until then it is not listened to. */
const UNSENT_BYTES = 32_768
/** Ports of which it is listed who is attached. */
const MAX_WHO = 50

export interface ListedPort extends MenuEntry {
  readonly port: Port
}

export class MenuUser implements TelnetUser, EditorSink {
  readonly #connection: TelnetConnection
  readonly #config: TelnetConfig
  readonly #list: () => readonly ListedPort[]
  readonly #menu: Menu<ListedPort>
  readonly #editor = new LineEditor()
  /** Of {@link ListedPort}s those that may be seen; kept as long as that list is the same. */
  #visible: { of: readonly ListedPort[]; ports: readonly ListedPort[] } | null = null
  #lines = 0
  #paused = false
  #idle: Timer | null = null
  #unattend: () => void = () => {}

  constructor(connection: TelnetConnection, list: () => readonly ListedPort[], config: TelnetConfig) {
    this.#connection = connection
    this.#list = list
    this.#config = config
    const help = config.escape === null ? '' : `At a console: ${formatEscape(config.escape)} ? for help`
    this.#menu = new Menu(
      () => this.#ports(),
      ({ port }) => this.#attached(port),
      help,
    )
  }

  open(): void {
    const { access, visitor } = this.#connection
    this.#visible = null
    this.#unattend()
    this.#unattend = access.attendance.add({
      review: () => {
        if (visitor.counts) return false
        this.#connection.say(`${visitor.who} is no longer known here`)
        this.#connection.end()
        return true
      },
    })
    this.#wait()
    this.#connection.print(this.#menu.open())
  }

  // TelnetUser

  input(bytes: Uint8Array): void {
    // What comes although nobody listens, in a chunk on its way, is nothing that somebody typed at the prompt.
    if (this.#paused) return
    this.#wait()
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

  gone(): void {
    this.#idle?.cancel()
    this.#unattend()
  }

  // EditorSink

  echo(text: string | Uint8Array): void {
    this.#connection.echo(text)
  }

  line(text: string): boolean {
    const answer = this.#menu.answer(text)
    switch (answer.kind) {
      case 'leave':
        this.leave()
        return false
      case 'attach':
        return !this.#attach(answer.entry.port, answer)
      case 'who':
        this.#who(answer.entry === null ? this.#ports() : [answer.entry])
        break
      case 'say':
        this.#connection.print(answer.text)
    }
    this.#lines++
    return this.#lines < MAX_LINES_PER_CHUNK
  }

  leave(): void {
    this.#connection.end()
  }

  /** @returns whether the keys are that port's now. */
  #attach(port: Port, entry: Entry): boolean {
    if (port.core.table.get(port.id) !== port) {
      this.#connection.say('that port is gone')
      this.#connection.print(PROMPT)
      return false
    }
    this.gone()
    const back = () => {
      this.#connection.handOver(this)
      this.open()
    }
    const console = new TelnetConsole(this.#connection, port, { ...this.#config, back })
    this.#connection.handOver(console)
    console.attach(entry)
    return true
  }

  /** Nobody at the keyboard: in the end they leave. */
  #wait(): void {
    const { clock, limits } = this.#connection.server
    this.#idle?.cancel()
    if (limits.telnetMenuIdleMs === 0) return
    this.#idle = clock.after(limits.telnetMenuIdleMs, () => {
      this.#connection.say('nothing was typed for a while: goodbye')
      this.#connection.end()
    })
  }

  #ports(): readonly ListedPort[] {
    const { visitor } = this.#connection
    const all = this.#list()
    if (visitor.seesAll) return all
    if (this.#visible?.of !== all) {
      this.#visible = { of: all, ports: all.filter(({ port }) => visitor.may('port.list', factsOf(port))) }
    }
    return this.#visible.ports
  }

  #consoles(port: Port): readonly Console[] {
    return this.#connection.visitor.may('console.who', factsOf(port)) ? port.consoles : []
  }

  /** `2 here, alice writes`. */
  #attached(port: Port): string {
    const consoles = this.#consoles(port)
    if (consoles.length === 0) return ''
    const [writer, ...others] = consoles.filter(({ mode }) => mode !== 'read')
    if (writer === undefined) return `${consoles.length} here`
    const how = writer.mode === 'exclusive' ? 'alone ' : ''
    return `${consoles.length} here, ${writer.who}${others.length > 0 ? ` and ${others.length} more` : ''} ${how}may write`
  }

  #who(ports: readonly ListedPort[]): void {
    const there = ports.filter(({ port }) => this.#consoles(port).length > 0)
    const lines = there
      .slice(0, MAX_WHO)
      .flatMap(({ name, port }) => [`${name}:`, ...this.#consoles(port).map((one) => `  ${consoleLine(one.info)}`)])
    if (there.length === 0) lines.push('Nobody is attached.')
    if (there.length > MAX_WHO) lines.push(`and to ${there.length - MAX_WHO} more ports`)
    this.#connection.print([...lines, PROMPT].join('\r\n'))
  }
}
