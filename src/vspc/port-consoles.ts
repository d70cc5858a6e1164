import { cleanText, VspcError } from '../base/index.ts'
import { Arbiter, type Story } from './arbiter.ts'
import type { Decision, FloorRequest, IfBusy, Refusal } from './arbitration.ts'
import { Console, type ConsoleGroup, type Departure } from './console.ts'
import type { Port } from './port.ts'
import type { ConsoleClient, ConsoleMessage, ConsoleMode, ConsolePermit, ConsoleRequest, ConsoleVia } from './types.ts'

/** UTF-16 units of what somebody says to all consoles, and of the reason for a kick. */
const MAX_SAID = 500

let lastConsoleId = 0

export interface AttachOptions {
  readonly mode: ConsoleMode
  /** Offset of the first byte wanted; negative = from the end; null = live only. */
  readonly from: number | null
  /** Shown to the others. */
  readonly who: string
  /** Where it comes from, when `who` is a user. */
  readonly address?: string
  readonly via: ConsoleVia
  /** Turn those in the way into readers. */
  readonly force: boolean
  /** Where somebody is in the way, read until it is its turn. */
  readonly wait?: boolean
  /** Default: everything is allowed. */
  readonly permit?: ConsolePermit
}

type ModeRequest = Extract<ConsoleRequest, { type: 'mode' }>

/** The consoles of one port. Made when the first one attaches. */
export class PortConsoles implements ConsoleGroup {
  readonly #port: Port
  readonly #arbiter: Arbiter
  #closing = false
  /** Replaced, never changed: a loop over it survives whatever a console does meanwhile. */
  list: readonly Console[] = []

  constructor(port: Port) {
    this.#port = port
    this.#arbiter = new Arbiter(port, () => this.list)
  }

  /** @throws VspcError VSPC_CONSOLE_BUSY, VSPC_CONSOLE_TOO_MANY, VSPC_ACCESS_DENIED. */
  attach(client: ConsoleClient, options: AttachOptions, inputPaused: boolean): Console {
    try {
      return this.#attach(client, options, inputPaused)
    } finally {
      if (this.list.length === 0) this.#port.consolesGone()
    }
  }

  #attach(client: ConsoleClient, options: AttachOptions, inputPaused: boolean): Console {
    const port = this.#port
    const { limits, counters } = port.core
    const { permit = null, who } = options
    if (this.list.length >= limits.maxConsolesPerPort) {
      counters.consolesRefused++
      throw new VspcError(
        'VSPC_CONSOLE_TOO_MANY',
        `${port.displayName} has ${this.list.length} consoles, the limit "maxConsolesPerPort"`,
      )
    }
    permit?.check('read')
    const id = lastConsoleId + 1
    const decision = this.#decideMode('enter', id, options, permit)
    lastConsoleId = id
    const { start, next } = port.history
    if (this.list.length === 0) port.history.keepTail(true)
    const console = new Console(port, this, client, {
      id,
      who,
      address: options.address ?? null,
      via: options.via,
      permit,
      mode: decision.floor.seats.at(-1)?.mode ?? 'read',
      cursor: cursorFor(options.from, start, next),
    })
    this.list = [...this.list, console]
    counters.consolesAttached++
    const changes = this.#arbiter.accept(decision)
    console.notify({
      type: 'attached',
      port: port.id,
      name: port.displayName,
      mode: console.mode,
      offset: console.offset,
      start,
      next,
      state: port.state,
      console: console.id,
      epoch: port.epoch,
      may: console.allowed,
    })
    if (inputPaused) console.setInputPaused(true)
    if (changes !== null) {
      const tookOver = changes.modes.some(({ cause }) => cause === 'force')
      const reason = tookOver ? `${who} took over` : `${who} attached`
      const writes = console.mode !== 'read'
      // A reader is told who writes; it makes no difference to the others.
      if (!writes && this.list.length > 1) this.#arbiter.answer(console, this.#writersFor(console, reason))
      this.#arbiter.tell(changes, { actor: console, reason, newWriters: writes && this.list.length > 1 })
    }
    port.core.emit((at) => ({ type: 'console-attached', at, port: port.info(), console: console.info }))
    console.catchUp()
    return console
  }

  // ConsoleGroup

  request(console: Console, request: ConsoleRequest): void {
    switch (request.type) {
      case 'mode':
        this.#ask(console, request)
        return
      case 'cancel':
        this.#cancel(console)
        return
      case 'yield':
        this.#yield(console, request.to ?? null)
        return
      case 'kick':
        this.#kick(console, request.console, request.reason ?? '')
        return
      case 'say':
        console.check('say')
        this.say(request.text, console, null)
        return
      case 'break':
        if (console.mode === 'read') {
          throw new VspcError('VSPC_CONSOLE_READ_ONLY', 'a console attached for reading cannot send a break')
        }
        console.check('break')
        this.#port.sendBreak()
        return
      case 'who': {
        // Clients ask on their own, and wait for the answer: who may not know the others hears of itself.
        const consoles = (console.may('who') ? this.list : [console]).map(({ info }) => info)
        this.#arbiter.answer(console, { type: 'consoles', consoles })
        return
      }
    }
  }

  demote(console: Console, reason: string): void {
    this.#carryOut(this.#arbiter.decide({ type: 'demote', id: console.id }), { actor: null, reason })
  }

  remove(console: Console, departure: Departure): void {
    const port = this.#port
    const { info } = console
    this.list = this.list.filter((other) => other !== console)
    const decision = this.#arbiter.decide({ type: 'leave', id: console.id })
    if (this.list.length === 0) port.history.keepTail(false)
    port.core.emit((at) => ({ type: 'console-detached', at, port: port.info(), console: info }))
    const { reason, by } = departure
    // Those who go next need not hear that it is their turn.
    if (this.#closing) this.#arbiter.stop()
    else this.#carryOut(decision, { actor: by, reason, newWriters: info.mode !== 'read' })
    if (this.list.length === 0) port.consolesGone()
  }

  #end(console: Console, by: Console | string, reason: string): void {
    const port = this.#port
    const who = typeof by === 'string' ? by : by.who
    const words = reason === '' ? '' : `: ${reason}`
    port.core.emit((at) => ({
      type: 'console-kicked',
      at,
      port: port.info(),
      console: console.info,
      by: who,
      reason,
    }))
    const wrote = console.mode !== 'read'
    const toOthers = `${console.who} was kicked by ${who}${words}`
    const departure = { reason: toOthers, by: typeof by === 'string' ? null : by }
    console.close(`kicked by ${who}${words}`, 'VSPC_CONSOLE_KICKED', departure)
    // Of a writer all have heard: who may write is another.
    if (!wrote) this.#sayToAll(toOthers, null)
  }

  /** Of somebody without a console. @throws VspcError VSPC_CONSOLE_NOT_FOUND. */
  kickBy(id: number, who: string, reason: string): void {
    this.#end(this.#find(id), who, cleanSaid(reason))
  }

  /** @param by who says so without a console. @returns how many consoles were told. */
  say(text: string, from: Console | null, by: string | null): number {
    const port = this.#port
    const clean = cleanSaid(text)
    if (clean === '') throw new VspcError('VSPC_REQUEST_INVALID', 'there is nothing to say: the text is empty')
    const told = this.#sayToAll(by === null ? clean : `${by}: ${clean}`, from)
    port.core.emit((at) => ({
      type: 'console-said',
      at,
      port: port.info(),
      console: from?.info ?? null,
      by: from?.who ?? by,
      text: clean,
    }))
    return told
  }

  /** The port or the server ends. */
  closeAll(reason: string, code: string): void {
    this.#closing = true
    for (const console of this.list) console.close(reason, code)
  }

  /** Settings were changed. */
  settle(): void {
    this.#arbiter.settle()
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

  #ask(console: Console, request: ModeRequest): void {
    const { mode, force = false, wait = false } = request
    const decision = this.#decideMode('ask', console.id, { mode, force, wait }, console)
    const tookOver = decision.changes.modes.some(({ cause }) => cause === 'force')
    const waits = console.mode !== mode && !decision.changes.modes.some(({ id }) => id === console.id)
    const reason = tookOver
      ? `${console.who} took over`
      : waits
        ? `${console.who} waits for "${mode}"`
        : `${console.who} is now "${mode}"`
    const changed = decision.changes.modes.length > 0
    this.#carryOut(decision, { actor: console, reason })
    // Everybody who asks is answered, also if it is all as it was.
    if (!changed && !waits) this.#arbiter.answer(console, this.#writersFor(console, reason))
    else if (waits && !decision.changes.places.some(({ id }) => id === console.id)) this.#arbiter.repeatPlace(console)
  }

  #cancel(console: Console): void {
    const decision = this.#arbiter.decide({ type: 'cancel', id: console.id })
    this.#carryOut(decision, { actor: console, reason: `${console.who} waits no longer` })
    if (decision.granted && decision.changes.places.length === 0) {
      const nothing = { holders: [], idleTakeoverMs: null, reason: 'this console was not waiting' }
      this.#arbiter.answer(console, { type: 'queued', position: 0, mode: console.mode, ...nothing })
    }
  }

  #yield(console: Console, to: number | null): void {
    const heir = to === null ? null : this.#find(to)
    const decision = this.#arbiter.decide({ type: 'yield', id: console.id, to })
    if (!decision.granted) throw this.#refusal(decision.why, decision.inTheWay, heir)
    const next =
      heir ?? this.list.find(({ id }) => decision.changes.modes.some((one) => one.id === id && one.cause === 'turn'))
    const reason = next ? `${console.who} handed over to ${next.who}` : `${console.who} writes no longer`
    this.#carryOut(decision, { actor: console, reason })
  }

  #kick(by: Console, id: number, reason: string): void {
    const console = this.#find(id)
    by.check('kick', `console ${id} (${console.who})`)
    this.#end(console, by, cleanSaid(reason))
  }

  #find(id: number): Console {
    const console = this.list.find((one) => one.id === id)
    if (console !== undefined) return console
    throw new VspcError('VSPC_CONSOLE_NOT_FOUND', `${this.#port.displayName} has no console ${id}`)
  }

  /** Refuses unless `force` or `wait` are asked for and allowed. Only what is needed is checked. */
  #decideMode(
    type: 'enter' | 'ask',
    id: number,
    asked: { mode: ConsoleMode; force: boolean; wait?: boolean },
    permit: ConsolePermit | null,
  ): Extract<Decision, { granted: true }> {
    const { mode, force, wait = false } = asked
    if (mode !== 'read') permit?.check(mode, type === 'enter' ? undefined : `console ${id}`)
    const request = (ifBusy: IfBusy): FloorRequest => ({ type, id, mode, ifBusy })
    let decision = this.#arbiter.decide(request('refuse'))
    if (!decision.granted && (force || wait)) {
      const holders = this.list.filter((one) => !decision.granted && decision.inTheWay.includes(one.id))
      const detail = holders.map((one) => `console ${one.id} (${one.who})`).join(', ')
      permit?.check(force ? 'force' : 'request', detail)
      if (!force) this.#checkQueue(id)
      decision = this.#arbiter.decide(request(force ? 'force' : 'wait'))
    }
    if (decision.granted) return decision
    this.#port.core.counters.consolesRefused++
    throw this.#refusal(decision.why, decision.inTheWay, null)
  }

  #checkQueue(id: number): void {
    const { queue } = this.#arbiter.floor
    if (queue.length < this.#port.core.limits.maxConsoleQueue || queue.some((ticket) => ticket.id === id)) return
    this.#port.core.counters.consolesRefused++
    throw new VspcError(
      'VSPC_CONSOLE_TOO_MANY',
      `${queue.length} consoles wait for ${this.#port.displayName}, the limit "maxConsoleQueue"; try again later`,
    )
  }

  #carryOut(decision: Decision, story: Story): void {
    const changes = this.#arbiter.accept(decision)
    if (changes !== null) this.#arbiter.tell(changes, story)
  }

  #refusal(why: Refusal, inTheWay: readonly number[], heir: Console | null): VspcError {
    const { displayName } = this.#port
    if (why === 'reads-only') {
      return new VspcError('VSPC_CONSOLE_READ_ONLY', 'a console attached for reading has nothing to hand over')
    }
    if (why === 'not-waiting') {
      return new VspcError(
        'VSPC_CONSOLE_NOT_WAITING',
        `${heir?.who ?? 'it'} has not asked for ${displayName}: nobody is made to write without having asked`,
      )
    }
    const holders = this.list.filter(({ id }) => inTheWay.includes(id))
    const holder = holders[0]
    const more = holders.length > 1 ? ` and ${holders.length - 1} more` : ''
    const held = `${displayName} is held by ${holder?.who ?? 'another'} (mode "${holder?.mode ?? 'write'}")${more}`
    const advice =
      heir === null
        ? 'attach for reading, wait in the queue, or take over with force'
        : `${heir.who} has to wait for them, too`
    return new VspcError('VSPC_CONSOLE_BUSY', `${held}; ${advice}`)
  }

  #writersFor(console: Console, reason: string): ConsoleMessage {
    const writers = this.list.filter(({ mode }) => mode !== 'read').map(({ info }) => info)
    return { type: 'writer', mode: console.mode, writers, reason, by: console.info }
  }

  #sayToAll(text: string, from: Console | null): number {
    const at = new Date(this.#port.core.clock.wall()).toISOString()
    const { list } = this
    const message: ConsoleMessage = { type: 'said', from: from?.info ?? null, text, at }
    for (const console of list) this.#arbiter.answer(console, message)
    return list.length
  }
}

/** One line, of what somebody typed. */
function cleanSaid(text: string): string {
  return cleanText(text.replace(/\s+/g, ' '), MAX_SAID)
}

/** An offset from before a restart may lie past the end: then the live end is where it goes on. */
function cursorFor(from: number | null, start: number, next: number): number {
  if (from === null) return next
  return from < 0 ? Math.max(start, next + from) : Math.min(from, next)
}
