/**
 * Hostile bytes, by grammar and by mutation. Every number is written out from the RFCs and docs/protocol.md: nothing
 * of the product's codec is used, or one wrong belief would pass on both sides.
 */
import { bytesFrom, loadPages, loadVmwareStreams } from '../support/pages.ts'
import type { Random } from './random.ts'

const IAC = 0xff
const SB = 0xfa
const SE = 0xf0
const VERBS = [0xfb, 0xfc, 0xfd, 0xfe]
const OPTIONS = [0, 1, 3, 37, 44, 232]
/** Of option 232: what VMs say, what only proxies say, and what nobody ever assigned. */
const CODES = [0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 82, 83, 84, 85, 86, 87, 42, 47, 72, 99, 255]
/** Bytes that mean something somewhere. */
const SPECIAL = [IAC, IAC, SB, SE, 0xfb, 0xfc, 0xfd, 0xfe, 0xf1, 0xf3, 0, 0x0a, 0x0d, 0x11, 0x13, 0x16, 0x2c, 0xe8]

const text = (value: string): number[] => [...Buffer.from(value)]

/** Bytes as they go on the wire inside a subnegotiation, or as data: IAC doubled. */
export function doubled(bytes: readonly number[]): number[] {
  return bytes.flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte]))
}

/** A whole suboption of 232. */
export function suboption(code: number, payload: readonly number[] = []): number[] {
  return [IAC, SB, 232, ...doubled([code, ...payload]), IAC, SE]
}

/** WILL BINARY, SGA, 232 and DO BINARY, SGA, ECHO: answers to what a proxy offers. */
export const HELLO = [
  [IAC, 0xfb, 0, IAC, 0xfd, 0, IAC, 0xfb, 3],
  [IAC, 0xfd, 3, IAC, 0xfd, 1, IAC, 0xfb, 232],
].flat()

/** Sequences are any bytes, and need not differ between VMs: the third is the bystander's (see session-world.ts). */
export const SEQUENCES = [
  [1],
  [0x44, 0xda, 0x87, 0xf1],
  [0x76, 0x19, 0xff, 0xe9],
  [0xff, 0xff],
  [0],
  [0xf0, 0xff, 0xf0],
]

const URIS = [
  'vSPC.py',
  'vSPC.py?port=a',
  'vSPC.py?port=b',
  'telnet://vSPC.py:13370/?port=a',
  'x',
  '',
  '?',
  '?port=',
  '?port=%',
  '?port=%ff%fe',
  '?port=../../etc/passwd',
  '?port=%00',
  'tcp://127.0.0.1:1',
  'tls://localhost:1?pin=sha256:00',
  '://///',
  'a'.repeat(3_000),
  '\u202evSPC.py',
  '__proto__',
]

const NAMES = ['vm1', '', ' ', 'constructor', '__proto__', '../..', 'a\u0000b', '\u001b]0;x\u0007', 'ä'.repeat(200)]

const UUIDS = [
  'fa 11 ed 00 00 00 00 00-00 00 00 00 00 00 00 01',
  'fa 11 ed 00 00 00 00 00-00 00 00 00 00 00 00 02',
  'FA11ED00-0000-0000-0000-000000000001',
  '',
  'not a uuid',
  '0',
  'f'.repeat(33),
  'fa 11 ed 00 00 00 00 00-00 00 00 00 00 00 00 01\u0000\u0000',
]

/** Payload of a suboption of 232: what belongs there, or nearly, or not at all. */
function payloadFor(random: Random, code: number): number[] {
  if (random.oneIn(6)) return random.bytes(random.size(600))
  switch (code) {
    case 0:
    case 1:
      return random.oneIn(3) ? random.bytes(random.size(500)) : CODES.slice(0, random.below(CODES.length))
    case 40:
    case 44:
    case 46:
      return [...random.pick(SEQUENCES), ...(code === 44 ? random.bytes(8) : [])]
    case 70:
      return [random.pick([0x53, 0x53, 0x53, 0x43, 0x73, 0]), ...text(random.pick(URIS))]
    case 80:
    case 84:
    case 86:
      return text(random.pick(UUIDS))
    case 82:
      return random.oneIn(3) ? random.bytes(random.size(300)) : text(random.pick(NAMES))
    default:
      return random.bytes(random.size(20))
  }
}

/** RFC 2217, client commands known and unknown. */
function comPort(random: Random): number[] {
  const command = random.pick([0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 101, 107, 255])
  return [44, command, ...random.bytes(random.pick([0, 0, 1, 1, 3, 4, 5, 40]))]
}

/** RFC 2941 as VMware uses it for starting TLS. */
function authentication(random: Random): number[] {
  return [37, random.pick([0, 1, 2, 3]), random.pick([0, 7]), 0, ...random.bytes(random.below(3))]
}

function subnegotiationBody(random: Random): number[] {
  const kind = random.below(10)
  if (kind < 6) {
    const code = random.oneIn(8) ? random.byte() : random.pick(CODES)
    return [232, code, ...payloadFor(random, code)]
  }
  if (kind === 6) return comPort(random)
  if (kind === 7) return authentication(random)
  return random.bytes(random.size(300))
}

/** Well framed, or wrong in one of the ways that framing can be wrong. */
export function subnegotiation(random: Random): number[] {
  const body = subnegotiationBody(random)
  switch (random.below(14)) {
    case 0:
      return [IAC, SB, ...body, IAC, SE]
    case 1:
      return [IAC, SB, ...doubled(body)]
    case 2:
      return [IAC, SB, ...doubled(body), SE]
    case 3:
      return [IAC, SB, ...doubled(body), IAC, random.byte(), ...random.bytes(3), IAC, SE]
    case 4:
      return [IAC, SB, IAC, SB, ...doubled(body), IAC, SE, IAC, SE]
    case 5:
      return [IAC, SB, ...doubled(body), IAC, IAC, SE]
    case 6:
      return [IAC, SB, IAC, SE]
    default:
      return [IAC, SB, ...doubled(body), IAC, SE]
  }
}

function negotiation(random: Random): number[] {
  return [IAC, random.pick(VERBS), random.oneIn(4) ? random.byte() : random.pick(OPTIONS)]
}

function flood(random: Random): number[] {
  const option = random.oneIn(4) ? random.byte() : random.pick(OPTIONS)
  const step = random.oneIn(2)
    ? negotiation(random)
    : [IAC, random.pick([0xfb, 0xfd]), option, IAC, random.pick([0xfc, 0xfe]), option]
  return Array.from({ length: random.between(2, 300) }, () => step).flat()
}

/** What others say who come to a wrong port. */
const STRANGERS = [
  text('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
  text('SSH-2.0-OpenSSH_9.2\r\n'),
  [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
  [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0, 12],
]

function data(random: Random): number[] {
  switch (random.below(7)) {
    case 0:
      return new Array<number>(random.between(1, 9)).fill(IAC)
    case 1:
      return new Array<number>(random.between(1, 300)).fill(random.pick([0, 0x0d, 0x11, 0x41]))
    case 2:
      return random.bytes(random.size(900))
    case 3:
      return Array.from({ length: random.between(1, 60) }, () => random.pick(SPECIAL))
    case 4:
      return random.pick(STRANGERS)
    default:
      return text('login: root\r\n')
  }
}

/** Around the caps: 4096 bytes of a subnegotiation, 64 KiB before attaching; now and then a mebibyte. */
function big(random: Random): number[] {
  const length = random.pick([255, 256, 4_094, 4_095, 4_096, 4_097, 8_192, 66_000, random.oneIn(6) ? 1 << 20 : 70_000])
  const body = new Array<number>(length).fill(random.pick([0, 0x41, 0x41, IAC]))
  const framed = [IAC, SB, ...random.pick([[], [232], [232, random.pick(CODES)], [44]]), ...doubled(body)]
  return random.oneIn(3) ? framed : [...framed, IAC, SE]
}

/** One production of the grammar. */
export function piece(random: Random): number[] {
  const kind = random.below(40)
  const bytes =
    kind < 14
      ? subnegotiation(random)
      : kind < 24
        ? data(random)
        : kind < 33
          ? negotiation(random)
          : kind < 37
            ? [IAC, random.byte()]
            : kind < 39
              ? flood(random)
              : big(random)
  return random.oneIn(12) ? bytes.slice(0, random.below(bytes.length + 1)) : bytes
}

export function soup(random: Random, pieces: number): number[] {
  return Array.from({ length: pieces }, () => piece(random)).flat()
}

let valid: readonly (readonly number[])[] | null = null

/** What VMs' hosts said in VMware's capture, every page of Telnet fixtures, and one handshake of our own. */
function validSessions(): readonly (readonly number[])[] {
  valid ??= [
    ...loadVmwareStreams().connections.map((connection) => [...bytesFrom(connection, 'vm')]),
    ...loadPages('telnet').map((page) => [...page.input]),
    introduction(UUIDS[0] as string, 'vSPC.py?port=a', 'vm1'),
  ]
  return valid
}

/** All that a host says until its port is attached. */
export function introduction(uuid: string, uri: string, name: string): number[] {
  return [
    ...HELLO,
    ...suboption(0, CODES.slice(0, 22)),
    ...suboption(70, text(`S${uri}`)),
    ...suboption(80, text(uuid)),
    ...suboption(82, text(name)),
  ]
}

/** A good session gone bad in a few places. */
export function mutated(random: Random): number[] {
  let bytes = [...random.pick(validSessions())]
  for (let n = random.between(1, 8); n > 0; n--) bytes = mutation(random, bytes)
  return bytes
}

function mutation(random: Random, bytes: readonly number[]): number[] {
  const at = random.below(bytes.length + 1)
  const length = random.size(Math.max(1, bytes.length - at))
  const before = bytes.slice(0, at)
  switch (random.below(9)) {
    case 0:
      return [...before, random.pick(SPECIAL), ...bytes.slice(at + 1)]
    case 1:
      return bytes.map((byte, i) => (i === at ? byte ^ (1 << random.below(8)) : byte))
    case 2:
      return [...before, ...bytes.slice(at + length)]
    case 3:
      return [...bytes.slice(0, at + length), ...bytes.slice(at)]
    case 4:
      return [...before, ...piece(random).slice(0, 5_000), ...bytes.slice(at)]
    case 5:
      return [...before, random.pick(SPECIAL), ...bytes.slice(at)]
    case 6:
      return before
    case 7:
      return [...bytes.slice(at), ...before]
    default:
      return [...before, ...random.pick(validSessions()).slice(random.below(60))]
  }
}

/** `bytes` cut anywhere: in many small pieces, a few big ones, or not at all. Fresh arrays, some `most` of them. */
export function cut(random: Random, bytes: Uint8Array, most = 3_000): Uint8Array[] {
  const longest = random.pick([1, 2, 7, 100, 5_000, bytes.length + 1])
  // A mebibyte in single bytes shows nothing that a kibibyte does not.
  const least = Math.ceil(bytes.length / most)
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const size = Math.max(least, random.between(1, longest))
    pieces.push(bytes.slice(at, at + size))
    at += size
  }
  return pieces
}
