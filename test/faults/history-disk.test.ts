/** The disk fails, fills up, hangs or goes: it is told once, counted, shown as a gap, and holds up nobody. */
import { appendFileSync, readdirSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Metrics } from '../../src/app/metrics.ts'
import { type Limits, limitsWith, ManualClock } from '../../src/base/index.ts'
import { type HistoryProblem, openHistoryStore } from '../../src/history/index.ts'
import { portOf, TestConsole, testServer } from '../vspc/support.ts'
import { bootVm, CODE, ID, ID2, migrateTo, turn, UUID2, type VmPeer } from '../vspc/vm-peer.ts'
import { FaultyFs } from './history-faulty-fs.ts'
import { eventually, filesOf, Stream, temporary } from './history-support.ts'

const SEQUENCE = [0x76, 0x19, 0xff, 0xe9]

/** A server with history on a disk that can be broken, on a clock that stands still. */
class World {
  readonly dir = temporary()
  readonly fs = new FaultyFs()
  readonly clock = new ManualClock()
  readonly problems: HistoryProblem[] = []
  readonly stream = new Stream(1)
  #printed = 0

  async start(limits: Partial<Limits> = {}) {
    this.clock.advance(1_000)
    const { dir, fs, clock } = this
    const onProblem = (problem: HistoryProblem) => this.problems.push(problem)
    const histories = await openHistoryStore({ dir, fs, clock, onProblem, limits: limitsWith(limits) })
    onTestFinished(async () => {
      fs.fault = null
      fs.release()
      const closed = histories.close(1_000)
      clock.advance(1_000)
      await closed
    })
    const { server } = testServer(limits, { histories, clock })
    const metrics = new Metrics('0.0.0')
    metrics.watch(server)
    onTestFinished(() => metrics.close())
    const metric = async (name: string) =>
      Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await metrics.registry.metrics())?.[1])
    return { server, histories, metric }
  }

  /** Prints the next bytes of the stream. */
  async print(vm: VmPeer, length: number): Promise<void> {
    for (let done = 0; done < length; ) {
      const bytes = this.stream.at(this.#printed, Math.min(65_536, length - done))
      vm.print(bytes)
      done += bytes.length
      this.#printed += bytes.length
      await turn()
    }
  }

  get printed(): number {
    return this.#printed
  }

  told(kind: HistoryProblem['kind']): string[] {
    return this.problems.filter((one) => one.kind === kind).map(({ state, code }) => `${state} ${code ?? '-'}`)
  }

  /** Time goes by in steps, and what is due happens. */
  async pass(ms: number, step = 10): Promise<void> {
    for (let passed = 0; passed < ms; passed += step) {
      this.clock.advance(step)
      await nextTurn()
    }
  }

  async until(what: string, happened: () => boolean): Promise<void> {
    await eventually(
      () => what,
      async () => {
        await this.pass(10)
        return happened()
      },
    )
  }
}

/** Begins, and says how many ms later GOAHEAD came. */
async function goaheadAfter(world: World, vm: VmPeer): Promise<number> {
  const before = vm.said(CODE.GOAHEAD).length
  const { clock } = world
  const begun = clock.now()
  vm.say(CODE.BEGIN, SEQUENCE)
  await turn()
  while (vm.said(CODE.GOAHEAD).length === before) {
    if (clock.now() - begun > 10_000) throw new Error('no GOAHEAD')
    await world.pass(1, 1)
    await turn()
  }
  return clock.now() - begun
}

describe.each(['ENOSPC', 'EIO', 'EROFS', 'EMFILE'])('a disk that fails with %s', (code) => {
  test('is told once and counted; live output and GOAHEAD do not wait; what is lost is a gap, to the byte', async () => {
    const world = new World()
    const { server, metric } = await world.start({ historyPendingBytes: 300_000, historyTailBytes: 100_000 })
    const vm = await bootVm(server)
    const console = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await world.print(vm, 100_000)
    // In real time: the disk must not look slow to the clock that is moved by hand.
    await eventually(
      () => 'written',
      () => filesOf(world.dir, ID).length === 100_000,
    )
    await world.until('shown', () => console.bytes.length === 100_000)
    world.fs.fault = code
    await world.print(vm, 2_000_000)
    await world.until('a console that keeps up gets all', () => console.bytes.length === world.printed)
    expect(await goaheadAfter(world, vm)).toBeLessThanOrEqual(200)
    const destination = await migrateTo(server, vm.cookie)
    destination.say(CODE.COMPLETE, SEQUENCE)
    await turn()
    vm.end()
    await world.pass(100)
    await world.print(destination, 50_000)
    await world.until('after the vMotion too', () => console.bytes.length === world.printed)
    await world.pass(20_000, 100)
    expect(world.told('write')).toEqual([`began ${code}`])
    expect(world.told('late')).toEqual(['began -'])
    expect(world.told('dropped').slice(0, 1)).toEqual(['began -'])
    expect(await metric('vspc_history_disk_errors_total')).toBeGreaterThan(2)
    expect(await metric('vspc_history_troubled_ports')).toBe(1)
    const dropped = await metric('vspc_history_dropped_bytes_total')
    expect(dropped).toBeGreaterThan(1_000_000)
    expect(await metric('vspc_history_pending_bytes')).toBeLessThan(400_000)
    expect(world.stream.firstWrong(0, console.bytes as Buffer)).toBeNull()
    expect(console.told('gap')).toEqual([])

    world.fs.fault = null
    await world.print(destination, 1)
    const { history } = portOf(server, ID)
    await eventually(
      () => 'all is well again',
      async () => {
        await world.pass(500)
        return (await metric('vspc_history_pending_bytes')) === 0 && world.told('write').length === 2
      },
    )
    await world.pass(5_000, 100)
    expect([world.told('write'), world.told('late')]).toEqual([
      [`began ${code}`, `ended ${code}`],
      ['began -', 'ended -'],
    ])
    expect(await metric('vspc_history_troubled_ports')).toBe(0)

    // A console from the beginning: everything but what was dropped, and told where.
    const late = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await eventually(
      () => 'it has caught up',
      () => late.console.offset === history.next,
    )
    const gaps = late.told('gap')
    expect(gaps.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(dropped)
    let at = 0
    let received = late.bytes as Buffer
    for (const { bytes, offset } of gaps) {
      const length = offset - bytes - at
      expect(world.stream.firstWrong(at, received.subarray(0, length))).toBeNull()
      received = received.subarray(length)
      at = offset
    }
    expect([world.stream.firstWrong(at, received), at + received.length]).toEqual([null, history.next])
  })
})

describe('a disk that hangs', () => {
  test('in the middle of a write: output is shown after a moment, then at once; GOAHEAD comes in the same turn', async () => {
    const world = new World()
    const { server, metric } = await world.start()
    const vm = await bootVm(server)
    const other = await bootVm(server, { uuid: UUID2, name: 'vm2' })
    const console = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await world.print(vm, 1_000)
    await world.until('shown', () => console.bytes.length === 1_000)
    world.fs.stalled = true
    await world.print(vm, 1_000)
    expect(console.bytes.length).toBe(1_000)
    // Nothing was shown, and no time goes by: the answer does not wait for the disk.
    expect(await goaheadAfter(world, vm)).toBe(0)
    vm.say(CODE.ABORT)
    await world.pass(120)
    expect(console.bytes.length).toBe(2_000)
    expect(world.told('late')).toEqual(['began -'])
    // From now on nothing waits at all, also on another port.
    await world.print(vm, 500)
    expect(console.bytes.length).toBe(2_500)
    other.print('the other one')
    expect(await goaheadAfter(world, other)).toBe(0)
    // As much as pending output may cost, and more: a source that does not stop is not stopped.
    for (let i = 0; i < 40; i++) {
      await world.print(vm, 262_144)
      await world.pass(100)
    }
    await world.until('all is shown', () => console.bytes.length === world.printed)
    expect(await goaheadAfter(world, vm)).toBeLessThanOrEqual(200)
    expect(await metric('vspc_history_pending_bytes')).toBeLessThan(5 << 20)
    expect(await metric('vspc_history_dropped_bytes_total')).toBeGreaterThan(5 << 20)
    expect(world.stream.firstWrong(0, console.bytes as Buffer)).toBeNull()
    expect(portOf(server, ID2).state).toBe('migrating')

    world.fs.release()
    await eventually(
      () => 'it is written',
      async () => {
        await world.pass(100)
        return (await metric('vspc_history_pending_bytes')) === 0
      },
    )
    const late = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await eventually(
      () => 'caught up',
      () => late.console.offset === world.printed,
    )
    const lost = late.told('gap').reduce((sum, { bytes }) => sum + bytes, 0)
    expect(lost).toBe(await metric('vspc_history_dropped_bytes_total'))
  })

  test('while a console reads what is only on disk: that one waits, the live one does not', async () => {
    const world = new World()
    const { server } = await world.start({ historyTailBytes: 10_000 })
    const vm = await bootVm(server)
    await world.print(vm, 300_000)
    await world.until('written', () => portOf(server, ID).history.visible === 300_000)
    world.fs.stalled = true
    const live = new TestConsole(portOf(server, ID), { mode: 'read' })
    const behind = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await world.print(vm, 1_000)
    await world.pass(200)
    expect([live.bytes.length, behind.bytes.length]).toEqual([1_000, 0])
    // One that gives up waiting leaves nothing behind.
    behind.console.detach()
    world.fs.release()
    await world.pass(50)
    const again = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await eventually(
      () => 'all of it',
      () => again.bytes.length === 301_000,
    )
    expect([world.stream.firstWrong(0, again.bytes as Buffer), again.told('gap')]).toEqual([null, []])
  })
})

test('want of descriptors passes: a console that reads from disk meanwhile waits, and loses nothing', async () => {
  const world = new World()
  const { server, metric } = await world.start({ historyTailBytes: 10_000, historyOpenFiles: 1 })
  const vm = await bootVm(server)
  await world.print(vm, 300_000)
  const other = await bootVm(server, { uuid: UUID2, name: 'vm2' })
  other.print('takes the place of the other file')
  await world.until(
    'both are written',
    () => portOf(server, ID).history.visible === 300_000 && portOf(server, ID2).history.visible > 0,
  )
  world.fs.fault = 'EMFILE'
  const console = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
  await eventually(
    () => 'it was tried more than once',
    async () => {
      await world.pass(100)
      return (await metric('vspc_history_load_errors_total')) > 2
    },
  )
  expect(console.bytes.length).toBe(0)
  expect(world.told('read')).toEqual(['began EMFILE'])
  world.fs.fault = null
  await world.until('it has all', () => console.bytes.length === 300_000)
  expect([world.stream.firstWrong(0, console.bytes as Buffer), console.told('gap'), console.told('error')]).toEqual([
    null,
    [],
    [],
  ])
})

describe('somebody changes the files under the server', () => {
  async function stage(): Promise<{
    world: World
    vm: VmPeer
    console: TestConsole
    server: ReturnType<typeof testServer>['server']
  }> {
    const world = new World()
    const { server } = await world.start({ historyTailBytes: 10_000 })
    const vm = await bootVm(server)
    const console = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await world.print(vm, 100_000)
    await world.until('shown', () => console.bytes.length === 100_000)
    await world.pass(3_000, 100)
    return { world, vm, console, server }
  }

  /** What a console from the beginning is shown: bytes that are right, and gaps. */
  async function shown(world: World, server: Parameters<typeof portOf>[0]): Promise<(string | number)[]> {
    const console = new TestConsole(portOf(server, ID), { mode: 'read', from: 0 })
    await eventually(
      () => 'it has caught up',
      () => console.console.offset === world.printed,
    )
    const gaps = console.told('gap')
    const last = gaps.at(-1)?.offset ?? 0
    const tail = console.bytes.subarray(console.bytes.length - (world.printed - last)) as Buffer
    expect(world.stream.firstWrong(last, tail)).toBeNull()
    return [console.bytes.length, ...gaps.map(({ bytes, offset }) => `${bytes} to ${offset}`)]
  }

  test.each([
    ['deleted', (path: string) => rmSync(path), [50_000, '100000 to 100000'], 'ENOENT'],
    ['emptied', (path: string) => truncateSync(path, 0), [50_000, '100000 to 100000'], '-'],
    ['cut', (path: string) => truncateSync(path, 30_000), [80_000, '70000 to 100000'], '-'],
  ] as const)(
    'a file that was %s is told; output goes on in a new one, and nothing is made up for what is gone',
    async (_how, change, expected, code) => {
      const { world, vm, console, server } = await stage()
      const folder = join(world.dir, 'ports', ID)
      change(join(folder, '00000000000000000000.log'))
      await world.print(vm, 50_000)
      await world.until('shown', () => console.bytes.length === world.printed)
      await eventually(
        () => 'written to a new file',
        async () => {
          await world.pass(100)
          return readdirSync(folder).includes('00000000000000100000.log')
        },
      )
      expect(world.told('write')).toContain(`began ${code}`)
      expect(console.told('gap')).toEqual([])
      expect(await shown(world, server)).toEqual(expected)
    },
  )

  test('something appended to a file is overwritten by what the VM says', async () => {
    const { world, vm, console, server } = await stage()
    appendFileSync(join(world.dir, 'ports', ID, '00000000000000000000.log'), 'by hand')
    await world.print(vm, 50_000)
    await world.until('shown', () => console.bytes.length === world.printed)
    expect(await shown(world, server)).toEqual([150_000])
  })

  test('the whole data directory is deleted: told, made anew, offsets go on, live output goes on', async () => {
    const { world, vm, console, server } = await stage()
    rmSync(world.dir, { recursive: true })
    await world.print(vm, 50_000)
    await world.until('shown', () => console.bytes.length === world.printed)
    await eventually(
      () => 'it is made anew',
      async () => {
        await world.pass(1_000, 100)
        return world.told('lock').length > 0 && filesExist(world.dir)
      },
    )
    expect(world.told('lock')[0]).toBe('began -')
    await world.print(vm, 50_000)
    await world.until('shown', () => console.bytes.length === world.printed)
    expect(console.told('gap')).toEqual([])
    expect(world.stream.firstWrong(0, console.bytes as Buffer)).toBeNull()
    const [held, gap] = await shown(world, server)
    expect(Number(held)).toBeGreaterThanOrEqual(50_000)
    expect(gap).toBeDefined()
  })

  function filesExist(dir: string): boolean {
    try {
      return readdirSync(join(dir, 'ports', ID)).includes('port.json')
    } catch {
      return false
    }
  }
})
