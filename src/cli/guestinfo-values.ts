/** Keys and values of `vspc guestinfo`: from its arguments, to its output. */
import { cleanText, VspcError } from '../base/index.ts'
import type { GuestChange } from '../guestinfo/index.ts'
import { cleanMessage, printData, printNote } from './output.ts'
import type { VsphereFlags } from './vsphere-options.ts'

export interface GuestinfoFlags extends VsphereFlags {
  tool?: string
  json?: true
  raw?: true
  /** Milliseconds; infinite for `--wait` alone. */
  wait?: number
  stdin?: string
  prepare?: true
  remove?: true
  /** Name of a process; empty for any. */
  untilExit?: string
  timeout?: number
}

/** What a `set` was told to do. */
export interface Wishes {
  readonly values: ReadonlyMap<string, string>
  /** Keys without value: for `--prepare` and `--remove`. */
  readonly keys: readonly string[]
}

/** @throws VspcError VSPC_USAGE, VSPC_GUESTINFO_TOO_LONG. */
export async function readWishes(args: readonly string[], flags: GuestinfoFlags): Promise<Wishes> {
  const takesKeys = flags.prepare === true || flags.remove === true
  const keys = takesKeys ? args.filter((arg) => !arg.includes('=')) : []
  const pairs = args.filter((arg) => !takesKeys || arg.includes('=')).map(parsePair)
  const values = new Map(pairs)
  const all = [...keys, ...pairs.map(([key]) => key), ...(flags.stdin === undefined ? [] : [flags.stdin])]
  if (new Set(all).size < all.length) throw new VspcError('VSPC_USAGE', 'a key is given twice')
  if (all.length === 0) throw new VspcError('VSPC_USAGE', 'nothing to set: give KEY=VALUE, or --stdin KEY')
  if (takesKeys && keys.length === 0) throw new VspcError('VSPC_USAGE', 'give the keys, without values')
  if (flags.stdin !== undefined) values.set(flags.stdin, await readInput())
  return { values, keys }
}

/** @throws VspcError VSPC_GUESTINFO_NO_VALUE, after printing the others. */
export function printValues(values: ReadonlyMap<string, string | null>, flags: GuestinfoFlags, alone: boolean): void {
  if (flags.json === true) {
    printData(`${JSON.stringify(Object.fromEntries(values), null, 2)}\n`)
  } else {
    for (const [key, value] of values) {
      if (value !== null) printData(alone ? `${shown(value)}\n` : `${shownKey(key)}=${shown(value)}\n`)
    }
  }
  const missing = [...values].filter(([, value]) => value === null).map(([key]) => key)
  if (missing.length > 0) throw new VspcError('VSPC_GUESTINFO_NO_VALUE', `${missing.join(', ')}: no value`)
}

export function printChanges(changes: readonly GuestChange[], flags: GuestinfoFlags): void {
  const line = (change: GuestChange): string => (flags.json === true ? JSON.stringify(change) : changeLine(change))
  printData(changes.map((change) => `${line(change)}\n`).join(''))
}

/** One line each, for people; `--json` is exact. */
function changeLine({ key, after }: GuestChange): string {
  const name = shownKey(key)
  return after === null ? `${name} has no value` : `${name}=${cleanText(after.replaceAll(/\s+/g, ' '), 100_000)}`
}

export function noteTrouble(error: VspcError): void {
  printNote(`${error.message}; trying again`)
}

export function noValueYet(keys: readonly string[], waitMs: number): VspcError {
  return new VspcError('VSPC_WAIT_TIMEOUT', `${keys.join(', ')}: no value yet; gave up after ${waitMs / 1_000} s`)
}

/** A guest gives its keys what names it likes: none may look like another line, or speak to a terminal. */
function shownKey(key: string): string {
  return cleanText(key, 1_000)
}

/** Values come from whoever may edit the VM. */
function shown(value: string): string {
  return process.stdout.isTTY ? cleanMessage(value) : value
}

function parsePair(text: string): [key: string, value: string] {
  const equals = text.indexOf('=')
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)]
  const hint = 'give KEY=VALUE (a VM is named first, and only together with --vsphere or VSPC_VSPHERE_URL)'
  throw new VspcError('VSPC_USAGE', `"${cleanText(text)}" is not KEY=VALUE: ${hint}`)
}

/** Standard input as UTF-8, without the line feed at its end. More than a message has room for is not read. */
async function readInput(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > 65_536) throw new VspcError('VSPC_GUESTINFO_TOO_LONG', 'standard input has more than 64 KiB')
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
}
