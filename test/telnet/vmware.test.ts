import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  Decoder,
  decodeVmMessage,
  encodeProxyMessage,
  encodeSubnegotiation,
  OPTION,
  PROXY_KNOWN_SUBOPTIONS,
  type ProxyMessage,
  SUBOPTION,
  suboptionName,
} from '../../src/telnet/index.ts'

/** Section 4 of our protocol notes: code, name, who sends it. */
const SPEC: readonly [number, string, 'VM' | 'proxy'][] = [
  [0, 'KNOWN-SUBOPTIONS-1', 'VM'],
  [1, 'KNOWN-SUBOPTIONS-2', 'proxy'],
  [2, 'UNKNOWN-SUBOPTION-RCVD-1', 'VM'],
  [3, 'UNKNOWN-SUBOPTION-RCVD-2', 'proxy'],
  [40, 'VMOTION-BEGIN', 'VM'],
  [41, 'VMOTION-GOAHEAD', 'proxy'],
  [43, 'VMOTION-NOTNOW', 'proxy'],
  [44, 'VMOTION-PEER', 'VM'],
  [45, 'VMOTION-PEER-OK', 'proxy'],
  [46, 'VMOTION-COMPLETE', 'VM'],
  [48, 'VMOTION-ABORT', 'VM'],
  [70, 'DO-PROXY', 'VM'],
  [71, 'WILL-PROXY', 'proxy'],
  [73, 'WONT-PROXY', 'proxy'],
  [80, 'VM-VC-UUID', 'VM'],
  [81, 'GET-VM-VC-UUID', 'proxy'],
  [82, 'VM-NAME', 'VM'],
  [83, 'GET-VM-NAME', 'proxy'],
  [84, 'VM-BIOS-UUID', 'VM'],
  [85, 'GET-VM-BIOS-UUID', 'proxy'],
  [86, 'VM-LOCATION-UUID', 'VM'],
  [87, 'GET-VM-LOCATION-UUID', 'proxy'],
]

describe('option 232', () => {
  test('numbers and names are those of the protocol, all of them', () => {
    expect(Object.values(SUBOPTION).sort((a, b) => a - b)).toEqual(SPEC.map(([code]) => code))
    for (const [code, name] of SPEC) expect(suboptionName(code)).toBe(name)
    expect(suboptionName(42)).toBe('42')
  })

  test('our KNOWN-SUBOPTIONS-2 lists everything the protocol demands, ascending, and 1 and 3 are in it [C15]', () => {
    const demanded = [0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 82, 83]
    expect(PROXY_KNOWN_SUBOPTIONS).toEqual(expect.arrayContaining(demanded))
    expect(PROXY_KNOWN_SUBOPTIONS).toEqual([...PROXY_KNOWN_SUBOPTIONS].sort((a, b) => a - b))
    expect(new Set(PROXY_KNOWN_SUBOPTIONS).size).toBe(PROXY_KNOWN_SUBOPTIONS.length)
  })

  test('every code 0..255 decodes to its message, to malformed or to unknown, with any payload [C16, C20]', () => {
    const ofVm = new Map(SPEC.filter(([, , from]) => from === 'VM').map(([code, name]) => [code, name]))
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 255 }),
        fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 64 }),
        (code, rest) => {
          const message = decodeVmMessage(Uint8Array.of(code, ...rest))
          expect(message).not.toBeNull()
          if (message === null) return
          if (ofVm.has(code)) expect([ofVm.get(code), 'malformed']).toContain(message.kind)
          else if (code === 3) expect(message).toMatchObject({ kind: 'malformed', code: 3 })
          else expect(message).toEqual({ kind: 'unknown', code })
        },
      ),
      { numRuns: 1000 },
    )
    expect(decodeVmMessage(new Uint8Array(0))).toBeNull()
  })

  test('byte fields are copies: the decoder may overwrite its chunk afterwards', () => {
    const payload = Uint8Array.of(40, 1, 2, 3, 4)
    const message = decodeVmMessage(payload)
    payload.fill(0xee)
    expect(message).toEqual({ kind: 'VMOTION-BEGIN', sequence: Uint8Array.of(1, 2, 3, 4) })
    const proxy = Uint8Array.of(70, 0x53, 0x76)
    const asked = decodeVmMessage(proxy)
    proxy.fill(0xee)
    expect(asked).toEqual({ kind: 'DO-PROXY', direction: 'server', serviceURI: Uint8Array.of(0x76) })
    // What sockets deliver is a Buffer, whose slice() is a view.
    const read = Buffer.from([44, 1, 2, 3, 4])
    const peer = decodeVmMessage(read)
    read.fill(0xee)
    expect(peer).toEqual({ kind: 'VMOTION-PEER', cookie: Uint8Array.of(1, 2, 3, 4) })
  })

  test('the reason of a malformed message is in protocol words and holds no payload', () => {
    const message = decodeVmMessage(Uint8Array.of(70, 0x41, ...Buffer.from('secret-uri')))
    expect(message).toMatchObject({
      kind: 'malformed',
      code: 70,
      reason: "DO-PROXY: direction byte 65 is neither 'S' nor 'C'",
    })
  })

  test('every proxy message survives the wire with 0xFF in each of its fields [C2, C16]', () => {
    const bytes = fc
      .array(fc.oneof(fc.constant(0xff), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 32 })
      .map((list) => Uint8Array.from(list))
    const message: fc.Arbitrary<[ProxyMessage, (number | Uint8Array)[]]> = fc.oneof(
      bytes.map((codes): [ProxyMessage, Uint8Array[]] => [{ kind: 'KNOWN-SUBOPTIONS-2', codes }, [codes]]),
      fc
        .integer({ min: 0, max: 255 })
        .map((code): [ProxyMessage, number[]] => [{ kind: 'UNKNOWN-SUBOPTION-RCVD-2', code }, [code]]),
      fc
        .tuple(bytes, bytes)
        .map(([sequence, secret]): [ProxyMessage, Uint8Array[]] => [
          { kind: 'VMOTION-GOAHEAD', sequence, secret },
          [sequence, secret],
        ]),
      bytes.map((sequence): [ProxyMessage, Uint8Array[]] => [{ kind: 'VMOTION-NOTNOW', sequence }, [sequence]]),
      bytes.map((sequence): [ProxyMessage, Uint8Array[]] => [{ kind: 'VMOTION-PEER-OK', sequence }, [sequence]]),
      fc
        .constantFrom<ProxyMessage['kind']>(
          'WILL-PROXY',
          'WONT-PROXY',
          'GET-VM-VC-UUID',
          'GET-VM-NAME',
          'GET-VM-BIOS-UUID',
          'GET-VM-LOCATION-UUID',
        )
        .map((kind): [ProxyMessage, Uint8Array[]] => [{ kind } as ProxyMessage, []]),
    )
    fc.assert(
      fc.property(message, ([said, fields]) => {
        const wire = encodeSubnegotiation(OPTION.VMWARE_TELNET_EXT, encodeProxyMessage(said))
        const seen: number[][] = []
        new Decoder().push(wire, {
          data: () => expect.unreachable(),
          command: () => expect.unreachable(),
          negotiation: () => expect.unreachable(),
          anomaly: (kind) => expect.unreachable(kind),
          subnegotiation: (option, payload) => seen.push([option, ...payload]),
        })
        const code = SPEC.find(([, name]) => name === said.kind)?.[0]
        const rest = fields.flatMap((field) => (typeof field === 'number' ? [field] : [...field]))
        expect(seen).toEqual([[OPTION.VMWARE_TELNET_EXT, code, ...rest]])
      }),
    )
  })
})
