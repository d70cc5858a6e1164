import { describe, expect, test } from 'vitest'
import type { Port } from '../../src/vspc/index.ts'
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bootVm, ID, turn, type VmPeer } from './vm-peer.ts'

interface Stage extends TestServer {
  vm: VmPeer
  port: Port
}

async function stage(...args: Parameters<typeof testServer>): Promise<Stage> {
  const setup = testServer(...args)
  const vm = await bootVm(setup.server)
  return { ...setup, vm, port: portOf(setup.server, ID) }
}

/** Text of the given length in which neighbouring places look different. */
const text = (length: number, from = 0): string =>
  Array.from({ length }, (_, i) => String.fromCharCode(33 + ((from + i) % 90))).join('')

describe('output', () => {
  test('an attached console gets what the VM prints, when it is printed, and only that', async () => {
    const { vm, port } = await stage()
    vm.print('before')
    const console = new TestConsole(port)
    expect(console.text).toBe('')
    vm.print('after')
    expect(console.text).toBe('after')
    expect(console.console.offset).toBe(11)
  })

  test('a console that is full gets nothing more until it has drained, then every byte, in order, once', async () => {
    const { vm, port } = await stage()
    const slow = new TestConsole(port, { takes: false })
    const printed: string[] = []
    for (let i = 0; i < 50; i++) {
      printed.push(text(1000, i))
      vm.print(printed.at(-1) ?? '')
    }
    expect(slow.chunks).toHaveLength(1)
    slow.console.drained()
    // Still full after one more piece: it is fed piece by piece, never everything at once.
    expect(slow.chunks).toHaveLength(2)
    slow.takes = true
    slow.console.drained()
    expect(slow.text).toBe(printed.join(''))
    expect(slow.told('gap')).toEqual([])
    vm.print('live again')
    expect(slow.text).toBe(`${printed.join('')}live again`)
  })

  test('what is fed to a slow console comes in pieces of at most 64 KiB', async () => {
    const { vm, port } = await stage()
    const slow = new TestConsole(port, { takes: false })
    vm.print('x')
    for (let i = 0; i < 40; i++) vm.print(text(20_000, i))
    slow.takes = true
    slow.console.drained()
    expect(slow.bytes).toHaveLength(800_001)
    expect(Math.max(...slow.chunks.map(({ length }) => length))).toBeLessThanOrEqual(65_536)
  })

  test('one slow console delays no other', async () => {
    const { vm, port } = await stage()
    const slow = new TestConsole(port, { takes: false })
    const quick = Array.from({ length: 20 }, () => new TestConsole(port))
    for (let i = 0; i < 10; i++) vm.print(text(100, i))
    for (const { bytes } of quick) expect(bytes).toHaveLength(1000)
    expect(slow.bytes).toHaveLength(100)
  })

  test('bytes that history dropped meanwhile are told as a gap, exactly, and the rest follows', async () => {
    const { vm, port, server } = await stage({ historyBytes: 10_000 })
    const slow = new TestConsole(port, { takes: false })
    vm.print('first')
    let printed = 'first'
    for (let i = 0; i < 20; i++) {
      vm.print(text(3000, i))
      printed += text(3000, i)
    }
    slow.takes = true
    slow.console.drained()
    const { start } = port.history
    expect(start).toBeGreaterThan(5)
    expect(slow.told('gap')).toEqual([{ type: 'gap', bytes: start - 5, offset: start }])
    expect(slow.text).toBe(`first${printed.slice(start)}`)
    expect(server.counters.consoleGapBytes).toBe(start - 5)
  })

  test('a console that is full twice has two gaps, each of what it missed', async () => {
    const { vm, port } = await stage({ historyBytes: 0 })
    const slow = new TestConsole(port, { takes: false })
    vm.print('a')
    vm.print('lost')
    slow.takes = true
    slow.console.drained()
    slow.takes = false
    vm.print('b')
    vm.print('gone too')
    slow.takes = true
    slow.console.drained()
    vm.print('c')
    expect(slow.text).toBe('abc')
    expect(slow.told('gap').map(({ bytes, offset }) => [bytes, offset])).toEqual([
      [4, 5],
      [8, 14],
    ])
  })

  test('a full console costs nothing while the VM goes on: 20 MB later it holds one chunk', async () => {
    const { vm, port } = await stage()
    const stuck = new TestConsole(port, { takes: false })
    const chunk = Buffer.alloc(65_536, 'x')
    for (let i = 0; i < 320; i++) vm.socket.push(Buffer.from(chunk))
    expect(stuck.chunks).toHaveLength(1)
    expect(port.history.next - port.history.start).toBeLessThan(1_200_000)
    expect(port.history.next).toBe(320 * 65_536)
  })

  test('output reaches no console that has detached, even while it is being delivered', async () => {
    const { vm, port } = await stage()
    const first = new TestConsole(port)
    const second = new TestConsole(port)
    const { output } = first
    first.output = (bytes) => {
      second.console.detach()
      return output.call(first, bytes)
    }
    vm.print('x')
    expect([first.text, second.text]).toEqual(['x', ''])
    second.console.drained()
    expect(second.text).toBe('')
  })
})

describe('attaching at an offset', () => {
  test.each([
    ['from the first byte', 0, 'history'],
    ['from the middle', 4, 'ory'],
    ['from the end', 7, ''],
    ['the last bytes', -3, 'ory'],
    ['more than there is', -100, 'history'],
    ['beyond the end, as after a restart', 1000, ''],
    ['live only', null, ''],
  ])('%s, then live, seamless', async (_, from, first) => {
    const { vm, port } = await stage()
    vm.print('history')
    const console = new TestConsole(port, { from })
    expect(console.text).toBe(first)
    expect(console.told('attached')[0]).toMatchObject({ offset: 7 - first.length, start: 0, next: 7 })
    vm.print(' live')
    expect(console.text).toBe(`${first} live`)
  })

  test('from before what is held: a gap, then what is held', async () => {
    const { vm, port } = await stage({ historyBytes: 5_000 })
    for (let i = 0; i < 5; i++) vm.print(text(3000, i))
    const console = new TestConsole(port, { from: 1 })
    const { start, next } = port.history
    expect(console.messages.map(({ type }) => type)).toEqual(['attached', 'gap'])
    expect(console.told('gap')[0]).toEqual({ type: 'gap', bytes: start - 1, offset: start })
    expect(console.bytes).toHaveLength(next - start)
  })

  test('a transport that is full at once gets the rest when it drains', async () => {
    const { vm, port } = await stage()
    for (let i = 0; i < 10; i++) vm.print(text(10_000, i))
    const console = new TestConsole(port, { from: 0, takes: false })
    vm.print('live')
    for (let i = 0; i < 50 && console.bytes.length < 100_004; i++) console.console.drained()
    expect(console.text).toBe(`${Array.from({ length: 10 }, (_, i) => text(10_000, i)).join('')}live`)
  })

  test('an offline port shows its history, and the state says so', async () => {
    const { vm, port } = await stage()
    vm.print('last words')
    vm.reset()
    await turn()
    const console = new TestConsole(port, { from: 0 })
    expect(console.text).toBe('last words')
    expect(console.told('attached')[0]?.state).toBe('offline')
  })
})

describe('who may write', () => {
  test('a reader is told that its input went nowhere, and the VM gets none of it', async () => {
    const { vm, port } = await stage()
    const reader = new TestConsole(port, { mode: 'read' })
    reader.type('reboot\r')
    expect(vm.input).toBe('')
    expect(reader.told('error')[0]?.code).toBe('VSPC_CONSOLE_READ_ONLY')
    reader.console.request({ type: 'break' })
    expect(reader.told('error')).toHaveLength(2)
  })

  test('two writers share the line: what each types arrives whole', async () => {
    const { vm, port } = await stage()
    const one = new TestConsole(port)
    const two = new TestConsole(port)
    one.type('abc')
    two.type('123')
    one.type('def')
    expect(vm.input).toBe('abc123def')
  })

  test('an exclusive console keeps others out, by name, until it is overruled or leaves', async () => {
    const { vm, port, server } = await stage()
    const alice = new TestConsole(port, { mode: 'exclusive', who: 'alice' })
    expect(() => new TestConsole(port, { who: 'bob' })).toThrow(
      expect.objectContaining({ code: 'VSPC_CONSOLE_BUSY', message: expect.stringContaining('alice') }),
    )
    expect(server.counters.consolesRefused).toBe(1)
    expect(port.consoles).toHaveLength(1)
    const bob = new TestConsole(port, { who: 'bob', force: true })
    expect(alice.told('writer').at(-1)).toMatchObject({ mode: 'read' })
    expect(alice.told('writer').some(({ reason }) => reason === 'bob took over')).toBe(true)
    alice.type('no')
    bob.type('yes')
    expect(vm.input).toBe('yes')
  })

  test('a mode that cannot be had is an error to who asked, and changes nobody', async () => {
    const { port } = await stage()
    const one = new TestConsole(port, { who: 'one' })
    const two = new TestConsole(port, { mode: 'read', who: 'two' })
    two.console.request({ type: 'mode', mode: 'exclusive' })
    expect(two.told('error')[0]?.code).toBe('VSPC_CONSOLE_BUSY')
    expect([one.console.mode, two.console.mode]).toEqual(['write', 'read'])
    two.console.request({ type: 'mode', mode: 'exclusive', force: true })
    expect([one.console.mode, two.console.mode]).toEqual(['read', 'exclusive'])
    two.console.request({ type: 'mode', mode: 'read' })
    one.console.request({ type: 'mode', mode: 'write' })
    expect([one.console.mode, two.console.mode]).toEqual(['write', 'read'])
  })

  test('with policy "single" the second writer is refused', async () => {
    const { port } = await stage({}, { writers: 'single' })
    new TestConsole(port)
    expect(() => new TestConsole(port)).toThrow(expect.objectContaining({ code: 'VSPC_CONSOLE_BUSY' }))
    expect(new TestConsole(port, { mode: 'read' }).told('attached')).toHaveLength(1)
  })

  test('everybody is told who writes now; a reader that comes or goes tells the others nothing', async () => {
    const { port } = await stage()
    const one = new TestConsole(port, { who: 'one' })
    const reader = new TestConsole(port, { mode: 'read', who: 'reader' })
    expect(one.told('writer')).toEqual([])
    expect(
      reader
        .told('writer')
        .at(-1)
        ?.writers.map(({ who }) => who),
    ).toEqual(['one'])
    const two = new TestConsole(port, { who: 'two' })
    expect(
      one
        .told('writer')
        .at(-1)
        ?.writers.map(({ who }) => who),
    ).toEqual(['one', 'two'])
    two.console.detach()
    expect(one.told('writer').at(-1)).toMatchObject({ reason: 'two left', mode: 'write' })
    const before = one.messages.length
    reader.console.detach()
    expect(one.messages).toHaveLength(before)
  })

  test('"who" lists all consoles', async () => {
    const { port } = await stage()
    const one = new TestConsole(port, { who: 'one' })
    new TestConsole(port, { who: 'two', mode: 'read' })
    one.console.request({ type: 'who' })
    expect(one.told('consoles')[0]?.consoles.map(({ who, mode }) => [who, mode])).toEqual([
      ['one', 'write'],
      ['two', 'read'],
    ])
  })
})

describe('coming and going', () => {
  test('the cap on consoles holds, and one that leaves makes room', async () => {
    const { port, server } = await stage({ maxConsolesPerPort: 2 })
    const first = new TestConsole(port)
    new TestConsole(port)
    expect(() => new TestConsole(port)).toThrow(expect.objectContaining({ code: 'VSPC_CONSOLE_TOO_MANY' }))
    expect(server.counters.consolesRefused).toBe(1)
    first.console.detach()
    expect(new TestConsole(port).told('attached')).toHaveLength(1)
  })

  test('a console that detaches twice, writes or asks afterwards, disturbs nobody', async () => {
    const { vm, port, events } = await stage()
    const console = new TestConsole(port)
    const other = new TestConsole(port)
    console.console.detach()
    console.console.detach()
    console.type('ghost')
    console.console.request({ type: 'mode', mode: 'exclusive', force: true })
    expect(vm.input).toBe('')
    expect(other.console.mode).toBe('write')
    expect(events.filter(({ type }) => type === 'console-detached')).toHaveLength(1)
  })

  test('100 consoles attached and gone leave nothing behind', async () => {
    const { vm, port } = await stage()
    const all = Array.from({ length: 100 }, () => new TestConsole(port))
    vm.print('x')
    expect(all.filter((one) => one.text === 'x')).toHaveLength(100)
    for (const { console } of all) console.detach()
    expect(port.consoles).toHaveLength(0)
    vm.print('y')
    expect(all.filter((one) => one.text === 'x')).toHaveLength(100)
  })

  test('the one that is closed by us is told why, once, last', async () => {
    const { port } = await stage()
    const console = new TestConsole(port)
    console.console.close('the port was removed', 'VSPC_PORT_REMOVED')
    console.console.close('again')
    expect(console.messages.at(-1)).toEqual({
      type: 'detached',
      reason: 'the port was removed',
      code: 'VSPC_PORT_REMOVED',
    })
    expect(console.closedFor).toBe('the port was removed')
    expect(console.told('detached')).toHaveLength(1)
  })
})
