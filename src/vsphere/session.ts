/** One session with a vSphere API: login, the calls, and a new login when the server has forgotten the old one. */
import { setMaxListeners } from 'node:events'
import {
  type Clock,
  errorMessage,
  type Logger,
  RemoteProtocolError,
  silentLogger,
  systemClock,
  type Timer,
  VspcError,
} from '../base/index.ts'
import type { Endpoint } from '../transport/index.ts'
import { SoapChannel } from './channel.ts'
import { childOf, type Element, leaf, type ManagedRef, node, textOf } from './element.ts'
import { faultError, VsphereFault } from './faults.ts'
import { type VsphereLimits, vsphereLimits } from './limits.ts'
import { LoginGuard } from './login-guard.ts'
import { type About, readServiceContent, SERVICE_INSTANCE, type ServiceContent } from './service-content.ts'
import { encodeCall, readAnswer } from './soap.ts'
import { propertySpec } from './specs.ts'
import { TaskWaiter } from './tasks.ts'
import { parseVsphereUrl } from './url.ts'

export interface ConnectOptions {
  /** `https://HOST[:PORT]/sdk`. */
  readonly url: string
  readonly user: string
  /** Asked at every login, so that a changed password is taken up, and not kept. */
  readonly password: () => string | Promise<string>
  /** PEM file with the CAs to trust; default: those that Node comes with. */
  readonly ca?: string | null
  /** SHA-256 of the server's certificate, 64 lower-case hex digits; then it alone decides. */
  readonly pin?: string | null
  /** What to dial instead of the URL's host. TLS is spoken with that host, end to end. */
  readonly dial?: Endpoint | null
  /** For connecting only. */
  readonly signal?: AbortSignal
  /** Shared by sessions that are opened one after another with the same user. Default: one of its own. */
  readonly guard?: LoginGuard
  readonly limits?: Partial<VsphereLimits>
  readonly clock?: Clock
  readonly log?: Logger
}

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Default: `limits.requestMs`. */
  readonly timeoutMs?: number
  /** Nothing changes on the server: the call is made once more when its connection turns out to be broken. */
  readonly repeatable?: boolean
  /** It names things that live as long as the session: after a new login it fails with VSPC_VSPHERE_SESSION. */
  readonly bound?: boolean
}

/**
 * Connects and logs in. The caller closes the session.
 * @throws VspcError VSPC_VSPHERE_*, VSPC_TRANSPORT_*, VSPC_TLS_*, or the signal's reason. No message holds the password.
 */
export async function connect(options: ConnectOptions): Promise<VsphereSession> {
  const { clock = systemClock, log = silentLogger, signal } = options
  const limits = vsphereLimits(options.limits)
  const channel = new SoapChannel({
    url: parseVsphereUrl(options.url),
    ca: options.ca ?? null,
    pin: options.pin ?? null,
    dial: options.dial ?? null,
    limits,
    clock,
  })
  try {
    const content = readServiceContent(
      await callOnce(channel, {
        self: SERVICE_INSTANCE,
        method: 'RetrieveServiceContent',
        args: [],
        cookie: null,
        timeoutMs: limits.requestMs,
        signals: signal ? [signal] : [],
      }),
    )
    const session = new VsphereSession(channel, content, { ...options, clock, log, limits })
    await session.login(signal)
    return session
  } catch (error) {
    channel.destroy()
    throw error
  }
}

interface OneCall {
  readonly self: ManagedRef
  readonly method: string
  readonly args: readonly Element[]
  readonly cookie: string | null
  readonly timeoutMs: number
  readonly signals: readonly AbortSignal[]
  readonly onCookie?: (cookie: string) => void
}

async function callOnce(channel: SoapChannel, call: OneCall): Promise<Element> {
  const { envelope, cookie } = await channel.post(encodeCall(call.self, call.method, call.args), call)
  const answer = readAnswer(envelope, call.method)
  if (answer.kind === 'fault') throw faultError(answer.fault, `${call.method} on ${call.self.value} failed`)
  if (cookie !== null) call.onCookie?.(cookie)
  return answer.result
}

type SessionOptions = ConnectOptions & { readonly clock: Clock; readonly log: Logger; readonly limits: VsphereLimits }

export class VsphereSession {
  readonly content: ServiceContent
  readonly limits: VsphereLimits
  readonly clock: Clock
  readonly log: Logger
  readonly tasks: TaskWaiter
  readonly #channel: SoapChannel
  readonly #options: SessionOptions
  readonly #closing = new AbortController()
  readonly #renewed = new Set<() => void>()
  #cookie: string | null = null
  /** Counts logins: what was bound to an older one is gone. */
  #epoch = 0
  #login: Promise<void> | null = null
  readonly #guard: LoginGuard
  #keepAlive: Timer | null = null

  /** Not logged in yet: use {@link connect}. */
  constructor(channel: SoapChannel, content: ServiceContent, options: SessionOptions) {
    this.content = content
    this.limits = options.limits
    this.clock = options.clock
    this.log = options.log
    this.#channel = channel
    this.#options = options
    this.#guard = options.guard ?? new LoginGuard(options.clock, options.limits.loginPauseMs)
    this.tasks = new TaskWaiter(this)
    // Every call of the session listens.
    setMaxListeners(0, this.closing)
  }

  get about(): About {
    return this.content.about
  }

  get url(): string {
    return this.#channel.url
  }

  /** Changes with every login. */
  get epoch(): number {
    return this.#epoch
  }

  /** Aborted when the session is being closed. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** `run` is called after every further login; whoever has things bound to the session builds them anew. */
  onRenewed(run: () => void): () => void {
    this.#renewed.add(run)
    return () => this.#renewed.delete(run)
  }

  /**
   * Calls a method of an object on the server; a session that has ended is renewed, and the call made again.
   * @returns the element `<method>Response`.
   * @throws VsphereFault for what the server refuses; VspcError VSPC_VSPHERE_*, VSPC_TRANSPORT_*, VSPC_TLS_*; the
   * signal's reason.
   */
  async call(
    self: ManagedRef,
    method: string,
    args: readonly (Element | null)[] = [],
    options: CallOptions = {},
  ): Promise<Element> {
    const signals = this.#signals(options.signal)
    const timeoutMs = options.timeoutMs ?? this.limits.requestMs
    const given = args.filter((argument) => argument !== null)
    let renewals = 0
    let repeats = 0
    for (;;) {
      for (const signal of signals) signal.throwIfAborted()
      const epoch = this.#epoch
      try {
        return await callOnce(this.#channel, { self, method, args: given, cookie: this.#cookie, timeoutMs, signals })
      } catch (error) {
        const code = error instanceof VspcError ? error.code : null
        if (code === 'VSPC_VSPHERE_SESSION') {
          if (renewals++ > 0) throw error
          await untilAborted(this.#renew(epoch), options.signal)
          if (options.bound) throw sessionLost(method)
        } else if (code === 'VSPC_VSPHERE_UNREACHABLE' && options.repeatable && repeats++ === 0) {
          this.log.debug({ method, reason: errorMessage(error) }, 'vSphere call repeated')
        } else if (options.bound && code === 'VSPC_VSPHERE_NOT_FOUND' && epoch !== this.#epoch) {
          throw sessionLost(method)
        } else {
          throw error
        }
      }
    }
  }

  /** Does the server still know this session? It is not renewed here. */
  async isActive(options: Pick<CallOptions, 'signal' | 'timeoutMs'> = {}): Promise<boolean> {
    const { sessionManager, propertyCollector } = this.content
    // SessionIsActive would need a privilege that nobody should get for this; reading one's own session needs none.
    const spec = propertySpec({ type: sessionManager.type, properties: ['currentSession'], objects: [sessionManager] })
    try {
      const answer = await callOnce(this.#channel, {
        self: propertyCollector,
        method: 'RetrievePropertiesEx',
        args: [spec('specSet'), node('options', [])],
        cookie: this.#cookie,
        timeoutMs: options.timeoutMs ?? this.limits.requestMs,
        signals: this.#signals(options.signal),
      })
      const object = childOf(childOf(answer, 'returnval'), 'objects')
      return textOf(childOf(childOf(object, 'propSet'), 'val'), 'key') !== null
    } catch (error) {
      if (error instanceof VsphereFault && error.code === 'VSPC_VSPHERE_SESSION') return false
      throw error
    }
  }

  /** Logs in (again). Calls that come together share one login. */
  login(signal?: AbortSignal): Promise<void> {
    return untilAborted(this.#renew(this.#epoch), signal)
  }

  /** Logs out, and ends every connection and call. Never fails. */
  async close(): Promise<void> {
    if (this.closing.aborted) return
    this.#keepAlive?.cancel()
    this.#closing.abort(new VspcError('VSPC_VSPHERE_SESSION', 'the session with the vSphere API has been closed'))
    const cookie = this.#cookie
    if (cookie !== null) {
      const timeoutMs = Math.min(2_000, this.limits.requestMs)
      const call = { self: this.content.sessionManager, method: 'Logout', args: [], cookie, timeoutMs, signals: [] }
      await callOnce(this.#channel, call).catch((error: unknown) => {
        this.log.debug({ reason: errorMessage(error) }, 'vSphere logout failed')
      })
    }
    this.#channel.destroy()
  }

  #signals(own: AbortSignal | undefined): AbortSignal[] {
    return own === undefined ? [this.closing] : [own, this.closing]
  }

  #renew(epoch: number): Promise<void> {
    if (epoch !== this.#epoch) return Promise.resolve()
    this.#login ??= this.#logIn().finally(() => {
      this.#login = null
    })
    return this.#login
  }

  async #logIn(): Promise<void> {
    const password = await this.#options.password()
    this.#guard.admit(password)
    try {
      let cookie: string | null = null
      await callOnce(this.#channel, {
        self: this.content.sessionManager,
        method: 'Login',
        args: [leaf('userName', this.#options.user), leaf('password', password)],
        // A forgotten session's cookie is no help.
        cookie: null,
        timeoutMs: this.limits.requestMs,
        signals: [this.closing],
        onCookie: (given) => {
          cookie = given
        },
      })
      if (cookie === null)
        throw new RemoteProtocolError('VSPC_VSPHERE_ANSWER', `${this.url}: a login without a session`)
      this.#cookie = cookie
    } catch (thrown) {
      const error = withoutSecret(thrown, password, `cannot log in to ${this.url} as ${this.#options.user}: `)
      if (error instanceof VspcError && error.code === 'VSPC_VSPHERE_LOGIN') this.#guard.refused(password, error)
      throw error
    }
    this.#guard.accepted()
    this.#epoch++
    this.#watchOver()
    if (this.#epoch > 1) this.log.info({ vsphere: this.url }, 'vSphere session renewed')
    for (const run of [...this.#renewed]) run()
  }

  /** Looks after the session while nobody else does; what it finds out is told by `onRenewed`. */
  #watchOver(): void {
    this.#keepAlive?.cancel()
    if (this.closing.aborted) return
    this.#keepAlive = this.clock.after(this.limits.keepAliveMs, () => {
      const epoch = this.#epoch
      this.isActive({ timeoutMs: Math.min(this.limits.requestMs, this.limits.keepAliveMs) })
        .then((active) => (active ? undefined : this.#renew(epoch)))
        .catch((error: unknown) => {
          this.log.debug({ vsphere: this.url, reason: errorMessage(error) }, 'vSphere session not reached')
        })
        .finally(() => this.#watchOver())
    })
  }
}

function sessionLost(method: string): VspcError {
  return new VspcError('VSPC_VSPHERE_SESSION', `${method}: the session ended meanwhile; a new one has been opened`)
}

/** A server, or what stands before it, may say back what it was sent. */
function withoutSecret(error: unknown, secret: string, doing: string): unknown {
  if (!(error instanceof VspcError)) return error
  const hide = (text: string): string => (secret === '' ? text : text.replaceAll(secret, '***'))
  // The causes are those of sockets, which have not seen the password.
  if (error instanceof VsphereFault) return new VsphereFault(error.code, hide(error.fault), hide(doing + error.message))
  const message = hide(error.message)
  return message === error.message ? error : new VspcError(error.code, message)
}

/** What is shared by several callers is not ended by one of them, only no longer waited for. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) {
      promise.catch(() => {})
      onAbort()
      return
    }
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
