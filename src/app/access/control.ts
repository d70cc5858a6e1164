/** Who comes in: everything that knows who somebody is, in one place, as the configuration has it now. */
import * as nodeFs from 'node:fs/promises'
import {
  ANONYMOUS,
  AUDIT_DEFAULTS,
  AuditLog,
  digestOf,
  FailureLimit,
  type IdentitySources,
  type IssuedTicket,
  identify,
  newSecret,
  OPEN_POLICY,
  type Policy,
  type Redeemed,
  type Subject,
  secretFault,
  TICKET_PREFIX,
  Tickets,
  TOKEN_PREFIX,
  TokenStore,
} from '../../access/index.ts'
import { type Clock, errorMessage, type Logger } from '../../base/index.ts'
import { parseTrustedSources, type TrustedSources } from '../../transport/index.ts'
import { ProblemError } from '../problem.ts'
import { Attendance } from './attendance.ts'
import type { Origin } from './origin.ts'
import type { AccessConfig, AuditConfig } from './settings.ts'
import { AUTHENTICATE, type Deciding, Visitor } from './visitor.ts'

export interface AccessOptions {
  /** Null: nobody has to show who they are. */
  readonly access: AccessConfig | null
  readonly audit: AuditConfig | null
  readonly clock: Clock
  readonly log: Logger
}

/** What a request brings that says who makes it. */
export interface Shown {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly upgrade: boolean
  readonly origin: Origin
}

/** The same complaint is logged once per this time. */
const REPEAT_LOG_MS = 60_000

/** Plain counters for metrics. */
export class AccessCounters {
  /** What was shown and does not count. */
  failures = 0
  /** Of these: answered with "too many". */
  limited = 0
  /** Known, or nobody in particular, and not allowed. */
  refused = 0
  tickets = 0
  /** Consoles and streams ended, or made readers, because a right has ended. */
  revoked = 0
}

export class AccessControl implements Deciding {
  readonly counters = new AccessCounters()
  readonly attendance: Attendance
  readonly audit: AuditLog | null
  readonly #clock: Clock
  readonly #log: Logger
  readonly #tickets: Tickets
  #config: AccessConfig | null
  #proxies: TrustedSources | null
  #authority: string | undefined = undefined
  #tokens: TokenStore | null = null
  #notedAt = Number.NEGATIVE_INFINITY
  #failures: FailureLimit
  /** Refusals of who has shown nothing: anybody can cause these, and must not be able to fill the audit log. */
  #nameless: FailureLimit

  private constructor({ access, audit, clock, log }: AccessOptions) {
    this.#clock = clock
    this.#log = log
    this.#config = access
    this.#proxies = proxiesOf(access)
    this.#failures = new FailureLimit(access?.failures)
    this.#nameless = new FailureLimit(access?.failures)
    this.#tickets = new Tickets(clock, { fresh: () => newSecret(TICKET_PREFIX), digest: digestOf })
    this.attendance = new Attendance(clock, this.counters)
    this.audit =
      audit === null
        ? null
        : new AuditLog({
            ...audit,
            path: audit.file,
            maxQueueBytes: AUDIT_DEFAULTS.maxQueueBytes,
            fs: nodeFs,
            clock,
            log,
          })
  }

  /** @throws VspcError VSPC_ACCESS_FILE; ConfigError of a broken file of tokens. */
  static async open(options: AccessOptions): Promise<AccessControl> {
    const control = new AccessControl(options)
    const { access, clock, log } = options
    if (access === null) return control
    try {
      control.#tokens = await TokenStore.open({
        path: access.tokens,
        isDefault: access.tokensIsDefault,
        roles: access.rules.roles,
        clock,
        log,
        changed: () => control.attendance.review(),
      })
    } catch (error) {
      await control.close()
      throw error
    }
    return control
  }

  // Deciding

  get isOpen(): boolean {
    return this.#config === null
  }

  get policy(): Policy {
    return this.#config?.rules.policy ?? OPEN_POLICY
  }

  get config(): AccessConfig | null {
    return this.#config
  }

  /** Tokens known now. */
  get tokens(): number {
    return this.#tokens?.size ?? 0
  }

  current({ subject, until, stands }: Visitor): Subject | null {
    if (this.#config === null) return subject
    if (!stands()) return null
    if (until !== null && this.#clock.wall() >= until) return null
    switch (subject.via) {
      case 'token':
        return this.#tokens?.current(subject) ?? null
      case 'proxy':
      case 'certificate':
      case 'anonymous':
        return subject
    }
  }

  refused(visitor: Visitor): boolean {
    this.counters.refused++
    return !visitor.isAnonymous || this.#nameless.failed(visitor.address, this.#clock.now()) === 0
  }

  // Who is it?

  /** Whose word about others counts, and what a request's connection shows. */
  get proxies(): TrustedSources | null {
    return this.#proxies
  }

  /** @throws ProblemError 401, 400; 429 where the address fails too often. */
  identify({ headers, upgrade, origin }: Shown): Visitor {
    const { address, display: from, fromTrustedProxy } = origin
    if (this.#config === null) return this.#visitor(ANONYMOUS, from, address)
    const { certificate, certificateFault } = this.#verified(origin)
    const shown = { headers, upgrade, certificate, fromTrustedProxy }
    let ends = certificate?.until ?? null
    let stands: (() => boolean) | null = null
    const identity = identify(
      shown,
      this.#sources(this.#config, ({ ownerUntil, ownerStands }) => {
        ends = ownerUntil
        stands = ownerStands
      }),
    )
    if (identity.kind === 'problem') throw this.#failed(identity.status, identity.reason, from, address)
    if (identity.notes.length > 0) this.#note(identity.notes, from)
    const { subject } = identity
    if (certificateFault !== null && subject === ANONYMOUS) {
      throw this.#failed(401, `the certificate does not count: ${certificateFault}`, from, address)
    }
    return new Visitor(this, {
      subject,
      from,
      address,
      until: subject.via === 'certificate' ? ends : null,
      stands: stands ?? this.#standing(subject, origin),
    })
  }

  /** Nobody in particular; `from` is shown to others, `address` counts for limits. */
  anonymous(from: string, address: string): Visitor {
    return this.#visitor(ANONYMOUS, from, address)
  }

  /**
   * For other ways in than HTTP: who shows this token.
   * @param from is shown to others and recorded. @returns why not, fit for the peer; no secret is in it.
   */
  authenticateToken(token: string, from: string, address: string): Visitor | string {
    if (this.#config === null) return this.#visitor(ANONYMOUS, from, address)
    try {
      return this.identify({
        headers: { authorization: secretFault(TOKEN_PREFIX, token) === null ? `Bearer ${token}` : 'Bearer -' },
        upgrade: false,
        origin: { address, display: from, fromTrustedProxy: false, certificate: null, certificateFault: null },
      })
    } catch (error) {
      if (error instanceof ProblemError) return error.message
      throw error
    }
  }

  /** Anybody can send such headers: told once in a while. */
  #note(notes: readonly string[], from: string): void {
    const now = this.#clock.now()
    if (now - this.#notedAt < REPEAT_LOG_MS) return
    this.#notedAt = now
    for (const note of notes) this.#log.warn({ peer: from }, note)
  }

  #visitor(subject: Subject, from: string, address: string): Visitor {
    return new Visitor(this, { subject, from, address })
  }

  /** A certificate that was verified by a CA that is no longer the one: the connection has outlived it. */
  #verified(origin: Origin): Pick<Origin, 'certificate' | 'certificateFault'> {
    const { certificate } = origin
    if (certificate === null || certificate.authority === this.#authority) return origin
    return { certificate: null, certificateFault: 'the CA of this server has changed: connect again' }
  }

  /** How to tell that what has said who somebody is still counts. A token is looked up instead. */
  #standing({ via }: Subject, { proxy, certificate }: Origin): () => boolean {
    const [before, authority] = [this.#config, certificate?.authority]
    if (via === 'certificate') {
      return () => this.#authority === authority && this.#config?.certificates === before?.certificates
    }
    if (via !== 'proxy') return () => true
    return () => {
      const now = this.#config?.proxies
      if (now !== before?.proxies && !isSame(now?.rules, before?.proxies?.rules)) return false
      return this.#proxies !== null && (proxy === undefined || this.#proxies.trusts(proxy, false))
    }
  }

  /** @param redeemed is told of what a ticket was given for. */
  #sources({ certificates, proxies }: AccessConfig, redeemed: (owner: Redeemed) => void): IdentitySources {
    return {
      token: (token) => this.#tokens?.find(token) ?? { kind: 'unknown' },
      ticket: (ticket) => this.#redeem(ticket, redeemed),
      certificate: certificates,
      proxy: proxies?.rules ?? null,
    }
  }

  #redeem(ticket: string, redeemed: (owner: Redeemed) => void): Subject | null {
    const found = this.#tickets.redeem(ticket)
    if (found === null) return null
    const { subject, ownerStands } = found
    if (!ownerStands()) return null
    redeemed(found)
    // Its token may have been removed since, or changed.
    return subject.credential === null ? subject : (this.#tokens?.current(subject) ?? null)
  }

  #failed(status: 400 | 401, reason: string, from: string, address: string): ProblemError {
    this.counters.failures++
    const waitMs = this.#failures.failed(address, this.#clock.now())
    if (waitMs > 0) {
      this.counters.limited++
      const seconds = String(Math.ceil(waitMs / 1000))
      const detail = `too many requests from this address have shown what does not count: the next is looked at in ${seconds} s`
      return new ProblemError(429, 'VSPC_ACCESS_FAILURES', detail, { 'retry-after': seconds })
    }
    this.#log.warn({ peer: from, reason }, 'somebody has shown what does not count')
    this.audit?.record({ who: null, via: 'anonymous', from, action: 'login', port: null, allowed: false, reason })
    return new ProblemError(status, 'VSPC_ACCESS_LOGIN', reason, status === 401 ? AUTHENTICATE : {})
  }

  // Tickets

  /** @throws ProblemError 503 when too many are out. */
  ticket(visitor: Visitor): IssuedTicket {
    const issued = this.#tickets.issue(visitor.subject, visitor.until, visitor.stands)
    // One for nobody gives nothing, and anybody can ask for any number: they must not be able to fill the audit log.
    if (!visitor.isAnonymous) visitor.record('ticket', null, issued !== null)
    if (issued === null) {
      throw new ProblemError(503, 'VSPC_ACCESS_FAILURES', 'too many tickets are out: try again in half a minute', {
        'retry-after': '30',
      })
    }
    this.counters.tickets++
    return issued
  }

  // Life

  /** Takes over rules, roles, proxies and limits; whoever is here is looked at again. */
  reload(access: AccessConfig | null): void {
    // Whether anybody is asked at all needs a restart; see reload.ts.
    if (access === null || this.#config === null) return
    const limitsDiffer = JSON.stringify(access.failures) !== JSON.stringify(this.#config.failures)
    // What is the same stays the same object: that is how it is told whether somebody's proof still counts.
    const { certificates, proxies } = this.#config
    this.#config = {
      ...access,
      certificates: isSame(access.certificates, certificates) ? certificates : access.certificates,
      proxies: isSame(access.proxies, proxies) ? proxies : access.proxies,
    }
    this.#proxies = proxiesOf(access)
    if (limitsDiffer) {
      this.#failures = new FailureLimit(access.failures)
      this.#nameless = new FailureLimit(access.failures)
    }
    this.#tokens?.setRoles(access.rules.roles)
    void this.#tokens?.refresh()
    this.attendance.review()
  }

  /**
   * Certificates of clients are verified by this CA from now on: who is here by one that another has verified has to come
   * again. @param authority undefined: none is asked for.
   */
  useAuthority(authority: string | undefined): void {
    if (authority === this.#authority) return
    this.#authority = authority
    this.attendance.review()
  }

  /** Never rejects. */
  async close(): Promise<void> {
    this.attendance.close()
    try {
      await this.#tokens?.close()
    } catch (error) {
      this.#log.error({ error: errorMessage(error) }, 'while closing the tokens')
    }
    await this.audit?.close()
  }
}

function isSame(one: object | null | undefined, other: object | null | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function proxiesOf(access: AccessConfig | null): TrustedSources | null {
  return access === null || access.proxies === null ? null : parseTrustedSources(access.proxies.trusted)
}
