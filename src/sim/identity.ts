import { SUB } from './codes.ts'
import { toBytes } from './wire.ts'

/**
 * How one identity question is answered. Bare text or bytes: at once when asked. `how: silent`: never; `unknown`:
 * UNKNOWN-SUBOPTION-RCVD-1. `volunteer` sends it right after DO-PROXY or PEER as well, unasked.
 */
export type IdentityAnswer =
  | string
  | Uint8Array
  | { readonly value: string | Uint8Array; readonly delayMs?: number; readonly volunteer?: boolean }
  | { readonly value: null; readonly how: 'silent' | 'unknown' }

/** What a VM says about itself. UUIDs in any text form; they go out as given, so broken ones can be sent too. */
export interface SimIdentity {
  readonly vcUuid?: IdentityAnswer
  readonly name?: IdentityAnswer
  readonly biosUuid?: IdentityAnswer
  readonly locationUuid?: IdentityAnswer
}

export interface PlannedAnswer {
  /** The code to answer with, UNKNOWN-SUBOPTION-RCVD-1 included. */
  readonly code: number
  readonly payload: Uint8Array
  readonly delayMs: number
  readonly volunteer: boolean
}

/** The questions in the order in which a VM lists their codes. */
export const IDENTITY_QUESTIONS: readonly number[] = [
  SUB.GET_VM_VC_UUID,
  SUB.GET_VM_BIOS_UUID,
  SUB.GET_VM_LOCATION_UUID,
  SUB.GET_VM_NAME,
]

/** The answer to a GET-VM-* code; null = silence. Items not configured are answered as "unknown". */
export function planAnswer(identity: SimIdentity, question: number): PlannedAnswer | null {
  const answer = answerFor(identity, question)
  const unknown = {
    code: SUB.UNKNOWN_SUBOPTION_RCVD_1,
    payload: Uint8Array.of(question),
    delayMs: 0,
    volunteer: false,
  }
  if (answer === undefined) return unknown
  if (typeof answer === 'string' || answer instanceof Uint8Array) {
    return { code: question - 1, payload: toBytes(answer), delayMs: 0, volunteer: false }
  }
  if (answer.value === null) return answer.how === 'unknown' ? unknown : null
  return {
    code: question - 1,
    payload: toBytes(answer.value),
    delayMs: answer.delayMs ?? 0,
    volunteer: answer.volunteer ?? false,
  }
}

export function isIdentityQuestion(code: number): boolean {
  return IDENTITY_QUESTIONS.includes(code)
}

function answerFor(identity: SimIdentity, question: number): IdentityAnswer | undefined {
  switch (question) {
    case SUB.GET_VM_VC_UUID:
      return identity.vcUuid
    case SUB.GET_VM_NAME:
      return identity.name
    case SUB.GET_VM_BIOS_UUID:
      return identity.biosUuid
    case SUB.GET_VM_LOCATION_UUID:
      return identity.locationUuid
    default:
      return undefined
  }
}

/** ESX's spelling: hex pairs, spaces, one dash in the middle: `01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00`. */
export function formatEsxUuid(bytes: Uint8Array): string {
  const pairs = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0'))
  return `${pairs.slice(0, 8).join(' ')}-${pairs.slice(8).join(' ')}`
}

/** `01234567-89ab-cdef-fedc-ba9800000000` of any text with 32 hex digits, as `vspc ports` shows it. */
export function canonicalUuid(text: string): string {
  const digits = text.replace(/[^0-9a-fA-F]/g, '').toLowerCase()
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/**
 * UUIDs of simulated VM `index` (from 0): the same for the same seed, distinct for all indexes and kinds. `host` enters
 * the location UUID only, which on real hosts changes when the VM moves.
 */
export function simUuid(kind: 'vc' | 'bios' | 'location', seed: number, index: number, host = 0): string {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  // "vspc" in ASCII, so that a simulated VM is recognizable as one.
  view.setUint32(0, 0x76737063)
  view.setUint16(4, kind === 'vc' ? 0x5001 : kind === 'bios' ? 0x4202 : 0x5603)
  view.setUint16(6, host & 0xffff)
  view.setUint32(8, seed >>> 0)
  view.setUint32(12, index >>> 0)
  return formatEsxUuid(bytes)
}

/** `vm-0001` for index 0. */
export function simVmName(index: number): string {
  return `vm-${String(index + 1).padStart(4, '0')}`
}

/** A whole identity that depends on the VM's name only, but for the location UUID, which depends on its host too. */
export function namedIdentity(name: string, hostName: string): SimIdentity {
  const index = hashName(name)
  return {
    vcUuid: simUuid('vc', 0, index),
    name,
    biosUuid: simUuid('bios', 0, index),
    locationUuid: simUuid('location', 0, index, hashName(hostName)),
  }
}

/** FNV-1a, so that a name always means the same UUID. */
export function hashName(text: string): number {
  let value = 0x811c9dc5
  for (const byte of toBytes(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0
  return value
}
