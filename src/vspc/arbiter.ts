/**
 * Carries out what the table of arbitration.ts decides for the consoles of one port: sets their modes, tells all sides,
 * and lets the first in the queue take over from those who stay idle.
 *
 * Everybody hears of one change once, and of all changes in the order in which they happened: a console that leaves, or
 * asks for more, while others are being told makes a change that is told after this one.
 */
import type { Timer } from '../base/index.ts'
import {
  type Changes,
  type Decision,
  decide,
  EMPTY_FLOOR,
  type Floor,
  type FloorRequest,
  inTheWay,
  type ModeChange,
  type PlaceChange,
} from './arbitration.ts'
import type { Console } from './console.ts'
import type { Port } from './port.ts'
import type { ConsoleInfo, ConsoleMessage } from './types.ts'

/** How a change is told. */
export interface Story {
  /** Whose doing it is; null = the server's. */
  readonly actor: Console | null
  /** In the events, where the actor has no console. */
  readonly by?: string
  /** For everybody: `bob took over`. */
  readonly reason: string
  /** Who may write is another, although no mode of those who are told is: a writer came or went. */
  readonly newWriters?: boolean
}

interface Letter {
  readonly to: Console
  readonly message: ConsoleMessage
}

export class Arbiter {
  readonly #port: Port
  readonly #consoles: () => readonly Console[]
  #floor: Floor = EMPTY_FLOOR
  #outbox: Letter[] = []
  #telling = false
  /** Runs only while somebody waits. */
  #idle: Timer | null = null

  /** @param consoles attached now. */
  constructor(port: Port, consoles: () => readonly Console[]) {
    this.#port = port
    this.#consoles = consoles
  }

  get floor(): Floor {
    return this.#floor
  }

  /** What a request would do; nothing is changed. */
  decide(request: FloorRequest): Decision {
    return decide(this.#floor, request, this.#port.core.writers)
  }

  /** Takes a decision over without a word: see {@link tell}. */
  accept(decision: Decision): Changes | null {
    if (!decision.granted) return null
    const now = this.#port.core.clock.now()
    const byId = this.#byId()
    this.#floor = decision.floor
    for (const { id, mode } of decision.changes.modes) byId.get(id)?.changeMode(mode, now)
    for (const { id, position, cause } of decision.changes.places) {
      byId.get(id)?.changePlace(position, cause === 'own' ? now : null)
    }
    return decision.changes
  }

  /** Tells all sides what {@link accept} has changed. */
  tell(changes: Changes, story: Story): void {
    const { core } = this.#port
    const consoles = this.#consoles()
    const byId = this.#byId()
    const idleTakeoverMs = this.#watchIdle()
    for (const place of changes.places) {
      if (place.position > 0) continue
      // Who has got it is told so next, with the reason.
      const granted = changes.modes.some(({ id, mode }) => id === place.id && mode === place.mode)
      this.#post(byId.get(place.id), noLongerWaits(place, granted ? null : story.reason))
    }
    if (changes.modes.length > 0 || story.newWriters) {
      const writers = consoles.filter(({ mode }) => mode !== 'read').map(({ info }) => info)
      const by = story.actor === null ? {} : { by: story.actor.info }
      for (const console of consoles) {
        const change = changes.modes.find(({ id }) => id === console.id)
        const reason = change === undefined ? story.reason : personalReason(change, story)
        this.#post(console, { type: 'writer', mode: console.mode, writers, reason, ...by })
      }
    }
    for (const place of changes.places) {
      if (place.position > 0) this.#post(byId.get(place.id), this.#placeMessage(place, idleTakeoverMs))
    }
    for (const { waiting, holder } of changes.asks) {
      const asking = byId.get(waiting)
      const mode = this.#floor.queue.find(({ id }) => id === waiting)?.mode
      if (asking === undefined || mode === undefined) continue
      this.#post(byId.get(holder), { type: 'asked', by: asking.info, mode, idleTakeoverMs })
    }
    for (const change of changes.modes) {
      const console = byId.get(change.id)
      if (console === undefined) continue
      const by = story.actor?.who ?? story.by ?? null
      const reason = personalReason(change, story)
      core.emit((at) => ({ type: 'console-mode', at, port: this.#port.info(), console: console.info, by, reason }))
    }
    this.flush()
  }

  /** Tells one console, behind what all have been told. */
  answer(to: Console, message: ConsoleMessage): void {
    this.#post(to, message)
    this.flush()
  }

  /** The place of one that waits, once more. */
  repeatPlace(console: Console): void {
    const position = this.#floor.queue.findIndex(({ id }) => id === console.id) + 1
    const ticket = this.#floor.queue[position - 1]
    if (ticket === undefined) return
    const left = this.#watchIdle()
    this.answer(console, this.#placeMessage({ ...ticket, position, cause: 'own' }, left))
  }

  /** The policy or the limits are others. */
  settle(): void {
    const changes = this.accept(this.decide({ type: 'settle' }))
    if (changes !== null) this.tell(changes, { actor: null, reason: "the server's settings have changed" })
  }

  /** Consoles by what they are to the others. */
  infos(ids: readonly number[]): ConsoleInfo[] {
    return this.#consoles()
      .filter(({ id }) => ids.includes(id))
      .map(({ info }) => info)
  }

  /** Nobody takes over any more. */
  stop(): void {
    this.#idle?.cancel()
    this.#idle = null
  }

  flush(): void {
    if (this.#telling) return
    this.#telling = true
    // Grows while it is gone through.
    for (let i = 0; i < this.#outbox.length; i++) {
      const { to, message } = this.#outbox[i] as Letter
      to.notify(message)
    }
    this.#outbox = []
    this.#telling = false
  }

  #post(to: Console | undefined, message: ConsoleMessage): void {
    if (to !== undefined) this.#outbox.push({ to, message })
  }

  #byId(): Map<number, Console> {
    return new Map(this.#consoles().map((console) => [console.id, console]))
  }

  #placeMessage({ id, mode, position }: PlaceChange, idleTakeoverMs: number | null): ConsoleMessage {
    const holders = inTheWay(this.#floor.seats, id, mode, this.#port.core.writers)
    return { type: 'queued', position, mode, holders: this.infos(holders), idleTakeoverMs }
  }

  // Idle take-over

  /**
   * Sees to the timer. Input costs no timer: it is looked at when the timer ends.
   * @returns in how many ms the first in the queue takes over if nobody types; null = it does not.
   */
  #watchIdle(): number | null {
    this.#idle?.cancel()
    this.#idle = null
    const left = this.#msUntilTakeOver()
    if (left === null) return null
    this.#idle = this.#port.core.clock.after(left, () => this.#idleOver())
    return Math.ceil(left)
  }

  #idleOver(): void {
    const left = this.#msUntilTakeOver()
    if (left === null || left > 0) {
      this.#watchIdle()
      return
    }
    const first = this.#consoles().find(({ id }) => id === this.#floor.queue[0]?.id) ?? null
    const idle = this.#inTheWayOfFirst()
      .map(({ who }) => who)
      .join(', ')
    const changes = this.accept(this.decide({ type: 'idle' }))
    const forMs = this.#port.core.limits.writerIdleMs
    if (changes !== null) {
      const reason = `${idle} typed nothing for ${forMs / 1_000} s while ${first?.who ?? 'another'} waited`
      this.tell(changes, { actor: first, reason })
    }
  }

  /** A holder is idle from its last input on, but for nobody before the first in the queue began to wait. */
  #msUntilTakeOver(): number | null {
    const { clock, limits } = this.#port.core
    const first = this.#consoles().find(({ id }) => id === this.#floor.queue[0]?.id)
    if (limits.writerIdleMs === 0 || first === undefined) return null
    const holders = this.#inTheWayOfFirst()
    // A program at the other end of the line is not idle because it says nothing.
    if (holders.some(({ via }) => via === 'forward')) return null
    const since = Math.max(first.waitingSince, ...holders.map(({ activeAt }) => activeAt))
    return Math.max(0, since + limits.writerIdleMs - clock.now())
  }

  #inTheWayOfFirst(): readonly Console[] {
    const first = this.#floor.queue[0]
    if (first === undefined) return []
    const ids = inTheWay(this.#floor.seats, first.id, first.mode, this.#port.core.writers)
    return this.#consoles().filter(({ id }) => ids.includes(id))
  }
}

function noLongerWaits({ mode }: PlaceChange, reason: string | null): ConsoleMessage {
  const nobody = { holders: [], idleTakeoverMs: null }
  return { type: 'queued', position: 0, mode, ...nobody, ...(reason === null ? {} : { reason }) }
}

function personalReason({ cause }: ModeChange, { reason }: Story): string {
  return cause === 'turn' ? `next in the queue: ${reason}` : reason
}
