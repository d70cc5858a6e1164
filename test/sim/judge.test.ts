import { describe, expect, it } from 'vitest'
import { judgeGoaheadLatency, judgeSecrets } from '../../src/sim/check/judge-figures.ts'
import { compareStreams, judgeStream } from '../../src/sim/check/judge-stream.ts'
import { judgeBegin, judgeEscaping } from '../../src/sim/check/judge-wire.ts'
import { faultText, judged, verdict } from '../../src/sim/check/verdict.ts'
import { ItemSink, Random, type WireItem, WireParser } from '../../src/sim/index.ts'
import { hex } from './proxy-double.ts'

const text = (words: string) => new TextEncoder().encode(words)

function items(wire: string): readonly WireItem[] {
  const sink = new ItemSink(() => {})
  new WireParser().push(hex(wire), sink)
  return sink.items
}

describe('exactly once', () => {
  it.each([
    ['abcdef', 'abcdef', null, 0, 0],
    ['abcdef', 'abf', 'lost', 2, 3],
    ['abcdef', 'abcd', 'lost', 4, 2],
    ['abcdef', '', 'lost', 0, 6],
    ['abcdef', 'abccdef', 'doubled', 3, 1],
    ['abcdef', 'abcdefef', 'doubled', 6, 2],
    ['abcdef', 'abcXXdef', 'added', 3, 2],
    ['abcdef', 'abdcef', 'reordered', 2, 2],
    ['abcdef', 'abXXef', 'changed', 2, 2],
    ['', 'x', 'added', 0, 1],
  ] as const)('"%s" that arrives as "%s": %s at %i, %i bytes', (sent, arrived, fault, at, count) => {
    expect(compareStreams(text(sent), text(arrived))).toEqual({ fault, at, count })
  })

  it('names direction, amount and place', () => {
    expect(judgeStream('VM to console', text('abcdef'), text('abf'))).toEqual([
      'VM to console: 3 bytes lost at offset 2 of 6',
    ])
  })
})

describe('secrets', () => {
  const drawn = new Random(7)
  const random = (count: number, bytes = 8) => Array.from({ length: count }, () => drawn.bytes(bytes))

  it('drawn ones pass, however many', () => {
    expect(judgeSecrets(random(100))).toEqual([])
    expect(judgeSecrets(random(3, 4))).toEqual([])
  })

  it('short, repeated, half constant and counted ones do not', () => {
    expect(judgeSecrets(random(2, 3))).toEqual(['a secret has 3 bytes, 4 are the least'])
    const forty = random(40)
    expect(judgeSecrets([...forty, ...forty.slice(0, 2)])).toEqual(['2 of 42 secrets were used before'])
    const padded = forty.map((secret) => secret.map((byte, at) => (at < 3 ? 7 : byte)))
    expect(judgeSecrets(padded)).toEqual(['3 bytes of the secret hardly ever change'])
    const steps = Array.from(
      { length: 40 },
      (_, n) => new Uint8Array(new BigUint64Array([BigInt(n) * 0x0101_0101_0101_0101n]).buffer),
    )
    expect(judgeSecrets(steps)).toEqual(['the secrets are counted up: each can be told from the one before'])
  })
})

describe('latency', () => {
  it('50 ms are too slow in the middle, 5 s once; the network has no part in it', () => {
    expect(judgeGoaheadLatency([1, 2, 49, 60], 0)).toEqual([])
    expect(judgeGoaheadLatency([51, 52, 53], 0)).toHaveLength(1)
    expect(judgeGoaheadLatency([51, 52, 53], 40)).toEqual([])
    expect(judgeGoaheadLatency([1, 1, 5_000], 0)).toEqual([expect.stringContaining('5000 ms: a host gives up at 5 s')])
    expect(judgeGoaheadLatency([], 0)).toEqual(['no BEGIN was answered'])
  })
})

describe('the wire', () => {
  const SEQUENCE = hex('ff f0')

  it('C29: one GOAHEAD with the sequence and a secret', () => {
    const good = judgeBegin(SEQUENCE, items('fffae829 fffff0 01020304 fff0'))
    expect(good).toEqual({ faults: [], answer: 'goahead', secret: Uint8Array.of(1, 2, 3, 4) })
  })

  it.each([
    ['', 'no answer to BEGIN'],
    ['fffae829fffff001fff0 fffae829fffff001fff0', '2 answers to one BEGIN'],
    ['fffae829fffff0fff0', 'GOAHEAD carries no secret'],
    ['fffae829aabb0102fff0', 'VMOTION-GOAHEAD does not echo the sequence: sent ff f0, got aa bb 01 02'],
    ['fffae82bfffff007fff0', 'NOTNOW carries 1 bytes besides the sequence'],
    ['fffae829fff0 01020304 fff0', 'VMOTION-GOAHEAD does not echo the sequence: sent ff f0, got nothing'],
  ])('%s: %s', (wire, fault) => {
    expect(judgeBegin(SEQUENCE, items(wire)).faults).toContain(fault)
  })

  it('C2: a bare 0xFF shows; commands that Telnet has do not count', () => {
    expect(judgeEscaping(items('41 ffff 42 fff1 fff3 fffb00'))).toEqual([])
    expect(judgeEscaping(items('41 ff42'))).toEqual(['an 0xFF followed by 66 was not doubled'])
    expect(judgeEscaping(items('fffae829 ff42'))).toHaveLength(2)
    const early = 'IAC SE outside of a suboption: an 0xFF before it was not doubled'
    expect(judgeEscaping(items('fffae829fff0 01020304 fff0'))).toEqual([early])
  })
})

describe('verdicts', () => {
  it('tells each fault once, and not a hundred of them', () => {
    expect(faultText(['a', 'a', 'b'])).toBe('a; b')
    expect(faultText(['a', 'b', 'c', 'd', 'e'])).toBe('a; b; c; and 2 more')
  })

  it('no fault is a pass, a reason to skip is no pass', () => {
    expect(judged(verdict([], 'seen'))).toEqual({ outcome: 'pass', reason: 'seen', figures: {} })
    expect(judged(verdict(['x']))).toMatchObject({ outcome: 'fail', reason: 'x' })
    expect(judged({ skipped: 'why' })).toMatchObject({ outcome: 'skipped', reason: 'why' })
  })
})
