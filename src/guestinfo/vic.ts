/**
 * The results that VMware's Integrated Containers published, as our records, and back. [other]
 *
 *     guestinfo.vice..sessions|ID.started         "true", or why it could not be started
 *     guestinfo.vice..sessions|ID.status          exit status; 0 also before there is one
 *     guestinfo.vice..sessions|ID.detail.starttime, .stoptime     Unix seconds, 0 = not yet
 *     guestinfo.vice..networks|NAME.assigned.IP, .Mask            base64 of the bytes
 *     guestinfo.vice..networks|NAME.network.assigned.gateway.IP
 *     guestinfo.vice..networks|NAME.network.assigned.dns          number of entries, less one
 *     guestinfo.vice..networks|NAME.network.assigned.dns|0        base64 of the bytes
 *
 * `execs` are like `sessions`, with `@non-persistent` behind their keys. VIC's own appliance has `init.` before the map.
 */

import { cleanIp, formatIp, maskOfPrefix, parseIp, prefixOfMask } from './ip.ts'
import { vicField } from './keys.ts'
import {
  type AddressRecord,
  cleanLine,
  type GuestRecord,
  isRecordName,
  MAX_DNS,
  type ProcessRecord,
  parseExitCode,
  parseSeconds,
} from './records.ts'
import { decodeValue, fromBase64, NIL, toBase64 } from './values.ts'

const PROCESS_MAPS = ['sessions', 'execs'] as const
const PROCESS_FIELDS = ['started', 'status', 'detail.starttime', 'detail.stoptime'] as const
const ADDRESS_MAPS = ['networks'] as const
const DNS = 'network.assigned.dns'
const ADDRESS_FIELDS = [
  'assigned.IP',
  'assigned.Mask',
  'network.assigned.gateway.IP',
  ...Array.from({ length: MAX_DNS }, (_, i) => `${DNS}|${i}`),
]

/**
 * The records in a VM's keys. Names are VIC's, with `init.` before those of its appliance and `exec.` before execs;
 * entries whose names are none for us are left out.
 * @param most records of each kind; the first ones in the order of the keys.
 */
export function parseVicRecords(values: ReadonlyMap<string, string>, most: number): GuestRecord[] {
  const processes = collect(values, PROCESS_MAPS, PROCESS_FIELDS, most)
  const addresses = collect(values, ADDRESS_MAPS, ADDRESS_FIELDS, most)
  return [
    ...[...addresses].map(([name, fields]) => parseAddress(name, fields)),
    ...[...processes].map(([name, fields]) => parseProcess(name, fields)),
  ].filter((record) => record !== null)
}

/** The keys and values with which a VM publishes a record VIC's way; none for errors, which it has no keys for. */
export function formatVicRecord(record: GuestRecord): [key: string, value: string][] {
  if (record.kind === 'error') return []
  const base = `guestinfo.vice..${record.kind === 'process' ? 'sessions' : 'networks'}|${record.name}.`
  const fields = record.kind === 'process' ? formatProcess(record) : formatAddress(record)
  return fields.map(([field, value]) => [base + field, value === '' ? NIL : value])
}

/** Keys to write before the VM is switched on: those that are made later vanish at power-off. [doc: vmware/vic#1337] */
export function emptyVicRecord({ kind, name }: Pick<GuestRecord, 'kind' | 'name'>): [key: string, value: string][] {
  if (kind === 'error') return []
  const base = `guestinfo.vice..${kind === 'process' ? 'sessions' : 'networks'}|${name}.`
  const fields = kind === 'process' ? PROCESS_FIELDS : ADDRESS_FIELDS.slice(0, 3)
  return fields.map((field) => [base + field, NIL])
}

type Fields = ReadonlyMap<string, string>

function collect(
  values: ReadonlyMap<string, string>,
  maps: readonly string[],
  fields: readonly string[],
  most: number,
): Map<string, Fields> {
  const entries = new Map<string, Map<string, string>>()
  for (const [key, value] of values) {
    const found = vicField(key, maps, fields)
    if (found === null) continue
    const within = found.within === '' ? '' : `${found.within}.`
    const name = `${within}${found.map === 'execs' ? 'exec.' : ''}${found.entry}`
    if (!isRecordName(name)) continue
    let entry = entries.get(name)
    if (entry === undefined) {
      if (entries.size >= most) continue
      entry = new Map()
      entries.set(name, entry)
    }
    entry.set(found.field, decodeValue(value))
  }
  return entries
}

function parseProcess(name: string, fields: Fields): ProcessRecord | null {
  const started = cleanLine(fields.get('started') ?? '')
  const startedSeconds = parseSeconds(fields.get('detail.starttime'))
  const stoppedSeconds = parseSeconds(fields.get('detail.stoptime'))
  const exitCode = parseExitCode(fields.get('status'))
  const known = { kind: 'process', name, startedSeconds, stoppedSeconds, exitCode } as const
  if (started === '' || started === 'false') return null
  if (started !== 'true') return { ...known, state: 'failed', error: started }
  // The status is 0 from the beginning: only the time says that there is one. A restarted process has begun since.
  if (stoppedSeconds === null || stoppedSeconds < (startedSeconds ?? 0)) {
    return { ...known, state: 'running', exitCode: null, stoppedSeconds: null, error: null }
  }
  return { ...known, state: 'exited', error: null }
}

function formatProcess(record: ProcessRecord): [string, string][] {
  return [
    ['started', record.state === 'failed' ? cleanLine(record.error ?? 'failed') : 'true'],
    ['status', String(record.exitCode ?? 0)],
    ['detail.starttime', String(record.startedSeconds ?? 0)],
    ['detail.stoptime', String(record.stoppedSeconds ?? 0)],
  ]
}

function parseAddress(name: string, fields: Fields): AddressRecord | null {
  const address = ipOf(fields.get('assigned.IP'))
  if (address === null) return null
  const mask = fromBase64(fields.get('assigned.Mask') ?? '')
  // A mask of another length than the address is none of its.
  const prefix = mask !== null && mask.length === parseIp(address)?.length ? prefixOfMask(mask) : null
  const dns = Array.from({ length: MAX_DNS }, (_, i) => ipOf(fields.get(`${DNS}|${i}`)))
  return {
    kind: 'address',
    name,
    address,
    prefix,
    gateway: ipOf(fields.get('network.assigned.gateway.IP')),
    dns: dns.filter((each) => each !== null),
  }
}

function formatAddress({ address, prefix, gateway, dns }: AddressRecord): [string, string][] {
  const bytes = parseIp(address) ?? new Uint8Array()
  const base64 = (ip: string | null) => toBase64(parseIp(ip ?? '') ?? new Uint8Array())
  const named = dns.slice(0, MAX_DNS)
  return [
    ['assigned.IP', toBase64(bytes)],
    ['assigned.Mask', prefix === null ? '' : toBase64(maskOfPrefix(bytes.length, prefix))],
    ['network.assigned.gateway.IP', base64(gateway)],
    ...(named.length === 0 ? [] : [[DNS, String(named.length - 1)] as [string, string]]),
    ...named.map((ip, i): [string, string] => [`${DNS}|${i}`, base64(ip)]),
  ]
}

/** VIC writes the bytes; others that follow its keys may write the text. */
function ipOf(value: string | undefined): string | null {
  if (value === undefined) return null
  const bytes = fromBase64(value)
  const text = bytes === null ? null : formatIp(bytes)
  return cleanIp(text ?? value)
}
