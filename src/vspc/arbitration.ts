/**
 * Who of a port's consoles may write, and who waits for it. Pure: a floor and a request in, the next floor and what has
 * changed out. docs/arbitration.md says the same to people.
 *
 * The rules. One console is in the way of another that wants to write if either is exclusive, or the policy allows a
 * single writer. Readers are in nobody's way. Who wants what somebody is in the way of is refused, waits in the queue,
 * or turns them into readers by force. Nobody waits while nobody is in the way, and nobody gets a mode that it has not
 * asked for last: a console that reads is never made a writer because others left.
 */
import type { ConsoleMode } from './types.ts'

/** `shared`: any number of writers at once. `single`: one writer. */
export type WriterPolicy = 'shared' | 'single'

export type WriteMode = Exclude<ConsoleMode, 'read'>

export interface Seat {
  readonly id: number
  readonly mode: ConsoleMode
}

/** A console in the queue, which may have a lesser mode meanwhile. */
export interface Ticket {
  readonly id: number
  readonly mode: WriteMode
}

export interface Floor {
  /** All consoles, in the order in which they came. */
  readonly seats: readonly Seat[]
  /** First come, first served. */
  readonly queue: readonly Ticket[]
}

export const EMPTY_FLOOR: Floor = { seats: [], queue: [] }

/** What to do where somebody is in the way. */
export type IfBusy = 'refuse' | 'wait' | 'force'

export type FloorRequest =
  /** A console attaches. With `wait` it reads until it is its turn. */
  | { readonly type: 'enter' | 'ask'; readonly id: number; readonly mode: ConsoleMode; readonly ifBusy: IfBusy }
  | { readonly type: 'cancel' | 'leave'; readonly id: number }
  /** `to`: who has it then; null = who waited longest. */
  | { readonly type: 'yield'; readonly id: number; readonly to: number | null }
  /** Its right to write has ended. */
  | { readonly type: 'demote'; readonly id: number }
  /** Those in the way of the first in the queue have been idle for too long. */
  | { readonly type: 'idle' }
  /** The policy is another. */
  | { readonly type: 'settle' }

/** Why a console's mode, or its place in the queue, is another. */
export type Cause =
  /** It asked. */
  | 'own'
  /** It waited, and nobody is in the way any more. */
  | 'turn'
  /** Somebody made it a reader by force. */
  | 'force'
  /** Somebody handed over to it. */
  | 'handed'
  /** It was idle while somebody waited. */
  | 'idle'
  | 'demoted'
  /** Others before it in the queue left it. */
  | 'moved'

export interface ModeChange {
  readonly id: number
  readonly mode: ConsoleMode
  readonly cause: Cause
}

export interface PlaceChange {
  readonly id: number
  readonly mode: WriteMode
  /** From 1; 0 = it no longer waits. */
  readonly position: number
  readonly cause: Cause
}

/** `waiting` has come into the queue, or `holder` in its way. */
export interface Asking {
  readonly waiting: number
  readonly holder: number
}

/** At most one of each kind for each console, and none for a console that is gone. */
export interface Changes {
  readonly modes: readonly ModeChange[]
  readonly places: readonly PlaceChange[]
  readonly asks: readonly Asking[]
}

export type Refusal =
  /** `inTheWay` are. */
  | 'busy'
  /** Whoever shall have it has not asked for it. */
  | 'not-waiting'
  /** It has nothing to give. */
  | 'reads-only'

export type Decision =
  | { readonly granted: true; readonly floor: Floor; readonly changes: Changes }
  | { readonly granted: false; readonly why: Refusal; readonly inTheWay: readonly number[] }

/** Consoles that would have to become readers before `id` may have `mode`. */
export function inTheWay(
  seats: readonly Seat[],
  id: number,
  mode: ConsoleMode,
  policy: WriterPolicy,
): readonly number[] {
  if (mode === 'read') return []
  const alone = mode === 'exclusive' || policy === 'single'
  const blocking = seats.filter((seat) => {
    return seat.id !== id && seat.mode !== 'read' && (alone || seat.mode === 'exclusive')
  })
  return blocking.map((seat) => seat.id)
}

/** A request that is refused changes nothing. */
export function decide(floor: Floor, request: FloorRequest, policy: WriterPolicy): Decision {
  const draft = new Draft(floor, policy)
  const refused = applyRequest(draft, request, policy)
  if (refused !== null) return { granted: false, ...refused }
  draft.settle()
  const next = draft.floor
  return { granted: true, floor: next, changes: changesBetween(floor, next, draft, policy) }
}

type Refused = { readonly why: Refusal; readonly inTheWay: readonly number[] }

function applyRequest(draft: Draft, request: FloorRequest, policy: WriterPolicy): Refused | null {
  switch (request.type) {
    case 'enter':
      draft.seats = [...draft.seats, { id: request.id, mode: 'read' }]
      return ask(draft, request, policy)
    case 'ask':
      return ask(draft, request, policy)
    case 'cancel':
      draft.dequeue(request.id, 'own')
      return null
    case 'leave':
      draft.seats = draft.seats.filter(({ id }) => id !== request.id)
      draft.queue = draft.queue.filter(({ id }) => id !== request.id)
      return null
    case 'yield':
      return giveUp(draft, request.id, request.to, policy)
    case 'demote':
      draft.dequeue(request.id, 'demoted')
      draft.setMode(request.id, 'read', 'demoted')
      return null
    case 'idle': {
      const first = draft.queue[0]
      if (first === undefined) return null
      for (const holder of inTheWay(draft.seats, first.id, first.mode, policy)) draft.setMode(holder, 'read', 'idle')
      return null
    }
    case 'settle':
      return null
  }
}

function ask(
  draft: Draft,
  { id, mode, ifBusy }: { id: number; mode: ConsoleMode; ifBusy: IfBusy },
  policy: WriterPolicy,
): Refused | null {
  const blocking = inTheWay(draft.seats, id, mode, policy)
  if (ifBusy === 'force') {
    for (const holder of blocking) draft.setMode(holder, 'read', 'force')
  } else if (mode !== 'read' && blocking.length > 0 && draft.modeOf(id) !== mode) {
    if (ifBusy === 'refuse') return { why: 'busy', inTheWay: blocking }
    draft.enqueue({ id, mode })
    return null
  }
  draft.dequeue(id, 'own')
  draft.setMode(id, mode, 'own')
  return null
}

function giveUp(draft: Draft, id: number, to: number | null, policy: WriterPolicy): Refused | null {
  if (draft.modeOf(id) === 'read') return { why: 'reads-only', inTheWay: [] }
  draft.dequeue(id, 'own')
  draft.setMode(id, 'read', 'own')
  if (to === null) return null
  const ticket = draft.queue.find((one) => one.id === to)
  if (ticket === undefined) return { why: 'not-waiting', inTheWay: [] }
  const others = inTheWay(draft.seats, to, ticket.mode, policy)
  if (others.length > 0) return { why: 'busy', inTheWay: others }
  draft.dequeue(to, 'handed')
  draft.setMode(to, ticket.mode, 'handed')
  return null
}

/** A floor while it is being changed. */
class Draft {
  seats: readonly Seat[]
  queue: readonly Ticket[]
  readonly modeCauses = new Map<number, Cause>()
  readonly placeCauses = new Map<number, Cause>()
  readonly #policy: WriterPolicy

  constructor(floor: Floor, policy: WriterPolicy) {
    this.seats = floor.seats
    this.queue = floor.queue
    this.#policy = policy
  }

  get floor(): Floor {
    return { seats: this.seats, queue: this.queue }
  }

  modeOf(id: number): ConsoleMode {
    return this.seats.find((seat) => seat.id === id)?.mode ?? 'read'
  }

  setMode(id: number, mode: ConsoleMode, cause: Cause): void {
    if (this.modeOf(id) === mode) return
    this.seats = this.seats.map((seat) => (seat.id === id ? { id, mode } : seat))
    this.modeCauses.set(id, cause)
  }

  /** Who waits for the same already keeps its place; for something else, it begins anew. */
  enqueue(ticket: Ticket): void {
    const former = this.queue.find(({ id }) => id === ticket.id)
    if (former?.mode === ticket.mode) return
    this.queue = [...this.queue.filter((one) => one !== former), ticket]
    this.placeCauses.set(ticket.id, 'own')
  }

  dequeue(id: number, cause: Cause): void {
    if (!this.queue.some((ticket) => ticket.id === id)) return
    this.queue = this.queue.filter((ticket) => ticket.id !== id)
    this.placeCauses.set(id, cause)
  }

  /** Gives everybody who waits and has nobody in the way what it waits for. Each grant only adds to who is in the way. */
  settle(): void {
    for (const { id, mode } of this.queue) {
      if (inTheWay(this.seats, id, mode, this.#policy).length > 0) continue
      this.dequeue(id, 'turn')
      this.setMode(id, mode, 'turn')
    }
  }
}

function changesBetween(
  before: Floor,
  after: Floor,
  { modeCauses, placeCauses }: Pick<Draft, 'modeCauses' | 'placeCauses'>,
  policy: WriterPolicy,
): Changes {
  const formerMode = new Map(before.seats.map(({ id, mode }) => [id, mode]))
  const modes = after.seats
    .filter(({ id, mode }) => formerMode.has(id) && formerMode.get(id) !== mode)
    .map(({ id, mode }) => ({ id, mode, cause: modeCauses.get(id) ?? 'own' }))

  const formerPlace = new Map(before.queue.map((ticket, index) => [ticket.id, { ...ticket, position: index + 1 }]))
  const places: PlaceChange[] = []
  const waiting = new Set(after.queue.map(({ id }) => id))
  for (const { id, mode } of before.queue) {
    if (waiting.has(id) || !after.seats.some((seat) => seat.id === id)) continue
    places.push({ id, mode, position: 0, cause: placeCauses.get(id) ?? 'own' })
  }
  after.queue.forEach(({ id, mode }, index) => {
    const former = formerPlace.get(id)
    if (former?.position === index + 1 && former.mode === mode) return
    places.push({ id, mode, position: index + 1, cause: placeCauses.get(id) ?? 'moved' })
  })

  const asks: Asking[] = []
  for (const { id, mode } of after.queue) {
    const former = formerPlace.get(id)
    const told = former?.mode === mode ? inTheWay(before.seats, id, mode, policy) : []
    for (const holder of inTheWay(after.seats, id, mode, policy)) {
      if (!told.includes(holder)) asks.push({ waiting: id, holder })
    }
  }
  return { modes, places, asks }
}
