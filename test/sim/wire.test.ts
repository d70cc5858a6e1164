import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { doubleIac, encodeSub, ItemSink, type WireItem, WireParser } from '../../src/sim/index.ts'
import { hex } from './proxy-double.ts'

/** Cuts `bytes` at the given offsets, in order. */
function parse(bytes: Uint8Array, cuts: readonly number[] = []): { items: WireItem[]; data: number[] } {
  const data: number[] = []
  const sink = new ItemSink((piece) => data.push(...piece))
  const parser = new WireParser()
  let from = 0
  for (const cut of [...cuts, bytes.length]) {
    parser.push(bytes.subarray(from, cut), sink)
    from = cut
  }
  return { items: sink.items, data }
}

// Everything at once: doubled data, verbs (one with option 255), suboptions with FF inside, strays, a broken SB.
const MIX = hex(`
  61 ff ff 62  ff fb 00  ff fd ff  ff fa e8 29 76 19 ff ff e9 f0 00 ff f0  63 0d 00
  ff f0  ff f3  ff 00  ff fa ff f0  ff fa 2c 65 00 01 c2 00 ff f0  ff fa e8 01 ff fb 03 64 ff ff`)

describe('WireParser', () => {
  it('names what it finds, in order, with offsets', () => {
    const { items, data } = parse(MIX)
    expect(items.map((item) => [item.at, item.name])).toEqual([
      [0, 'data'],
      [4, 'WILL BINARY'],
      [7, 'DO option 255'],
      [10, 'VMOTION-GOAHEAD'],
      [23, 'data'],
      [26, 'SE'],
      [28, 'BRK'],
      [30, 'command 0'],
      [32, 'empty SB'],
      [36, 'SB COM-PORT 101'],
      [46, 'IAC 251 inside SB'],
      [46, 'WILL SGA'],
      [53, 'data'],
    ])
    expect(items[3]).toMatchObject({ payload: Uint8Array.of(0x76, 0x19, 0xff, 0xe9, 0xf0, 0) })
    expect(Buffer.from(data)).toEqual(hex('61 ff 62 63 0d 00 64 ff'))
  })

  it('C1: gives the same items when cut in two at every offset, and byte by byte', () => {
    const whole = parse(MIX)
    for (let cut = 0; cut <= MIX.length; cut++) expect(parse(MIX, [cut])).toEqual(whole)
    expect(parse(MIX, [...MIX.keys()])).toEqual(whole)
  })

  it('any bytes give the same items for any chunking, and never throw', () => {
    const byte = fc.oneof(fc.constantFrom(255, 250, 240, 251, 232, 0), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 60 }), fc.nat(), (list, seed) => {
        const bytes = Uint8Array.from(list)
        const cuts = [...bytes.keys()].filter((at) => (seed >> (at % 30)) & 1)
        expect(parse(bytes, cuts)).toEqual(parse(bytes))
      }),
      { numRuns: 300 },
    )
  })

  it('reads back what the encoders write', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.integer({ min: 0, max: 254 }), (payload, option) => {
        expect(Uint8Array.from(parse(doubleIac(payload)).data)).toEqual(payload)
        const [item] = parse(encodeSub(option, payload)).items
        const { code, payload: rest } = item as Extract<WireItem, { kind: 'sub' }>
        expect(Uint8Array.from(code === null ? rest : [code, ...rest])).toEqual(payload)
      }),
    )
  })

  it('an endless SB does not grow the VM', () => {
    const { items } = parse(Buffer.concat([hex('ff fa e8 01'), Buffer.alloc(1 << 20, 0x41), hex('ff f0 62')]))
    expect(items.map((item) => item.name)).toEqual(['SB too long', 'data'])
  })
})
