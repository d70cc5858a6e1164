import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ByteQueue } from '../../src/base/index.ts'

describe('ByteQueue', () => {
  test('whatever is pushed comes out once and in order, under any mix of push, shift and clear', () => {
    const push = fc.record({
      kind: fc.constant('push' as const),
      size: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 900, max: 5000 })),
    })
    const shift = fc.record({ kind: fc.constant('shift' as const), max: fc.option(fc.integer({ min: 1, max: 600 })) })
    const clear = fc.record({ kind: fc.constant('clear' as const) })
    const steps = fc.array(
      fc.oneof({ weight: 6, arbitrary: push }, { weight: 5, arbitrary: shift }, { weight: 1, arbitrary: clear }),
      { maxLength: 200 },
    )
    fc.assert(
      fc.property(steps, (list) => {
        const queue = new ByteQueue(1000)
        let model: number[] = []
        let counter = 0
        const taken: Uint8Array[] = []
        const copies: Uint8Array[] = []
        for (const step of list) {
          if (step.kind === 'push') {
            const bytes = Uint8Array.from({ length: step.size }, () => counter++ & 255)
            queue.push(bytes)
            for (const byte of bytes) model.push(byte)
            // The queue has its own copy.
            bytes.fill(0xee)
          } else if (step.kind === 'shift') {
            const piece = step.max === null ? queue.shift() : queue.shift(step.max)
            if (piece === null) expect(model).toEqual([])
            else {
              expect(piece.length).toBeGreaterThan(0)
              if (step.max !== null) expect(piece.length).toBeLessThanOrEqual(step.max)
              expect([...piece]).toEqual(model.slice(0, piece.length))
              model = model.slice(piece.length)
              taken.push(piece)
              copies.push(piece.slice())
            }
          } else {
            queue.clear()
            model = []
          }
          expect(queue.byteLength).toBe(model.length)
          expect(queue.pieces === 0).toBe(model.length === 0)
          expect(queue.full).toBe(model.length >= 1000)
        }
        // What was handed out belongs to the taker: no later push wrote into it.
        expect(taken).toEqual(copies)
      }),
      { numRuns: 300 },
    )
  })

  test('one-byte pushes are packed: 8,000 keystrokes are a few pieces, not 8,000', () => {
    const queue = new ByteQueue(1 << 20)
    for (let i = 0; i < 8000; i++) queue.push(Uint8Array.of(i & 255))
    expect(queue.byteLength).toBe(8000)
    expect(queue.pieces).toBeLessThan(40)
  })

  test('a queued byte does not pin the 64 KiB buffer it arrived in', () => {
    const read = new Uint8Array(65_536)
    const queue = new ByteQueue(1000)
    queue.push(read.subarray(10, 11))
    expect(queue.shift()?.buffer.byteLength).toBeLessThanOrEqual(256)
  })

  test('is full at either cap, and still takes what was already read', () => {
    const bytes = new ByteQueue(10)
    bytes.push(new Uint8Array(9))
    expect(bytes.full).toBe(false)
    bytes.push(new Uint8Array(5))
    expect(bytes.full).toBe(true)
    expect(bytes.byteLength).toBe(14)
    const pieces = new ByteQueue(1 << 20, 2)
    pieces.push(new Uint8Array(2000))
    expect(pieces.full).toBe(false)
    pieces.push(new Uint8Array(2000))
    expect(pieces.full).toBe(true)
    pieces.shift()
    expect(pieces.full).toBe(false)
  })

  test('an empty push is nothing', () => {
    const queue = new ByteQueue(10)
    queue.push(new Uint8Array(0))
    expect(queue.pieces).toBe(0)
    expect(queue.shift()).toBeNull()
  })

  test('a long-lived queue that never runs empty does not keep what it has handed out', () => {
    const queue = new ByteQueue(1 << 20)
    queue.push(new Uint8Array(2000).fill(1))
    for (let i = 0; i < 5000; i++) {
      queue.push(new Uint8Array(2000).fill(i & 255))
      expect(queue.shift()?.length).toBe(2000)
      expect(queue.pieces).toBe(1)
    }
  })
})
