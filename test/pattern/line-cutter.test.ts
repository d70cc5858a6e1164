import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LineCutter, MAX_LINE_BYTES } from '../../src/pattern/index.ts'

/** Lines with their offsets, from chunks; a block is cut into its lines here. */
function linesOf(chunks: readonly { readonly bytes: Uint8Array; readonly offset: number }[]): [number, string][] {
  const lines: [number, string][] = []
  const cutter = new LineCutter((block, offset) => {
    for (let at = 0; at < block.length; ) {
      const feed = block.indexOf(10, at)
      const end = Math.min(feed < 0 ? block.length : feed, at + MAX_LINE_BYTES)
      lines.push([offset + at, block.toString('latin1', at, end)])
      at = block[end] === 10 ? end + 1 : end
    }
  })
  for (const { bytes, offset } of chunks) cutter.push(bytes, offset)
  cutter.end()
  return lines
}

const split = (bytes: Uint8Array, cuts: readonly number[]) => {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((from, i) => ({ offset: from, bytes: bytes.subarray(from, at[i] ?? bytes.length) }))
}

test('lines do not depend on where the output was cut', () => {
  const line = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.integer({ min: MAX_LINE_BYTES - 2, max: MAX_LINE_BYTES + 2 }).map((length) => 'x'.repeat(length)),
    fc.constant('y'.repeat(2 * MAX_LINE_BYTES)),
  )
  const output = fc.array(line, { maxLength: 6 }).map((lines) => Buffer.from(lines.join('\n')))
  fc.assert(
    fc.property(output, fc.array(fc.nat(), { maxLength: 12 }), (bytes, cuts) => {
      expect(linesOf(split(bytes, cuts))).toEqual(linesOf([{ bytes, offset: 0 }]))
    }),
    { numRuns: 300 },
  )
})

test('a byte at a time is a line all the same', () => {
  const bytes = Buffer.from('one\r\ntwo\n\nthree')
  expect(
    linesOf(
      split(
        bytes,
        Array.from(bytes, (_, i) => i),
      ),
    ),
  ).toEqual([
    [0, 'one\r'],
    [5, 'two'],
    [9, ''],
    [10, 'three'],
  ])
})

test('bytes that are missing end a line, and join nothing', () => {
  const chunks = [
    { offset: 10, bytes: Buffer.from('lo') },
    { offset: 20, bytes: Buffer.from('gin\nnext') },
  ]
  expect(linesOf(chunks)).toEqual([
    [10, 'lo'],
    [20, 'gin'],
    [24, 'next'],
  ])
})

test('a chunk may be used again once it was pushed', () => {
  const seen: string[] = []
  const cutter = new LineCutter((block) => seen.push(block.toString()))
  const chunk = Buffer.from('half a ')
  cutter.push(chunk, 0)
  chunk.fill(0)
  cutter.push(Buffer.from('line\n'), 7)
  expect(seen).toEqual(['half a line\n'])
})
