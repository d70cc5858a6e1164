import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatHex, parseHex } from '../../src/base/index.ts'
import {
  decodeHello,
  decodeWelcome,
  encodeAck,
  encodeDataHeader,
  encodeFin,
  encodeHello,
  encodeOver,
  encodePing,
  encodePong,
  encodeRefusal,
  encodeWelcome,
  FrameDecoder,
  type FrameSink,
  HELLO_BYTES,
  MAX_DATA_BYTES,
  Preamble,
  WELCOME_BYTES,
} from '../../src/link/codec.ts'

class Recorder implements FrameSink {
  readonly seen: string[] = []
  data: number[] = []

  linkData(bytes: Uint8Array): void {
    this.data.push(...bytes)
  }

  linkAck(consumed: number): void {
    this.#add(`ACK ${consumed}`)
  }

  linkFin(): void {
    this.#add('FIN')
  }

  linkOver(why: string): void {
    this.#add(`OVER ${why}`)
  }

  linkPing(): void {
    this.#add('PING')
  }

  linkPong(): void {
    this.#add('PONG')
  }

  /** Data that came in one go or in several look the same. */
  #add(what: string): void {
    this.flush()
    this.seen.push(what)
  }

  flush(): string[] {
    if (this.data.length > 0) this.seen.push(`DATA ${formatHex(Uint8Array.from(this.data))}`)
    this.data = []
    return this.seen
  }
}

function decode(bytes: Uint8Array, chunk: number): string[] {
  const sink = new Recorder()
  const decoder = new FrameDecoder()
  for (let at = 0; at < bytes.length; at += chunk) decoder.push(bytes.subarray(at, at + chunk), sink)
  return sink.flush()
}

const hex = (text: string): Uint8Array => parseHex(text) as Uint8Array

/** The frames of docs/link.md, written by hand. */
const PAGE = hex(`
  01 000003 61 62 63
  02 0000000000000003
  02 001fffffffffffff
  05
  06
  01 000001 00
  03
  04 00
  04 01
`)
const PAGE_FRAMES = [
  'DATA 61 62 63',
  'ACK 3',
  'ACK 9007199254740991',
  'PING',
  'PONG',
  'DATA 00',
  'FIN',
  'OVER done',
  'OVER aborted',
]

test('frames are what the documentation says, at every chunk size', () => {
  for (let chunk = 1; chunk <= PAGE.length; chunk++) expect(decode(PAGE, chunk)).toEqual(PAGE_FRAMES)
})

test('encoders write the bytes of the documentation', () => {
  const parts = [
    encodeDataHeader(3),
    hex('61 62 63'),
    encodeAck(3),
    encodeAck(Number.MAX_SAFE_INTEGER),
    encodePing(),
    encodePong(),
    encodeDataHeader(1),
    hex('00'),
    encodeFin(),
    encodeOver('done'),
    encodeOver('aborted'),
  ]
  expect(formatHex(Uint8Array.from(parts.flatMap((part) => [...part])))).toBe(formatHex(PAGE))
  expect(formatHex(encodeDataHeader(MAX_DATA_BYTES))).toBe('01 01 00 00')
})

test('a frame of 64 KiB is passed on as it comes, without copies', () => {
  const decoder = new FrameDecoder()
  const seen: Uint8Array[] = []
  const sink = Object.assign(new Recorder(), { linkData: (bytes: Uint8Array) => void seen.push(bytes) })
  decoder.push(encodeDataHeader(MAX_DATA_BYTES), sink)
  for (let i = 0; i < 100; i++) {
    const chunk = new Uint8Array(i === 99 ? MAX_DATA_BYTES - 99 * 655 : 655)
    decoder.push(chunk, sink)
    expect(seen.at(-1)?.buffer).toBe(chunk.buffer)
    expect(seen.length).toBe(i + 1)
  }
  decoder.push(encodeFin(), sink)
  expect(sink.seen).toEqual(['FIN'])
})

test('after stop() nothing of the same chunk is reported', () => {
  const decoder = new FrameDecoder()
  const sink = Object.assign(new Recorder(), { linkPing: () => decoder.stop() })
  decoder.push(hex('05 03 01 000001 61'), sink)
  expect(sink.flush()).toEqual([])
})

const malformed: [string, string, RegExp][] = [
  ['an unknown type', '07', /frame of type 7/],
  ['type 0', '00', /frame of type 0/],
  ['DATA of nothing', '01 000000', /DATA of 0 bytes/],
  ['DATA beyond 64 KiB', '01 010001', /DATA of 65537 bytes/],
  ['an ACK beyond 2^53', '02 0020000000000000', /beyond 2\^53/],
  ['an ACK of all ones', '02 ffffffffffffffff', /beyond 2\^53/],
  ['OVER for no known reason', '04 09', /OVER with reason 9/],
]

test.each(malformed)('%s is a fault, at every chunk size', (_name, text, message) => {
  const bytes = hex(text)
  for (let chunk = 1; chunk <= bytes.length; chunk++) {
    expect(() => decode(bytes, chunk)).toThrow(message)
    expect(() => decode(bytes, chunk)).toThrow(expect.objectContaining({ code: 'VSPC_LINK_PROTOCOL' }))
  }
})

test('any bytes end in frames or in one coded fault', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 50 }), (bytes, chunk) => {
      const outcome = (size: number): unknown => {
        try {
          return decode(bytes, size)
        } catch (error) {
          expect(error).toMatchObject({ code: 'VSPC_LINK_PROTOCOL' })
          return (error as Error).message
        }
      }
      expect(outcome(chunk)).toEqual(outcome(1000))
    }),
  )
})

const position = fc.maxSafeNat()
const window = fc.integer({ min: 1, max: 0x7fff_ffff })

describe('HELLO', () => {
  const page = hex(`
    d6 76 73 70 63 2d 6c 0a  01 01 0000
    a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab ac ad ae af
    00000002  0000000100000003  00040000
  `)
  const hello = {
    kind: 'resume',
    id: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
    leg: 2,
    received: 0x1_0000_0003,
    window: 262_144,
  } as const

  test('is what the documentation says', () => {
    expect(page.length).toBe(HELLO_BYTES)
    expect(formatHex(encodeHello(hello))).toBe(formatHex(page))
    expect(decodeHello(page)).toEqual(hello)
  })

  test('comes back as it was sent, and does not keep the bytes it was read from', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), position, window, (id, received, size) => {
        const sent = { kind: 'resume', id, leg: 0xffff_ffff, received, window: size } as const
        const bytes = encodeHello(sent)
        const got = decodeHello(bytes)
        bytes.fill(0)
        expect(got).toEqual(sent)
      }),
    )
  })

  test('is gathered in any chunks, and gives back what follows it', () => {
    for (let chunk = 1; chunk <= 60; chunk++) {
      const preamble = new Preamble(HELLO_BYTES)
      const all = Uint8Array.of(...page, 1, 2, 3)
      let taken = 0
      for (let at = 0; at < all.length && !preamble.complete; at += chunk) {
        taken += preamble.push(all.subarray(at, at + chunk))
      }
      expect([taken, preamble.complete]).toEqual([HELLO_BYTES, true])
      expect(preamble.bytes).toEqual(page)
    }
  })

  test('of a stranger is known by its first wrong byte', () => {
    expect(() => new Preamble(HELLO_BYTES).push(hex('16'))).toThrow(/no resumable stream/)
    expect(() => new Preamble(HELLO_BYTES).push(hex('d6 76 73 70 63 2d 6c 0d'))).toThrow(/no resumable stream/)
  })

  const changed = (at: number, value: number): Uint8Array => page.with(at, value)
  test.each([
    ['an unknown kind', changed(9, 2)],
    ['reserved bytes set', changed(11, 1)],
    ['a new stream that has received something', changed(9, 0)],
    ['number 0', changed(31, 0)],
    ['a position beyond 2^53', changed(33, 0x20)],
    ['a window of 0', changed(41, 0)],
    ['a window beyond 2^31', changed(40, 0x80)],
  ])('with %s is a fault', (_name, bytes) => {
    expect(() => decodeHello(bytes)).toThrow(expect.objectContaining({ code: 'VSPC_LINK_PROTOCOL' }))
  })
})

describe('WELCOME', () => {
  const page = hex('d6 76 73 70 63 2d 6c 0a  01 01 00 00  0000000000000007  00001000')
  const welcome = { status: 'resumed', refusal: 'none', received: 7, window: 4096 } as const

  test('is what the documentation says', () => {
    expect(page.length).toBe(WELCOME_BYTES)
    expect(formatHex(encodeWelcome(welcome))).toBe(formatHex(page))
    expect(decodeWelcome(page)).toEqual(welcome)
    expect(decodeWelcome(encodeRefusal('unknown', 'none'))).toMatchObject({ status: 'unknown', refusal: 'none' })
    expect(decodeWelcome(encodeRefusal('refused', 'full'))).toMatchObject({ status: 'refused', refusal: 'full' })
  })

  test('that refuses for a reason of a later version is a refusal all the same', () => {
    expect(decodeWelcome(encodeRefusal('refused', 'full').with(10, 77))).toMatchObject({
      status: 'refused',
      refusal: null,
    })
  })

  test.each([
    ['another version', page.with(8, 2)],
    ['an unknown status', page.with(9, 4)],
    ['a reason without refusal', page.with(10, 1)],
    ['a refusal without reason', encodeRefusal('refused', 'none')],
    ['reserved bytes set', page.with(11, 1)],
    ['a window of 0', page.with(22, 0)],
  ])('with %s is a fault', (_name, bytes) => {
    expect(() => decodeWelcome(bytes)).toThrow(expect.objectContaining({ code: 'VSPC_LINK_PROTOCOL' }))
  })
})
