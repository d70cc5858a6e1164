/**
 * Elements of vim25's XML as data, and readers for what they hold. Pure.
 *
 * One shape for what is received and what is sent, so that a device can be echoed back whole: an edit that leaves parts
 * out erases them on the server.
 */
import { RemoteProtocolError } from '../base/index.ts'

export interface Element {
  /** Without namespace prefix. */
  readonly name: string
  /** `xsi:type` without prefix: `VirtualSerialPort`, `string`. */
  readonly type: string | null
  /** The attribute `type` of a reference to a managed object: `VirtualMachine`. */
  readonly refType: string | null
  /** Empty where there are children. */
  readonly text: string
  readonly children: readonly Element[]
}

/** A reference to an object on the server; good for as long as the object, or the session it belongs to. */
export interface ManagedRef {
  readonly type: string
  readonly value: string
}

export function refKey(ref: ManagedRef): string {
  return `${ref.type}:${ref.value}`
}

export function leaf(name: string, value: string | number | boolean, type: string | null = null): Element {
  return { name, type, refType: null, text: String(value), children: [] }
}

/** Children in the order in which the schema lists them: vCenter is strict about it. Those that are null are left out. */
export function node(name: string, children: readonly (Element | null)[], type: string | null = null): Element {
  return { name, type, refType: null, text: '', children: children.filter((child) => child !== null) }
}

export function refElement(name: string, ref: ManagedRef): Element {
  return { name, type: null, refType: ref.type, text: ref.value, children: [] }
}

export function childOf(element: Element | null | undefined, name: string): Element | null {
  return element?.children.find((child) => child.name === name) ?? null
}

/** All children of a name: one that repeats, or the items of an array. An absent one is an empty list. */
export function childrenOf(element: Element | null | undefined, name: string): Element[] {
  return element?.children.filter((child) => child.name === name) ?? []
}

export function textOf(element: Element | null | undefined, name: string): string | null {
  return childOf(element, name)?.text ?? null
}

/** XML Schema's booleans; null = absent, or none. */
export function flagOf(element: Element | null | undefined, name: string): boolean | null {
  return parseFlag(textOf(element, name))
}

export function parseFlag(text: string | null | undefined): boolean | null {
  if (text === 'true' || text === '1') return true
  return text === 'false' || text === '0' ? false : null
}

/** Null = absent, or no whole number. */
export function numberOf(element: Element | null | undefined, name: string): number | null {
  const text = textOf(element, name)
  return text !== null && /^-?\d{1,15}$/.test(text) ? Number(text) : null
}

/** The reference that an element itself is. */
export function asRef(element: Element | null | undefined): ManagedRef | null {
  return element?.refType != null && element.text !== '' ? { type: element.refType, value: element.text } : null
}

export function refOf(element: Element | null | undefined, name: string): ManagedRef | null {
  return asRef(childOf(element, name))
}

/** @throws RemoteProtocolError VSPC_VSPHERE_ANSWER when there is no such reference. */
export function requireRef(element: Element, name: string): ManagedRef {
  const ref = refOf(element, name)
  if (ref !== null) return ref
  throw new RemoteProtocolError(
    'VSPC_VSPHERE_ANSWER',
    `the answer of the vSphere API lacks a reference '${name}' in ${element.name}`,
  )
}

/** The element with one child replaced, in its place; appended where there was none. */
export function withChild(element: Element, child: Element): Element {
  const at = element.children.findIndex((one) => one.name === child.name)
  const children = at < 0 ? [...element.children, child] : element.children.with(at, child)
  return { ...element, text: '', children }
}
