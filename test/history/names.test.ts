import { describe, expect, test } from 'vitest'
import { FakeDisk } from './fake-disk.ts'
import { bytes, FakeWorld, metaOf, TestOwner, text, UUID } from './support.ts'

const FIRST = '00000000000000000000.log'
const at = (id: string, file = FIRST) => `/ports/${id}/${file}`

describe('a port that is removed', () => {
  test('has no file left, and its id begins anew at 0, whenever the deleting is done', async () => {
    const w = await FakeWorld.open()
    const old = w.store.open('vm', new TestOwner())
    old.keepTail(true)
    old.append(bytes('old'))
    w.settle()
    old.append(bytes('older'))
    w.turn()
    old.remove()
    const young = w.store.open('vm', new TestOwner())
    young.append(bytes('young'))
    expect([young.start, young.next]).toEqual([0, 5])
    w.settle()
    expect(text(w.disk.content(at('vm')))).toBe('young')
    expect([...w.disk.files.keys()].sort()).toEqual([at('vm'), at('vm', 'port.json')])
    expect(w.disk.openFiles).toBe(1)
    expect([w.store.gauges.pendingBytes, w.store.gauges.tailBytes, w.store.tails.size]).toEqual([0, 0, 0])
  })

  test('keeps its name until the disk has let go of it: nothing is mixed', async () => {
    const w = await FakeWorld.open()
    const old = w.store.open('vm', new TestOwner())
    old.append(bytes('old'))
    w.settle()
    old.remove()
    w.turn()
    w.disk.ops.find((op) => op.kind === 'rename')?.end('EBUSY')
    const young = w.store.open('vm', new TestOwner())
    young.keepTail(true)
    young.append(bytes('young'))
    w.settle()
    w.clock.advance(1000)
    w.settle()
    // Shown, but not yet on disk.
    expect([young.visible, text(w.disk.content(at('vm')))]).toEqual([5, 'old'])
    w.clock.advance(5000)
    w.settle()
    expect(text(w.disk.content(at('vm')))).toBe('young')
  })

  test('is waited for by the next but one, too', async () => {
    const w = await FakeWorld.open()
    const old = w.store.open('vm', new TestOwner())
    old.append(bytes('old'))
    w.settle()
    old.remove()
    w.turn()
    w.disk.ops.find((op) => op.kind === 'rename')?.end('EBUSY')
    const second = w.store.open('vm', new TestOwner())
    second.append(bytes('second'))
    w.settle()
    second.remove()
    const third = w.store.open('vm', new TestOwner())
    third.append(bytes('third'))
    w.settle()
    expect(text(w.disk.content(at('vm')))).toBe('old')
    w.clock.advance(5000)
    w.settle()
    expect(text(w.disk.content(at('vm')))).toBe('third')
  })

  test('that had never said anything leaves no trace', async () => {
    const w = await FakeWorld.open()
    w.store.open('vm', new TestOwner()).remove()
    w.settle()
    expect([w.disk.files.size, w.disk.folders.size]).toEqual([0, 2])
  })

  test('before its first byte was written makes room all the same', async () => {
    const w = await FakeWorld.open()
    const old = w.store.open('vm', new TestOwner())
    old.append(bytes('old'))
    w.turn()
    expect(w.disk.ops.map((op) => op.kind)).toEqual(['mkdir'])
    old.remove()
    const young = w.store.open('vm', new TestOwner())
    young.append(bytes('young'))
    w.disk.ops[0]?.end('ENOSPC')
    w.settle()
    expect(text(w.disk.content(at('vm')))).toBe('young')
  })

  test('whose deleting was cut short by a crash is deleted by the next start', async () => {
    const w = await FakeWorld.open()
    const old = w.store.open('vm', new TestOwner())
    old.append(bytes('old'))
    w.settle()
    old.remove()
    w.turn()
    w.disk.ops.find((op) => op.kind === 'rename')?.end()
    w.disk.crash(() => 0)
    const again = await FakeWorld.open({}, w.disk)
    expect([...again.store.stored()]).toEqual([])
    again.settle()
    expect(w.disk.files.size).toBe(0)
  })
})

describe('a port that gets another id', () => {
  test('takes its bytes along, and offsets go on', async () => {
    const w = await FakeWorld.open()
    const owner = new TestOwner(metaOf('name:vm'))
    const history = w.store.open('name:vm', owner)
    history.append(bytes('abc'))
    w.settle()
    owner.meta = metaOf(UUID, { vcUuid: UUID })
    expect(history.rename(UUID)).toBe(true)
    history.append(bytes('def'))
    w.settle()
    expect(text(w.disk.content(at(UUID)))).toBe('abcdef')
    w.disk.crash(() => 0)
    const again = await FakeWorld.open({}, w.disk)
    expect([...again.store.stored()]).toMatchObject([{ id: UUID, meta: { vmKey: UUID, vcUuid: UUID }, next: 6 }])
  })

  test('is refused one that has a history, open or from before', async () => {
    const w = await FakeWorld.open()
    for (const id of ['stored', 'open']) w.store.open(id, new TestOwner()).append(bytes('x'))
    w.settle()
    const again = await FakeWorld.open({}, w.disk)
    again.store.open('open', new TestOwner())
    const history = again.store.open('vm', new TestOwner())
    expect([history.rename('stored'), history.rename('open'), history.rename('vm'), history.rename('free')]).toEqual([
      false,
      false,
      true,
      true,
    ])
  })

  test('leaves the old one to a new port at once, which waits for the folder', async () => {
    const w = await FakeWorld.open()
    const history = w.store.open('a', new TestOwner())
    history.append(bytes('first'))
    w.settle()
    history.rename('b')
    const second = w.store.open('a', new TestOwner())
    second.append(bytes('second'))
    w.turn()
    // The second one's turn has come, the first one's folder has not moved yet.
    expect(w.disk.ops.map((op) => op.kind)).toEqual(['rename'])
    w.settle()
    expect([text(w.disk.content(at('a'))), text(w.disk.content(at('b')))]).toEqual(['second', 'first'])
  })

  test('twice, and back, while the disk is still at the first, ends where it should', async () => {
    const w = await FakeWorld.open()
    const history = w.store.open('a', new TestOwner())
    history.append(bytes('x'))
    w.settle()
    history.rename('b')
    w.turn()
    history.rename('c')
    history.rename('a')
    history.append(bytes('y'))
    w.settle()
    expect([...w.disk.files.keys()].sort()).toEqual([at('a'), at('a', 'port.json')])
    expect(text(w.disk.content(at('a')))).toBe('xy')
    expect(JSON.parse(text(w.disk.content(at('a', 'port.json'))) ?? '')).toMatchObject({ id: 'a' })
  })

  test('does not hold up its bytes when the folder cannot be renamed', async () => {
    const w = await FakeWorld.open()
    const history = w.store.open('a', new TestOwner())
    history.append(bytes('x'))
    w.settle()
    history.rename('b')
    history.append(bytes('y'))
    w.turn()
    w.disk.ops.find((op) => op.kind === 'rename')?.end('EBUSY')
    w.settle()
    expect([history.visible, text(w.disk.content(at('a')))]).toEqual([2, 'xy'])
    w.clock.advance(5000)
    w.settle()
    expect(text(w.disk.content(at('b')))).toBe('xy')
  })

  test('can be read meanwhile', async () => {
    const w = await FakeWorld.open({ historyOpenFiles: 1 })
    const history = w.store.open('a', new TestOwner())
    history.append(bytes('abc'))
    w.settle()
    w.store.open('other', new TestOwner()).append(bytes('x'))
    w.settle()
    const results: unknown[] = []
    history.load(0, 10, (result) => results.push(result))
    w.turn()
    history.rename('b')
    w.turn()
    // The folder moves between the choice of a path and its opening.
    for (const kind of ['rename', 'open']) w.disk.ops.find((op) => op.kind === kind)?.end()
    w.settle()
    expect(results).toMatchObject([{ kind: 'bytes', bytes: Buffer.from('abc') }])
  })
})

describe('what is kept beside the bytes', () => {
  const file = (w: FakeWorld) => JSON.parse(text(w.disk.content(at('vm', 'port.json'))) ?? '')
  const writes = (w: FakeWorld) => w.disk.ops.filter((op) => op.kind === 'writeFile').length

  test('is written with the first byte, and then only when it changes', async () => {
    const w = await FakeWorld.open()
    const owner = new TestOwner(metaOf('vm', { name: 'first' }))
    const history = w.store.open('vm', owner)
    owner.meta = metaOf('vm', { name: 'second' })
    history.metaChanged()
    w.settle()
    expect(w.disk.files.size).toBe(0)
    history.append(bytes('x'))
    w.settle()
    expect(file(w)).toMatchObject({ id: 'vm', name: 'second' })
    history.metaChanged()
    history.append(bytes('y'))
    w.turn()
    expect(writes(w)).toBe(0)
    w.settle()
    owner.meta = metaOf('vm', { name: 'third' })
    history.metaChanged()
    w.turn()
    expect(writes(w)).toBe(1)
    // It changes again while it is being written.
    owner.meta = metaOf('vm', { name: 'fourth' })
    history.metaChanged()
    w.settle()
    expect(file(w)).toMatchObject({ name: 'fourth' })
  })

  test('is not written again after a restart when nothing has changed', async () => {
    const w = await FakeWorld.open()
    const owner = new TestOwner(metaOf('vm', { label: 'com1', serviceURI: 'vspc?port=com1', direction: 'server' }))
    w.store.open('vm', owner).append(bytes('x'))
    w.settle()
    const again = await FakeWorld.open({}, w.disk)
    expect([...again.store.stored()]).toMatchObject([{ id: 'vm', meta: owner.meta, start: 0, next: 1 }])
    const history = again.store.open('vm', owner)
    expect([...again.store.stored()]).toEqual([])
    history.metaChanged()
    history.append(bytes('y'))
    again.turn()
    expect(writes(again)).toBe(0)
    again.settle()
    expect(text(again.disk.content(at('vm')))).toBe('xy')
  })

  test('is never half there: a crash leaves the old one or the new one', async () => {
    for (const part of [0, 10, 1000]) {
      const disk = new FakeDisk()
      const w = await FakeWorld.open({}, disk)
      const owner = new TestOwner(metaOf('vm', { name: 'old' }))
      const history = w.store.open('vm', owner)
      history.append(bytes('x'))
      w.settle()
      owner.meta = metaOf('vm', { name: 'new' })
      history.metaChanged()
      w.turn()
      disk.crash((size) => Math.min(size, part))
      const again = await FakeWorld.open({}, disk)
      expect([...again.store.stored()].map((port) => port.meta.name)).toEqual(['old'])
    }
  })

  test('a port is not opened twice', async () => {
    const w = await FakeWorld.open()
    w.store.open('vm', new TestOwner())
    expect(() => w.store.open('vm', new TestOwner())).toThrow(/open already/)
  })
})
