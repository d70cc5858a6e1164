/**
 * Tickets: what a page shows instead of a token where it can send no header, at the opening of a WebSocket. Pure.
 *
 * A ticket is for one use within seconds, so that one that ends up in a log is worth nothing. It carries its owner as they
 * were when it was issued; whether that still counts is asked again when it is used.
 */
import type { Clock } from '../base/index.ts'
import type { Subject } from './subject.ts'

export interface TicketLimits {
  readonly lifeMs: number
  /** Of all; when so many are out, nobody gets one. */
  readonly max: number
  /** Of one user; one more ends the oldest. */
  readonly maxPerUser: number
}

export const TICKET_LIMITS: TicketLimits = { lifeMs: 30_000, max: 4_096, maxPerUser: 64 }

export interface IssuedTicket {
  readonly ticket: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}

/** Secrets and their digests come from outside: see digest.ts. */
export interface TicketSecrets {
  fresh(): string
  digest(ticket: string): string
}

/** Who shows a ticket. */
export interface Redeemed {
  readonly subject: Subject
  /** What they had shown for it ends then, milliseconds since 1970; null: not on its own. */
  readonly ownerUntil: number | null
  /** Asked at each use: does what said who they are still count? */
  readonly ownerStands: () => boolean
}

interface Ticket extends Redeemed {
  readonly until: number
}

export class Tickets {
  readonly #clock: Clock
  readonly #secrets: TicketSecrets
  readonly #limits: TicketLimits
  /** By digest, so that no comparison of the ticket itself can be timed; oldest first. */
  readonly #open = new Map<string, Ticket>()

  constructor(clock: Clock, secrets: TicketSecrets, limits: TicketLimits = TICKET_LIMITS) {
    this.#clock = clock
    this.#secrets = secrets
    this.#limits = limits
  }

  get open(): number {
    return this.#open.size
  }

  /** @param ownerUntil, ownerStands see {@link Redeemed}. @returns null when too many are out. */
  issue(
    subject: Subject,
    ownerUntil: number | null = null,
    ownerStands: () => boolean = () => true,
  ): IssuedTicket | null {
    const now = this.#clock.now()
    this.#dropExpired(now)
    const own: string[] = []
    for (const [digest, ticket] of this.#open) if (isSame(ticket.subject, subject)) own.push(digest)
    const [oldest] = own
    if (oldest !== undefined && own.length >= this.#limits.maxPerUser) this.#open.delete(oldest)
    if (this.#open.size >= this.#limits.max) return null
    const ticket = this.#secrets.fresh()
    const { lifeMs } = this.#limits
    this.#open.set(this.#secrets.digest(ticket), { subject, ownerUntil, ownerStands, until: now + lifeMs })
    return { ticket, expiresAt: this.#clock.wall() + lifeMs }
  }

  /** Whose ticket it is, once; null for one that is unknown, used or too old: which of them, nobody is told. */
  redeem(ticket: string): Redeemed | null {
    const digest = this.#secrets.digest(ticket)
    const found = this.#open.get(digest)
    if (found === undefined) return null
    this.#open.delete(digest)
    return this.#clock.now() < found.until ? found : null
  }

  /** All have the same life, so the oldest come first. */
  #dropExpired(now: number): void {
    for (const [digest, { until }] of this.#open) {
      if (now < until) return
      this.#open.delete(digest)
    }
  }
}

function isSame(one: Subject, other: Subject): boolean {
  return one.via === other.via && one.user === other.user
}
