import { VspcError } from '../base/index.ts'
import { decideMode } from './access.ts'
import { Console } from './console.ts'
import type { Port } from './port.ts'
import type { ConsoleClient, ConsoleMessage, ConsoleMode } from './types.ts'

let lastConsoleId = 0

export interface AttachOptions {
  readonly mode: ConsoleMode
  /** Offset of the first byte wanted; negative = from the end; null = live only. */
  readonly from: number | null
  /** Shown to the others. */
  readonly who: string
  /** Turn those in the way into readers. */
  readonly force: boolean
}

/** The consoles of one port, and who of them may write. Made when the first one attaches. */
export class PortConsoles {
  readonly #port: Port
  /** Replaced, never changed: a loop over it survives whatever a console does meanwhile. */
  list: readonly Console[] = []

  constructor(port: Port) {
    this.#port = port
  }

  /** @throws VspcError VSPC_CONSOLE_BUSY, VSPC_CONSOLE_TOO_MANY. */
  attach(client: ConsoleClient, options: AttachOptions, inputPaused: boolean): Console {
    const port = this.#port
    const { limits, counters, clock } = port.core
    if (this.list.length >= limits.maxConsolesPerPort) {
      counters.consolesRefused++
      throw new VspcError(
        'VSPC_CONSOLE_TOO_MANY',
        `${port.displayName} has ${this.list.length} consoles, the limit "maxConsolesPerPort"`,
      )
    }
    const demoted = this.#grant(options.mode, options.force, this.list)
    if (this.list.length === 0) port.history.keepTail(true)
    const { start, next } = port.history
    const console = new Console(port, client, {
      id: ++lastConsoleId,
      who: options.who,
      mode: options.mode,
      cursor: cursorFor(options.from, start, next),
      attachedAt: clock.wall(),
    })
    this.list = [...this.list, console]
    counters.consolesAttached++
    console.notify({
      type: 'attached',
      port: port.id,
      name: port.displayName,
      mode: options.mode,
      offset: console.offset,
      start,
      next,
      state: port.state,
      console: console.id,
      epoch: port.epoch,
    })
    if (inputPaused) console.setInputPaused(true)
    this.#demote(demoted, `${options.who} took over`)
    if (this.list.length > 1) this.#tellWriters(`${options.who} attached`, options.mode === 'read' ? console : null)
    port.core.emit((at) => ({ type: 'console-attached', at, port: port.info(), console: console.info }))
    console.catchUp()
    return console
  }

  /** @throws VspcError VSPC_CONSOLE_BUSY. */
  setMode(console: Console, mode: ConsoleMode, force: boolean): void {
    const others = this.list.filter((other) => other !== console)
    const demoted = this.#grant(mode, force, others)
    console.mode = mode
    this.#demote(demoted, `${console.who} took over`)
    this.#tellWriters(`${console.who} is now "${mode}"`, null)
  }

  remove(console: Console): void {
    const port = this.#port
    const { info } = console
    this.list = this.list.filter((other) => other !== console)
    if (this.list.length === 0) port.history.keepTail(false)
    port.core.emit((at) => ({ type: 'console-detached', at, port: port.info(), console: info }))
    if (info.mode !== 'read') this.#tellWriters(`${info.who} left`, null)
  }

  /** There may be more to show. */
  catchUp(): void {
    const { list } = this
    for (let i = 0; i < list.length; i++) (list[i] as Console).catchUp()
  }

  tell(message: ConsoleMessage): void {
    for (const console of this.list) console.notify(message)
  }

  setInputPaused(paused: boolean): void {
    for (const console of this.list) console.setInputPaused(paused)
  }

  #grant(mode: ConsoleMode, force: boolean, others: readonly Console[]): Console[] {
    const { core, displayName } = this.#port
    const decision = decideMode(mode, force, others, core.writers)
    if (decision.granted) return decision.demote
    core.counters.consolesRefused++
    const holder = decision.busy[0] as Console
    const more = decision.busy.length > 1 ? ` and ${decision.busy.length - 1} more` : ''
    throw new VspcError(
      'VSPC_CONSOLE_BUSY',
      `${displayName} is held by ${holder.who} (mode "${holder.mode}")${more}; attach for reading, or take over with force`,
    )
  }

  #demote(consoles: Console[], reason: string): void {
    for (const console of consoles) {
      console.mode = 'read'
      console.notify({ type: 'writer', mode: 'read', writers: this.#writers(), reason })
    }
  }

  /** @param only the one console to tell; null = all. */
  #tellWriters(reason: string, only: Console | null): void {
    const writers = this.#writers()
    for (const console of only === null ? this.list : [only]) {
      console.notify({ type: 'writer', mode: console.mode, writers, reason })
    }
  }

  #writers() {
    return this.list.filter((console) => console.mode !== 'read').map((console) => console.info)
  }
}

/** An offset from before a restart may lie past the end: then the live end is where it goes on. */
function cursorFor(from: number | null, start: number, next: number): number {
  if (from === null) return next
  return from < 0 ? Math.max(start, next + from) : Math.min(from, next)
}
