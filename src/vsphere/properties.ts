/** Reading properties of many objects, page by page, and container views. */
import { VspcError } from '../base/index.ts'
import { leaf, type ManagedRef, node, refElement, requireRef } from './element.ts'
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
  return sessionBound(session, async () => {
    const found: ObjectContent[] = []
    const collector = session.content.propertyCollector
    const bound = { ...options, bound: true, repeatable: query.view === undefined }
    let response = await session.call(
      collector,
      'RetrievePropertiesEx',
      [propertySpec(query)('specSet'), node('options', [leaf('maxObjects', session.limits.pageObjects)])],
      { ...bound, bound: query.view !== undefined },
    )
    for (;;) {
      const { objects, token } = readRetrieved(response)
      for (const object of objects) found.push(object)
      if (token === null || token === '') return found
      response = await session.call(collector, 'ContinueRetrievePropertiesEx', [leaf('token', token)], {
        ...options,
        bound: true,
      })
    }
  })
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
    const view = await createView(session, type, options)
    try {
      return await retrieve(session, { type, properties, view }, options)
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

/** Runs `step` again, once, when a new session took the things away that it had on the server. */
async function sessionBound<T>(session: VsphereSession, step: () => Promise<T>): Promise<T> {
  const epoch = session.epoch
  try {
    return await step()
  } catch (error) {
    const code = error instanceof VspcError ? error.code : null
    const lost = code === 'VSPC_VSPHERE_SESSION' || (code === 'VSPC_VSPHERE_NOT_FOUND' && session.epoch !== epoch)
    if (lost && !session.closing.aborted) return step()
    throw error
  }
}
