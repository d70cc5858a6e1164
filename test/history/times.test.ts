import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { limitsWith, ManualClock } from '../../src/base/index.ts'
import { type History, type Marks, MemoryHistoryStore } from '../../src/history/index.ts'
import { Segments } from '../../src/history/segments.ts'
import { TimeReader } from '../../src/history/time-reader.ts'
import { formatRecords, INDEX_HEADER, parseIndex, RECORD_BYTES, Times } from '../../src/history/times.ts'
import { FakeDisk } from './fake-disk.ts'
import { bytes, bytesAt, FakeWorld, realStore, TestOwner, temporaryFolder, UUID } from './support.ts'

const NO_LIMITS = { historyPortBytes: 0, historyTotalBytes: 0, historyCompressMs: 0 }
const INDEX = `/ports/${UUID}/00000000000000000000.idx`

async function world(limits = {}, disk = new FakeDisk(), clock = new ManualClock()) {
  const w = await FakeWorld.open({ ...NO_LIMITS, ...limits }, disk, clock)
  return { w, disk, clock, history: w.store.open(UUID, new TestOwner()) }
}

function settle(w: FakeWorld, history: History): void {
  w.settle()
  for (let i = 0; i < 1000 && history.visible < history.next; i++) {
    w.clock.advance(10)
    w.settle()
  }
}

/** All marks from an offset on. */
function marksOf(w: FakeWorld, history: History, offset = 0): [offset: number, time: number][] {
  const all: [number, number][] = []
  for (let from = offset; from !== Number.POSITIVE_INFINITY; ) {
    let marks: Marks | null = null
    history.marks(from, (found) => {
      marks = found
    })
    w.settle()
    const { offsets, times, next } = marks as unknown as Marks
    for (const [i, one] of offsets.entries()) all.push([one, times[i] as number])
    expect(next).toBeGreaterThan(from)
    from = next
  }
  return all
}

function seek(w: FakeWorld, history: History, wall: number, unknownToo = false): number {
  let found = -1
  history.seekTime(wall, unknownToo, (offset) => {
    found = offset
  })
  w.settle()
  return found
}

describe('the index of a file', () => {
  const marks = fc
    .array(fc.tuple(fc.integer({ min: 1, max: 2 ** 40 }), fc.integer({ min: 1, max: 2 ** 47 })), { maxLength: 200 })
    .map((list) => {
      const offsets: number[] = []
      for (const [step] of list) offsets.push((offsets.at(-1) ?? -1) + step)
      return { offsets, times: list.map(([, time]) => time) }
    })

  test('holds what was put into it', () => {
    fc.assert(
      fc.property(marks, fc.integer({ min: 0, max: 2 ** 40 }), ({ offsets, times }, segment) => {
        const shifted = offsets.map((offset) => offset + segment)
        const file = Buffer.concat([INDEX_HEADER, formatRecords({ offsets: shifted, times }, times.length, segment)])
        expect(parseIndex(file, segment, Number.POSITIVE_INFINITY)).toEqual({ offsets: shifted, times })
      }),
    )
  })

  test('that is torn, zeroed or too long is good up to there, and nothing makes it throw', () => {
    fc.assert(
      fc.property(marks, fc.nat(3000), fc.nat(100), ({ offsets, times }, cut, zeros) => {
        const records = formatRecords({ offsets, times }, times.length, 0)
        const whole = Buffer.concat([INDEX_HEADER, records])
        const left = whole.subarray(0, Math.min(whole.length, cut))
        const torn = Buffer.concat([left, new Uint8Array(zeros)])
        const found = parseIndex(torn, 0, Number.POSITIVE_INFINITY)
        const good = Math.max(0, Math.floor(left.length / RECORD_BYTES) - 1)
        // A record half of which is zeros may still look like one.
        expect(found.offsets.slice(0, good)).toEqual(offsets.slice(0, good))
        expect(found.offsets.length).toBeLessThanOrEqual(good + 1)
        const end = offsets[offsets.length >> 1] ?? 0
        expect(parseIndex(whole, 0, end).offsets).toEqual(offsets.filter((offset) => offset < end))
      }),
    )
    fc.assert(fc.property(fc.uint8Array(), (any) => void parseIndex(any, 0, 1000)))
  })
})

test('a mark is made as often as it takes to be right, and no more', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(300), fc.integer({ min: 1, max: 400 })), { maxLength: 300 }), (chunks) => {
      const times = new Times()
      let wall = 1_700_000_000_000
      let next = 0
      const came: [number, number][] = []
      for (const [ms, length] of chunks) {
        wall += ms
        came.push([next, wall])
        times.add(next, wall)
        next += length
      }
      for (const [offset, at] of came) {
        const time = times.times[times.below(offset + 1) - 1] ?? 0
        expect(at - time).toBeGreaterThanOrEqual(0)
        expect(at - time).toBeLessThan(250)
      }
      expect(times.offsets.length).toBeLessThanOrEqual(next / 128 + (wall - 1_700_000_000_000) / 250 + 1)
    }),
  )
})

describe('arrival times', () => {
  test('are known at once, and still after they were written, after rotation and after a restart', async () => {
    const { w, disk, clock, history } = await world({ historyFileBytes: 1000 })
    const came = new Map<number, number>()
    for (let i = 0; i < 60; i++) {
      clock.advance(1000)
      came.set(history.next, clock.wall())
      history.append(bytesAt(1, history.next, 90))
      settle(w, history)
      if (i % 10 !== 9) continue
      expect(new Map(marksOf(w, history))).toEqual(came)
    }
    clock.advance(20_000)
    w.settle()
    expect(new Map(marksOf(w, history))).toEqual(came)
    expect([...disk.files.keys()].filter((path) => path.endsWith('.idx')).length).toBe(5)
    disk.crash(() => 0)
    clock.advance(1000)
    const again = await world({ historyFileBytes: 1000 }, disk, clock)
    expect(new Map(marksOf(again.w, again.history))).toEqual(came)
    for (let i = 0; i < 20; i++) {
      clock.advance(1000)
      came.set(again.history.next, clock.wall())
      again.history.append(bytesAt(1, again.history.next, 90))
      settle(again.w, again.history)
    }
    expect(new Map(marksOf(again.w, again.history))).toEqual(came)
    // From the middle: first the mark that holds there.
    expect(marksOf(again.w, again.history, 95).slice(0, 2)).toEqual([...came].slice(1, 3))
  })

  test('cost a write for many of them, and none for a port that is silent', async () => {
    const { w, disk, clock, history } = await world()
    let indexWrites = 0
    const { write } = disk
    disk.write = (...args) => {
      if (args[1][0] === 0x76 || args[3] % RECORD_BYTES === 0) indexWrites++
      write.apply(disk, args)
    }
    for (let i = 0; i < 100; i++) {
      clock.advance(100)
      history.append(bytes('a line of output that is a little longer than most'.repeat(3)))
      settle(w, history)
    }
    clock.advance(15_000)
    w.settle()
    expect(indexWrites).toBeLessThanOrEqual(2)
    expect(disk.content(INDEX)?.length).toBeGreaterThan(90 * RECORD_BYTES)
    clock.advance(100_000)
    expect([disk.ops.length, w.deferred]).toEqual([0, 0])
    expect(disk.openFiles).toBe(w.store.gauges.openFiles)
  })

  test('of a stopped server are all there', async () => {
    const dir = temporaryFolder()
    const store = await realStore(dir)
    const history = store.open(UUID, new TestOwner())
    history.append(bytes('hello'))
    const now = Date.now()
    await store.close(5000)
    expect(readdirSync(join(dir, 'ports', UUID)).sort()).toEqual([
      '00000000000000000000.idx',
      '00000000000000000000.log',
      'port.json',
    ])
    const index = readFileSync(join(dir, 'ports', UUID, '00000000000000000000.idx'))
    const { offsets, times } = parseIndex(index, 0, 5)
    expect(offsets).toEqual([0])
    expect(Math.abs((times[0] ?? 0) - now)).toBeLessThan(5000)
    const again = (await realStore(dir)).open(UUID, new TestOwner())
    const marks = await new Promise<Marks>((resolve) => again.marks(0, resolve))
    expect(marks).toEqual({ offsets, times, next: Number.POSITIVE_INFINITY })
  })

  test('that are damaged or gone are not known, and what comes is recorded again', async () => {
    for (const damage of ['gone', 'cut', 'zeros', 'junk', 'beyond'] as const) {
      const { w, disk, clock, history } = await world()
      for (let i = 0; i < 20; i++) {
        clock.advance(1000)
        history.append(bytesAt(1, history.next, 90))
        settle(w, history)
      }
      clock.advance(20_000)
      w.settle()
      const before = marksOf(w, history)
      disk.crash(() => 0)
      const file = disk.files.get(INDEX) as { bytes: Uint8Array; size: number }
      if (damage === 'gone') disk.files.delete(INDEX)
      if (damage === 'cut') file.size -= 5 * RECORD_BYTES + 5
      if (damage === 'zeros') file.bytes.fill(0, 10 * RECORD_BYTES, file.size)
      if (damage === 'junk') file.bytes.fill(0xaa)
      // A power loss took the end of the output, and not that of the index.
      if (damage === 'beyond') (disk.files.get(INDEX.replace('.idx', '.log')) as { size: number }).size = 900
      const again = await world({}, disk, clock)
      clock.advance(1000)
      const { next } = again.history
      const wall = clock.wall()
      again.history.append(bytesAt(1, next, 90))
      settle(again.w, again.history)
      for (let i = 0; i < 2; i++) {
        const kept = { gone: 0, cut: 14, zeros: 9, junk: 0, beyond: 10 }[damage]
        expect([damage, ...marksOf(again.w, again.history)]).toEqual([damage, ...before.slice(0, kept), [next, wall]])
        clock.advance(20_000)
        again.w.settle()
      }
      expect(again.w.problems).toEqual([])
    }
  })

  test('an index that cannot be written holds up no output', async () => {
    const { w, disk, clock, history } = await world()
    history.append(bytes('abc'))
    settle(w, history)
    clock.advance(12_500)
    w.turn()
    expect(disk.ops.map(({ path }) => path)).toEqual([INDEX])
    disk.ops[0]?.end('EACCES')
    history.append(bytes('def'))
    settle(w, history)
    expect([history.visible, w.told('write')]).toEqual([6, ['began EACCES']])
    clock.advance(30_000)
    w.settle()
    expect(disk.content(INDEX)).not.toBeNull()
  })

  test('go with the file they are of', async () => {
    const { w, disk, clock, history } = await world({ historyFileBytes: 1000, historyPortBytes: 4000 })
    for (let i = 0; i < 100; i++) {
      clock.advance(1000)
      history.append(bytesAt(1, history.next, 90))
      settle(w, history)
    }
    clock.advance(20_000)
    w.settle()
    const logs = [...disk.files.keys()].filter((path) => path.endsWith('.log'))
    const indexes = [...disk.files.keys()].filter((path) => path.endsWith('.idx'))
    expect(history.start).toBeGreaterThan(0)
    expect(indexes.sort()).toEqual(logs.map((path) => path.replace('.log', '.idx')).sort())
    expect(marksOf(w, history)[0]?.[0]).toBe(history.start)
  })
})

describe('an offset by time', () => {
  test('is that of the first byte that came then or later', async () => {
    const { w, clock, history } = await world({ historyFileBytes: 1000 })
    const came: [number, number][] = []
    for (let i = 0; i < 50; i++) {
      clock.advance(i === 30 ? 60_000 : 1000)
      came.push([history.next, clock.wall()])
      history.append(bytesAt(1, history.next, 90))
      settle(w, history)
    }
    for (const [offset, wall] of came) {
      expect(seek(w, history, wall)).toBe(offset)
      expect(seek(w, history, wall - 1)).toBe(offset)
    }
    expect(seek(w, history, 0)).toBe(0)
    expect(seek(w, history, clock.wall() + 1)).toBe(history.next)
  })

  test('of times that are not known: as asked', async () => {
    const disk = new FakeDisk()
    const clock = new ManualClock()
    const before = await world({}, disk, clock)
    before.history.append(bytesAt(1, 0, 100))
    settle(before.w, before.history)
    disk.crash(() => 0)
    disk.mtime = clock.wall()
    const { w, history } = await world({}, disk, clock)
    expect(seek(w, history, clock.wall() - 1000, true)).toBe(0)
    expect(seek(w, history, clock.wall() - 1000, false)).toBe(100)
    expect(seek(w, history, clock.wall() + 1000, true)).toBe(100)
    expect(marksOf(w, history)).toEqual([])
  })
})

test('an offset by time is found behind more files than the stack has room for', () => {
  const files = 50_000
  const closed = Array.from({ length: files }, (_, i) => {
    return {
      start: 100 * i,
      diskBytes: 100,
      indexBytes: 0,
      lastWriteAt: i,
      packed: false,
      stuck: false,
      leftovers: false,
    }
  })
  const end = 100 * (files + 1)
  const segments = new Segments({ closed, last: 100 * files, lastIndexBytes: 0, next: end, lastWriteAt: files })
  const port = { segments, dirName: 'vm', removed: false, written: end, next: end, times: null }
  const clock = new ManualClock()
  const opened: string[] = []
  const gone = Object.assign(new Error('gone'), { code: 'ENOENT' })
  const fs = {
    open: (path: string, _flags: number, _mode: number, done: (error: Error) => void) => {
      opened.push(path)
      done(gone)
    },
  }
  const reader = new TimeReader({ folderOf: () => '/vm', fs, defer: setImmediate } as never, clock)
  const found: number[] = []
  const seek = (wall: number) => reader.seek(port as never, wall, true, (offset) => found.push(offset))
  seek(files - 1)
  seek(files + 1)
  reader.clear()
  expect(found).toEqual([100 * (files - 1), end])
  expect(opened).toHaveLength(2)
})

test('in memory, times are known for what is held', async () => {
  const clock = new ManualClock()
  const store = new MemoryHistoryStore(limitsWith({ historyBytes: 200_000 }), 'all', clock)
  const history = store.open('vm', new TestOwner())
  for (let i = 0; i < 1000; i++) {
    clock.advance(1000)
    history.append(bytesAt(1, history.next, 1000))
  }
  const marks = await new Promise<Marks>((resolve) => history.marks(history.start, resolve))
  expect(marks.offsets[0]).toBeLessThanOrEqual(history.start)
  expect(marks.offsets.length).toBeLessThan(400)
  const wall = clock.wall() - 10_000
  expect(await new Promise((resolve) => history.seekTime(wall, true, resolve))).toBe(history.next - 11_000)
})
