/**
 * Following properties of objects through everything: a property collector of its own on the server (one shared by two
 * watches gives each a part of the news), long polls, and a new beginning after a lost session or a restarted server.
 */
import { errorMessage, pause, VspcError } from '../base/index.ts'
import { leaf, type ManagedRef, node, refKey, requireRef } from './element.ts'
import { VsphereFault } from './faults.ts'
import { createView, forget } from './properties.ts'
import type { VsphereSession } from './session.ts'
import { type ObjectUpdate, propertySpec, readUpdates } from './specs.ts'

export interface WatchQuery {
  readonly type: string
  readonly properties: readonly string[]
  /** These objects; default: all of the type `below` a folder. */
  readonly objects?: readonly ManagedRef[]
  readonly below?: ManagedRef
  /** In one answer; default: `limits.pageObjects`. Fewer where properties may be large. */
  readonly maxObjects?: number
}

export interface WatchOptions {
  /** Aborting ends the iteration by throwing the signal's reason. */
  readonly signal?: AbortSignal
  /** The server was not reached, or has forgotten us: the watch goes on by itself. `retryMs`: until the next attempt. */
  readonly onTrouble?: (error: unknown, retryMs: number) => void
  /** For the spread of pauses; default Math.random. */
  readonly random?: () => number
}

export interface News {
  /** From here on everything is told anew: what was known before and is not told again is gone. */
  readonly restarted: boolean
  /** More follows at once. While it does, what is known is not yet complete. */
  readonly truncated: boolean
  readonly updates: readonly ObjectUpdate[]
}

/** After which the watch begins anew instead of ending. */
const PASSING = new Set([
  'VSPC_VSPHERE_UNREACHABLE',
  'VSPC_VSPHERE_ANSWER',
  'VSPC_VSPHERE_SESSION',
  'VSPC_TRANSPORT_DIAL',
  'VSPC_TRANSPORT_DIAL_TIMEOUT',
  'VSPC_TLS_HANDSHAKE',
  'VSPC_VSPHERE_BUSY',
])

/** What a poll is told whose server no longer knows how far we were, or has ended session or collector. [doc] */
const FORGOTTEN = new Set(['InvalidCollectorVersion', 'RequestCanceled'])

/** How long the poll may be over time before it is given up. */
const POLL_GRACE_MS = 10_000

/**
 * News as it comes. The first one, and the first after every new beginning, has `restarted`. It may be a `modify` that
 * repeats a known value: compare. One of `objects` that is not there is told as `leave`. Ends only by an error that time
 * does not heal, or the signal.
 * @throws VspcError such as VSPC_VSPHERE_LOGIN, VSPC_VSPHERE_PERMISSION, VSPC_TLS_PIN_MISMATCH, VSPC_VSPHERE_NOT_FOUND;
 * the signal's reason.
 */
export async function* watch(
  session: VsphereSession,
  query: WatchQuery,
  options: WatchOptions = {},
): AsyncGenerator<News, never, undefined> {
  const { onTrouble = () => {}, random = Math.random } = options
  const signal = options.signal ? AbortSignal.any([options.signal, session.closing]) : session.closing
  const { retryMinMs, retryMaxMs } = session.limits
  let pauseMs = retryMinMs
  for (;;) {
    let toldAt: number | null = null
    try {
      for await (const news of watchOnce(session, query, signal)) {
        toldAt ??= session.clock.now()
        yield news
      }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof VspcError) || !PASSING.has(error.code)) throw error
      // One that breaks off after its first news each time is no better than one that cannot be begun.
      if (toldAt !== null && session.clock.now() - toldAt > retryMaxMs) pauseMs = retryMinMs
      // Half of it by chance, so that all watchers do not come back at the same moment.
      const retryMs = Math.round(pauseMs * (0.5 + random() / 2))
      session.log.debug({ reason: errorMessage(error), retryMs }, 'vSphere watch begins anew')
      onTrouble(error, retryMs)
      pauseMs = Math.min(retryMaxMs, pauseMs * 2)
      await pause(session.clock, retryMs, signal)
    }
  }
}

/** From the beginning until the session is renewed (then it ends) or something fails. */
async function* watchOnce(
  session: VsphereSession,
  query: WatchQuery,
  outer: AbortSignal,
): AsyncGenerator<News, void, undefined> {
  const renewed = new AbortController()
  const off = session.onRenewed(() => renewed.abort(sessionLost()))
  const signal = AbortSignal.any([outer, renewed.signal])
  const made: { ref: ManagedRef; method: string }[] = []
  try {
    const collector = await createCollector(session, signal)
    made.push({ ref: collector, method: 'DestroyPropertyCollector' })
    let view: ManagedRef | undefined
    if (query.objects === undefined) {
      view = await createView(session, query.type, { signal, ...(query.below ? { below: query.below } : {}) })
      made.push({ ref: view, method: 'DestroyView' })
    }
    const { type, properties, objects } = query
    const spec = propertySpec({ type, properties, ...(objects ? { objects } : {}), ...(view ? { view } : {}) })
    await session.call(collector, 'CreateFilter', [spec('spec'), leaf('partialUpdates', false)], {
      signal,
      bound: true,
    })
    const page = query.maxObjects ?? session.limits.pageObjects
    yield* poll(session, collector, new Map((objects ?? []).map((ref) => [refKey(ref), ref])), page, signal)
  } catch (error) {
    // A reason of ours; whoever iterates has to begin anew, not to end.
    if (renewed.signal.aborted && !outer.aborted) throw sessionLost()
    throw error
  } finally {
    off()
    // Removing the collector also ends the poll that waits there.
    // Not waited for: the server may be the one that does not answer.
    if (!renewed.signal.aborted) for (const { ref, method } of made) void forget(session, ref, method)
  }
}

async function createCollector(session: VsphereSession, signal: AbortSignal): Promise<ManagedRef> {
  const response = await session.call(session.content.propertyCollector, 'CreatePropertyCollector', [], { signal })
  return requireRef(response, 'returnval')
}

async function* poll(
  session: VsphereSession,
  collector: ManagedRef,
  awaited: Map<string, ManagedRef>,
  page: number,
  signal: AbortSignal,
): AsyncGenerator<News, void, undefined> {
  const { maxWaitMs, requestMs } = session.limits
  const waitS = Math.max(1, Math.round(maxWaitMs / 1_000))
  const wait = node('options', [leaf('maxWaitSeconds', waitS), leaf('maxObjectUpdates', page)])
  let version = ''
  let restarted = true
  for (;;) {
    const response = await session
      .call(collector, 'WaitForUpdatesEx', [leaf('version', version), wait], {
        signal,
        bound: true,
        timeoutMs: waitS * 1_000 + Math.min(POLL_GRACE_MS, requestMs),
      })
      .catch((error: unknown) => {
        throw error instanceof VsphereFault && FORGOTTEN.has(error.fault) ? sessionLost() : error
      })
    const set = readUpdates(response)
    if (set === null) continue
    version = set.version
    for (const { ref } of set.updates) awaited.delete(refKey(ref))
    const updates = [...set.updates]
    if (!set.truncated) {
      // Not every server says that an object is missing.
      for (const ref of awaited.values()) updates.push({ ref, kind: 'leave', changes: new Map(), missing: new Map() })
      awaited.clear()
    }
    yield { restarted, truncated: set.truncated, updates }
    restarted = false
  }
}

function sessionLost(): VspcError {
  return new VspcError('VSPC_VSPHERE_SESSION', 'the vSphere session was renewed, or its watch forgotten')
}
