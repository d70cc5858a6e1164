import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { limitsWith } from '../../src/base/index.ts'
import { encodeDirName } from '../../src/history/dir-name.ts'
import type { History, HistoryProblem } from '../../src/history/index.ts'
import {
  bytes,
  bytesAt,
  everything,
  firstWrong,
  loaded,
  metaOf,
  realStore,
  TestOwner,
  temporaryFolder,
  text,
  UUID,
} from './support.ts'

const FIRST = '00000000000000000000.log'

/** A port with a history from before. */
async function earlier(dir: string, id: string, content: string): Promise<void> {
  const store = await realStore(dir)
  store.open(id, new TestOwner(metaOf(id))).append(bytes(content))
  expect(await store.close(5000)).toBe(true)
}

describe('a restart', () => {
  test('finds every port, and offsets go on where they ended', async () => {
    const dir = temporaryFolder()
    await earlier(dir, UUID, 'abc')
    const store = await realStore(dir)
    const [stored] = [...store.stored()]
    expect(stored).toMatchObject({ id: UUID, start: 0, next: 3, meta: { name: 'vm1' } })
    expect(Math.abs((stored?.lastWriteAt ?? 0) - Date.now())).toBeLessThan(60_000)
    const history = store.open(UUID, new TestOwner())
    expect([history.start, history.visible, history.next]).toEqual([0, 3, 3])
    history.append(bytes('def'))
    await store.flush(5000)
    expect(text(await everything(history))).toBe('abcdef')
    expect(readFileSync(join(dir, 'ports', UUID, FIRST), 'latin1')).toBe('abcdef')
  })

  test('keeps holes', async () => {
    const dir = temporaryFolder()
    await earlier(dir, UUID, 'abc')
    writeFileSync(join(dir, 'ports', UUID, '00000000000000000010.log'), 'klm')
    const history = (await realStore(dir)).open(UUID, new TestOwner())
    expect([history.start, history.next]).toEqual([0, 13])
    expect(await loaded(history, 1, 100)).toMatchObject({ kind: 'bytes', bytes: Buffer.from('bc') })
    for (const offset of [3, 5, 9]) expect(await loaded(history, offset, 100)).toEqual({ kind: 'gap', to: 10 })
    expect(await loaded(history, 10, 100)).toMatchObject({ kind: 'bytes', bytes: Buffer.from('klm') })
  })

  test('goes on after a last segment that was cut short, and after an empty one', async () => {
    const dir = temporaryFolder()
    await earlier(dir, UUID, 'abcdef')
    await earlier(dir, 'empty', 'x')
    truncateSync(join(dir, 'ports', UUID, FIRST), 2)
    writeFileSync(join(dir, 'ports/empty/00000000000000000007.log'), '')
    const store = await realStore(dir)
    const [cut, empty] = [UUID, 'empty'].map((id) => store.open(id, new TestOwner())) as [History, History]
    expect([cut.next, empty.next]).toEqual([2, 7])
    cut.append(bytes('CD'))
    empty.append(bytes('Y'))
    await store.flush(5000)
    expect(text(await everything(cut))).toBe('abCD')
    expect(await loaded(empty, 7, 10)).toMatchObject({ kind: 'bytes', bytes: Buffer.from('Y') })
    expect(await loaded(empty, 1, 10)).toEqual({ kind: 'gap', to: 7 })
  })

  test('is not led astray by junk, foreign or torn folders, and deletes none of it', async () => {
    const dir = temporaryFolder()
    const ports = join(dir, 'ports')
    await earlier(dir, UUID, 'abc')
    await earlier(dir, 'torn', 'torn')
    await earlier(dir, `name:${'N'.repeat(200)}`, 'long')
    const hashed = encodeDirName(`name:${'N'.repeat(200)}`)
    writeFileSync(join(ports, 'a-file'), 'x')
    mkdirSync(join(ports, 'Not Ours'))
    mkdirSync(join(ports, 'lost+found'))
    mkdirSync(join(ports, `==${'0'.repeat(64)}`))
    writeFileSync(join(ports, `==${'0'.repeat(64)}`, FIRST), 'nobody knows whose')
    symlinkSync('/etc', join(ports, 'link'))
    mkdirSync(join(ports, 'odd', '00000000000000000005.log'), { recursive: true })
    writeFileSync(join(ports, 'odd', FIRST), 'odd')
    for (const name of ['99999999999999999999.log', '1.log', 'x.log', `${FIRST}.gz`]) {
      writeFileSync(join(ports, UUID, name), 'junk')
    }
    writeFileSync(join(ports, 'torn', 'port.json'), '{"vspc-port": 1, "id": "to')
    expect(spawnSync('mkfifo', [join(ports, UUID, 'pipe'), join(ports, 'odd', 'port.json')]).status).toBe(0)
    const was = readdirSync(ports, { recursive: true }).sort()
    const store = await realStore(dir)
    expect([...store.stored()].map(({ id, next }) => [id.slice(0, 40), next]).sort()).toEqual([
      [UUID, 3],
      [`name:${'N'.repeat(35)}`, 4],
      ['odd', 3],
      ['torn', 4],
    ])
    expect(readdirSync(ports, { recursive: true }).sort()).toEqual(was)
    const history = store.open('torn', new TestOwner(metaOf('torn')))
    history.append(bytes('!'))
    await store.close(5000)
    expect(text(readFileSync(join(ports, 'torn', FIRST)))).toBe('torn!')
    expect(JSON.parse(readFileSync(join(ports, 'torn', 'port.json'), 'utf8'))).toMatchObject({ id: 'torn' })
    expect(existsSync(join(ports, hashed))).toBe(true)
  })
})

describe('on a real disk', () => {
  test('folders and files are for the owner alone', async () => {
    const dir = join(temporaryFolder(), 'data')
    await earlier(dir, UUID, 'secret')
    const ports = join(dir, 'ports')
    expect([dir, ports, join(ports, UUID)].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o700, 0o700])
    for (const name of readdirSync(join(ports, UUID)))
      expect(statSync(join(ports, UUID, name)).mode & 0o777).toBe(0o600)
  })

  test('every byte value goes through, in order', async () => {
    const dir = temporaryFolder()
    const store = await realStore(dir)
    const history = store.open(UUID, new TestOwner())
    const all = Uint8Array.from({ length: 256 }, (_, i) => i)
    for (let i = 0; i < 20; i++) history.append(all)
    await store.flush(5000)
    expect(Buffer.compare(await everything(history), Buffer.concat(Array(20).fill(all)))).toBe(0)
  })

  test('hostile ids stay in their place, and each has its own history', async () => {
    const dir = temporaryFolder()
    const ids = ['..', '../x', '/etc', 'a\0b', 'NAME', 'name', '.', `x${'y'.repeat(500)}`, '=61', 'con', 'ü', 'a b\n']
    const store = await realStore(dir)
    for (const id of ids) store.open(id, new TestOwner(metaOf(id))).append(bytes(`[${ids.indexOf(id)}]`))
    expect(await store.close(5000)).toBe(true)
    expect(readdirSync(dir)).toEqual(['ports'])
    const again = await realStore(dir)
    expect([...again.stored()].map(({ id }) => id).sort()).toEqual([...ids].sort())
    for (const id of ids) {
      const history = again.open(id, new TestOwner(metaOf(id)))
      expect(text(await everything(history))).toBe(`[${ids.indexOf(id)}]`)
    }
  })

  test('a reader catches up from the start while the port goes on, byte for byte', async () => {
    const dir = temporaryFolder()
    const store = await realStore(dir, { limits: limitsWith({ historyTailBytes: 100_000, historyOpenFiles: 2 }) })
    const owner = new TestOwner()
    const history = store.open(UUID, owner)
    history.keepTail(true)
    const total = 8 << 20
    const chunk = 37_123
    let read = 0
    let fromMemory = 0
    const write = () => {
      if (history.next >= total) return
      history.append(bytesAt(1, history.next, chunk))
      setImmediate(write)
    }
    write()
    while (read < total) {
      const piece = history.read(read, 65_536)
      if (piece !== null) fromMemory += piece.length
      const result = piece === null ? await loaded(history, read, 65_536) : { kind: 'bytes' as const, bytes: piece }
      if (result.kind === 'end') continue
      if (result.kind !== 'bytes') throw new Error(JSON.stringify(result))
      expect(firstWrong(1, read, result.bytes)).toBeNull()
      read += result.bytes.length
    }
    expect(store.counters).toMatchObject({ droppedBytes: 0, loadErrors: 0 })
    expect(store.counters.loadedBytes).toBeGreaterThan(0)
    expect(fromMemory).toBeGreaterThan(0)
  })

  test('a console that is stuck costs no memory, and gets every byte when it reads again', async () => {
    const dir = temporaryFolder()
    const store = await realStore(dir)
    const history = store.open(UUID, new TestOwner())
    history.keepTail(true)
    const chunk = new Uint8Array(65_536).fill(7)
    for (let i = 0; i < 640; i++) {
      history.append(chunk.slice())
      if (i % 16 === 0) await store.flush(5000)
      expect(store.gauges.pendingBytes + store.gauges.tailBytes).toBeLessThan(4 << 20)
    }
    await store.flush(5000)
    expect((await everything(history, 0)).length).toBe(640 * 65_536)
  })

  test('a folder that cannot be made, or used, is said so with what to do', async () => {
    const dir = temporaryFolder()
    writeFileSync(join(dir, 'file'), '')
    await expect(realStore(join(dir, 'file'))).rejects.toMatchObject({ code: 'VSPC_HISTORY_OPEN' })
    await expect(realStore(join(dir, 'file', 'deeper'))).rejects.toThrow(/move it away/)
  })

  test('something else in the place of a port is told of, and holds up nobody else', async () => {
    const dir = temporaryFolder()
    const problems: HistoryProblem[] = []
    const store = await realStore(dir, { onProblem: (problem) => problems.push(problem) })
    writeFileSync(join(dir, 'ports', 'vm'), 'a file')
    store.open('vm', new TestOwner()).append(bytes('x'))
    const owner = new TestOwner()
    const other = store.open('other', owner)
    const shown = new Promise<void>((resolve) => {
      owner.onVisible = resolve
    })
    other.append(bytes('y'))
    await shown
    expect(readFileSync(join(dir, 'ports', 'other', FIRST), 'latin1')).toBe('y')
    await new Promise<void>((resolve) => {
      const poll = () => (problems.some(({ kind }) => kind === 'write') ? resolve() : setImmediate(poll))
      poll()
    })
    expect(problems.find(({ kind }) => kind === 'write')?.message).toContain(join(dir, 'ports', 'vm'))
    expect(await store.close(0)).toBe(false)
  })

  test('after close nothing is written, and nothing throws', async () => {
    const dir = temporaryFolder()
    const store = await realStore(dir)
    const history = store.open(UUID, new TestOwner())
    history.append(bytes('abc'))
    expect(await store.close(5000)).toBe(true)
    expect(history.append(bytes('def'))).toBe(true)
    expect([history.visible, store.counters.droppedBytes]).toEqual([6, 3])
    expect((await loaded(history, 0, 10)).kind).toBe('failed')
    expect(await store.close(5000)).toBe(true)
    expect(readFileSync(join(dir, 'ports', UUID, FIRST), 'latin1')).toBe('abc')
  })
})

test('two thousand ports from before are found, cost no descriptors, and can all be written', async () => {
  const PORTS = 2_000
  const dir = temporaryFolder()
  for (let i = 0; i < PORTS; i++) {
    const folder = join(dir, 'ports', `vm-${i}`)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, FIRST), 'old')
    if (i % 2 === 0) writeFileSync(join(folder, 'port.json'), `{"vspc-port":1,"id":"vm-${i}","vmKey":"vm-${i}"}`)
  }
  const store = await realStore(dir, { limits: limitsWith({ historyOpenFiles: 64 }) })
  const ports = [...store.stored()].map(({ id }) => store.open(id, new TestOwner(metaOf(id))))
  expect(ports.length).toBe(PORTS)
  const descriptors = () => readdirSync('/proc/self/fd').length
  const idle = descriptors()
  let most = 0
  for (const [i, port] of ports.entries()) {
    port.append(bytes('new'))
    if (i % 50 !== 0) continue
    await new Promise((resolve) => setImmediate(resolve))
    most = Math.max(most, descriptors())
  }
  expect(await store.flush(15_000)).toBe(true)
  // The cache, what is being closed, and what is being made: far from one per port.
  expect(Math.max(most, descriptors()) - idle).toBeLessThan(64 + 64)
  expect(store.counters).toMatchObject({ droppedBytes: 0, writtenBytes: 3 * PORTS })
  expect(readFileSync(join(dir, 'ports', `vm-${PORTS - 1}`, FIRST), 'latin1')).toBe('oldnew')
})
