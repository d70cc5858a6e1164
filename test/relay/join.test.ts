import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { Join, type JoinGround } from '../../src/relay/join.ts'
import { closed, digest, tcpPair, until } from './support.ts'

interface World {
  /** The outer ends: what is written to one comes out of the other. */
  readonly a: Socket
  readonly b: Socket
  /** The inner ends, which are joined. */
  readonly nearA: Socket
  readonly nearB: Socket
  readonly join: Join
  readonly clock: ManualClock
  readonly counters: JoinGround['counters']
  readonly closes: Join[]
}

async function joined(
  options: { halfClose?: boolean; before?: (nearA: Socket, nearB: Socket, a: Socket) => Promise<void> } = {},
) {
  const [a, nearA] = await tcpPair()
  const [b, nearB] = await tcpPair()
  await options.before?.(nearA, nearB, a)
  const clock = new ManualClock()
  const counters = { bytesForward: 0, bytesBack: 0 }
  const closes: Join[] = []
  const join = new Join(nearA, nearB, {
    clock,
    limits: { closeMs: 5_000 },
    counters,
    halfClose: options.halfClose ?? true,
    closed: (one) => closes.push(one),
  })
  return { a, b, nearA, nearB, join, clock, counters, closes } satisfies World
}

/** Pieces of all sizes; returns their hash. */
async function sendMuch(socket: Socket, bytes: number): Promise<string> {
  const hash = createHash('sha256')
  let sent = 0
  for (let index = 0; sent < bytes; index++) {
    const piece = randomBytes(Math.min(bytes - sent, [1, 7, 1_000, 65_536, 65_537, 200_000][index % 6] as number))
    hash.update(piece)
    sent += piece.length
    if (!socket.write(piece)) await once(socket, 'drain')
  }
  return hash.digest('hex')
}

test('every byte arrives, both ways at once, whatever the sizes of pieces', async () => {
  const { a, b, counters, closes } = await joined()
  const bytes = 6_000_000
  const results = [digest(a), digest(b)]
  const [fromA, fromB] = await Promise.all([sendMuch(a, bytes), sendMuch(b, bytes)])
  a.end()
  b.end()
  const [atA, atB] = await Promise.all(results)
  expect(atB).toEqual({ bytes, sha256: fromA })
  expect(atA).toEqual({ bytes, sha256: fromB })
  await Promise.all([closed(a), closed(b)])
  await until('the join to be over', () => closes.length > 0)
  expect(closes).toHaveLength(1)
  expect(counters).toEqual({ bytesForward: bytes, bytesBack: bytes })
})

test.each(['a', 'b'] as const)('half-close: %s ends its half and still gets a late, long answer', async (first) => {
  const { closes, ...ends } = await joined()
  const asking = ends[first]
  const answering = ends[first === 'a' ? 'b' : 'a']
  asking.end('question')
  const question = await digest(answering)
  expect(question.bytes).toBe(8)
  const answer = digest(asking)
  const sent = await sendMuch(answering, 1_000_000)
  expect(asking.readableEnded).toBe(false)
  answering.end()
  expect(await answer).toEqual({ bytes: 1_000_000, sha256: sent })
  await Promise.all([closed(asking), closed(answering)])
  await until('the join to be over', () => closes.length === 1)
})

test('a reset of one side: the other gets what was on its way, then its end', async () => {
  const { a, b, nearA, counters, closes } = await joined()
  const result = digest(b)
  a.write(randomBytes(100_000))
  await until('all of it to be read', () => counters.bytesForward === 100_000)
  nearA.once('error', () => {})
  a.resetAndDestroy()
  expect((await result).bytes).toBe(100_000)
  b.end()
  await closed(b)
  await until('the join to be over', () => closes.length === 1)
})

test('a reader that stands still stops the sender, in little memory; later it gets every byte', async () => {
  const { a, b, nearA, nearB } = await joined()
  b.pause()
  const hash = createHash('sha256')
  const total = 40_000_000
  let sent = 0
  const piece = randomBytes(64_000)
  const push = (): void => {
    while (sent < total) {
      hash.update(piece)
      sent += piece.length
      if (!a.write(piece)) {
        a.once('drain', push)
        return
      }
    }
    a.end()
  }
  push()
  let before = -1
  await until('the sender to be stopped', async () => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    const still = sent === before
    before = sent
    return still
  })
  expect(sent).toBeLessThan(total)
  expect(nearA.isPaused()).toBe(true)
  expect(nearA.readableLength + nearB.writableLength).toBeLessThan(200_000)
  const { bytes, sha256 } = await digest(b)
  expect({ bytes, sha256 }).toEqual({ bytes: sent, sha256: hash.digest('hex') })
})

test('one side dies while much waits for the other: it may finish, as long as it takes any', async () => {
  const { a, b, nearA, nearB, clock, closes } = await joined()
  b.pause()
  a.write(randomBytes(20_000_000))
  await until('a queue', () => nearB.writableLength > 0 && nearA.isPaused())
  // What the system does to a connection that has timed out; a reset is only seen by who reads.
  nearA.destroy(new Error('timed out'))
  await until('the end to be noticed', () => nearA.closed)
  expect(nearB.destroyed).toBe(false)
  const waiting = nearB.writableLength
  expect(waiting).toBeGreaterThan(0)
  const result = digest(b)
  expect((await result).bytes).toBeGreaterThan(waiting)
  expect(nearB.destroyed).toBe(false)
  b.end()
  await until('the join to be over', () => closes.length === 1)
  expect(clock.pending).toBe(0)
})

test('... but not for ever: one that takes nothing for closeMs is destroyed', async () => {
  const { fast, slow, clock, closes } = joinedDuplexes()
  fast.push(Buffer.alloc(600))
  fast.push(Buffer.alloc(600))
  await until('a queue', () => slow.writableLength === 1_200)
  fast.destroy(new Error('timed out'))
  await until('the end to be noticed', () => slow.writableEnded)
  clock.advance(4_999)
  // Some of it was taken: it gets as long again.
  slow.letGo()
  await until('one piece to be taken', () => slow.writableLength === 600)
  clock.advance(1)
  expect(slow.destroyed).toBe(false)
  clock.advance(4_999)
  expect(slow.destroyed).toBe(false)
  clock.advance(1)
  expect(slow.destroyed).toBe(true)
  await until('the join to be over', () => closes.length === 1)
})

test('where one side knows no half-close, the end of either is the end of both, with all that was sent', async () => {
  const { a, b, closes } = await joined({ halfClose: false })
  const [atA, atB] = [digest(a), digest(b)]
  b.write('tail')
  await until('the tail', () => a.bytesRead === 4)
  a.end('last words')
  expect((await atB).bytes).toBe(10)
  expect((await atA).bytes).toBe(4)
  b.end()
  await Promise.all([closed(a), closed(b)])
  await until('the join to be over', () => closes.length === 1)
})

test('close() ends both after what is on its way; what still comes is thrown away, not answered by a reset', async () => {
  const { a, b, join, counters, clock, closes } = await joined()
  const [atA, atB] = [digest(a), digest(b)]
  a.write(randomBytes(300_000))
  await until('all of it to be read', () => counters.bytesForward === 300_000)
  join.close()
  a.write('too late')
  expect((await atB).bytes).toBe(300_000)
  expect((await atA).bytes).toBe(0)
  // Neither ends its own half: that is waited for only so long.
  expect(closes).toHaveLength(0)
  clock.advance(5_000)
  await until('the join to be over', () => closes.length === 1)
  expect(counters.bytesForward).toBe(300_000)
})

test('a side that was closed before the join ends the other one at once', async () => {
  const { b, closes } = await joined({
    before: async (nearA) => {
      nearA.destroy()
      await once(nearA, 'close')
    },
  })
  const end = digest(b)
  b.end()
  expect((await end).bytes).toBe(0)
  await until('the join to be over', () => closes.length === 1)
})

test('both sides closed before the join: it is over once', async () => {
  const { closes } = await joined({
    before: async (nearA, nearB) => {
      nearA.destroy()
      nearB.destroy()
      await Promise.all([once(nearA, 'close'), once(nearB, 'close')])
    },
  })
  await until('the join to be over', () => closes.length > 0)
  await new Promise((resolve) => setImmediate(resolve))
  expect(closes).toHaveLength(1)
})

test('a side whose end was seen before the join still gets the answer', async () => {
  const { a, b } = await joined({
    before: async (nearA, _nearB, outer) => {
      nearA.resume()
      outer.end()
      await once(nearA, 'end')
      nearA.pause()
    },
  })
  expect((await digest(b)).bytes).toBe(0)
  const answer = digest(a)
  b.end('answer')
  expect((await answer).bytes).toBe(6)
})

/** A stream that is no socket: what is written is kept until it is let go. */
class SlowDuplex extends Duplex {
  readonly got: Buffer[] = []
  #next: (() => void) | null = null
  reads = 0

  constructor() {
    super({ allowHalfOpen: true, readableHighWaterMark: 1_000, writableHighWaterMark: 1_000 })
  }

  override _read(): void {
    this.reads++
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.got.push(chunk)
    this.#next = done
  }

  letGo(): void {
    const next = this.#next
    this.#next = null
    next?.()
  }
}

function joinedDuplexes() {
  const slow = new SlowDuplex()
  const fast = new SlowDuplex()
  const closes: Join[] = []
  const clock = new ManualClock()
  const counters = { bytesForward: 0, bytesBack: 0 }
  const closed = (join: Join) => closes.push(join)
  new Join(fast, slow, { clock, limits: { closeMs: 5_000 }, counters, halfClose: true, closed })
  return { fast, slow, clock, closes }
}

test('streams that are no sockets: a slow one is waited for, piece by piece', async () => {
  const { fast, slow, closes } = joinedDuplexes()
  for (let index = 0; index < 10; index++) fast.push(Buffer.alloc(600, index))
  fast.push(null)
  await until('the first piece', () => slow.got.length === 1)
  expect(slow.writableLength).toBeLessThanOrEqual(1_800)
  while (!slow.writableFinished) {
    slow.letGo()
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(Buffer.concat(slow.got)).toEqual(Buffer.concat(Array.from({ length: 10 }, (_, i) => Buffer.alloc(600, i))))
  slow.push(null)
  await until('the end', () => closes.length === 1)
})
