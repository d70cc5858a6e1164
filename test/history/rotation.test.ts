import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { limitsWith } from '../../src/base/index.ts'
import type { History } from '../../src/history/index.ts'
import { FakeDisk } from './fake-disk.ts'
import {
  bytes,
  bytesAt,
  everything,
  FakeWorld,
  firstWrong,
  realStore,
  TestOwner,
  temporaryFolder,
  text,
  UUID,
} from './support.ts'

const DAY = 86_400_000
const KEEP = { historyPortBytes: 0, historyTotalBytes: 0, historyCompressMs: 0 }

async function world(limits = {}, disk = new FakeDisk()) {
  const w = await FakeWorld.open({ ...KEEP, ...limits }, disk)
  return { w, disk, history: w.store.open(UUID, new TestOwner()) }
}

/** Names and sizes of the files of a port. */
function filesOf(disk: FakeDisk, id = UUID): [number, number][] {
  const found: [number, number][] = []
  for (const [path, { size }] of disk.files) {
    const [, start] = path.startsWith(`/ports/${id}/`) ? (/(\d{20})\.log$/.exec(path) ?? []) : []
    if (start !== undefined) found.push([Number(start), size])
  }
  return found.sort((a, b) => a[0] - b[0])
}

/** What is kept beside the output, of all ports. */
function indexBytes(disk: FakeDisk): number {
  return [...disk.files].reduce((sum, [path, { size }]) => sum + (path.endsWith('.idx') ? size : 0), 0)
}

function print(w: FakeWorld, history: History, length: number, seed = 1): void {
  history.append(bytesAt(seed, history.next, length))
  settle(w, history)
}

/** What is gathered needs a moment. */
function settle(w: FakeWorld, history: History): void {
  w.settle()
  while (history.visible < history.next) {
    w.clock.advance(10)
    w.settle()
  }
}

function expectAll(w: FakeWorld, history: History, from = 0): void {
  const found = w.loadAll(history)
  expect(found.gaps).toEqual(from === 0 ? [] : [[0, from]])
  let next = from
  for (const [i, piece] of found.bytes.entries()) {
    expect(found.at[i]).toBe(next)
    expect(firstWrong(1, next, piece)).toBeNull()
    next += piece.length
  }
  expect(next).toBe(history.next)
}

describe('rotation', () => {
  test('by size: every byte is in one file, and files are named by where they go on', async () => {
    const { w, disk, history } = await world({ historyFileBytes: 1000 })
    for (let i = 0; i < 50; i++) print(w, history, 90)
    const files = filesOf(disk)
    expect(files.length).toBe(5)
    let next = 0
    for (const [start, size] of files) {
      expect(start).toBe(next)
      // By no more than what was printed at once.
      expect(size).toBeLessThan(1000 + 90)
      next += size
    }
    expect(next).toBe(4500)
    expectAll(w, history)
    // Those that are full are not kept open for writing.
    expect(w.store.gauges.openFiles).toBeLessThanOrEqual(5)
  })

  test('a large backlog is spread over files instead of making one too large', async () => {
    const { w, disk, history } = await world({ historyFileBytes: 100_000 })
    for (let i = 0; i < 40; i++) history.append(bytesAt(1, history.next, 25_000))
    settle(w, history)
    for (const [, size] of filesOf(disk)) expect(size).toBeLessThan(100_000 + 65_536)
    expectAll(w, history)
  })

  test('by time: at multiples of it on the wall clock, also if a restart comes in between', async () => {
    const limits = { historyFileMs: DAY }
    const disk = new FakeDisk()
    const { w, history } = await world(limits, disk)
    const midnight = DAY - (w.clock.wall() % DAY)
    print(w, history, 10)
    w.clock.advance(midnight - 1)
    print(w, history, 10)
    w.clock.advance(1)
    // Only what comes begins another file: nothing is made for a port that is silent.
    expect(filesOf(disk)).toEqual([[0, 20]])
    print(w, history, 10)
    expect(filesOf(disk)).toEqual([
      [0, 20],
      [20, 10],
    ])
    const { mtime } = disk
    disk.crash(() => 0)
    disk.mtime = mtime - 3 * DAY
    const again = await world(limits, disk)
    print(again.w, again.history, 5)
    expect(filesOf(disk).at(-1)).toEqual([30, 5])
    expectAll(again.w, again.history)
  })

  test('a new file that cannot be made costs no byte: it is tried again', async () => {
    const { w, disk, history } = await world({ historyFileBytes: 100 })
    history.keepTail(true)
    print(w, history, 100)
    history.append(bytesAt(1, 100, 50))
    w.turn()
    while (disk.ops[0]?.path.endsWith('.idx')) disk.ops[0].end()
    expect(disk.ops.map(({ kind, path }) => [kind, path.slice(-7)])).toEqual([['open', '100.log']])
    disk.ops[0]?.end('ENOSPC')
    expect([history.visible, w.told('write')]).toEqual([150, ['began ENOSPC']])
    print(w, history, 50)
    w.clock.advance(200)
    w.settle()
    expect(filesOf(disk)).toEqual([
      [0, 100],
      [100, 100],
    ])
    expectAll(w, history)
  })

  test('a crash at any moment around it loses, doubles and moves nothing that was shown', async () => {
    for (let at = 0; ; at++) {
      const disk = new FakeDisk()
      const { w, history } = await world({ historyFileBytes: 300 }, disk)
      let ended = 0
      const run = () => {
        while (w.deferred > 0 || disk.ops.length > 0) {
          w.turn()
          const op = disk.ops[0]
          if (op === undefined) continue
          if (ended++ === at) return false
          op.end()
        }
        return true
      }
      let whole = true
      for (let i = 0; i < 12 && whole; i++) {
        history.append(bytesAt(1, history.next, 70))
        whole = run()
      }
      const shown = history.visible
      disk.crash((length) => length >> 1)
      const again = await world({ historyFileBytes: 300 }, disk)
      expect(again.history.next).toBeGreaterThanOrEqual(shown)
      print(again.w, again.history, 400)
      expectAll(again.w, again.history)
      if (whole) return
    }
  })

  test('on a real disk, with a reader who follows from the start', async () => {
    const dir = temporaryFolder()
    const limits = limitsWith({ historyFileBytes: 65_536, historyOpenFiles: 2, historyTailBytes: 0 })
    const store = await realStore(dir, { limits })
    const history = store.open(UUID, new TestOwner())
    const total = 3 << 20
    while (history.next < total) {
      history.append(bytesAt(1, history.next, 30_000))
      if (history.next % 4 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await store.flush(5000)
    const content = await everything(history)
    expect([content.length, firstWrong(1, 0, content)]).toEqual([history.next, null])
    const folder = join(dir, 'ports', UUID)
    const names = readdirSync(folder).filter((name) => name.endsWith('.log'))
    expect(names.length).toBeGreaterThan(15)
    const joined = Buffer.concat(names.sort().map((name) => readFileSync(join(folder, name))))
    expect(joined.equals(content)).toBe(true)
  })
})

describe('the budget of a port', () => {
  const limits = { historyFileBytes: 100_000, historyPortBytes: 300_000 }

  test('is kept at all times, the oldest goes first, and what is left is whole', async () => {
    const { w, disk, history } = await world(limits)
    for (let i = 0; i < 200; i++) {
      print(w, history, 10_000)
      const sum = filesOf(disk).reduce((all, [, size]) => all + size, 0)
      expect(sum).toBeLessThanOrEqual(300_000 + 10_000)
      expect(w.store.gauges.diskBytes).toBe(sum + indexBytes(disk))
    }
    const files = filesOf(disk)
    expect(history.start).toBe(files[0]?.[0])
    expect(history.next - history.start).toBeGreaterThan(200_000)
    expect(w.store.counters.expiredBytes).toBe(history.start)
    expectAll(w, history, history.start)
    expect(disk.openFiles).toBe(w.store.gauges.openFiles)
  })

  test('a reader that stands in what goes is told of a gap, whenever it comes', async () => {
    const { w, disk, history } = await world(limits)
    for (let i = 0; i < 24; i++) print(w, history, 10_000)
    expect(history.start).toBe(0)
    const results: unknown[] = []
    history.load(5, 10, (result) => results.push(result))
    w.turn()
    const open = disk.ops.find(({ kind }) => kind === 'open')
    for (let i = 0; i < 10; i++) {
      history.append(bytesAt(1, history.next, 10_000))
      for (let op = other(); op !== undefined || w.deferred > 0; op = other()) {
        op?.end()
        w.turn()
      }
    }
    function other() {
      return disk.ops.find((op) => op !== open)
    }
    expect(history.start).toBeGreaterThan(0)
    open?.end()
    w.settle()
    expect(results).toEqual([{ kind: 'gap', to: history.start }])
    expect(w.load(history, 0, 10)).toEqual({ kind: 'gap', to: history.start })
  })

  test('a file that is deleted while a reader opens it does not stay open: the disk would stay full', async () => {
    const { w, disk, history } = await world(limits)
    for (let i = 0; i < 24; i++) print(w, history, 10_000)
    const results: unknown[] = []
    history.load(5, 10, (result) => results.push(result))
    w.turn()
    history.append(bytesAt(1, history.next, 60_000))
    const other = () => disk.ops.find(({ kind }) => kind !== 'open' && kind !== 'rm')
    const deleting = () => disk.ops.some(({ kind }) => kind === 'rm')
    for (let i = 0; i < 100 && !deleting(); i++) {
      const op = disk.ops.find(({ kind, path }) => kind === 'open' && !path.endsWith('/00000000000000000000.log'))
      ;(other() ?? op)?.end()
      w.clock.advance(10)
      w.turn()
    }
    expect([deleting(), history.start > 0]).toEqual([true, true])
    disk.ops.find(({ kind, path }) => kind === 'open' && path.endsWith('/00000000000000000000.log'))?.end()
    w.settle()
    expect(results).toHaveLength(1)
    expect([disk.openFiles, w.store.gauges.openFiles]).toEqual([1, 1])
  })

  test('what is deleted is never urgent: it holds up neither output nor readers', async () => {
    const { w, disk, history } = await world(limits)
    for (let i = 0; i < 24; i++) print(w, history, 10_000)
    for (let i = 0; i < 20; i++) {
      history.append(bytesAt(1, history.next, 10_000))
      for (let op = notRm(); op !== undefined || w.deferred > 0; op = notRm()) {
        op?.end()
        w.turn()
      }
      w.clock.advance(10)
    }
    expect(history.next - history.visible).toBeLessThan(20_000)
    function notRm() {
      return disk.ops.find(({ kind }) => kind !== 'rm')
    }
    expect(disk.ops.map(({ kind }) => kind)).toEqual(['rm'])
    w.settle()
    expectAll(w, history, history.start)
  })

  test('a port that is renamed or removed meanwhile keeps what is its own', async () => {
    for (const what of ['rename', 'remove'] as const) {
      const { w, disk, history } = await world(limits)
      for (let i = 0; i < 24; i++) print(w, history, 10_000)
      // Up to the moment when the oldest file is being deleted.
      for (let op = disk.ops[0]; op?.kind !== 'rm'; op = disk.ops[0]) {
        op?.end()
        if (disk.ops.length === 0 && w.deferred === 0) history.append(bytesAt(1, history.next, 10_000))
        w.turn()
      }
      const rm = disk.ops[0]
      if (what === 'rename') history.rename('other')
      else history.remove()
      const young = w.store.open(UUID, new TestOwner())
      young.append(bytes('young'))
      for (let op = disk.ops.find((one) => one !== rm); op || w.deferred > 0; op = disk.ops.find((one) => one !== rm)) {
        op?.end()
        w.turn()
      }
      expect(disk.folders.has('/ports/other')).toBe(false)
      rm?.end()
      w.settle()
      expect(text(disk.content(`/ports/${UUID}/00000000000000000000.log`))).toBe('young')
      if (what === 'rename') expectAll(w, history, history.start)
      expect(filesOf(disk, 'other').length > 0).toBe(what === 'rename')
    }
  })

  test('a file that cannot be deleted is told, and tried again by the next start', async () => {
    const { w, disk, history } = await world(limits)
    for (let i = 0; i < 24; i++) print(w, history, 10_000)
    for (let i = 0; i < 10 && disk.ops.length === 0; i++) {
      history.append(bytesAt(1, history.next, 10_000))
      while (w.deferred > 0 || (disk.ops.length > 0 && disk.ops[0]?.kind !== 'rm')) {
        w.turn()
        if (disk.ops[0]?.kind !== 'rm') disk.ops[0]?.end()
      }
    }
    disk.ops[0]?.end('EACCES')
    w.settle()
    expect(w.told('write')).toEqual(['began EACCES'])
    expect(filesOf(disk)[0]?.[0]).toBe(0)
    expectAll(w, history, history.start)
    const again = await world(limits, disk)
    again.w.settle()
    expect(filesOf(disk)[0]?.[0]).toBe(again.history.start)
    expect(again.history.start).toBeGreaterThan(0)
  })
})

describe('the budget of all ports', () => {
  test('takes what was written longest ago, whoever wrote it, and never the newest file of a port', async () => {
    const w = await FakeWorld.open({ historyFileBytes: 100_000, historyPortBytes: 0, historyTotalBytes: 1_000_000 })
    const [quiet, loud] = ['quiet', 'loud'].map((id) => w.store.open(id, new TestOwner())) as [History, History]
    for (let i = 0; i < 25; i++) print(w, quiet, 10_000, 2)
    for (let i = 0; i < 300; i++) {
      w.clock.advance(10)
      print(w, loud, 10_000)
      expect(w.store.gauges.diskBytes).toBeLessThanOrEqual(1_010_000)
    }
    expect(quiet.start).toBe(200_000)
    expect(quiet.next).toBe(250_000)
    expectAll(w, loud, loud.start)
    expect(w.told('budget')).toEqual([])
  })

  test('that only newest files exceed deletes nothing, and says so once', async () => {
    const disk = new FakeDisk()
    const before = await FakeWorld.open({}, disk)
    for (const id of ['a', 'b', 'c']) print(before, before.store.open(id, new TestOwner()), 400_000)
    const w = await FakeWorld.open({ historyPortBytes: 0, historyTotalBytes: 1_000_000 }, disk)
    const ports = ['a', 'b', 'c'].map((id) => w.store.open(id, new TestOwner()))
    w.clock.advance(120_000)
    w.settle()
    expect(ports.map(({ start, next }) => [start, next])).toEqual(Array(3).fill([0, 400_000]))
    // From the next output on they can go.
    for (const port of ports) print(w, port, 10)
    expect(w.store.gauges.diskBytes).toBeLessThan(1_000_000)
  })
})

test('files that were last written too long ago go, also when nothing is printed any more', async () => {
  const { w, disk, history } = await world({ historyFileBytes: 1000, historyAgeMs: DAY })
  print(w, history, 1000)
  w.clock.advance(DAY / 2)
  print(w, history, 1000)
  w.clock.advance(DAY / 2 - 61_000)
  w.settle()
  expect([history.start, filesOf(disk).length]).toEqual([0, 2])
  w.clock.advance(122_000)
  w.settle()
  expect(filesOf(disk)).toEqual([[1000, 1000]])
  print(w, history, 10)
  w.clock.advance(DAY / 4)
  w.settle()
  expect(filesOf(disk)).toEqual([
    [1000, 1000],
    [2000, 10],
  ])
  w.clock.advance(DAY)
  w.settle()
  expect(filesOf(disk)).toEqual([[2000, 10]])
})

test('nothing is added to a folder that could not be read, wherever its files begin', async () => {
  const disk = new FakeDisk()
  const before = await world({ historyFileBytes: 1000 }, disk)
  for (let i = 0; i < 5; i++) print(before.w, before.history, 1000)
  for (const [start] of filesOf(disk).slice(0, 2)) {
    disk.files.delete(`/ports/${UUID}/${String(start).padStart(20, '0')}.log`)
  }
  const was = filesOf(disk)
  const read = disk.readdirSync
  disk.readdirSync = ((folder: string) => {
    if (folder.includes(UUID)) throw Object.assign(new Error('made up'), { code: 'EIO' })
    return read(folder)
  }) as never
  const { w, history } = await world({}, disk)
  history.keepTail(true)
  print(w, history, 10)
  expect([history.visible, w.told('write')]).toEqual([10, ['began EEXIST']])
  expect(filesOf(disk)).toEqual(was)
})
