import { expect, test } from 'vitest'
import { limitsWith } from '../../src/base/index.ts'
import { MemoryHistoryStore } from '../../src/history/index.ts'
import { bytes, bytesAt, firstWrong, loaded, TestOwner, text } from './support.ts'

function open(historyBytes = 1000) {
  const store = new MemoryHistoryStore(limitsWith({ historyBytes }))
  const owner = new TestOwner()
  return { store, owner, history: store.open('a', owner) }
}

test('what is appended is visible at once, and told', () => {
  const { owner, history } = open()
  const seen: (string | null)[] = []
  owner.onVisible = () => seen.push(text(history.read(0, 100)))
  expect(history.append(bytes('abc'))).toBe(true)
  history.append(bytes(''))
  expect([history.start, history.visible, history.next, seen]).toEqual([0, 3, 3, ['abc']])
})

test('the last historyBytes are kept, up to a block more, and start says where they begin', () => {
  const { store, history } = open(100_000)
  for (let i = 0; i < 10_000; i++) history.append(bytesAt(1, i * 77, 77))
  expect(history.next - history.start).toBeGreaterThan(99_000)
  expect(history.next - history.start).toBeLessThan(166_000)
  expect(store.gauges.tailBytes).toBeLessThan(200_000)
  for (let offset = history.start; offset < history.next; ) {
    const piece = history.read(offset, 500) as Uint8Array
    expect(firstWrong(1, offset, piece)).toBeNull()
    offset += piece.length
  }
  expect(history.read(history.start - 1, 1)).toBeNull()
  expect(history.read(history.next, 1)).toBeNull()
})

test('with historyBytes 0 nothing is kept but by who follows live', () => {
  const { owner, history } = open(0)
  let seen = ''
  owner.onVisible = () => {
    seen += text(history.read(seen.length, 100))
  }
  history.append(bytes('abc'))
  history.append(bytes('def'))
  expect([seen, history.start, history.next, history.read(0, 9)]).toEqual(['abcdef', 6, 6, null])
})

test('loads answer as those from a disk do, after load has returned', async () => {
  const { history } = open()
  history.append(new Uint8Array(65_536))
  history.append(new Uint8Array(65_536))
  history.append(bytes('abc'))
  const order: string[] = []
  const pending = loaded(history, 0, 100).then((result) => {
    order.push('done')
    return result
  })
  order.push('returned')
  expect(await pending).toEqual({ kind: 'gap', to: 65_536 })
  expect(order).toEqual(['returned', 'done'])
  expect(await loaded(history, 65_537, 100)).toMatchObject({ kind: 'bytes' })
  expect(await loaded(history, 131_075, 100)).toEqual({ kind: 'end' })
  expect(await loaded(history, 199_999, 100)).toEqual({ kind: 'end' })
})

test('a cancelled load is never heard of again', async () => {
  const { history } = open()
  history.append(bytes('abc'))
  history.load(0, 10, () => expect.unreachable()).cancel()
  expect((await loaded(history, 0, 10)).kind).toBe('bytes')
})

test('a removed history has lost its memory, and an id is given away once', async () => {
  const { store, history } = open()
  const other = store.open('b', new TestOwner())
  expect([other.rename('a'), other.rename('b'), other.rename('c')]).toEqual([false, true, true])
  history.append(bytes('abc'))
  const load = loaded(history, 0, 10)
  history.remove()
  expect((await load).kind).toBe('failed')
  expect(store.gauges.tailBytes).toBe(0)
  expect(other.rename('a')).toBe(true)
  expect([...store.stored()]).toEqual([])
  expect([await store.flush(), await store.close()]).toEqual([true, true])
})
