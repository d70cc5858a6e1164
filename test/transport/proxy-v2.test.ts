import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cleanText, VspcError } from '../../src/base/index.ts'
import { crc32c } from '../../src/transport/crc32c.ts'
import { formatIpAddress, parseIpAddress } from '../../src/transport/ip-address.ts'
import {
  encodeProxyHeader,
  MAX_PROXY_HEADER_BYTES,
  PROXY_V2_SIGNATURE,
  type ProxyHeader,
  ProxyHeaderParser,
} from '../../src/transport/proxy-v2.ts'
import { chunkings, loadPages, quote } from '../support/pages.ts'

const PREFIX = 'no valid PROXY protocol v2 header: '

/** What a stream that comes in pieces says, as pages write it. */
function linesOf(chunks: Iterable<Uint8Array>): string[] {
  const parser = new ProxyHeaderParser()
  const rest: number[] = []
  let header: ProxyHeader | null = null
  try {
    for (const chunk of chunks) {
      if (header !== null) {
        rest.push(...chunk)
        continue
      }
      const wanted = parser.wanted
      expect(wanted).toBeGreaterThan(0)
      const done = parser.push(chunk)
      if (done === null) continue
      header = done.header
      rest.push(...done.rest)
    }
  } catch (error) {
    if (!(error instanceof VspcError) || error.code !== 'VSPC_PROXY_HEADER') throw error
    expect(error.message.startsWith(PREFIX)).toBe(true)
    return [`error ${error.message.slice(PREFIX.length)}`]
  }
  if (header === null) return ['incomplete']
  const { command, source, destination, origin, uniqueId, label } = header
  return [
    command,
    ...(source === null ? [] : [`source ${source.address} ${source.tcpPort}`]),
    ...(destination === null ? [] : [`destination ${destination.address} ${destination.tcpPort}`]),
    ...(origin === null ? [] : [`origin "${origin}"`]),
    ...(uniqueId === null ? [] : [`unique-id "${uniqueId}"`]),
    ...(label === null ? [] : [`label "${label}"`]),
    ...(rest.length === 0 ? [] : [`rest ${quote(Uint8Array.from(rest))}`]),
  ]
}

describe('pages, in whatever pieces they come', () => {
  for (const page of loadPages('proxy')) {
    test(page.name, () => {
      for (const chunking of chunkings(page.input)) {
        // A text that begins otherwise is known as such before it is known what it is.
        const lines = linesOf(chunking.chunks())
        if (chunking.name !== 'whole' && lines[0]?.startsWith('error the stream begins otherwise')) continue
        expect(lines, chunking.name).toEqual(page.events)
      }
    })
  }
})

test('a header that is cut off is not complete, wherever that is', () => {
  const bytes = encodeProxyHeader({ ...NOTHING, uniqueId: 'vm1', source: { address: '10.0.0.7', tcpPort: 1 } })
  for (let length = 0; length < bytes.length; length++) {
    expect(linesOf([bytes.subarray(0, length)])).toEqual(['incomplete'])
  }
})

test('every single byte that changes on the way is found', () => {
  const bytes = encodeProxyHeader({ ...NOTHING, uniqueId: 'vm1', source: { address: '10.0.0.7', tcpPort: 1 } })
  const intact = linesOf([bytes])
  for (let at = 0; at < bytes.length; at++) {
    const broken = bytes.slice()
    broken[at] = (broken[at] ?? 0) ^ 0x04
    const [first = ''] = linesOf([broken])
    // Without the type of the checksum there is none to check.
    if (!/^error|^incomplete/.test(first)) expect(bytes[at]).toBe(0x03)
    expect(linesOf([bytes])).toEqual(intact)
  }
})

const NOTHING: ProxyHeader = {
  command: 'PROXY',
  source: null,
  destination: null,
  origin: null,
  uniqueId: null,
  label: null,
}

const ipv4 = fc.ipV4()
const ipv6 = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map(formatIpAddress)
  .filter((text) => text.includes(':'))
const tcpPort = fc.integer({ min: 0, max: 65_535 })
const place = (address: fc.Arbitrary<string>) => fc.record({ address, tcpPort })
const places = fc.oneof(
  fc.record({ source: place(ipv4), destination: place(ipv4) }),
  fc.record({ source: place(ipv6), destination: place(ipv6) }),
  fc.constant({ source: null, destination: null }),
)
const clean = (maxLength: number) =>
  fc.string({ unit: 'grapheme', maxLength }).map((text) => cleanText(text, maxLength) || null)
const headers: fc.Arbitrary<ProxyHeader> = fc
  .record({
    places,
    command: fc.constantFrom('PROXY' as const, 'LOCAL' as const),
    origin: clean(200),
    uniqueId: clean(24).filter((text) => new TextEncoder().encode(text ?? '').length <= 128),
    label: fc.option(fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/)),
  })
  .map(({ places, command, origin, uniqueId, label }) => {
    if (command === 'LOCAL') return { ...NOTHING, command, uniqueId, label }
    return { command, ...places, origin, uniqueId, label }
  })

test('what is written is read, with what follows it', () => {
  fc.assert(
    fc.property(headers, fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 60 }), (header, after, size) => {
      const stream = new Uint8Array([...encodeProxyHeader(header), ...after])
      const parser = new ProxyHeaderParser()
      for (let at = 0; ; at += size) {
        const done = parser.push(stream.subarray(at, at + size))
        if (done === null) continue
        expect(done.header).toEqual(header)
        expect([...done.rest, ...stream.subarray(at + size)]).toEqual([...after])
        return
      }
    }),
  )
})

test('any bytes are a header, the beginning of one, or an error with a code', () => {
  const beginnings = fc.constantFrom(
    new Uint8Array(0),
    PROXY_V2_SIGNATURE,
    Uint8Array.from([...PROXY_V2_SIGNATURE, 0x21]),
    Uint8Array.from([...PROXY_V2_SIGNATURE, 0x21, 0x11, 0]),
    Uint8Array.from([...PROXY_V2_SIGNATURE, 0x21, 0x00, 0, 30]),
    Uint8Array.from([...PROXY_V2_SIGNATURE, 0x20, 0x00, 0, 20, 0x05, 0]),
  )
  fc.assert(
    fc.property(beginnings, fc.uint8Array({ maxLength: 300 }), (beginning, bytes) => {
      const parser = new ProxyHeaderParser()
      expect(linesOf([beginning, bytes])).not.toEqual([])
      expect(parser.wanted).toBeLessThanOrEqual(MAX_PROXY_HEADER_BYTES)
    }),
    { numRuns: 500 },
  )
})

test('the largest header is taken', () => {
  const body = MAX_PROXY_HEADER_BYTES - 16
  const bytes = new Uint8Array(MAX_PROXY_HEADER_BYTES)
  bytes.set([...PROXY_V2_SIGNATURE, 0x20, 0x00, body >> 8, body & 0xff, 0x04, (body - 3) >> 8, (body - 3) & 0xff])
  expect(linesOf([bytes])).toEqual(['LOCAL'])
})

test('a name too long for a header is refused, not cut: it would name another VM', () => {
  expect(() => encodeProxyHeader({ ...NOTHING, uniqueId: 'ä'.repeat(65) })).toThrow(
    /has 130 bytes; a PROXY header takes 128, so announce its UUID/,
  )
})

test('a destination of the other family is left out', () => {
  const bytes = encodeProxyHeader({
    ...NOTHING,
    source: { address: 'fe80::1%eth0', tcpPort: 7 },
    destination: { address: '10.0.0.1', tcpPort: 9 },
  })
  expect(linesOf([bytes])).toEqual(['PROXY', 'source fe80::1 7', 'destination :: 0'])
})

test('CRC-32C is that of RFC 3720', () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
  expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
})

describe('addresses', () => {
  test.each([
    ['10.0.0.7', '0a000007'],
    ['::', '00000000000000000000000000000000'],
    ['::1', '00000000000000000000000000000001'],
    ['2001:db8:0:1:1:1:1:1', '20010db8000000010001000100010001'],
    ['2001:db8::1:0:0:1', '20010db8000000000001000000000001'],
    ['1::', '00010000000000000000000000000000'],
  ])('%s', (address, hex) => {
    const bytes = Buffer.from(hex, 'hex')
    expect(Buffer.from(parseIpAddress(address) ?? []).toString('hex')).toBe(hex)
    expect(formatIpAddress(bytes)).toBe(address)
  })

  test.each([
    '',
    '1.2.3',
    '1.2.3.256',
    '1.2.3.4.5',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    '12345::',
    '::1.2.3',
    'a.b',
  ])('"%s" is none', (address) => expect(parseIpAddress(address)).toBe(null))

  test('as the system itself writes them', () => {
    fc.assert(
      fc.property(fc.ipV6(), (written) => {
        const bytes = parseIpAddress(written)
        if (bytes === null) throw new Error(`not read: ${written}`)
        const again = formatIpAddress(bytes)
        if (again.includes('.')) return
        expect(again).toBe(new URL(`http://[${written}]/`).hostname.slice(1, -1))
      }),
    )
  })
})
