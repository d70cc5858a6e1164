import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NvtInput, NvtOutput } from '../../src/telnet/index.ts'

const CR = 13
const LF = 10
const NUL = 0

const latin = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))
const join = (pieces: readonly Uint8Array[]) => Uint8Array.from(Buffer.concat(pieces))

function decode(chunks: readonly Uint8Array[], binary = false): Uint8Array {
  const input = new NvtInput()
  return join(chunks.map((chunk) => input.decode(chunk, binary)))
}

function encode(chunks: readonly Uint8Array[], binary = false): Uint8Array {
  const output = new NvtOutput()
  return join(chunks.map((chunk) => output.encode(chunk, binary)))
}

/** Rich in what matters. */
const bytes = fc.array(fc.oneof(fc.constantFrom(CR, LF, NUL), fc.integer({ min: 0, max: 255 })), { maxLength: 60 })
const cuts = fc.array(fc.nat(60), { maxLength: 8 })

function cut(all: Uint8Array, at: readonly number[]): Uint8Array[] {
  const places = [0, ...[...at].sort((a, b) => a - b).filter((place) => place <= all.length), all.length]
  return places.slice(1).map((place, index) => all.slice(places[index], place))
}

/** Byte by byte, as one would write it down. */
function naiveEncode(all: readonly number[]): number[] {
  return all.flatMap((byte, at) => (byte === CR && at + 1 < all.length && all[at + 1] !== LF ? [CR, NUL] : [byte]))
}

function naiveDecode(all: readonly number[]): number[] {
  const out: number[] = []
  for (let at = 0; at < all.length; at++) {
    out.push(all[at] as number)
    if (all[at] === CR && (all[at + 1] === NUL || all[at + 1] === LF)) at++
  }
  return out
}

describe("a person's keys", () => {
  test.each([
    ['CR NUL, Enter of most clients', 'ls\r\0', 'ls\r'],
    ['CR LF, Enter of the others', 'ls\r\n', 'ls\r'],
    ['two Enters', '\r\n\r\n\r\0\r\0', '\r\r\r\r'],
    ['a bare CR', 'a\rb', 'a\rb'],
    ['a bare LF, which is Ctrl-J', 'a\nb', 'a\nb'],
    ['a NUL of its own', 'a\0b', 'a\0b'],
    ['CR NUL NUL: the second one was typed', '\r\0\0', '\r\0'],
  ])('%s', (_name, typed, heard) => {
    expect(decode([latin(typed)])).toEqual(latin(heard))
  })

  test('Enter is not held back until the next key', () => {
    const input = new NvtInput()
    expect(input.decode(latin('x\r'), false)).toEqual(latin('x\r'))
    expect(input.decode(latin('\0'), false)).toEqual(latin(''))
    expect(input.decode(latin('\0'), false)).toEqual(latin('\0'))
  })

  test('in BINARY every byte counts, also what follows a CR from before', () => {
    expect(decode([latin('\r\n\r\0\xff')], true)).toEqual(latin('\r\n\r\0\xff'))
    const input = new NvtInput()
    input.decode(latin('\r'), false)
    expect(input.decode(latin('\n'), true)).toEqual(latin('\n'))
    expect(input.decode(latin('\n'), false)).toEqual(latin('\n'))
  })

  test('any split gives the same, and that is what the RFC says', () => {
    fc.assert(
      fc.property(bytes, cuts, (all, at) => {
        const whole = Uint8Array.from(all)
        expect(decode(cut(whole, at))).toEqual(Uint8Array.from(naiveDecode(all)))
        expect(decode(cut(whole, at), true)).toEqual(whole)
      }),
    )
  })
})

describe("a guest's output", () => {
  test.each([
    ['lines', 'a\r\nb\r\n', 'a\r\nb\r\n'],
    ['a progress bar', '1%\r2%\r\n', '1%\r\x002%\r\n'],
    ['CR CR LF, of a tty that maps twice', 'a\r\r\n', 'a\r\0\r\n'],
    ['LF alone', 'a\nb', 'a\nb'],
    ['a NUL behind a CR is not lost', '\r\0', '\r\0\0'],
  ])('%s', (_name, said, sent) => {
    expect(encode([latin(said)])).toEqual(latin(sent))
  })

  test('nothing is copied where nothing changes', () => {
    const plain = latin('a\r\nb\r\n')
    expect(new NvtOutput().encode(plain, false)).toBe(plain)
    expect(new NvtOutput().encode(latin('\rx'), true)).toEqual(latin('\rx'))
  })

  test('any split gives the same, and a client that follows the RFC gets every byte back', () => {
    fc.assert(
      fc.property(bytes, cuts, (all, at) => {
        const whole = Uint8Array.from(all)
        const sent = encode(cut(whole, at))
        expect(sent).toEqual(Uint8Array.from(naiveEncode(all)))
        expect(encode(cut(whole, at), true)).toEqual(whole)
        // As the client sees it: only CR NUL is undone, CR LF stays.
        const text = Buffer.from(sent).toString('latin1').replaceAll('\r\0', '\r')
        expect(text).toBe(Buffer.from(whole).toString('latin1'))
      }),
    )
  })
})
