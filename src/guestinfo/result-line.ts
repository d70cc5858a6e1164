/**
 * The file of results: JSON lines, each one thing that was seen, or how far what was seen has been told.
 *
 *     {"n":7,"at":1795385700000,"vm":"564d...","vmName":"web1","type":"exit","name":"main","value":"exited code=3"}
 *     {"told":7}
 */
import { cleanText } from '../base/index.ts'
import { RESULT_TYPES, type ResultLine, recordOf } from './ledger.ts'
import { isRecordName } from './records.ts'

/** A longer line is none of ours. Names and texts of records are cut long before. */
export const MAX_LINE_BYTES = 65_536

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const KIND = { address: 'address', error: 'error', start: 'process', exit: 'process' } as const

export function formatLine({ seq, at, vm, vmName, type, name, value, corrected }: ResultLine): string {
  return `${JSON.stringify({ n: seq, at, vm, vmName, type, name, value, ...(corrected ? { corrected } : {}) })}\n`
}

export function formatTold(seq: number): string {
  return `${JSON.stringify({ told: seq })}\n`
}

/** Null: no line of ours. The file may have been edited, or damaged. */
export function parseLine(text: string): ResultLine | { readonly told: number } | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof parsed !== 'object' || parsed === null) return null
  const { n, at, vm, vmName, type, name, value, corrected, told } = parsed as Record<string, unknown>
  if (isCount(told)) return { told }
  if (!isCount(n) || n === 0 || typeof at !== 'number' || !Number.isFinite(at)) return null
  if (typeof vm !== 'string' || !UUID.test(vm) || typeof vmName !== 'string') return null
  if (typeof name !== 'string' || !isRecordName(name) || typeof value !== 'string') return null
  const known = RESULT_TYPES.find((each) => each === type)
  if (known === undefined) return null
  const kind = known === 'address-gone' || known === 'error-cleared' ? null : KIND[known]
  if (kind === null ? value !== '' : recordOf(kind, name, value) === null) return null
  return { seq: n, at, vm, vmName: cleanText(vmName), type: known, name, value, corrected: corrected === true }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
