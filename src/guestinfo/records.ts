/**
 * What VMs publish about themselves, as records: assigned addresses, errors of components, how processes start and end.
 *
 * Our own scheme has one key per record, so that a record changes at once or not at all and costs one call, and values
 * that a shell script can write:
 *
 *     guestinfo.vspc.address.NETWORK      10.0.0.7/24 gateway=10.0.0.1 dns=10.0.0.2,10.0.0.3
 *     guestinfo.vspc.error.COMPONENT      text; <nil> or no key: no error
 *     guestinfo.vspc.process.ID           running started=1795385613
 *                                         exited code=3 started=1795385613 stopped=1795385700
 *                                         failed code=127 stopped=1795385700 error=text, up to the end
 *
 * Everything a VM says is untrusted: names are of a small alphabet, texts cleaned and cut, numbers in range.
 */
import { cleanText } from '../base/index.ts'
import { cleanIp, parseIp } from './ip.ts'
import { GUEST_PREFIX } from './keys.ts'
import { decodeValue, encodeValue, NIL } from './values.ts'

export interface AddressRecord {
  readonly kind: 'address'
  /** Of the network or the interface in the VM. */
  readonly name: string
  /** IPv4 or IPv6 in its one spelling, without zone; never the unspecified one. */
  readonly address: string
  /** Bits, null when the VM does not say. */
  readonly prefix: number | null
  readonly gateway: string | null
  /** At most {@link MAX_DNS}. */
  readonly dns: readonly string[]
}

export interface ErrorRecord {
  readonly kind: 'error'
  /** Of the component. */
  readonly name: string
  /** One line, not empty. */
  readonly text: string
}

export interface ProcessRecord {
  readonly kind: 'process'
  /** The process's id. */
  readonly name: string
  /** `failed` = never started. */
  readonly state: 'running' | 'exited' | 'failed'
  /** Exit status; null while running, and when the VM does not say. */
  readonly exitCode: number | null
  /** Unix seconds, null when the VM does not say. */
  readonly startedSeconds: number | null
  readonly stoppedSeconds: number | null
  /** Why it failed: one line; null unless `failed`. */
  readonly error: string | null
}

export type GuestRecord = AddressRecord | ErrorRecord | ProcessRecord

export const MAX_DNS = 8
export const MAX_TEXT = 1_000
const MAX_SECONDS = 253_402_300_799
const RECORD_PREFIX = `${GUEST_PREFIX}vspc.`
const KINDS = ['address', 'error', 'process'] as const satisfies readonly GuestRecord['kind'][]
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/

/** Whether networks, components and processes may be called so; dots, but no slashes: guests could not write them. */
export function isRecordName(name: string): boolean {
  return NAME.test(name)
}

/** Kind and name of a record's key; null for other keys. */
export function parseRecordKey(key: string): Pick<GuestRecord, 'kind' | 'name'> | null {
  if (!key.startsWith(RECORD_PREFIX)) return null
  const rest = key.slice(RECORD_PREFIX.length)
  const kind = KINDS.find((each) => rest.startsWith(`${each}.`))
  if (kind === undefined) return null
  const name = rest.slice(kind.length + 1)
  return isRecordName(name) ? { kind, name } : null
}

/** @param name one that {@link isRecordName} accepts. */
export function recordKey({ kind, name }: Pick<GuestRecord, 'kind' | 'name'>): string {
  return `${RECORD_PREFIX}${kind}.${name}`
}

/**
 * Key and value that publish a record; the value is encoded. Texts are cleaned as they are when read.
 * @param record whose name {@link isRecordName} accepts.
 */
export function formatRecord(record: GuestRecord): [key: string, value: string] {
  return [recordKey(record), encodeValue(formatText(record))]
}

/** What to write before the VM is switched on: keys that are made later vanish at power-off. [doc: vmware/vic#1337] */
export function emptyRecord(record: Pick<GuestRecord, 'kind' | 'name'>): [key: string, value: string] {
  return [recordKey(record), NIL]
}

/**
 * The record of a key and value of our scheme. Null: the key is of another one, or there is nothing yet (`<nil>`).
 * `'strange'`: the value is not one of that kind.
 */
export function parseRecord(key: string, value: string): GuestRecord | 'strange' | null {
  const of = parseRecordKey(key)
  if (of === null) return null
  const text = cleanLine(decodeValue(value))
  if (text === '') return null
  if (of.kind === 'address') return parseAddress(of.name, text)
  if (of.kind === 'error') return { kind: 'error', name: of.name, text }
  return parseProcess(of.name, text)
}

/** One line without control characters, at most {@link MAX_TEXT} long. */
export function cleanLine(text: string): string {
  return cleanText(text.slice(0, 4 * MAX_TEXT).replaceAll(/\s+/g, ' '), MAX_TEXT).trim()
}

/** An integer as people and shells write it; null outside of 32 bits, signed or not: Windows has both. */
export function parseExitCode(text: string | undefined): number | null {
  if (text === undefined || !/^-?\d{1,10}$/.test(text)) return null
  const code = Number(text)
  return code >= -(2 ** 31) && code < 2 ** 32 ? code + 0 : null
}

/** Unix seconds; null for none, which is also what 0 means. */
export function parseSeconds(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,12}$/.test(text)) return null
  const seconds = Number(text)
  return seconds > 0 && seconds <= MAX_SECONDS ? seconds : null
}

function formatText(record: GuestRecord): string {
  if (record.kind === 'error') return cleanLine(record.text)
  const words: string[] = []
  const add = (name: string, value: string | number | null) => {
    if (value !== null) words.push(`${name}=${value}`)
  }
  if (record.kind === 'address') {
    words.push(record.prefix === null ? record.address : `${record.address}/${record.prefix}`)
    add('gateway', record.gateway)
    add('dns', record.dns.length === 0 ? null : record.dns.slice(0, MAX_DNS).join(','))
  } else {
    words.push(record.state)
    add('code', record.exitCode)
    add('started', record.startedSeconds)
    add('stopped', record.stoppedSeconds)
    add('error', record.error === null ? null : cleanLine(record.error))
  }
  return words.join(' ')
}

function parseAddress(name: string, text: string): AddressRecord | 'strange' {
  const { first, fields } = parseWords(text)
  const [written = '', bits, ...more] = first.split('/')
  const address = cleanIp(written)
  const prefix = bits === undefined ? null : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN
  if (address === null || more.length > 0) return 'strange'
  if (prefix !== null && !(prefix <= 8 * (parseIp(address)?.length ?? 0))) return 'strange'
  const dns = (fields.get('dns') ?? '').split(',').slice(0, MAX_DNS).map(cleanIp)
  return {
    kind: 'address',
    name,
    address,
    prefix,
    gateway: cleanIp(fields.get('gateway') ?? ''),
    dns: dns.filter((each) => each !== null),
  }
}

function parseProcess(name: string, text: string): ProcessRecord | 'strange' {
  const { first, fields } = parseWords(text)
  if (first !== 'running' && first !== 'exited' && first !== 'failed') return 'strange'
  const code = fields.get('code')
  const exitCode = parseExitCode(code)
  if (code !== undefined && exitCode === null) return 'strange'
  return {
    kind: 'process',
    name,
    state: first,
    exitCode: first === 'running' ? null : exitCode,
    startedSeconds: parseSeconds(fields.get('started')),
    stoppedSeconds: first === 'running' ? null : parseSeconds(fields.get('stopped')),
    error: first === 'failed' ? (fields.get('error') ?? null) || null : null,
  }
}

/** A word, then `name=value` words in any order; what else there is does not count. `error=` takes all that follows. */
function parseWords(text: string): { first: string; fields: Map<string, string> } {
  const fields = new Map<string, string>()
  const error = /(?:^| )error=(.*)$/.exec(text)
  const [first = '', ...words] = (error ? text.slice(0, error.index) : text).split(' ')
  for (const word of words) {
    const equals = word.indexOf('=')
    if (equals > 0) fields.set(word.slice(0, equals), word.slice(equals + 1))
  }
  if (error?.[1]) fields.set('error', error[1].trim())
  return { first, fields }
}
