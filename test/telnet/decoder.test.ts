import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  Decoder,
  type DecoderSink,
  DO,
  DONT,
  encodeCommand,
  encodeData,
  encodeNegotiation,
  encodeSubnegotiation,
  IAC,
  SB,
  SE,
  type Verb,
  WILL,
  WONT,
} from '../../src/telnet/index.ts'
import { EventLog, loggingSink } from '../support/pages.ts'
import { type NaiveEvent, naiveDecode } from './naive-decoder.ts'

/** Bytes as an attacker or a bad line would choose them: mostly those that mean something to Telnet. */
const telnetish = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(IAC, IAC, SB, SE, WILL, WONT, DO, DONT, 232, 0, 44) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
)
const wire = fc.array(telnetish, { maxLength: 300 }).map((bytes) => Uint8Array.from(bytes))
/** Payloads with many 0xFF. */
const payload = fc
  .array(fc.oneof(fc.constant(0xff), fc.integer({ min: 0, max: 255 })), { maxLength: 200 })
  .map((bytes) => Uint8Array.from(bytes))
const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 })

function cut(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1
    chunks.push(bytes.slice(at, at + size))
    at += size
  }
  return chunks
}

function decode(chunks: Iterable<Uint8Array>, maxSubnegotiationBytes = 4096): string[] {
  const decoder = new Decoder(maxSubnegotiationBytes)
  const log = new EventLog()
  const sink = loggingSink(log, () => decoder.offset)
  for (const chunk of chunks) decoder.push(chunk, sink)
  return log.lines()
}

function naiveLines(bytes: Uint8Array, maxSubnegotiationBytes: number): string[] {
  const log = new EventLog()
  let end = 0
  const sink = loggingSink(log, () => end + 1)
  const report = (event: NaiveEvent): void => {
    end = event.end
    if (event.kind === 'data') sink.data(Uint8Array.of(event.byte))
    else if (event.kind === 'command') sink.command(event.code)
    else if (event.kind === 'negotiation') sink.negotiation(event.verb, event.option)
    else if (event.kind === 'sub') sink.subnegotiation(event.option, Uint8Array.from(event.payload))
    else sink.anomaly(event.anomaly, event.end)
  }
  naiveDecode(bytes, maxSubnegotiationBytes).forEach(report)
  return log.lines()
}

describe('decoder', () => {
  test('any bytes, cut anywhere, give what the slow obvious decoder gives, offsets included [C1, C4]', () => {
    fc.assert(
      fc.property(wire, cuts, fc.constantFrom(1, 4, 16, 4096), (bytes, sizes, cap) => {
        const expected = naiveLines(bytes, cap)
        expect(decode([bytes.slice()], cap)).toEqual(expected)
        expect(decode(cut(bytes, sizes), cap)).toEqual(expected)
      }),
      { numRuns: 1500 },
    )
  })

  test('data with many 0xFF come back as they went in, whatever the chunking [C2, C3]', () => {
    fc.assert(
      fc.property(payload, cuts, (bytes, sizes) => {
        const seen: number[] = []
        const decoder = new Decoder()
        const sink: DecoderSink = { ...failing, data: (data) => seen.push(...data) }
        for (const chunk of cut(encodeData(bytes).slice(), sizes)) decoder.push(chunk, sink)
        expect(Uint8Array.from(seen)).toEqual(bytes)
      }),
    )
  })

  test('subnegotiations with many 0xFF come back as they went in, for every option byte but 255 [C2]', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 254 }), payload, cuts, (option, bytes, sizes) => {
        const seen: [number, Uint8Array][] = []
        const decoder = new Decoder()
        const sink: DecoderSink = { ...failing, subnegotiation: (code, body) => seen.push([code, body.slice()]) }
        for (const chunk of cut(encodeSubnegotiation(option, bytes), sizes)) decoder.push(chunk, sink)
        expect(seen).toEqual([[option, bytes]])
      }),
    )
  })

  test('a mixed stream of encoded items decodes to those items in order [C1, C2, C6]', () => {
    const item = fc.oneof(
      payload.filter((bytes) => bytes.length > 0).map((bytes) => ({ wire: encodeData(bytes), line: 'data' })),
      fc.constantFrom(241, 243, 246).map((code) => ({ wire: encodeCommand(code), line: 'command' })),
      fc.tuple(fc.constantFrom<Verb>(WILL, WONT, DO, DONT), fc.integer({ min: 0, max: 255 })).map(([verb, option]) => ({
        wire: encodeNegotiation(verb, option),
        line: 'negotiation',
      })),
      payload.map((bytes) => ({ wire: encodeSubnegotiation(232, bytes), line: 'sub' })),
    )
    fc.assert(
      fc.property(fc.array(item, { maxLength: 12 }), cuts, (items, sizes) => {
        const bytes = Uint8Array.from(items.flatMap(({ wire }) => [...wire]))
        const kinds = decode(cut(bytes, sizes)).map((line) => line.split(' ')[1])
        const expected = items
          .map(({ line }) => line)
          .filter((kind, i, all) => kind !== 'data' || all[i - 1] !== 'data')
        expect(kinds).toEqual(expected)
      }),
    )
  })

  test('a subnegotiation of a megabyte in any chunk size costs no memory beyond the cap and loses no byte after it [C5]', () => {
    for (const size of [1, 7, 4096, 65_536]) {
      const decoder = new Decoder(4096)
      let longest = 0
      const events: string[] = []
      const sink: DecoderSink = {
        ...failing,
        data: (bytes) => events.push(`data ${bytes.length}`),
        subnegotiation: (_, bytes) => {
          // The buffer behind the view is all the decoder holds.
          longest = Math.max(longest, bytes.buffer.byteLength)
          events.push(`sub ${bytes.length}`)
        },
        anomaly: (kind) => events.push(kind),
      }
      decoder.push(Uint8Array.of(IAC, SB, 232), sink)
      for (let sent = 0; sent < 1 << 20; sent += size) decoder.push(new Uint8Array(size).fill(0x61), sink)
      decoder.push(Uint8Array.of(IAC, SE), sink)
      decoder.push(Uint8Array.of(0x78), sink)
      // The largest that fits, one byte at a time, so that it has to be gathered.
      for (const byte of encodeSubnegotiation(232, new Uint8Array(4095).fill(0x62)))
        decoder.push(Uint8Array.of(byte), sink)
      expect(events).toEqual(['subnegotiation-too-long', 'data 1', 'sub 4095'])
      expect(longest).toBeLessThanOrEqual(4096)
    }
  })

  test('stop() leaves what follows unread, for TLS, wherever the chunk ends', () => {
    for (const tail of [0, 1, 5]) {
      const decoder = new Decoder()
      const hello = new Uint8Array(tail).fill(0x16)
      const chunk = Uint8Array.from([0x61, ...encodeSubnegotiation(37, Uint8Array.of(2, 7, 0, 2)), ...hello])
      const seen: string[] = []
      const consumed = decoder.push(chunk, {
        ...failing,
        data: (bytes) => seen.push(`data ${bytes.length}`),
        subnegotiation: () => {
          seen.push('sub')
          decoder.stop()
        },
      })
      expect(seen).toEqual(['data 1', 'sub'])
      expect(consumed).toBe(chunk.length - tail)
      expect(decoder.push(Uint8Array.of(IAC, 241, 0x61), failing)).toBe(0)
    }
  })

  test('a chunk without IAC is handed on as it is, not copied', () => {
    const chunk = new TextEncoder().encode('no byte of this is special')
    let same = false
    new Decoder().push(chunk, {
      ...failing,
      data: (bytes) => {
        same = bytes === chunk
      },
    })
    expect(same).toBe(true)
  })

  test('encodeData hands back its input when there is nothing to double, and else leaves it untouched', () => {
    const plain = Uint8Array.of(1, 2, 3)
    expect(encodeData(plain)).toBe(plain)
    const special = Uint8Array.of(255, 1, 255)
    expect(encodeData(special)).toEqual(Uint8Array.of(255, 255, 1, 255, 255))
    expect(special).toEqual(Uint8Array.of(255, 1, 255))
  })
})

const failing: DecoderSink = {
  data: () => expect.unreachable('data'),
  command: (code) => expect.unreachable(`command ${code}`),
  negotiation: (verb, option) => expect.unreachable(`negotiation ${verb} ${option}`),
  subnegotiation: (option) => expect.unreachable(`subnegotiation ${option}`),
  anomaly: (kind) => expect.unreachable(`anomaly ${kind}`),
}
