import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ManualClock, VspcError } from '../../src/base/index.ts'
import {
  findTools,
  type GuestChange,
  GuestSide,
  type GuestSideOptions,
  type RunTool,
  type ToolOutcome,
} from '../../src/guestinfo/index.ts'
import { FakeVm } from './support.ts'

const code = (name: string) => expect.objectContaining({ code: `VSPC_GUESTINFO_${name}` })
const guestOf = (vm: FakeVm, options: GuestSideOptions = {}) => new GuestSide({ env: vm.env, ...options })

describe('a guest, with the double of the tool', () => {
  test('reads, sets, and reads again; what is the same is not set again', async () => {
    const vm = new FakeVm({ 'guestinfo.a': 'one', 'guestinfo.vice./repo': 'busybox' })
    const guest = guestOf(vm)
    expect(await guest.get('guestinfo.a')).toBe('one')
    expect(await guest.get('guestinfo.vice./repo')).toBe('busybox')
    expect(await guest.get('guestinfo.none')).toBeNull()
    expect(await guest.set('guestinfo.a', 'one')).toBe('unchanged')
    expect(await guest.set('guestinfo.a', 'two')).toBe('changed')
    expect(await guest.set('guestinfo.new', '')).toBe('created')
    expect(vm.values).toMatchObject({ 'guestinfo.a': 'two', 'guestinfo.new': '<nil>' })
    expect(await guest.get('guestinfo.new')).toBe('')
    expect(await guest.get('guestinfo.new', { raw: true })).toBe('<nil>')
    expect(vm.calls.filter(({ message }) => message.startsWith('info-set')).map(({ message }) => message)).toEqual([
      'info-set guestinfo.a',
      'info-set guestinfo.new',
    ])
  })

  test.each([
    ['quotes', "'; touch evil; '"],
    ['substitutions', '$(id) `id` %s %n \\ "quoted"'],
    ['blanks at both ends', ' blanks at both ends '],
    ['line feeds', 'two\nlines\n'],
    ['other scripts', 'Grüße aus 東京 😀'],
    ['control characters', '\u0001\u001b[31m\r'],
    ['an option', '--cmd'],
    ['65,000 characters', 'x'.repeat(65_000)],
  ])('a value of %s comes back as it was: no shell is in between', { timeout: 10_000 }, async (_name, value) => {
    for (const tool of ['vmware-rpctool', 'vmtoolsd']) {
      const vm = new FakeVm({}, {}, [tool])
      const guest = guestOf(vm)
      await guest.set('guestinfo.k', value)
      expect(await guest.get('guestinfo.k')).toBe(value)
    }
  })

  test('of what others have set only the line feed that the tool adds is taken off', async () => {
    const vm = new FakeVm({ 'guestinfo.a': 'x \n\n', 'guestinfo.b': '' })
    const guest = guestOf(vm)
    expect([await guest.get('guestinfo.a'), await guest.get('guestinfo.b')]).toEqual(['x \n\n', ''])
  })

  test('a key made by the guest is gone after a power cycle, one made in advance keeps its value', async () => {
    const vm = new FakeVm({ 'guestinfo.vspc.process.main': '<nil>' })
    const guest = guestOf(vm)
    const record = {
      kind: 'process',
      state: 'exited',
      exitCode: 3,
      startedSeconds: null,
      stoppedSeconds: null,
      error: null,
    } as const
    expect(await guest.publish({ ...record, name: 'main' })).toBe('changed')
    expect(await guest.publish({ ...record, name: 'late' })).toBe('created')
    vm.powerCycle()
    expect(vm.values).toEqual({ 'guestinfo.vspc.process.main': 'exited code=3' })
  })

  test('a read-only key, a bad one and too long a value are refused before anything runs', async () => {
    const vm = new FakeVm({ 'guestinfo.vice./repo': 'busybox' })
    const guest = guestOf(vm)
    await expect(guest.set('guestinfo.vice./repo', 'x')).rejects.toThrow(code('READ_ONLY'))
    await expect(guest.set('guestinfo.a b', 'x')).rejects.toThrow(code('KEY'))
    await expect(guest.get('other')).rejects.toThrow(code('KEY'))
    await expect(guest.set('guestinfo.a', 'x'.repeat(65_536))).rejects.toThrow(code('TOO_LONG'))
    await expect(guest.watch(['guestinfo.a', 'a']).next()).rejects.toThrow(code('KEY'))
    expect(vm.calls).toEqual([])
  })

  test('more than the host keeps in all is its refusal, in its words', { timeout: 15_000 }, async () => {
    const full = Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`guestinfo.${i}`, 'x'.repeat(65_000)]))
    const guest = guestOf(new FakeVm(full))
    const failure = guest.set('guestinfo.one-more', 'secret-value'.repeat(2_000))
    await expect(failure).rejects.toThrow(code('TOO_LONG'))
    await expect(failure).rejects.toThrow(/^cannot set guestinfo.one-more: the host says "Size limit exceeded"$/)
  })

  test.each([
    [{ notInVm: 'message' }, 'NOT_IN_VM', 'Failed sending message to VMware'],
    [{ notInVm: 'vmtoolsd' }, 'NOT_IN_VM', 'needs to run inside a virtual machine'],
    [{ notInVm: 'crash' }, 'NOT_IN_VM', 'SIGSEGV'],
    [{ fail: 'rpctool must be run inside a virtual machine.' }, 'NOT_IN_VM', 'inside a VM of VMware only'],
    [
      { fail: 'RpcOut: Unable to open the \u001b[31mcommunication channel' },
      'FAILED',
      'said "RpcOut: Unable to open the [31mcomm',
    ],
    [{ flood: 300_000 }, 'FAILED', 'printed more than a value can have'],
    [{ hang: true }, 'TIMEOUT', 'did not end within 0.5 s'],
  ])('%j is %s', async (behave, name, words) => {
    const vm = new FakeVm({ 'guestinfo.a': '1' }, behave, ['vmware-rpctool'])
    const failure = guestOf(vm, { limits: { callMs: 500 } }).get('guestinfo.a')
    await expect(failure).rejects.toThrow(code(name))
    await expect(failure).rejects.toThrow(words)
  })

  test('where setting is disabled the setting is named, and reading goes on', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1' }, { setDisabled: true }, ['vmware-rpctool'])
    const guest = guestOf(vm)
    await expect(guest.set('guestinfo.a', '2')).rejects.toThrow('isolation.tools.setinfo.disable')
    expect(await guest.get('guestinfo.a')).toBe('1')
  })

  test('where only vmtoolsd may, it is used from then on', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1' }, { secureSet: true })
    const guest = guestOf(vm)
    await guest.set('guestinfo.a', '2')
    await guest.set('guestinfo.a', '3')
    expect(vm.values['guestinfo.a']).toBe('3')
    expect(vm.calls.map(({ style, ok }) => `${style} ${ok}`)).toEqual([
      'rpctool true',
      'rpctool false',
      'vmtoolsd true',
      'vmtoolsd true',
      'vmtoolsd true',
    ])
  })

  test('vmtoolsd that denies a call soon after a good one is asked once more', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1' }, { denyNext: 1 }, ['vmtoolsd'])
    const guest = guestOf(vm, { limits: { deniedAgainMs: 200 } })
    expect([await guest.get('guestinfo.a'), await guest.get('guestinfo.a')]).toEqual(['1', '1'])
    vm.behave({ denyNext: 2 })
    await expect(guest.get('guestinfo.a')).rejects.toThrow(code('DENIED'))
  })

  test('a signal ends the tool and all that wait for it, and the next call works', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1' }, { hang: true })
    const guest = guestOf(vm)
    const reason = new Error('enough')
    const stop = new AbortController()
    const calls = [1, 2].map(() => guest.get('guestinfo.a', { signal: stop.signal }))
    stop.abort(reason)
    expect(await Promise.allSettled(calls)).toEqual([1, 2].map(() => ({ status: 'rejected', reason })))
    vm.behave({ hang: false })
    expect(await guest.get('guestinfo.a')).toBe('1')
  })

  test('a watch shows what is there, then what the host changes', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1' })
    const guest = guestOf(vm, { limits: { paceMs: 1, pollMinMs: 10, pollMaxMs: 20 } })
    const watch = guest.watch(['guestinfo.a', 'guestinfo.b', 'guestinfo.a'])
    expect((await watch.next()).value).toEqual([
      { key: 'guestinfo.a', before: null, after: '1' },
      { key: 'guestinfo.b', before: null, after: null },
    ])
    vm.hostSet('guestinfo.b', 'new')
    expect((await watch.next()).value).toEqual([{ key: 'guestinfo.b', before: null, after: 'new' }])
    vm.hostSet('guestinfo.a', '')
    expect((await watch.next()).value).toEqual([{ key: 'guestinfo.a', before: '1', after: null }])
    await watch.return()
  })
})

describe('where the tool is', () => {
  test('rpctool comes first; folders of the PATH come before the known ones', () => {
    const [both, late] = [new FakeVm(), new FakeVm()]
    expect(findTools({ PATH: both.bin }, [late.bin])).toEqual([
      { path: join(both.bin, 'vmware-rpctool'), style: 'rpctool' },
      { path: join(both.bin, 'vmtoolsd'), style: 'vmtoolsd' },
    ])
    expect(findTools({}, [late.bin])[0]?.path).toBe(join(late.bin, 'vmware-rpctool'))
    expect(findTools({}, [])).toEqual([])
  })

  test('relative folders, directories and files that cannot be run are passed over', () => {
    const vm = new FakeVm({}, {}, [])
    const other = new FakeVm()
    mkdirSync(join(vm.bin, 'vmware-rpctool'))
    writeFileSync(join(vm.bin, 'vmtoolsd'), 'x', { mode: 0o644 })
    expect(findTools({ PATH: `${relative(process.cwd(), other.bin)}::.:${vm.bin}` }, [])).toEqual([])
    symlinkSync(join(vm.folder, 'gone'), join(vm.folder, 'vmtoolsd'))
    expect(findTools({ PATH: vm.folder }, [])).toEqual([])
  })

  test('one that cannot be run gives way to the other; the only one is named', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1' }, {}, ['vmtoolsd'])
    writeFileSync(join(vm.bin, 'vmware-rpctool'), '#!/no/such/interpreter\n', { mode: 0o755 })
    expect(await guestOf(vm).get('guestinfo.a')).toBe('1')
    const named = guestOf(vm, { tool: join(vm.bin, 'none') }).get('guestinfo.a')
    await expect(named).rejects.toThrow(code('NO_TOOL'))
    await expect(named).rejects.toThrow('none cannot be run: ENOENT')
  })
})

/** A tool that answers at once, at times that the clock tells. */
class Script {
  readonly clock = new ManualClock()
  readonly times: number[] = []
  running = 0
  mostRunning = 0
  values: Record<string, string> = {}
  failure: ToolOutcome | null = null
  /** How long a call takes. */
  callMs = 0

  readonly run: RunTool = async (_path, [message = '']) => {
    this.times.push(this.clock.now())
    this.mostRunning = Math.max(this.mostRunning, ++this.running)
    if (this.callMs > 0) await new Promise<void>((resolve) => this.clock.after(this.callMs, resolve))
    this.running--
    if (this.failure) return this.failure
    const value = this.values[message.split(' ')[1] ?? '']
    const found = value !== undefined
    return {
      type: 'ended',
      exitCode: found ? 0 : 1,
      signal: null,
      stdout: found ? `${value}\n` : '',
      stderr: found ? '' : 'No value found\n',
    }
  }

  guest(): GuestSide {
    return new GuestSide({ clock: this.clock, run: this.run, tool: '/x/vmware-rpctool', random: () => 1 })
  }

  /** Lets `ms` pass, and all that follows from it happen. */
  async pass(ms: number): Promise<void> {
    await new Promise(setImmediate)
    for (let i = 0; i < ms; i += 10) {
      this.clock.advance(10)
      await new Promise(setImmediate)
    }
  }
}

describe('in time', () => {
  test('calls never overlap, and begin 50 ms after the end of the one before', async () => {
    const script = new Script()
    script.values = { 'guestinfo.a': '1' }
    script.callMs = 30
    const guest = script.guest()
    const all = Promise.all(Array.from({ length: 5 }, () => guest.get('guestinfo.a')))
    await script.pass(500)
    expect(await all).toEqual(['1', '1', '1', '1', '1'])
    expect(script.times).toEqual([0, 80, 160, 240, 320])
    expect(script.mostRunning).toBe(1)
    await script.pass(1_000)
    const late = guest.get('guestinfo.a')
    await script.pass(50)
    expect([await late, script.times.at(-1)]).toEqual(['1', 1_500])
  })

  test('a watch asks more and more rarely, and often again after a change', async () => {
    const script = new Script()
    script.values = { 'guestinfo.a': '1' }
    const seen: (readonly GuestChange[])[] = []
    const stop = new AbortController()
    const done = (async () => {
      for await (const changes of script.guest().watch(['guestinfo.a'], { signal: stop.signal })) seen.push(changes)
    })()
    await script.pass(40_000)
    const gaps = script.times.slice(1).map((time, i) => time - (script.times[i] ?? 0))
    expect(gaps).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
    script.values = { 'guestinfo.a': '2' }
    await script.pass(12_000)
    expect(seen).toHaveLength(2)
    const later = script.times.filter((time) => time > 40_000)
    expect(later.slice(1, 4).map((time) => time - (later[0] ?? 0))).toEqual([500, 1_500, 3_500])
    stop.abort(new Error('enough'))
    await expect(done).rejects.toThrow('enough')
    expect(script.clock.pending).toBe(0)
  })

  test('what fails for a moment is told once, hides no value, and is survived; at the first look it is fatal', async () => {
    const script = new Script()
    script.values = { 'guestinfo.a': '1' }
    const troubles: string[] = []
    const watch = script.guest().watch(['guestinfo.a'], { onTrouble: ({ code: name }) => troubles.push(name) })
    await watch.next()
    script.failure = { type: 'timeout' }
    const next = watch.next()
    await script.pass(5_000)
    expect(troubles).toEqual(['VSPC_GUESTINFO_TIMEOUT'])
    script.failure = null
    script.values = { 'guestinfo.a': '2' }
    await script.pass(10_000)
    expect((await next).value).toEqual([{ key: 'guestinfo.a', before: '1', after: '2' }])
    script.failure = { type: 'timeout' }
    await expect(script.guest().watch(['guestinfo.a']).next()).rejects.toThrow(code('TIMEOUT'))
  })

  test('a watch ends when the tool goes away for good', async () => {
    const script = new Script()
    script.values = { 'guestinfo.a': '1' }
    const watch = script.guest().watch(['guestinfo.a'])
    await watch.next()
    script.failure = { type: 'broken', reason: 'ENOENT' }
    const next = watch.next()
    const failure = expect(next).rejects.toThrow(VspcError)
    await script.pass(1_000)
    await failure
  })

  test('too many keys for one watch are refused', async () => {
    const keys = Array.from({ length: 257 }, (_, i) => `guestinfo.${i}`)
    await expect(new Script().guest().watch(keys).next()).rejects.toThrow('257 keys are too many to watch')
  })
})
