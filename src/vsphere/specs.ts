/** What to read and from which objects, as the property collector wants to be told; and what it says back. Pure. */
import {
  asRef,
  childOf,
  childrenOf,
  type Element,
  leaf,
  type ManagedRef,
  node,
  refElement,
  refOf,
  textOf,
} from './element.ts'
import { localizedFault } from './faults.ts'

export interface PropertyQuery {
  /** `VirtualMachine`; derived types are included. */
  readonly type: string
  /** `name`, `config.hardware.device`. */
  readonly properties: readonly string[]
  /** These objects. */
  readonly objects?: readonly ManagedRef[]
  /** And all that are in this container view. */
  readonly view?: ManagedRef
}

/** A PropertyFilterSpec under the name that the call gives it. */
export function propertySpec({ type, properties, objects = [], view }: PropertyQuery): (name: string) => Element {
  const members = node(
    'selectSet',
    [leaf('name', 'members'), leaf('type', 'ContainerView'), leaf('path', 'view'), leaf('skip', false)],
    'TraversalSpec',
  )
  const children = [
    node('propSet', [leaf('type', type), ...properties.map((path) => leaf('pathSet', path))]),
    ...objects.map((object) => node('objectSet', [refElement('obj', object), leaf('skip', false)])),
    view === undefined ? null : node('objectSet', [refElement('obj', view), leaf('skip', true), members]),
    // One object that has been deleted must not hide all others. But a view that is gone must not look like an empty one.
    view === undefined ? leaf('reportMissingObjectsInResults', true) : null,
  ]
  return (name) => node(name, children)
}

export interface ObjectContent {
  readonly ref: ManagedRef
  /** By the path that was asked for. What is unset on the server is missing without a word. */
  readonly properties: ReadonlyMap<string, Element>
  /** Paths that could not be read, with the name of the fault: `NoPermission`. */
  readonly missing: ReadonlyMap<string, string>
}

/** Of RetrievePropertiesEx and ContinueRetrievePropertiesEx. An empty answer is no objects. */
export function readRetrieved(response: Element): { objects: ObjectContent[]; token: string | null } {
  const result = childOf(response, 'returnval')
  const objects: ObjectContent[] = []
  for (const element of childrenOf(result, 'objects')) {
    const ref = refOf(element, 'obj')
    if (ref === null) continue
    const properties = new Map<string, Element>()
    for (const property of childrenOf(element, 'propSet')) {
      const value = childOf(property, 'val')
      if (value !== null) properties.set(textOf(property, 'name') ?? '', value)
    }
    objects.push({ ref, properties, missing: readMissing(element) })
  }
  return { objects, token: textOf(result, 'token') }
}

export interface ObjectUpdate {
  readonly ref: ManagedRef
  /** `leave`: the object is gone, or no longer selected. */
  readonly kind: 'enter' | 'modify' | 'leave'
  /** Changed properties by path; null = no longer set. On `enter` all that are set. */
  readonly changes: ReadonlyMap<string, Element | null>
  readonly missing: ReadonlyMap<string, string>
}

export interface UpdateSet {
  readonly version: string
  /** More is there already. */
  readonly truncated: boolean
  readonly updates: readonly ObjectUpdate[]
}

/** Of WaitForUpdatesEx; null = nothing happened in the time given. */
export function readUpdates(response: Element): UpdateSet | null {
  const result = childOf(response, 'returnval')
  if (result === null) return null
  const updates: ObjectUpdate[] = []
  for (const filterSet of childrenOf(result, 'filterSet')) {
    for (const element of childrenOf(filterSet, 'objectSet')) {
      const ref = refOf(element, 'obj')
      const kind = textOf(element, 'kind')
      if (ref === null || (kind !== 'enter' && kind !== 'modify' && kind !== 'leave')) continue
      const changes = new Map<string, Element | null>()
      for (const change of childrenOf(element, 'changeSet')) {
        // The operation says 'assign' for values and for what became unset alike; the value tells.
        changes.set(textOf(change, 'name') ?? '', childOf(change, 'val'))
      }
      updates.push({ ref, kind, changes, missing: readMissing(element) })
    }
    for (const element of childrenOf(filterSet, 'missingSet')) {
      const ref = refOf(element, 'obj')
      if (ref !== null) updates.push({ ref, kind: 'leave', changes: new Map(), missing: new Map() })
    }
  }
  return { version: textOf(result, 'version') ?? '', truncated: textOf(result, 'truncated') === 'true', updates }
}

function readMissing(element: Element): Map<string, string> {
  const missing = new Map<string, string>()
  for (const one of childrenOf(element, 'missingSet')) {
    missing.set(textOf(one, 'path') ?? '', localizedFault(childOf(one, 'fault'))?.name ?? 'unknown')
  }
  return missing
}

/** The references of an `ArrayOfManagedObjectReference`. */
export function readRefs(element: Element | null): ManagedRef[] {
  return (element?.children ?? []).map(asRef).filter((ref) => ref !== null)
}
