/**
 * What a server may and may not say, judged from the items of its stream. Pure: no socket, no clock; the bytes were
 * read by this folder's own parser, which shares nothing with a codec of a server.
 */
import { formatHex } from '../../base/index.ts'
import { OPTION, SE, SUB, subName } from '../codes.ts'
import type { WireItem } from '../item.ts'
import { sameBytes, startsWith } from '../wire.ts'

export type SubItem = Extract<WireItem, { kind: 'sub' }>

/** Codes a proxy has to list in KNOWN-SUBOPTIONS-2. C15. */
const MUST_KNOW: readonly number[] = [0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 82, 83]

/** Suboptions of option 232 with one of these codes. */
export function subs(items: readonly WireItem[], ...codes: readonly number[]): SubItem[] {
  return items.filter(
    (item): item is SubItem =>
      item.kind === 'sub' && item.option === OPTION.VMWARE && item.code !== null && codes.includes(item.code),
  )
}

/** C2: an 0xFF that was not doubled ends up as a command nobody sends, or breaks a suboption. */
export function judgeEscaping(items: readonly WireItem[]): string[] {
  const faults: string[] = []
  for (const item of items) {
    if (item.kind === 'malformed') faults.push(`a suboption is broken (${item.name}): an 0xFF in it was not doubled`)
    else if (item.kind === 'command' && item.command === SE) {
      faults.push('IAC SE outside of a suboption: an 0xFF before it was not doubled')
    } else if (item.kind === 'command' && item.command < SE) {
      faults.push(`an 0xFF followed by ${item.command} was not doubled`)
    }
  }
  return faults
}

export interface BeginVerdict {
  readonly faults: readonly string[]
  readonly answer: 'goahead' | 'notnow' | 'none'
  /** What follows the sequence in GOAHEAD. */
  readonly secret: Uint8Array | null
}

/** C29, C33: the answers to one BEGIN, given all that came on its connection since. Escaping is judged apart. */
export function judgeBegin(sequence: Uint8Array, items: readonly WireItem[]): BeginVerdict {
  const answers = subs(items, SUB.VMOTION_GOAHEAD, SUB.VMOTION_NOTNOW)
  const [answer] = answers
  if (!answer) return { faults: ['no answer to BEGIN'], answer: 'none', secret: null }
  const faults: string[] = []
  if (answers.length > 1) faults.push(`${answers.length} answers to one BEGIN`)
  const echoed = startsWith(answer.payload, sequence)
  if (!echoed) {
    faults.push(
      `${answer.name} does not echo the sequence: sent ${formatHex(sequence)}, got ${hexOrNothing(answer.payload)}`,
    )
  }
  const rest = answer.payload.slice(sequence.length)
  if (answer.code === SUB.VMOTION_NOTNOW) {
    if (rest.length > 0) faults.push(`NOTNOW carries ${rest.length} bytes besides the sequence`)
    return { faults, answer: 'notnow', secret: null }
  }
  if (echoed && rest.length === 0) faults.push('GOAHEAD carries no secret')
  return { faults, answer: 'goahead', secret: echoed ? rest : null }
}

/** C32: exactly one PEER-OK, with the sequence alone. */
export function judgePeerOk(sequence: Uint8Array, items: readonly WireItem[]): string[] {
  const answers = subs(items, SUB.VMOTION_PEER_OK)
  const [answer] = answers
  if (!answer) return ['no PEER-OK for the right cookie']
  const faults: string[] = []
  if (answers.length > 1) faults.push(`${answers.length} PEER-OK for one PEER`)
  if (sameBytes(answer.payload, sequence)) return faults
  if (startsWith(answer.payload, sequence)) {
    faults.push(`PEER-OK carries ${answer.payload.length - sequence.length} bytes besides the sequence`)
  } else {
    faults.push(`PEER-OK does not echo the sequence: sent ${formatHex(sequence)}, got ${hexOrNothing(answer.payload)}`)
  }
  return faults
}

/** The right cookie was accepted, whatever else PEER-OK carries. */
export function judgeAccepted(sequence: Uint8Array, items: readonly WireItem[]): string[] {
  const accepted = subs(items, SUB.VMOTION_PEER_OK).some((answer) => startsWith(answer.payload, sequence))
  return accepted ? [] : ['no PEER-OK for the right cookie']
}

/** C15: every list complete, all the same. */
export function judgeKnown(items: readonly WireItem[]): string[] {
  const lists = subs(items, SUB.KNOWN_SUBOPTIONS_2).map((item) => item.payload)
  const [first] = lists
  if (!first) return ['no KNOWN-SUBOPTIONS-2']
  const faults: string[] = []
  const missing = MUST_KNOW.filter((code) => !first.includes(code))
  if (missing.length > 0) faults.push(`KNOWN-SUBOPTIONS-2 does not list ${missing.join(', ')}`)
  if (lists.some((list) => !sameBytes(list, first))) faults.push('KNOWN-SUBOPTIONS-2 changes from one time to the next')
  return faults
}

/** C16: what came after a suboption that no server supports. */
export function judgeUnknown(code: number, items: readonly WireItem[]): string[] {
  const answers = subs(items, SUB.UNKNOWN_SUBOPTION_RCVD_2)
  const [answer] = answers
  const what = `code ${code}`
  if (!answer) return [`${what}: no UNKNOWN-SUBOPTION-RCVD-2`]
  if (answers.length > 1) return [`${what}: ${answers.length} answers`]
  if (answer.payload.length === 1 && answer.payload[0] === code) return []
  return [
    `${what}: UNKNOWN-SUBOPTION-RCVD-2 names ${hexOrNothing(answer.payload)} instead of ${formatHex(Uint8Array.of(code))}`,
  ]
}

/** C16: UNKNOWN-SUBOPTION-RCVD-1 and -2 are never answered. */
export function judgeUnanswered(code: number, items: readonly WireItem[]): string[] {
  const [answer] = items.filter((item) => item.kind === 'sub')
  return answer ? [`${subName(code)} is answered with ${answer.name}, it must never be answered`] : []
}

/** Verbs among the items, as words: `DONT SGA`. */
export function verbs(items: readonly WireItem[]): string[] {
  return items.filter((item) => item.kind === 'verb').map((item) => item.name)
}

/** Serial bytes among the items. */
export function dataLength(items: readonly WireItem[]): number {
  return items.reduce((sum, item) => (item.kind === 'data' ? sum + item.length : sum), 0)
}

function hexOrNothing(bytes: Uint8Array): string {
  return bytes.length === 0 ? 'nothing' : formatHex(bytes.subarray(0, 40))
}
