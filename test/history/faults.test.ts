import { describe, expect, test } from 'vitest'
import type { History } from '../../src/history/index.ts'
import { FakeDisk } from './fake-disk.ts'
import { bytes, bytesAt, FakeWorld, firstWrong, TestOwner, text, UUID } from './support.ts'

const DIR = `/ports/${UUID}`
const FIRST = `${DIR}/00000000000000000000.log`

async function world(limits = {}, disk = new FakeDisk()) {
  const made = await FakeWorld.open(limits, disk)
  const owner = new TestOwner()
  return { world: made, owner, history: made.store.open(UUID, owner), disk }
}

describe('what may be shown', () => {
  test('a byte is not shown before it is with the operating system, and then at once', async () => {
    const { world: w, owner, history, disk } = await world()
    history.append(bytes('login: '))
    expect([history.visible, history.next, owner.shown]).toEqual([0, 7, 0])
    w.settle()
    expect([history.visible, owner.shown, text(disk.content(FIRST))]).toEqual([7, 1, 'login: '])
  })

  test('nothing is read, from memory or the disk, beyond what may be shown', async () => {
    const { world: w, history } = await world()
    history.keepTail(true)
    history.append(bytes('abc'))
    w.settle()
    history.append(bytes('def'))
    expect(text(history.read(0, 100))).toBe('abc')
    expect(history.read(3, 100)).toBeNull()
    const results: unknown[] = []
    history.load(3, 100, (result) => results.push(result))
    w.turn()
    expect(results).toEqual([{ kind: 'end' }])
  })

  test('a write that takes longer than historyVisibleMs holds nobody up, and is told of once', async () => {
    const { world: w, owner, history, disk } = await world({ historyVisibleMs: 20 })
    history.keepTail(true)
    history.append(bytes('abc'))
    w.turn()
    w.clock.advance(19)
    expect([history.visible, owner.shown]).toEqual([0, 0])
    w.clock.advance(20)
    expect([history.visible, owner.shown]).toEqual([3, 1])
    expect(w.told('late')).toEqual(['began -'])
    // While it is late, nothing waits.
    history.append(bytes('d'))
    expect([history.visible, owner.shown, text(history.read(0, 9))]).toEqual([4, 2, 'abcd'])
    expect(w.store.counters.undurableBytes).toBe(4)
    disk.settle()
    w.settle()
    history.append(bytes('e'))
    expect(history.visible).toBe(4)
    w.settle()
    expect([history.visible, text(disk.content(FIRST))]).toEqual([5, 'abcde'])
    expect(w.told('late')).toEqual(['began -'])
    w.clock.advance(10_000)
    expect(w.told('late')).toEqual(['began -', 'ended -'])
  })

  test('an event loop that was held up itself does not take a write for late that has ended meanwhile', async () => {
    const { world: w, history } = await world({ historyVisibleMs: 20 })
    history.keepTail(true)
    history.append(bytes('abc'))
    w.turn()
    const now = w.clock.now.bind(w.clock)
    w.clock.now = () => now() + 500
    // One look, long overdue; only then are completions seen.
    w.clock.advance(10)
    w.settle()
    w.clock.advance(500)
    expect([history.visible, w.told('late')]).toEqual([3, []])
  })

  test('where nobody follows, there is no hurry: a slow disk is no news', async () => {
    const { world: w, history } = await world({ historyVisibleMs: 20 })
    history.append(bytes('abc'))
    w.turn()
    w.clock.advance(150)
    expect([history.visible, w.told('late')]).toEqual([0, []])
    w.clock.advance(100)
    expect([history.visible, w.told('late')]).toEqual([3, ['began -']])
  })

  test('visible never goes back, whatever is written late', async () => {
    const { world: w, owner, history, disk } = await world()
    let last = 0
    owner.onVisible = () => {
      expect(history.visible).toBeGreaterThanOrEqual(last)
      last = history.visible
    }
    history.append(bytes('abc'))
    w.turn()
    w.clock.advance(100)
    history.append(bytes('def'))
    for (let op = disk.ops[0]; op !== undefined; op = disk.ops[0]) {
      op.end(undefined, 1)
      w.turn()
    }
    expect(last).toBe(6)
    expect(text(disk.content(FIRST))).toBe('abcdef')
  })

  test('what was just written can be read from memory by those who follow, however large', async () => {
    const { world: w, owner, history } = await world({ historyTailBytes: 1000 })
    history.keepTail(true)
    const seen: number[] = []
    owner.onVisible = () => {
      for (let piece = history.read(sum(seen), 65_536); piece; piece = history.read(sum(seen), 65_536)) {
        seen.push(piece.length)
      }
    }
    for (let i = 0; i < 3; i++) history.append(new Uint8Array(100_000))
    w.settle()
    expect(sum(seen)).toBe(300_000)
    // The last block, and the one before it that it goes on from.
    expect(w.store.gauges.tailBytes).toBeLessThan(2 * 66_000)
  })
})

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0)

test('output that nobody follows is written together after historyGatherMs, and at once when somebody comes', async () => {
  const { world: w, history } = await world({ historyGatherMs: 10 })
  for (let i = 0; i < 9; i++) {
    history.append(bytes('abc'))
    w.settle()
    w.clock.advance(1)
  }
  expect([history.visible, w.store.counters.writes]).toEqual([0, 0])
  w.clock.advance(1)
  w.settle()
  expect([history.visible, w.store.counters.writes]).toEqual([27, 1])
  history.append(bytes('def'))
  history.keepTail(true)
  w.settle()
  expect(history.visible).toBe(30)
  history.append(bytes('ghi'))
  w.settle()
  expect(history.visible).toBe(33)
})

test('a load that was cancelled costs no read, and one under way is not heard of', async () => {
  const { world: w, history, disk } = await world()
  history.append(bytes('abc'))
  w.settle()
  history.load(0, 10, () => expect.unreachable()).cancel()
  w.turn()
  expect(disk.ops).toEqual([])
  const load = history.load(0, 10, () => expect.unreachable())
  w.turn()
  expect(disk.ops.map((op) => op.kind)).toEqual(['read'])
  load.cancel()
  w.settle()
  expect(w.load(history, 1, 10)).toMatchObject({ kind: 'bytes' })
})

test('many readers that catch up wait for each other, not for the writers, nor these for them', async () => {
  const { world: w, history, disk } = await world()
  history.append(new Uint8Array(10_000))
  w.settle()
  let ended = 0
  for (let i = 0; i < 100; i++) history.load(i, 10, () => ended++)
  w.turn()
  expect(disk.ops.map((op) => op.kind)).toEqual(['read', 'read'])
  history.append(bytes('x'))
  w.turn()
  disk.ops.find((op) => op.kind === 'write')?.end()
  expect(history.visible).toBe(10_001)
  w.settle()
  expect(ended).toBe(100)
})

test('a file that cannot be read is told of, and who reads may go on behind it', async () => {
  const { world: w, history, disk } = await world()
  history.append(bytes('abc'))
  w.settle()
  const results: unknown[] = []
  history.load(0, 10, (result) => results.push(result))
  w.turn()
  disk.ops[0]?.end('EIO')
  expect(results).toMatchObject([{ kind: 'failed', to: 3, error: { code: 'VSPC_HISTORY_READ' } }])
  expect(w.told('read')).toEqual(['began EIO'])
  expect(w.store.counters.loadErrors).toBe(1)
  expect(w.load(history, 0, 10)).toMatchObject({ kind: 'bytes' })
})

describe('many ports that write at once', () => {
  const rate = { historyWritesPerSecond: 1000 }
  const many = (w: FakeWorld, count: number) =>
    Array.from({ length: count }, (_, i) => w.store.open(`port${i}`, new TestOwner()))

  test('cost so many writes a second and no more, and each is written within about the time that takes', async () => {
    const { world: w, disk } = await world(rate)
    const all = many(w, 500)
    let lag = 0
    for (let t = 0; t < 5000; t += 10) {
      for (const one of all) one.append(bytes('line\n'))
      w.settle()
      for (const one of all) lag = Math.max(lag, one.next - one.visible)
      w.clock.advance(10)
    }
    // 5 bytes every 10 ms: 500 ports at 1000 writes a second are half a second behind.
    expect(lag).toBeGreaterThan(100)
    expect(lag).toBeLessThan(300)
    expect(w.store.counters.writes).toBeGreaterThan(4000)
    expect(w.store.counters.writes).toBeLessThan(5500)
    expect(w.told('late')).toEqual([])
    expect(disk.ops).toEqual([])
  })

  test('do not hold up one that is followed, or that has much to say, or few', async () => {
    const { world: w } = await world(rate)
    const all = many(w, 500)
    const [followed, loud, becomes] = all.slice(-3) as [History, History, History]
    followed.keepTail(true)
    for (const one of all) one.append(bytes('x'))
    loud.append(new Uint8Array(300_000))
    w.settle()
    expect([followed.visible, loud.visible, becomes.visible]).toEqual([1, 300_001, 0])
    becomes.keepTail(true)
    w.settle()
    expect(becomes.visible).toBe(1)
    w.clock.advance(2000)
    w.settle()
    w.clock.advance(10)
    all[0]?.append(bytes('y'))
    w.settle()
    expect(all.map((one) => one.visible).filter((visible) => visible === 0)).toEqual([])
    expect(all[0]?.visible).toBe(2)
  })

  test('are all written by a flush', async () => {
    const { world: w } = await world(rate)
    const all = many(w, 500)
    for (const one of all) one.append(bytes('x'))
    const flushed = w.store.flush(1000)
    w.settle()
    expect(await flushed).toBe(true)
    expect(all.filter((one) => one.visible !== 1)).toEqual([])
  })
})

describe('a disk that fails', () => {
  test('full: told once with what to do, nothing waits, and when there is room again history goes on without a gap', async () => {
    const disk = new FakeDisk()
    const { world: w, owner, history } = await world({}, disk)
    history.append(bytesAt(1, 0, 100))
    w.settle()
    disk.capacity = usedBy(disk) + 50
    history.append(bytesAt(1, 100, 100))
    w.settle()
    // Half of it went in, then the disk was full; readers get all of it all the same.
    expect([history.visible, owner.shown > 0]).toEqual([200, true])
    for (let i = 0; i < 20; i++) {
      history.append(bytesAt(1, history.next, 10))
      expect(history.visible).toBe(history.next)
      w.clock.advance(1000)
      w.settle()
    }
    expect(w.told('write')).toEqual(['began ENOSPC'])
    const [problem] = w.problems.filter((one) => one.kind === 'write')
    expect(problem?.message).toContain(FIRST)
    expect(problem?.message).toContain('make room')
    disk.capacity = Number.POSITIVE_INFINITY
    w.clock.advance(6000)
    w.settle()
    w.clock.advance(6000)
    expect(w.told('write')).toEqual(['began ENOSPC', 'ended ENOSPC'])
    expect(firstWrong(1, 0, disk.content(FIRST) as Uint8Array)).toBeNull()
    expect(disk.content(FIRST)?.length).toBe(400)
    expect(w.store.counters.droppedBytes).toBe(0)
  })

  test('failing once (EIO) costs nothing', async () => {
    const { world: w, history, disk } = await world()
    history.append(bytes('abc'))
    w.settle()
    history.append(bytes('def'))
    w.turn()
    disk.ops.find((op) => op.kind === 'write')?.end('EIO')
    history.append(bytes('ghi'))
    w.clock.advance(100)
    w.settle()
    expect(text(disk.content(FIRST))).toBe('abcdefghi')
    expect(w.store.counters).toMatchObject({ diskErrors: 1, droppedBytes: 0 })
  })

  test('a folder that was deleted is made anew, and readers see the gap', async () => {
    const { world: w, history, disk } = await world({ historyOpenFiles: 1 })
    history.append(bytes('abc'))
    w.settle()
    disk.vanish(DIR)
    // Another port takes the only descriptor.
    w.store.open('other', new TestOwner()).append(bytes('x'))
    w.settle()
    history.append(bytes('def'))
    w.settle()
    expect(w.told('write')).toEqual(['began ENOENT'])
    w.clock.advance(200)
    w.settle()
    expect(text(disk.content(`${DIR}/00000000000000000003.log`))).toBe('def')
    expect(disk.files.has(`${DIR}/port.json`)).toBe(true)
    expect([history.start, w.load(history, 0, 10)]).toEqual([3, { kind: 'gap', to: 3 }])
  })

  test('a file that was deleted alone is a gap too', async () => {
    const { world: w, history, disk } = await world({ historyOpenFiles: 1 })
    history.append(bytes('abc'))
    w.settle()
    disk.files.delete(FIRST)
    w.store.open('other', new TestOwner()).append(bytes('x'))
    w.settle()
    history.append(bytes('def'))
    w.settle()
    w.clock.advance(200)
    w.settle()
    expect(w.load(history, 0, 10)).toEqual({ kind: 'gap', to: 3 })
    expect(w.load(history, 3, 10)).toMatchObject({ kind: 'bytes', bytes: Buffer.from('def') })
  })

  test('without descriptors (EMFILE) it lets go of its own and goes on', async () => {
    const { world: w, history, disk } = await world()
    w.store.open('other', new TestOwner()).append(bytes('x'))
    w.settle()
    expect(disk.openFiles).toBe(1)
    history.append(bytes('abc'))
    w.turn()
    disk.ops.find((op) => op.kind === 'mkdir')?.end()
    disk.ops.find((op) => op.kind === 'open')?.end('EMFILE')
    w.settle()
    expect([disk.openFiles, history.visible]).toEqual([0, 3])
    expect(w.problems[0]?.message).toContain('LimitNOFILE')
    w.clock.advance(200)
    w.settle()
    expect(text(disk.content(FIRST))).toBe('abc')
  })

  test('a write that never ends stops its own port only', async () => {
    const { world: w, history, disk } = await world()
    const other = w.store.open('other', new TestOwner())
    history.append(bytes('abc'))
    w.settle()
    history.append(bytes('def'))
    w.turn()
    const stuck = disk.ops.find((op) => op.kind === 'write')
    for (let i = 0; i < 50; i++) {
      other.append(bytes('x'))
      history.append(bytes('y'))
      w.clock.advance(100)
      w.turn()
      for (const op of [...disk.ops]) if (op !== stuck) op.end()
    }
    expect(disk.content('/ports/other/00000000000000000000.log')?.length).toBe(50)
    expect(history.visible).toBe(56)
    stuck?.end()
    w.settle()
    w.clock.advance(20)
    w.settle()
    expect(disk.content(FIRST)?.length).toBe(56)
  })

  test('one port whose folder cannot be used keeps nobody else from being written, and is tried ever more rarely', async () => {
    const { world: w, history, disk } = await world()
    const other = w.store.open('other', new TestOwner())
    const opens: number[] = []
    history.append(bytes('a'))
    for (let t = 0; t < 60_000; t += 50) {
      other.append(bytes('x'))
      w.turn()
      for (let op = disk.ops[0]; op !== undefined; op = disk.ops[0]) {
        if (op.kind === 'mkdir' && op.path === DIR) {
          opens.push(w.clock.now())
          op.end('EACCES')
        } else op.end()
        w.turn()
      }
      w.clock.advance(50)
    }
    expect(disk.content('/ports/other/00000000000000000000.log')?.length).toBe(1200)
    expect(opens.length).toBeGreaterThan(10)
    expect(opens.length).toBeLessThan(25)
    expect(w.told('write')).toEqual(['began EACCES'])
  })

  test('once one port can be written again, the others do not wait for their time', async () => {
    const { world: w, disk } = await world()
    disk.capacity = 0
    const all = Array.from({ length: 200 }, (_, i) => w.store.open(`port${i}`, new TestOwner()))
    for (const one of all) one.append(bytes('x'))
    for (let i = 0; i < 40; i++) {
      w.settle()
      w.clock.advance(1000)
    }
    w.settle()
    expect(w.store.writer.failed.size).toBe(200)
    disk.capacity = Number.POSITIVE_INFINITY
    // Not all are tried at once, to spare a disk that still fails.
    while (w.store.writer.failed.size === 200) w.clock.advance(100)
    expect(w.store.writer.failed.size).toBeGreaterThan(100)
    w.settle()
    expect(w.store.writer.failed.size).toBe(0)
  })

  test('a port file that cannot be written holds up no byte', async () => {
    const { world: w, history, disk } = await world()
    history.append(bytes('a'))
    const until = (kind: string) => {
      for (let op = disk.ops[0]; op !== undefined; op = disk.ops[0]) {
        op.end(op.kind === kind ? 'EISDIR' : undefined)
        w.turn()
      }
    }
    w.turn()
    until('writeFile')
    history.append(bytes('b'))
    w.turn()
    until('writeFile')
    expect([history.visible, text(disk.content(FIRST))]).toEqual([2, 'ab'])
    expect(w.told('write')).toEqual(['began EISDIR'])
    w.clock.advance(5000)
    w.settle()
    expect(disk.files.has(`${DIR}/port.json`)).toBe(true)
    w.clock.advance(5000)
    expect(w.told('write')).toEqual(['began EISDIR', 'ended EISDIR'])
  })

  test('writes that get through in part are gone on with where they ended', async () => {
    const { world: w, history, disk } = await world()
    for (let i = 0; i < 5; i++) history.append(bytesAt(3, i * 5000, 5000))
    w.turn()
    for (let op = disk.ops[0]; op !== undefined; op = disk.ops[0]) {
      op.end(undefined, 777)
      w.turn()
    }
    expect(firstWrong(3, 0, disk.content(FIRST) as Uint8Array)).toBeNull()
    expect([history.visible, disk.content(FIRST)?.length]).toEqual([25_000, 25_000])
  })
})

describe('bounded memory', () => {
  test('past historyPendingBytes the oldest bytes are lost to history, counted and a gap, but not to who follows', async () => {
    const { world: w, owner, history, disk } = await world({ historyPendingBytes: 65_536 })
    history.keepTail(true)
    history.append(bytesAt(1, 0, 100))
    w.settle()
    let followed = 0
    owner.onVisible = () => {
      for (let piece = history.read(followed, 65_536); piece; piece = history.read(followed, 65_536)) {
        expect(firstWrong(1, followed, piece)).toBeNull()
        followed += piece.length
      }
    }
    followed = 100
    history.append(bytesAt(1, 100, 1000))
    w.turn()
    const stuck = disk.ops[0]
    for (let i = 0; i < 100; i++) {
      history.append(bytesAt(1, history.next, 5000))
      expect(w.store.gauges.pendingBytes).toBeLessThan(80_000)
    }
    expect(followed).toBe(history.next)
    expect(w.told('dropped')).toEqual(['began -'])
    stuck?.end()
    w.settle()
    history.keepTail(false)
    const found = w.loadAll(history)
    expect(found.gaps).toHaveLength(1)
    const [[from, to]] = found.gaps as [[number, number]]
    // What was being written, and what had fitted behind it into its block.
    expect(from).toBeGreaterThanOrEqual(1100)
    expect(from).toBeLessThan(1400)
    expect(to - from).toBe(w.store.counters.droppedBytes)
    for (const [i, piece] of found.bytes.entries()) expect(firstWrong(1, found.at[i] as number, piece)).toBeNull()
    // The hole is in the name of the file that follows it.
    expect(disk.files.has(`${DIR}/${String(to).padStart(20, '0')}.log`)).toBe(true)
    w.clock.advance(5000)
    expect(w.told('dropped')).toEqual(['began -', 'ended -'])
  })

  test('bytes that come one by one cost no more than their cap either', async () => {
    const { world: w, history } = await world({ historyPendingBytes: 65_536 })
    w.disk.capacity = 0
    for (let i = 0; i < 200_000; i++) history.append(bytes('x'))
    expect(w.store.gauges.pendingBytes).toBeLessThan(90_000)
  })

  test('a thousand ports on a dead disk stay under historyPendingTotalBytes, and a quiet one keeps what it said', async () => {
    const { world: w, history, disk } = await world({ historyPendingTotalBytes: 1 << 20 })
    history.append(bytes('quiet'))
    const all = Array.from({ length: 1000 }, (_, i) => w.store.open(`port${i}`, new TestOwner()))
    for (let round = 0; round < 20; round++) {
      for (const one of all) one.append(new Uint8Array(2500))
      w.turn()
    }
    expect(w.store.gauges.pendingBytes).toBeLessThan((1 << 20) + 20 * 3000)
    disk.settle()
    w.settle()
    expect(text(disk.content(FIRST))).toBe('quiet')
  })

  test('twenty thousand ports that all speak hold sixty-four descriptors, and nothing else once they are quiet', async () => {
    const { world: w, disk } = await world({ historyOpenFiles: 64 })
    const all = Array.from({ length: 20_000 }, (_, i) => w.store.open(`port${i}`, new TestOwner()))
    for (const one of all) one.append(bytes('x'))
    for (let t = 0; t < 10_000 && w.store.writer.busy.size > 0; t += 10) {
      w.settle()
      w.clock.advance(10)
    }
    // When what came is written once, for all of it.
    for (let t = 0; t < 60_000; t += 2_500) {
      w.clock.advance(2_500)
      w.settle()
    }
    // On top of those kept, those in use and those being closed.
    expect(disk.maxOpen).toBeLessThan(64 + 40)
    expect([disk.openFiles, w.store.gauges.pendingBytes, w.clock.pending]).toEqual([64, 0, 0])
    expect(all.filter((one) => one.visible !== 1)).toEqual([])
  })

  test('tails of ports that were quiet longest go first', async () => {
    const { world: w } = await world({ historyTailTotalBytes: 10_000 })
    const [a, b, c] = ['a', 'b', 'c'].map((id) => {
      const one = w.store.open(id, new TestOwner())
      one.keepTail(true)
      one.append(new Uint8Array(4000))
      w.settle()
      return one
    })
    expect([a?.read(0, 1), b?.read(0, 1), c?.read(0, 1)].map((piece) => piece !== null)).toEqual([false, true, true])
  })

  test('a port that nobody follows keeps nothing in memory', async () => {
    const { world: w, history } = await world()
    history.append(new Uint8Array(10_000))
    history.append(bytes('abc'))
    w.settle()
    expect(w.store.gauges).toMatchObject({ pendingBytes: 0, tailBytes: 0 })
    expect(history.read(0, 100)).toBeNull()
    history.keepTail(true)
    history.append(bytes('def'))
    w.settle()
    expect(text(history.read(10_003, 100))).toBe('def')
    history.keepTail(false)
    expect(w.store.gauges.tailBytes).toBe(0)
  })
})

describe('a source that is faster than the disk', () => {
  const big = () => new Uint8Array(190_000)

  test('is asked to wait, and told when there is room', async () => {
    const { world: w, owner, history } = await world({ historyPendingBytes: 1 << 20 })
    expect(history.append(big())).toBe(true)
    expect(history.append(big())).toBe(false)
    expect(owner.drained).toBe(0)
    w.settle()
    expect(owner.drained).toBe(1)
    expect(history.append(bytes('x'))).toBe(true)
  })

  test('waits a moment only when the disk is slow, and not at all when it hangs', async () => {
    const { world: w, owner, history, disk } = await world({ historyPendingBytes: 1 << 20 })
    history.append(big())
    expect(history.append(big())).toBe(false)
    w.turn()
    w.clock.advance(130)
    expect(owner.drained).toBe(1)
    expect(history.append(big())).toBe(false)
    w.clock.advance(130)
    expect(owner.drained).toBe(2)
    expect(history.append(big())).toBe(true)
    // Once it moves again, so does this.
    disk.settle()
    w.settle()
    history.append(big())
    expect(history.append(big())).toBe(false)
  })

  test('after an event loop that was held up the disk is waited for: what it wrote meanwhile is heard of later', async () => {
    const { world: w, history } = await world({ historyPendingBytes: 1 << 20 })
    history.append(big())
    w.turn()
    const now = w.clock.now.bind(w.clock)
    w.clock.now = () => now() + 5_000
    expect(history.append(big())).toBe(false)
  })

  test('does not wait for a disk that fails', async () => {
    const { world: w, owner, history, disk } = await world({ historyPendingBytes: 1 << 20 })
    disk.capacity = 0
    history.append(big())
    expect(history.append(big())).toBe(false)
    w.settle()
    expect(owner.drained).toBe(1)
    expect(history.append(big())).toBe(true)
  })
})

function usedBy(disk: FakeDisk): number {
  let used = 0
  for (const file of disk.files.values()) used += file.size
  return used
}

test('whoever asks is told once what was appended is visible: at once where nobody follows, and when the disk hangs', async () => {
  const { world: w, history, disk } = await world({ historyGatherMs: 1000, historyVisibleMs: 20 })
  const told: string[] = []
  history.settled(() => told.push('nothing to wait for'))
  expect(told).toHaveLength(1)
  history.append(bytes('abc'))
  history.settled(() => told.push(`${history.visible}`))
  history.append(bytes('def'))
  history.settled(() => told.push(`then ${history.visible}`))
  expect(told).toHaveLength(1)
  w.settle()
  expect(told.slice(1)).toEqual(['6', 'then 6'])
  history.append(bytes('ghi'))
  history.settled(() => told.push(`late ${history.visible}`))
  w.turn()
  expect(disk.ops).toHaveLength(1)
  w.clock.advance(100)
  expect(told.at(-1)).toBe('late 9')
  history.append(bytes('jkl'))
  history.settled(() => told.push('removed'))
  history.remove()
  expect(told.at(-1)).toBe('removed')
})
