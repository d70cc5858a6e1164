/** Reading properties of many objects, page by page, and container views. */
import { VspcError } from '../base/index.ts'
import { leaf, type ManagedRef, node, refElement, requireRef } from './element.ts'
import { VsphereFault } from './faults.ts'
import type { VsphereSession } from './session.ts'
import { type ObjectContent, type PropertyQuery, propertySpec, readRetrieved } from './specs.ts'

export interface ReadOptions {
  readonly signal?: AbortSignal
}

/**
 * Reads everything that the query names. Objects that are gone are left out; a session that ends in the middle is
 * renewed and the reading begun again.
 * @throws VspcError as {@link VsphereSession.call}; VSPC_VSPHERE_NOT_FOUND when the server reports a missing object so.
 */
export async function retrieve(
  session: VsphereSession,
  query: PropertyQuery,
  options: ReadOptions = {},
): Promise<ObjectContent[]> {
  if (query.objects?.length === 0 && query.view === undefined) return []
  return sessionBound(session, () => readAll(session, query, options, session.epoch))
}

/** @param epoch of the session that the view, if there is one, was made in. */
async function readAll(
  session: VsphereSession,
  query: PropertyQuery,
  options: ReadOptions,
  epoch: number,
): Promise<ObjectContent[]> {
  const found: ObjectContent[] = []
  const collector = session.content.propertyCollector
  const ofView = query.view !== undefined
  let response = await session.call(
    collector,
    'RetrievePropertiesEx',
    [propertySpec(query)('specSet'), node('options', [leaf('maxObjects', session.limits.pageObjects)])],
    { ...options, bound: ofView, repeatable: !ofView },
  )
  for (;;) {
    const { objects, token } = readRetrieved(response)
    const more = token !== null && token !== ''
    // Somebody else has logged in anew meanwhile: views and tokens of before mean nothing, or too little, from there on.
    if (session.epoch !== epoch && (ofView || more)) throw sessionLost()
    for (const object of objects) found.push(object)
    if (!more) return found
    response = await session.call(collector, 'ContinueRetrievePropertiesEx', [leaf('token', token)], {
      ...options,
      bound: true,
    })
  }
}

/** One object; null when it is gone. */
export async function retrieveOne(
  session: VsphereSession,
  ref: ManagedRef,
  properties: readonly string[],
  options: ReadOptions = {},
): Promise<ObjectContent | null> {
  try {
    const objects = await retrieve(session, { type: ref.type, properties, objects: [ref] }, options)
    return objects[0] ?? null
  } catch (error) {
    if (error instanceof VspcError && error.code === 'VSPC_VSPHERE_NOT_FOUND') return null
    throw error
  }
}

/** All objects of a type below a folder (default: all there are), with these properties. */
export function list(
  session: VsphereSession,
  type: string,
  properties: readonly string[],
  options: ReadOptions & { readonly below?: ManagedRef } = {},
): Promise<ObjectContent[]> {
  return sessionBound(session, async () => {
    const { epoch } = session
    const view = await createView(session, type, options)
    try {
      return await readAll(session, { type, properties, view }, options, epoch)
    } finally {
      await forget(session, view, 'DestroyView')
    }
  })
}

/** A view lives as long as the session, or until `forget(session, view, 'DestroyView')`. */
export async function createView(
  session: VsphereSession,
  type: string,
  options: ReadOptions & { readonly below?: ManagedRef } = {},
): Promise<ManagedRef> {
  const { viewManager, rootFolder } = session.content
  const response = await session.call(
    viewManager,
    'CreateContainerView',
    [refElement('container', options.below ?? rootFolder), leaf('type', type), leaf('recursive', true)],
    options.signal ? { signal: options.signal } : {},
  )
  return requireRef(response, 'returnval')
}

/** Removes something of ours from the server. Where that fails the end of the session will do it. */
export async function forget(session: VsphereSession, ref: ManagedRef, method: string): Promise<void> {
  if (session.closing.aborted) return
  try {
    await session.call(ref, method, [], { bound: true, timeoutMs: Math.min(5_000, session.limits.requestMs) })
  } catch (error) {
    session.log.debug({ method, object: ref.value, reason: String(error) }, 'vSphere object not removed')
  }
}

const MOST_BEGINNINGS = 3

/** Runs `step` again when a new session took the things away that it had on the server. */
async function sessionBound<T>(session: VsphereSession, step: () => Promise<T>): Promise<T> {
  for (let beginnings = 1; ; beginnings++) {
    const { epoch } = session
    try {
      return await step()
    } catch (error) {
      const code = error instanceof VspcError ? error.code : null
      // As a fault of the server it came twice, with a new login between.
      const renewed = code === 'VSPC_VSPHERE_SESSION' && !(error instanceof VsphereFault)
      const lost = renewed || (session.epoch !== epoch && ABOUT_THINGS.has(code))
      if (!lost || session.closing.aborted || beginnings === MOST_BEGINNINGS) throw error
    }
  }
}

/** What a server says of things that were another session's. */
const ABOUT_THINGS = new Set<string | null>(['VSPC_VSPHERE_NOT_FOUND', 'VSPC_VSPHERE_FAULT'])

function sessionLost(): VspcError {
  return new VspcError('VSPC_VSPHERE_SESSION', 'the vSphere session was renewed in the middle of a reading')
}
