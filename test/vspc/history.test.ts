import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MemoryHistory } from '../../src/vspc/index.ts'

/** Byte at an offset: no two neighbouring offsets look alike, and the pattern is longer than any piece. */
const byteAt = (offset: number): number => (offset * 7 + (offset >> 8) * 13 + (offset >> 16)) & 0xff

function bytesFrom(offset: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => byteAt(offset + i))
}

/** Everything from `from` on, piece by piece. */
function readAll(history: MemoryHistory, from: number, maxBytes: number): Uint8Array {
  const pieces: Uint8Array[] = []
  for (let at = from; ; ) {
    const piece = history.read(at, maxBytes)
    if (piece === null) break
    if (piece.length === 0 || piece.length > maxBytes) throw new Error(`a piece of ${piece.length} bytes`)
    pieces.push(piece)
    at += piece.length
  }
  return Buffer.concat(pieces)
}

const sizes = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 40 }) },
  { weight: 3, arbitrary: fc.integer({ min: 41, max: 3000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 2000, max: 70_000 }) },
)

describe('MemoryHistory', () => {
  test('any appends, read back from any offset in any steps, are what was appended', () => {
    const reads = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 70_000 })), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(
        fc.array(sizes, { maxLength: 60 }),
        fc.constantFrom(0, 1, 100, 4096, 1 << 20),
        reads,
        (appends, cap, wanted) => {
          const history = new MemoryHistory(cap)
          let next = 0
          for (const size of appends) {
            history.append(bytesFrom(next, size))
            next += size
            expect(history.next).toBe(next)
            const held = next - history.start
            // Never less than promised, never more than one piece too much.
            expect(held).toBeGreaterThanOrEqual(Math.min(next, cap))
            expect(held).toBeLessThan(cap + 70_000)
          }
          for (const [offset, step] of wanted) {
            const from = history.start + (offset % (next - history.start + 1))
            expect(Buffer.compare(readAll(history, from, step), bytesFrom(from, next - from))).toBe(0)
          }
        },
      ),
      { numRuns: 150 },
    )
  })

  test('what lies outside is null, not an error and not something else', () => {
    const history = new MemoryHistory(10)
    expect(history.read(0, 10)).toBeNull()
    for (let i = 0; i < 5; i++) history.append(bytesFrom(i * 5000, 5000))
    expect(history.start).toBeGreaterThan(0)
    for (const offset of [-1, 0, history.start - 1, history.next, history.next + 1, 2 ** 53]) {
      expect(history.read(offset, 10), `${offset}`).toBeNull()
    }
    expect(history.read(history.next - 1, 10)).toEqual(bytesFrom(24_999, 1))
  })

  test('nothing appended leaves nothing behind', () => {
    const history = new MemoryHistory(10)
    history.append(new Uint8Array(0))
    expect([history.start, history.next]).toEqual([0, 0])
  })

  test('with a cap of 0 nothing is kept, and offsets count on', () => {
    const history = new MemoryHistory(0)
    for (const size of [1, 5000, 1, 1, 3000]) history.append(bytesFrom(0, size))
    expect([history.start, history.next]).toEqual([8003, 8003])
  })

  test('a view once read never changes, whatever is appended or dropped later', () => {
    const history = new MemoryHistory(2000)
    const views: { at: number; view: Uint8Array }[] = []
    let next = 0
    for (let i = 0; i < 400; i++) {
      const size = 1 + ((i * 37) % 90) + (i % 50 === 49 ? 3000 : 0)
      history.append(bytesFrom(next, size))
      next += size
      const view = history.read(next - size, 1 << 20)
      if (view) views.push({ at: next - size, view })
    }
    expect(history.start).toBeGreaterThan(0)
    for (const { at, view } of views) expect(view).toEqual(bytesFrom(at, view.length))
  })

  test('a short chunk is copied: its sender may use its buffer again', () => {
    const history = new MemoryHistory(1000)
    const buffer = bytesFrom(0, 100)
    history.append(buffer)
    buffer.fill(0)
    expect(history.read(0, 100)).toEqual(bytesFrom(0, 100))
  })

  test('keystroke by keystroke it costs about what it holds, not an object per byte', () => {
    const history = new MemoryHistory(100_000)
    for (let i = 0; i < 50_000; i++) history.append(bytesFrom(i, 1))
    let pieces = 0
    for (let at = 0; at < 50_000; pieces++) at += history.read(at, 1 << 20)?.length ?? 1
    expect(pieces).toBeLessThan(10)
  })

  test.each([100, 2000, 2500, 20_000])('pieces of %d bytes do not pin the read buffers they came in', (size) => {
    // A VM that sends some data between long suboptions must not cost many times what history may hold.
    const history = new MemoryHistory(1 << 20)
    for (let i = 0; i < 50; i++) history.append(Buffer.alloc(65_536, i).subarray(100, 100 + size))
    const pinned = new Set<ArrayBufferLike>()
    for (let at = 0; at < history.next; ) {
      const piece = history.read(at, 1 << 20) as Uint8Array
      pinned.add(piece.buffer)
      at += piece.length
    }
    const bytes = [...pinned].reduce((sum, buffer) => sum + buffer.byteLength, 0)
    expect(bytes).toBeLessThan(2 * history.next + 65_536)
  })

  test('a long run of large pieces is dropped as it goes: what is held does not grow', () => {
    const history = new MemoryHistory(100_000)
    for (let i = 0; i < 500; i++) {
      history.append(bytesFrom(i * 10_000, 10_000))
      expect(history.next - history.start).toBeLessThanOrEqual(110_000)
    }
    expect(readAll(history, history.start, 7777)).toHaveLength(history.next - history.start)
  })
})
