import { VspcError } from '../base/index.ts'

/**
 * An offset into a port's output, in bytes; negative counts from the end.
 * @throws VspcError VSPC_USAGE naming `what`.
 */
export function parseOffset(text: string, what: string): number {
  const offset = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(offset)) {
    throw new VspcError('VSPC_USAGE', `${what}: "${text}" is no offset: give a number of bytes, negative from the end`)
  }
  return offset
}

/** @throws VspcError VSPC_USAGE naming `what`. */
export function parseCount(text: string, what: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(count)) {
    throw new VspcError('VSPC_USAGE', `${what}: "${text}" is no number of lines: give 0, 10, 500, ...`)
  }
  return count
}
