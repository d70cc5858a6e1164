/** Somebody who is here now: who they are, where from, and what they may. */
import {
  ACTIONS,
  type Action,
  ANONYMOUS,
  type AuditEntry,
  type AuditLog,
  allowed,
  type Capability,
  capabilitiesOn,
  decide,
  type Policy,
  type PortFacts,
  type Subject,
} from '../../access/index.ts'
import { VspcError } from '../../base/index.ts'
import type { ConsoleAction, ConsolePermit, Port, PortInfo } from '../../vspc/index.ts'
import { ProblemError } from '../problem.ts'

/** What decides, as it is now: rules and tokens change while visitors stay. */
export interface Deciding {
  readonly policy: Policy
  /** Nobody has to say who they are. */
  readonly isOpen: boolean
  readonly audit: AuditLog | null
  /** Who they are now, with the rights of now; null: what they have shown no longer counts. */
  current(visitor: Visitor): Subject | null
  /** A refusal is about to be told. @returns false if it is one of too many of its kind to be recorded. */
  refused(visitor: Visitor): boolean
}

/** Not recorded when it is allowed: asked again and again. */
const QUIET: ReadonlySet<Action> = new Set([
  'port.list',
  'port.show',
  'port.events',
  'console.who',
  'appliance.read',
  'metrics.read',
])

export const AUTHENTICATE = { 'www-authenticate': 'Bearer realm="vspc"' } as const

export interface VisitorInit {
  readonly subject: Subject
  readonly from: string
  readonly address: string
  readonly until?: number | null
  readonly stands?: () => boolean
}

export class Visitor {
  /** Who they were when they came. */
  readonly subject: Subject
  /** Where from; for the audit log, and shown to others where nobody is known by name. */
  readonly from: string
  readonly address: string
  /** What they have shown ends then, milliseconds since 1970; null: not on its own. */
  readonly until: number | null
  /** What said who they are still counts: their proxy is trusted, the CA of their certificate is the same. */
  readonly stands: () => boolean
  readonly #deciding: Deciding

  constructor(deciding: Deciding, init: VisitorInit) {
    this.#deciding = deciding
    this.subject = init.subject
    this.from = init.from
    this.address = init.address
    this.until = init.until ?? null
    this.stands = init.stands ?? (() => true)
  }

  /** For others to see: the name, or where from. */
  get who(): string {
    return this.subject.user ?? this.from
  }

  /** Nothing needs to be hidden from them. */
  get seesAll(): boolean {
    return this.may('port.list', null)
  }

  get isAnonymous(): boolean {
    return this.subject === ANONYMOUS
  }

  /** What they have shown still counts. */
  get counts(): boolean {
    return this.#deciding.current(this) !== null
  }

  /** Without a record. @param port null: about the server, or all ports. */
  may(action: Action, port: PortFacts | null): boolean {
    if (this.#deciding.isOpen) return true
    const subject = this.#deciding.current(this)
    return subject !== null && allowed(this.#deciding.policy, subject, action, port)
  }

  /** May they do anything anywhere? */
  get mayNothing(): boolean {
    const { isOpen, policy } = this.#deciding
    if (isOpen) return false
    if (!this.isAnonymous) return false
    return !policy.rules.some(({ who }) => who.some(({ kind }) => kind === 'anyone'))
  }

  capabilities(port: PortFacts | null): Capability[] {
    const subject = this.#deciding.current(this)
    return subject === null ? [] : capabilitiesOn(this.#deciding.policy, subject, port)
  }

  /**
   * Decides and records.
   * @param detail for the audit log. @throws ProblemError VSPC_ACCESS_DENIED, VSPC_ACCESS_LOGIN.
   */
  check(action: Action, port: PortFacts | null, detail?: string): void {
    const deciding = this.#deciding
    if (this.may(action, port)) {
      if (!QUIET.has(action)) this.record(action, port, true, detail)
      return
    }
    const { needs } = decide(deciding.policy, this.subject, action, port)
    const gone = !this.counts
    const reason = gone ? 'what was shown no longer counts' : `needs "${needs}"`
    if (deciding.refused(this)) this.record(action, port, false, detail === undefined ? reason : `${reason}: ${detail}`)
    if (this.isAnonymous) throw mustLogIn()
    if (gone) throw new ProblemError(401, 'VSPC_ACCESS_LOGIN', 'what you have shown no longer counts', AUTHENTICATE)
    const where = ACTIONS[action].about === 'server' || port === null ? 'all ports ("*")' : 'this port'
    throw new ProblemError(
      403,
      'VSPC_ACCESS_DENIED',
      `${this.who} may not do this (${action}): it takes the right "${needs}" on ${where}`,
    )
  }

  record(action: string, port: PortFacts | null, isAllowed: boolean, reason?: string): void {
    const { subject, from } = this
    const entry: AuditEntry = {
      who: subject.user,
      via: subject.via,
      from,
      action,
      port: port?.id ?? null,
      allowed: isAllowed,
    }
    this.#deciding.audit?.record({
      ...entry,
      ...(port === null || port.name === '' ? {} : { name: port.name }),
      ...(reason === undefined ? {} : { reason }),
    })
  }

  /** For a console of theirs at `port`: asked at each action, as the port is named then. */
  permit(port: Port): ConsolePermit {
    return new PortPermit(this, port)
  }

  /** How a console of theirs is attached. */
  introduction(port: Port): { readonly who: string; readonly address?: string; readonly permit: ConsolePermit } {
    const { who, from } = this
    return { who, ...(who === from ? {} : { address: from }), permit: this.permit(port) }
  }
}

/** Actions of consoles are those of the policy without their prefix. */
class PortPermit implements ConsolePermit {
  readonly #visitor: Visitor
  readonly #port: Port

  constructor(visitor: Visitor, port: Port) {
    this.#visitor = visitor
    this.#port = port
  }

  check(action: ConsoleAction, detail?: string): void {
    this.#visitor.check(`console.${action}`, factsOf(this.#port), detail)
  }

  may(action: ConsoleAction): boolean {
    return this.#visitor.may(`console.${action}`, factsOf(this.#port))
  }
}

export function mustLogIn(): ProblemError {
  return new ProblemError(
    401,
    'VSPC_ACCESS_LOGIN',
    'this server wants to know who you are: send "Authorization: Bearer" and a token (made by "vspc token add")',
    AUTHENTICATE,
  )
}

/** What rules go by. */
export function factsOf(port: Port): PortFacts {
  return {
    id: port.id,
    name: port.name,
    uuid: port.vcUuid ?? port.biosUuid,
    host: port.lastSession?.peer.address ?? null,
  }
}

export function factsOfInfo({ id, vm, host }: PortInfo): PortFacts {
  return { id, name: vm.name, uuid: vm.uuid, host }
}

/** A failure of {@link Visitor.check}, and not of the program. */
export function isRefusal(error: unknown): error is VspcError {
  return error instanceof VspcError && (error.code === 'VSPC_ACCESS_DENIED' || error.code === 'VSPC_ACCESS_LOGIN')
}
