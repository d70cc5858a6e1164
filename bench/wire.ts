/**
 * What simulated VMs say on the wire, byte for byte, by hand. Every message has a fixed length for every VM, so that
 * the bare server can count bytes instead of parsing them.
 */

const IAC = 0xff

/** VMs offer AUTHENTICATION first. */
const WILL_AUTHENTICATION = hex('ff fb 25')
/** Answers to the proxy's offers: DO BINARY, SGA, ECHO; WILL BINARY, SGA, VMWARE-TELNET-EXT. */
const OPTION_ANSWERS = hex('ff fd 00 ff fd 03 ff fd 01 ff fb 00 ff fb 03 ff fb e8')
const KNOWN_SUBOPTIONS_1 = sub(0, hex('00 01 02 03 28 29 2b 2c 2d 2e 30 46 47 49 50 51 54 55 56 57 52 53'))
const DO_PROXY = sub(0x46, Buffer.from('SvSPC.py'))

/** The one sequence and secret of vMotions against the bare server. */
export const CANNED_SEQUENCE = hex('44 da 87 f1')
export const CANNED_SECRET = hex('3c e6 4d ab 11 22 33 44')

/** What the bare server answers, and ours in other words. */
export const PROXY = {
  offers: hex('ff fb 00 ff fb 03 ff fb 01 ff fd 00 ff fd 03 ff fd e8'),
  dontAuthentication: hex('ff fe 25'),
  known: sub(1, hex('00 01 02 03 28 29 2b 2c 2d 2e 30 46 47 49 50 51 52 53 54 55 56 57')),
  willProxy: sub(0x47),
  questions: Buffer.concat([sub(0x51), sub(0x53), sub(0x55), sub(0x57)]),
  goahead: sub(0x29, Buffer.concat([CANNED_SEQUENCE, CANNED_SECRET])),
  peerOk: sub(0x2d, CANNED_SEQUENCE),
} as const

export const CODE = { goahead: 0x29, notNow: 0x2b, peerOk: 0x2d, willProxy: 0x47 } as const

/** The steps of a handshake in order; each is sent in answer to what the proxy said to the one before. */
export function introduction(index: number): readonly [Buffer, Buffer, Buffer, Buffer] {
  return [WILL_AUTHENTICATION, OPTION_ANSWERS, Buffer.concat([KNOWN_SUBOPTIONS_1, DO_PROXY]), identity(index)]
}

/** The same in one piece, as a VM that volunteers everything. */
export function wholeIntroduction(index: number): Buffer {
  return Buffer.concat(introduction(index))
}

/** All that a vMotion's destination says before COMPLETE. @param cookie as it came in GOAHEAD, IAC still doubled. */
export function peerIntroduction(index: number, cookie: Uint8Array): Buffer {
  return Buffer.concat([WILL_AUTHENTICATION, OPTION_ANSWERS, KNOWN_SUBOPTIONS_1, frame(0x2c, cookie), identity(index)])
}

export function begin(sequence: Uint8Array): Buffer {
  return sub(0x28, sequence)
}

export function complete(sequence: Uint8Array): Buffer {
  return sub(0x2e, sequence)
}

/** Bytes received by when the bare server gives each of its answers, of a VM and of a vMotion's destination. */
export const LENGTHS = (() => {
  const authentication = WILL_AUTHENTICATION.length
  const options = authentication + OPTION_ANSWERS.length
  const known = options + KNOWN_SUBOPTIONS_1.length
  const introduced = wholeIntroduction(0).length
  const peered = known + PROXY.goahead.length
  const moved = peered + identity(0).length + complete(CANNED_SEQUENCE).length
  const asked = begin(CANNED_SEQUENCE).length
  return { authentication, options, doProxy: known + DO_PROXY.length, introduced, peered, moved, asked }
})()

/** Canonical UUID of a VM of ours: `76737062-656e-4368-8000-` and its number. */
export function uuidOf(index: number): string {
  return `76737062-656e-4368-8000-${index.toString(16).padStart(12, '0')}`
}

function identity(index: number): Buffer {
  const uuid = Buffer.from(esxUuid(index))
  const name = Buffer.from(`vm-${String(index).padStart(6, '0')}`)
  return Buffer.concat([sub(0x50, uuid), sub(0x52, name), sub(0x54, uuid), sub(0x56, uuid)])
}

/** As ESX writes it: hex pairs, spaces, one dash. */
function esxUuid(index: number): string {
  const pairs = uuidOf(index).replaceAll('-', '').match(/../g) ?? []
  return `${pairs.slice(0, 8).join(' ')}-${pairs.slice(8).join(' ')}`
}

function sub(code: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  return frame(code, double(payload))
}

function frame(code: number, escaped: Uint8Array): Buffer {
  return Buffer.from([IAC, 0xfa, 0xe8, code, ...escaped, IAC, 0xf0])
}

function double(payload: Uint8Array): Uint8Array {
  return Uint8Array.from([...payload].flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte])))
}

/** Where a frame of option 232 with this code begins and ends in `bytes`; null while it is not there whole. */
export function findFrame(bytes: Buffer, code: number): { payload: Buffer; end: number } | null {
  for (let at = bytes.indexOf(0xfa); at >= 0; at = bytes.indexOf(0xfa, at + 1)) {
    if (bytes[at - 1] !== IAC || bytes[at + 1] !== 0xe8 || bytes[at + 2] !== code) continue
    for (let i = at + 3; i + 1 < bytes.length; i++) {
      if (bytes[i] !== IAC) continue
      if (bytes[i + 1] === 0xf0) return { payload: bytes.subarray(at + 3, i), end: i + 2 }
      i++
    }
  }
  return null
}

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex')
}
