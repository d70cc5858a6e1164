/**
 * PROXY protocol version 2, to data and back. Pure.
 *
 * The standard is HAProxy's, "The PROXY protocol", versions 1 and 2. A header is 16 bytes: signature, version and
 * command, family and transport, length; then as many bytes as that says: the addresses, and TLVs (type, 16 bits of
 * length, value). What we read of it: who is at the beginning of the stream, PP2_TYPE_UNIQUE_ID as UUID or name of the
 * VM, and two types from the range for private use; a checksum is checked, everything else is skipped. At most
 * 16 KiB in all; everything that breaks the standard is VSPC_PROXY_HEADER.
 */
import { cleanText, VspcError } from '../base/index.ts'
import { crc32c } from './crc32c.ts'
import { formatIpAddress, parseIpAddress } from './ip-address.ts'

export const PROXY_V2_SIGNATURE = new Uint8Array([
  0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
])

const FIXED_BYTES = 16
/** With the fixed part. The standard's own senders need 536 bytes at most. */
export const MAX_PROXY_HEADER_BYTES = 16_384
export const MAX_UNIQUE_ID_BYTES = 128
const MAX_ORIGIN_LENGTH = 256

const VERSION = 0x2
const COMMAND = { LOCAL: 0x0, PROXY: 0x1 } as const
const FAMILY = { UNSPEC: 0x0, INET: 0x1, INET6: 0x2, UNIX: 0x3 } as const
/** The highest transport: UNSPEC, STREAM, DGRAM. */
const MAX_TRANSPORT = 0x2
const STREAM = 0x1
/** Of the address block, by family. */
const ADDRESS_BYTES = [0, 12, 36, 216] as const
const UNIX_PATH_BYTES = 108

const TLV = {
  CRC32C: 0x03,
  NOOP: 0x04,
  UNIQUE_ID: 0x05,
  /** Ours, of the range for private use (0xE0 to 0xEF): which port of the VM. Others use 0xE0 too, for other things. */
  LABEL: 0xe0,
  /** Ours: what has no IP address, as text: `vsock:3:1234`, `unix:/run/vm1.sock`. */
  ORIGIN: 0xe1,
} as const

export interface IpPlace {
  /** IPv4 or IPv6; an IPv4 address mapped into IPv6 is read as the IPv4 address. */
  readonly address: string
  readonly tcpPort: number
}

export interface ProxyHeader {
  /** `LOCAL`: the sender speaks for itself; the real peer counts. */
  readonly command: 'LOCAL' | 'PROXY'
  /** Who is at the beginning of the stream; null = not said, or not as an IP address. */
  readonly source: IpPlace | null
  /** Which address it was sent to. */
  readonly destination: IpPlace | null
  /** Of a stream that began without IP: `vsock:3:1234`, `unix:/path`. Cleaned, at most 256 characters. */
  readonly origin: string | null
  /** UUID or name of the VM; cleaned. */
  readonly uniqueId: string | null
  /** `[A-Za-z0-9._-]{1,64}`. */
  readonly label: string | null
}

function malformed(what: string): VspcError {
  return new VspcError('VSPC_PROXY_HEADER', `no valid PROXY protocol v2 header: ${what}`)
}

/** Takes one header from a stream, in whatever pieces it comes. After a throw, or the header, it is done for. */
export class ProxyHeaderParser {
  #bytes = new Uint8Array(FIXED_BYTES)
  #length = 0

  /** Bytes that surely belong to the header and have not come yet. */
  get wanted(): number {
    return this.#bytes.length - this.#length
  }

  /** Nothing has come yet. */
  get empty(): boolean {
    return this.#length === 0
  }

  /**
   * @returns null while the header is not complete; then it, and the bytes of `chunk` that come after it, as a view.
   * @throws VspcError VSPC_PROXY_HEADER as soon as it is clear; no bytes from the wire are in the message.
   */
  push(chunk: Uint8Array): { readonly header: ProxyHeader; readonly rest: Uint8Array } | null {
    let at = 0
    for (;;) {
      const piece = chunk.subarray(at, at + this.wanted)
      this.#bytes.set(piece, this.#length)
      this.#length += piece.length
      at += piece.length
      if (this.#length - piece.length < FIXED_BYTES) checkBeginning(this.#bytes.subarray(0, this.#length))
      if (this.wanted > 0) return null
      if (this.#bytes.length > FIXED_BYTES || bodyLength(this.#bytes) === 0) {
        return { header: decodeHeader(this.#bytes), rest: chunk.subarray(at) }
      }
      const whole = new Uint8Array(FIXED_BYTES + bodyLength(this.#bytes))
      whole.set(this.#bytes)
      this.#bytes = whole
    }
  }
}

/** @param bytes up to 16 of them. */
function checkBeginning(bytes: Uint8Array): void {
  for (const [index, expected] of PROXY_V2_SIGNATURE.entries()) {
    const byte = bytes[index]
    if (byte === undefined) return
    if (byte !== expected) throw malformed(otherBeginning(bytes))
  }
  const [version = 0x21, family = 0] = bytes.subarray(12)
  if (version >> 4 !== VERSION) throw malformed(`version ${version >> 4} is not known`)
  if ((version & 0xf) > COMMAND.PROXY) throw malformed(`command ${version & 0xf} is not known`)
  if (family >> 4 > FAMILY.UNIX) throw malformed(`address family ${family >> 4} is not known`)
  if ((family & 0xf) > MAX_TRANSPORT) throw malformed(`transport ${family & 0xf} is not known`)
  if (bytes.length < FIXED_BYTES) return
  const length = FIXED_BYTES + bodyLength(bytes)
  if (length > MAX_PROXY_HEADER_BYTES) {
    throw malformed(`it is said to have ${length} bytes, more than ${MAX_PROXY_HEADER_BYTES}`)
  }
}

function otherBeginning(bytes: Uint8Array): string {
  if (String.fromCharCode(...bytes.subarray(0, 6)) === 'PROXY ') {
    return 'the peer sends version 1, as text; have it send version 2'
  }
  if (bytes[0] === 0x16) return 'the stream begins with TLS'
  return 'the stream begins otherwise; does the peer know that it has to send one?'
}

function bodyLength(bytes: Uint8Array): number {
  return uint16(bytes, 14)
}

function uint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

/** @param bytes a whole header, its fixed part checked. */
function decodeHeader(bytes: Uint8Array): ProxyHeader {
  const isLocal = ((bytes[12] ?? 0) & 0xf) === COMMAND.LOCAL
  const family = (bytes[13] ?? 0) >> 4
  const body = bytes.subarray(FIXED_BYTES)
  const addressBytes = ADDRESS_BYTES[family] ?? 0
  const nothing = { source: null, destination: null, origin: null }
  if (body.length < addressBytes) {
    // What LOCAL says of addresses has to be ignored, whatever it is.
    if (isLocal) return { command: 'LOCAL', ...nothing, uniqueId: null, label: null }
    throw malformed(`addresses of family ${family} have ${addressBytes} bytes, and here are ${body.length}`)
  }
  const tlvs = decodeTlvs(bytes, FIXED_BYTES + addressBytes)
  const { uniqueId, label } = tlvs
  if (isLocal) return { command: 'LOCAL', ...nothing, uniqueId, label }
  const places = { ...nothing, ...decodePlaces(family, body) }
  return { command: 'PROXY', ...places, origin: places.origin ?? tlvs.origin, uniqueId, label }
}

function decodePlaces(family: number, body: Uint8Array): Partial<ProxyHeader> {
  if (family === FAMILY.UNIX) {
    // A path of 108 bytes has no NUL at its end; an abstract one begins with it, and is no path.
    const path = cleanText(untilNul(body.subarray(0, UNIX_PATH_BYTES)), MAX_ORIGIN_LENGTH)
    return path === '' ? {} : { origin: `unix:${path}` }
  }
  if (family === FAMILY.UNSPEC) return {}
  const size = family === FAMILY.INET ? 4 : 16
  const place = (at: number, portAt: number): IpPlace => ({
    address: formatIpAddress(body.subarray(at, at + size)),
    tcpPort: uint16(body, portAt),
  })
  return { source: place(0, 2 * size), destination: place(size, 2 * size + 2) }
}

function untilNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0)
  return end < 0 ? bytes : bytes.subarray(0, end)
}

function decodeTlvs(bytes: Uint8Array, start: number): Pick<ProxyHeader, 'uniqueId' | 'label' | 'origin'> {
  let uniqueId: string | null = null
  let label: string | null = null
  let origin: string | null = null
  for (let at = start; at < bytes.length; ) {
    if (at + 3 > bytes.length) throw malformed('its last TLV is cut off')
    const type = bytes[at] ?? 0
    const end = at + 3 + uint16(bytes, at + 1)
    if (end > bytes.length) throw malformed(`its TLV 0x${type.toString(16).padStart(2, '0')} is cut off`)
    const value = bytes.subarray(at + 3, end)
    if (type === TLV.CRC32C) checkSum(bytes, at + 3, value)
    else if (type === TLV.UNIQUE_ID) {
      if (value.length > MAX_UNIQUE_ID_BYTES) {
        throw malformed(`its unique id has ${value.length} bytes, more than ${MAX_UNIQUE_ID_BYTES}`)
      }
      uniqueId = cleanText(value) || null
    } else if (type === TLV.LABEL) label = labelOf(value)
    else if (type === TLV.ORIGIN) origin = cleanText(value, MAX_ORIGIN_LENGTH) || null
    at = end
  }
  return { uniqueId, label, origin }
}

/** Null for what somebody else means by this type. */
function labelOf(value: Uint8Array): string | null {
  const text = cleanText(value)
  return /^[A-Za-z0-9._-]{1,64}$/.test(text) ? text : null
}

/** Of the whole header, with the sum itself as zeros. */
function checkSum(bytes: Uint8Array, at: number, value: Uint8Array): void {
  if (value.length !== 4) throw malformed(`its checksum has ${value.length} bytes, not 4`)
  const said = new DataView(value.buffer, value.byteOffset, 4).getUint32(0)
  const copy = bytes.slice()
  copy.fill(0, at, at + 4)
  if (crc32c(copy) !== said) throw malformed('its checksum is wrong')
}

const text = new TextEncoder()

/**
 * The header as bytes, with a checksum.
 * @throws VspcError VSPC_PROXY_HEADER for a unique id of more than 128 bytes.
 */
export function encodeProxyHeader(header: ProxyHeader): Uint8Array {
  const uniqueId = text.encode(header.uniqueId ?? '')
  if (uniqueId.length > MAX_UNIQUE_ID_BYTES) {
    throw new VspcError(
      'VSPC_PROXY_HEADER',
      `the VM's name "${cleanText(header.uniqueId ?? '', 300)}" has ${uniqueId.length} bytes; a PROXY header takes ` +
        `${MAX_UNIQUE_ID_BYTES}, so announce its UUID`,
    )
  }
  const { family, block } = encodePlaces(header)
  const tlvs: [type: number, value: Uint8Array][] = [
    [TLV.UNIQUE_ID, uniqueId],
    [TLV.LABEL, text.encode(header.label ?? '')],
    [TLV.ORIGIN, text.encode(header.origin?.slice(0, MAX_ORIGIN_LENGTH) ?? '')],
  ]
  const given = tlvs.filter(([, value]) => value.length > 0)
  given.push([TLV.CRC32C, new Uint8Array(4)])
  const length = given.reduce((sum, [, value]) => sum + 3 + value.length, block.length)
  const bytes = new Uint8Array(FIXED_BYTES + length)
  bytes.set(PROXY_V2_SIGNATURE)
  bytes[12] = (VERSION << 4) | COMMAND[header.command]
  bytes[13] = family === FAMILY.UNSPEC ? 0 : (family << 4) | STREAM
  bytes.set([length >> 8, length & 0xff], 14)
  bytes.set(block, FIXED_BYTES)
  let at = FIXED_BYTES + block.length
  for (const [type, value] of given) {
    bytes.set([type, value.length >> 8, value.length & 0xff], at)
    bytes.set(value, at + 3)
    at += 3 + value.length
  }
  new DataView(bytes.buffer).setUint32(bytes.length - 4, crc32c(bytes))
  return bytes
}

/** A destination that is not known, or of the other family, is sent as zeros. */
function encodePlaces({ command, source, destination }: ProxyHeader): { family: number; block: Uint8Array } {
  const from = command === 'LOCAL' || source === null ? null : parseIpAddress(source.address)
  if (from === null || source === null) return { family: FAMILY.UNSPEC, block: new Uint8Array(0) }
  const to = destination === null ? null : parseIpAddress(destination.address)
  const size = from.length
  const block = new Uint8Array(2 * size + 4)
  block.set(from)
  block.set([source.tcpPort >> 8, source.tcpPort & 0xff], 2 * size)
  if (to !== null && destination !== null && to.length === size) {
    block.set(to, size)
    block.set([destination.tcpPort >> 8, destination.tcpPort & 0xff], 2 * size + 2)
  }
  return { family: size === 4 ? FAMILY.INET : FAMILY.INET6, block }
}
