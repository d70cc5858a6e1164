import { spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { limitsWith, ManualClock } from '../../src/base/index.ts'
import {
  formatTrailer,
  MAX_ARCHIVE_BYTES,
  MAX_TRAILER_BYTES,
  MEMBER_BYTES,
  parseTrailer,
} from '../../src/history/archive.ts'
import type { History } from '../../src/history/index.ts'
import { FakeDisk, type OpKind } from './fake-disk.ts'
import { bytesAt, FakeWorld, firstWrong, loaded, realStore, TestOwner, temporaryFolder, UUID } from './support.ts'

const HOUR = 3_600_000
const ARCHIVE = `/ports/${UUID}/00000000000000000000.log.gz`
const PLAIN = ARCHIVE.slice(0, -3)
const FIRST = '00000000000000000000.log'

function placesOf(lengths: number[]): number[] {
  const places = [0]
  for (const length of lengths) places.push((places.at(-1) ?? 0) + length)
  return places
}

describe('the table of members', () => {
  const lengths = fc.array(fc.integer({ min: 20, max: 300_000 }), { maxLength: 300 })

  test('is found again at the end of the file, whatever is before it', () => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: MEMBER_BYTES }), fc.uint8Array(), (members, last, before) => {
        const plainBytes = members.length === 0 ? 0 : (members.length - 1) * MEMBER_BYTES + last
        const trailer = formatTrailer(members, plainBytes)
        const size = members.reduce((sum, length) => sum + length, 0) + trailer.length
        const tail = Buffer.concat([before, trailer]).subarray(-MAX_TRAILER_BYTES)
        expect(parseTrailer(tail, size)).toEqual({ memberBytes: MEMBER_BYTES, plainBytes, places: placesOf(members) })
        expect(gunzipSync(trailer).length).toBe(0)
      }),
    )
  })

  test('of the largest file has room', () => {
    const members = Array(MAX_ARCHIVE_BYTES / MEMBER_BYTES).fill(MEMBER_BYTES) as number[]
    const trailer = formatTrailer(members, MAX_ARCHIVE_BYTES)
    expect(trailer.length).toBeLessThanOrEqual(MAX_TRAILER_BYTES)
    expect(parseTrailer(trailer, MAX_ARCHIVE_BYTES + trailer.length)?.plainBytes).toBe(MAX_ARCHIVE_BYTES)
    expect(gunzipSync(trailer).length).toBe(0)
  })

  test('that is torn, cut, damaged or of somebody else is none, and nothing throws', () => {
    const members = [100, 200, 300]
    const trailer = formatTrailer(members, 2 * MEMBER_BYTES + 5)
    const size = 600 + trailer.length
    for (let cut = 1; cut <= trailer.length; cut++) {
      expect(parseTrailer(trailer.subarray(0, -cut), size - cut)).toBeNull()
      expect(parseTrailer(trailer.subarray(cut), size - cut)).toBeNull()
    }
    expect(parseTrailer(trailer, size + 1)).toBeNull()
    expect(parseTrailer(gzipSync('of somebody else'), 36)).toBeNull()
    fc.assert(
      fc.property(fc.integer({ min: 0, max: trailer.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = trailer.slice()
        damaged[at] = (damaged[at] as number) ^ flip
        const archive = parseTrailer(damaged, size)
        // What still looks like one does not lead beyond the file.
        if (archive !== null) expect(archive.places.at(-1)).toBe(600)
      }),
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(1000), (any, length) => void parseTrailer(any, length)),
    )
  })
})

async function world(disk = new FakeDisk(), limits = {}, clock = new ManualClock()) {
  const all = {
    historyFileBytes: 600_000,
    historyPortBytes: 0,
    historyTotalBytes: 0,
    historyCompressMs: HOUR,
    ...limits,
  }
  const w = await FakeWorld.open(all, disk, clock)
  return { w, disk, history: w.store.open(UUID, new TestOwner()) }
}

function settle(w: FakeWorld, history: History): void {
  w.settle()
  for (let i = 0; i < 1000 && history.visible < history.next; i++) {
    w.clock.advance(10)
    w.settle()
  }
}

function print(w: FakeWorld, history: History, length: number): void {
  while (length > 0) {
    const now = Math.min(length, 60_000)
    history.append(bytesAt(1, history.next, now))
    length -= now
    settle(w, history)
  }
}

/** Until what is old enough is compressed. */
function compress(w: FakeWorld): void {
  w.clock.advance(HOUR + 61_000)
  w.settle()
  for (let i = 0; i < 50; i++) {
    w.clock.advance(1)
    w.settle()
  }
}

function expectAll(w: FakeWorld, history: History, maxBytes = 50_000): void {
  let next = 0
  const found = w.loadAll(history, maxBytes)
  expect(found.gaps).toEqual([])
  for (const [i, piece] of found.bytes.entries()) {
    expect([found.at[i], firstWrong(1, next, piece)]).toEqual([next, null])
    next += piece.length
  }
  expect(next).toBe(history.next)
}

describe('a file that is not appended to any more', () => {
  test('is compressed after a while; offsets, bytes and what tools make of it stay the same', async () => {
    const { w, disk, history } = await world()
    print(w, history, 700_000)
    w.clock.advance(HOUR - 61_000)
    w.settle()
    expect(disk.content(ARCHIVE)).toBeNull()
    compress(w)
    const archive = disk.content(ARCHIVE) as Uint8Array
    expect([...disk.files.keys()].filter((path) => path.includes('.log')).length).toBe(2)
    expect(disk.content(PLAIN)).toBeNull()
    const plain = gunzipSync(archive)
    expect([plain.length >= 600_000, firstWrong(1, 0, plain)]).toEqual([true, null])
    expectAll(w, history)
    let indexes = 0
    for (const [path, { size }] of disk.files) if (path.endsWith('.idx')) indexes += size
    expect(indexes).toBeGreaterThan(0)
    expect(w.store.gauges.diskBytes).toBe(archive.length + 700_000 - plain.length + indexes)
    expect([w.problems, disk.openFiles]).toEqual([[], w.store.gauges.openFiles])
    // From any offset, by any length.
    for (const offset of [0, 1, 262_143, 262_144, 262_145, 599_999]) {
      const result = w.load(history, offset, 1000)
      if (result.kind !== 'bytes') throw new Error(result.kind)
      expect(firstWrong(1, offset, result.bytes)).toBeNull()
      expect(result.bytes.length).toBeLessThanOrEqual(1000)
    }
  })

  test('is found by the next start, and history goes on behind it, also if nothing else is left', async () => {
    const { w, disk, history } = await world()
    print(w, history, 650_000)
    compress(w)
    const [last] = [...disk.files.keys()].filter((path) => path.endsWith('.log'))
    for (const lost of [false, true]) {
      if (lost) disk.files.delete(last as string)
      disk.crash(() => 0)
      const again = await world(disk)
      const plain = gunzipSync(disk.content(ARCHIVE) as Uint8Array).length
      expect(again.history.next).toBe(lost ? plain : 650_000)
      print(again.w, again.history, 1000)
      expectAll(again.w, again.history)
    }
  })

  test('is read in order with each part expanded once, and not kept in memory for ever', async () => {
    const { w, disk, history } = await world()
    print(w, history, 700_000)
    compress(w)
    let expanded = 0
    const { expand } = disk
    disk.expand = (...args) => {
      expanded++
      expand.apply(disk, args)
    }
    expectAll(w, history, 1000)
    expect(expanded).toBe(3)
    w.load(history, 0, 10)
    expect(expanded).toBe(3)
    w.clock.advance(30_000)
    w.load(history, 0, 10)
    expect(expanded).toBe(4)
  })

  test('a crash at any moment of it leaves every byte where it was', async () => {
    const kinds = new Set<OpKind>()
    for (let at = 0; ; at++) {
      const { w, disk, history } = await world(new FakeDisk(), { historyFileBytes: 300_000 })
      print(w, history, 350_000)
      w.clock.advance(HOUR + 61_000)
      let ended = 0
      while (disk.ops.length > 0 || w.deferred > 0 || disk.content(PLAIN) !== null) {
        w.turn()
        w.clock.advance(1)
        const op = disk.ops[0]
        if (op === undefined) continue
        if (ended++ === at) break
        kinds.add(op.kind)
        op.end()
      }
      const whole = disk.ops.length === 0
      disk.crash((bytes) => bytes >> 1)
      const again = await world(disk, { historyFileBytes: 300_000 })
      expectAll(again.w, again.history)
      // And the next start brings it to its end, with nothing left over.
      again.w.clock.advance(60_000)
      again.w.settle()
      compress(again.w)
      compress(again.w)
      expectAll(again.w, again.history)
      const names = [...disk.files.keys()].filter((path) => path.includes(FIRST))
      expect(names).toEqual([ARCHIVE])
      if (whole) break
    }
    expect([...kinds].sort()).toEqual(
      ['close', 'compress', 'fsync', 'futimes', 'open', 'read', 'rename', 'rm', 'write'].sort(),
    )
  })

  test('any operation that fails costs nothing: the file stays, is told of, and is tried again', async () => {
    for (let at = 0; ; at++) {
      const { w, disk, history } = await world(new FakeDisk(), { historyFileBytes: 70_000 })
      print(w, history, 130_000)
      w.clock.advance(HOUR + 61_000)
      let ended = 0
      let failed: OpKind | null = null
      for (let i = 0; i < 100; i++) {
        w.turn()
        w.clock.advance(1)
        const op = disk.ops[0]
        if (op === undefined) continue
        if (ended++ === at) {
          failed = op.kind
          op.end('EIO')
        } else op.end()
      }
      expectAll(w, history)
      expect(disk.openFiles).toBe(w.store.gauges.openFiles)
      w.clock.advance(700_000)
      for (let i = 0; i < 100; i++) {
        w.settle()
        w.clock.advance(1)
      }
      expectAll(w, history)
      expect(disk.content(ARCHIVE)).not.toBeNull()
      expect([...disk.files.keys()].filter((path) => path.endsWith('.new'))).toEqual([])
      if (failed === null) return
      // That the draft of an earlier try cannot be deleted matters when it is there.
      if (!['futimes', 'close', 'rm'].includes(failed))
        expect([failed, w.told('write')[0]]).toEqual([failed, 'began EIO'])
    }
  })

  test('a file that cannot be read keeps no other one from being compressed, and is tried again', async () => {
    const { w, disk, history } = await world()
    print(w, history, 1_300_000)
    w.clock.advance(HOUR + 61_000)
    const second = () => [...disk.files.keys()].filter((path) => path.endsWith('.log.gz') && path !== ARCHIVE).length
    let refused = 0
    const run = (bad: boolean) => {
      for (let i = 0; i < 300; i++) {
        w.turn()
        w.clock.advance(1)
        const op = disk.ops[0]
        if (op === undefined) continue
        const hit = bad && op.kind === 'open' && op.path === PLAIN
        if (hit) refused++
        op.end(hit ? 'EIO' : undefined)
      }
    }
    run(true)
    expect([refused, second()]).toEqual([1, 0])
    w.clock.advance(700_000)
    run(true)
    expect([refused, second()]).toEqual([2, 1])
    w.clock.advance(700_000)
    run(false)
    expect(disk.content(ARCHIVE)).not.toBeNull()
    expectAll(w, history)
  })

  test('a port that is renamed, removed or out of budget meanwhile takes no harm, at any moment', async () => {
    for (const what of ['rename', 'remove', 'expire'] as const) {
      for (let at = 0, ended = at; at === 0 || ended > at; at++) {
        const limits = { historyFileBytes: 70_000, historyPortBytes: 0 }
        const { w, disk, history } = await world(new FakeDisk(), limits)
        print(w, history, 130_000)
        w.clock.advance(HOUR + 61_000)
        ended = 0
        let young: History | null = null
        for (let i = 0; i < 100; i++) {
          w.turn()
          w.clock.advance(1)
          const op = disk.ops[0]
          if (op === undefined) continue
          if (ended++ === at) {
            if (what === 'rename') expect(history.rename('other')).toBe(true)
            if (what === 'remove') {
              history.remove()
              young = w.store.open(UUID, new TestOwner())
              young.append(bytesAt(1, 0, 130_000))
            }
            if (what === 'expire') w.store.limits = { ...w.limits, historyPortBytes: 40_000 }
          }
          op.end()
        }
        for (let i = 0; i < 2; i++) {
          settle(w, young ?? history)
          w.clock.advance(61_000)
          compress(w)
        }
        if (what === 'expire') {
          expect(history.start).toBeGreaterThan(0)
          expect([...disk.files.keys()].filter((path) => path.includes(FIRST))).toEqual([])
        } else expectAll(w, young ?? history)
        expect(disk.openFiles).toBe(w.store.gauges.openFiles)
        expect(w.store.counters.diskErrors).toBe(0)
        let onDisk = 0
        for (const [path, { size }] of disk.files) if (/\.(log|idx)/.test(path)) onDisk += size
        expect(w.store.gauges.diskBytes).toBe(onDisk)
      }
    }
  })

  test('that is damaged is an error for what is in it, and nothing more is lost', async () => {
    const { w, disk, history } = await world()
    print(w, history, 900_000)
    compress(w)
    const archive = disk.files.get(ARCHIVE) as { bytes: Uint8Array; size: number }
    const [, second = 0] = parseTrailer(archive.bytes.subarray(0, archive.size), archive.size)?.places ?? []
    archive.bytes[second + 1000] = (archive.bytes[second + 1000] as number) ^ 0xff
    expect(w.load(history, 0, 10).kind).toBe('bytes')
    expect(w.load(history, 300_000, 10)).toMatchObject({ kind: 'failed', to: 2 * MEMBER_BYTES })
    expect(w.load(history, 2 * MEMBER_BYTES, 10).kind).toBe('bytes')
    expect(w.told('read').length).toBe(1)
    disk.crash(() => 0)
    archive.size -= 3
    const again = await world(disk)
    expect(again.w.load(again.history, 5, 10)).toMatchObject({
      kind: 'failed',
      error: { message: expect.stringContaining('was not compressed by vspc') },
    })
    expect(again.w.load(again.history, 800_000, 10).kind).toBe('bytes')
  })
})

test('a whole history that somebody else compressed is left alone, and told of', async () => {
  const { w, disk, history } = await world()
  print(w, history, 1000)
  disk.crash(() => 0)
  const bytes = gzipSync(bytesAt(1, 0, 1000))
  disk.files.delete(PLAIN)
  disk.files.set(ARCHIVE, { bytes, size: bytes.length })
  const again = await world(disk)
  expect([...again.w.store.stored()]).toEqual([])
  print(again.w, again.history, 10)
  expect([again.history.visible, disk.content(ARCHIVE)?.length]).toEqual([10, bytes.length])
  expect([...disk.files.keys()].filter((path) => path.includes('.log'))).toEqual([ARCHIVE])
})

test('on a real disk: zcat reads it, its time is that of the last output, and its mode is for the owner alone', async () => {
  const dir = temporaryFolder()
  const folder = join(dir, 'ports', UUID)
  const limits = limitsWith({ historyFileBytes: 65_536, historyCompressMs: 1, historyTailBytes: 0 })
  const clock = new (class extends ManualClock {
    override wall = () => Date.now() + this.now()
  })()
  const store = await realStore(dir, { limits: { ...limits, historyCompressMs: 0 } })
  const history = store.open(UUID, new TestOwner())
  const text = (i: number) => `[${i}] systemd[1]: Started something that says ${i * 17}\n`
  let printed = ''
  for (let i = 0; i < 8000; i++) {
    history.append(new TextEncoder().encode(text(i)))
    printed += text(i)
    if (i % 300 === 0) await store.flush(5000)
  }
  await store.close(5000)
  expect(clock.now()).toBe(0)
  const names = () => readdirSync(folder).sort()
  const modified = new Map(names().map((name) => [name, statSync(join(folder, name)).mtimeMs]))
  const again = await realStore(dir, { limits, clock })
  const held = again.open(UUID, new TestOwner())
  clock.advance(61_000)
  const logs = () => names().filter((name) => name.endsWith('.log'))
  while (logs().length > 1) {
    clock.advance(5)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await again.flush(5000)
  const archives = names().filter((name) => name.endsWith('.gz'))
  expect(archives.length).toBeGreaterThan(4)
  for (const name of archives) {
    const { mode, mtimeMs, size } = statSync(join(folder, name))
    expect([mode & 0o777, Math.abs(mtimeMs - (modified.get(name.slice(0, -3)) ?? 0)) < 2]).toEqual([0o600, true])
    expect(size).toBeLessThan(20_000)
  }
  const zcat = spawnSync('sh', ['-c', 'zcat -f *.log*'], { cwd: folder, maxBuffer: 1 << 24 })
  expect(zcat.stderr.toString()).toBe('')
  expect(zcat.stdout.toString() === printed).toBe(true)
  const result = await loaded(held, 100_000, 1000)
  expect(result.kind === 'bytes' && Buffer.from(result.bytes).toString()).toBe(printed.slice(100_000, 101_000))
  expect(spawnSync('gzip', ['-t', ...archives], { cwd: folder }).status).toBe(0)
})
