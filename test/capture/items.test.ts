import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TelnetItems } from '../../src/capture/items.ts'
import { Redactor } from '../../src/capture/redact.ts'
import { Sequences } from '../../src/capture/sequences.ts'
import { Decoder, encodeSubnegotiation, IAC, OPTION } from '../../src/telnet/index.ts'
import { EventLog, loggingSink } from '../support/pages.ts'

const byte = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(IAC, IAC, 250, 240, 251, 253, 232, 41, 44) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
)
const wire = fc.array(byte, { maxLength: 120 }).map((bytes) => Uint8Array.from(bytes))
const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 })

function* cut(bytes: Uint8Array, steps: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = steps[i % steps.length] ?? 1
    yield bytes.slice(at, at + size)
    at += size
  }
}

const sub = (...payload: number[]): Uint8Array =>
  encodeSubnegotiation(OPTION.VMWARE_TELNET_EXT, Uint8Array.from(payload))

function longGoahead(length: number): Uint8Array {
  const payload = new Uint8Array(length).fill(0x53)
  payload[0] = 41
  return encodeSubnegotiation(OPTION.VMWARE_TELNET_EXT, payload)
}

describe('TelnetItems', () => {
  test('the raw bytes of all items are the stream, and offsets run on, for any bytes and chunking', () => {
    fc.assert(
      fc.property(wire, sizes, (bytes, steps) => {
        const items = new TelnetItems()
        const found = [...cut(bytes, steps)].flatMap((chunk) => items.push(chunk))
        const rest = items.end()
        if (rest) found.push(rest)
        expect(Uint8Array.from(found.flatMap(({ raw }) => [...raw]))).toEqual(bytes)
        let at = 0
        for (const item of found) {
          expect(item.start).toBe(at)
          expect(item.end).toBe(at + item.raw.length)
          at = item.end
        }
      }),
      { numRuns: 500 },
    )
  })

  test('it reports what the decoder reports, and leaves its input alone', () => {
    const bytes = Uint8Array.from([0x61, IAC, IAC, 0x62, ...sub(40, 0xff, 1), IAC, 251, 0, IAC, 240])
    const before = bytes.slice()
    const log = new EventLog()
    const decoder = new Decoder()
    decoder.push(
      bytes.slice(),
      loggingSink(log, () => decoder.offset),
    )
    const kinds = new TelnetItems().push(bytes).map(({ kind, end }) => `@${end - 1} ${kind}`)
    expect(kinds).toEqual(log.lines().map((line) => line.split(' ').slice(0, 2).join(' ')))
    expect(bytes).toEqual(before)
  })

  test('a Buffer is left alone too, and the items do not change with it: its slice() would be a view', () => {
    const bytes = Buffer.from([0x61, IAC, IAC, 0x62, ...sub(44, 0xff, 1), IAC])
    const before = Uint8Array.from(bytes)
    const items = new TelnetItems()
    const found = items.push(bytes)
    expect(Uint8Array.from(bytes)).toEqual(before)
    bytes.fill(0xee)
    expect(found).toMatchObject([{ bytes: Uint8Array.of(0x61, 0xff, 0x62) }, { payload: Uint8Array.of(44, 0xff, 1) }])
    expect(items.end()?.raw).toEqual(Uint8Array.of(IAC))
  })

  test('an endless subnegotiation is passed on in parts, not held', () => {
    const items = new TelnetItems()
    let total = items.push(Uint8Array.of(IAC, 250, 232)).length
    let raw = 0
    for (let i = 0; i < 200; i++) {
      for (const item of items.push(new Uint8Array(4096))) {
        expect(item.kind).toBe('partial')
        raw += item.raw.length
        total++
      }
    }
    expect(total).toBeGreaterThan(4)
    expect(200 * 4096 + 3 - raw).toBeLessThan(200_000)
  })
})

describe('redaction', () => {
  const SEQUENCE = [0x76, 0x19, 0xff, 0xe9]
  const SECRET = [0x55, 0xff, 0x99, 0x8c]

  /** Redacted output of BEGIN (from the VM), GOAHEAD (to it) and PEER (on another stream). */
  function migrate(begin: Uint8Array, goahead: Uint8Array, peer: Uint8Array, steps: readonly number[]): Uint8Array[] {
    const sequences = new Sequences()
    return [begin, goahead, peer].map((bytes) => {
      const redactor = new Redactor(sequences)
      const parts = [...cut(bytes, steps)].map((chunk) => redactor.push(chunk))
      return Uint8Array.from([...parts.flatMap((part) => [...part]), ...redactor.end()])
    })
  }

  test('the secret of GOAHEAD and PEER becomes zeros, whatever the chunking; sequence and data stay', () => {
    const begin = Uint8Array.from([0x61, ...sub(40, ...SEQUENCE)])
    const goahead = Uint8Array.from([0x62, ...sub(41, ...SEQUENCE, ...SECRET), 0x63])
    const peer = Uint8Array.from([...sub(44, ...SEQUENCE, ...SECRET), IAC, 251, 44])
    for (let size = 1; size < 20; size++) {
      expect(migrate(begin, goahead, peer, [size])).toEqual([
        begin,
        Uint8Array.from([0x62, ...sub(41, ...SEQUENCE, 0, 0, 0, 0), 0x63]),
        Uint8Array.from([...sub(44, ...SEQUENCE, 0, 0, 0, 0), IAC, 251, 44]),
      ])
    }
  })

  test('a cookie whose BEGIN was not seen is zeroed whole: no guess leaves a part of a secret', () => {
    const [, , peer] = migrate(new Uint8Array(0), new Uint8Array(0), sub(44, ...SEQUENCE, ...SECRET), [7])
    expect(peer).toEqual(sub(44, 0, 0, 0, 0, 0, 0, 0, 0))
  })

  test('the longest sequence that fits is the sequence', () => {
    const sequences = new Sequences()
    sequences.learn(Uint8Array.of(1))
    sequences.learn(Uint8Array.of(1, 2, 3, 4))
    expect(sequences.lengthIn(Uint8Array.of(1, 2, 3, 4, 5))).toBe(4)
    expect(sequences.lengthIn(Uint8Array.of(1, 9, 9))).toBe(1)
    expect(sequences.lengthIn(Uint8Array.of(2))).toBeNull()
    for (let i = 0; i < 10_000; i++) sequences.learn(Uint8Array.of(2, i >> 8, i & 255))
    expect(sequences.lengthIn(Uint8Array.of(1, 2, 3, 4, 5))).toBeNull()
    expect(sequences.lengthIn(Uint8Array.of(2, 9999 >> 8, 9999 & 255))).toBe(3)
  })

  test.each([
    ['cut off by the end of the stream', Uint8Array.from([...sub(41, ...SEQUENCE, 0x53, 0x45, 0x43)].slice(0, -2))],
    [
      'ended by an unescaped IAC',
      Uint8Array.of(IAC, 250, 232, 41, ...SEQUENCE.slice(0, 2), 0x53, 0x45, 0x43, IAC, 241),
    ],
    ['longer than any secret', longGoahead(70_000)],
    ['so long that it comes in parts', longGoahead(300_000)],
  ])('a GOAHEAD %s leaves nothing of its secret', (_, bytes) => {
    const [, redacted] = migrate(sub(40, ...SEQUENCE), bytes, new Uint8Array(0), [5000])
    expect(redacted?.length).toBe(bytes.length)
    expect(redacted?.includes(0x53)).toBe(false)
    expect(redacted?.slice(0, 4)).toEqual(Uint8Array.of(IAC, 250, 232, 41))
  })

  test('any other bytes are recorded as they are', () => {
    const plain = fc.array(
      byte.filter((value) => value !== 41 && value !== 44 && value !== 250),
      { maxLength: 120 },
    )
    fc.assert(
      fc.property(plain, sizes, (list, steps) => {
        const bytes = Uint8Array.from(list)
        const redactor = new Redactor(new Sequences())
        const parts = [...cut(bytes, steps)].map((chunk) => redactor.push(chunk))
        const out = [...parts.flatMap((part) => [...part]), ...redactor.end()]
        // A command cut off by the end cannot be judged: it is zeroed.
        const held = [IAC, 251, 252, 253, 254].includes(bytes.at(-1) ?? 0) ? 2 : 0
        expect(out.length).toBe(bytes.length)
        expect(out.slice(0, bytes.length - held)).toEqual([...bytes.slice(0, bytes.length - held)])
      }),
    )
  })
})
