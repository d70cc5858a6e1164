import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import {
  BackendGuest,
  CounterGuest,
  type Guest,
  type GuestMachine,
  PATTERN_RECORD_BYTES,
  PatternGuest,
  parseGuests,
  patternBytes,
  patternFault,
  ShellGuest,
  SimVm,
} from '../../src/sim/index.ts'
import { Tickers } from '../../src/sim/ticker.ts'
import { ProxyDouble } from './proxy-double.ts'

class Machine implements GuestMachine {
  readonly clock = new ManualClock()
  readonly vmName = 'vm-7'
  readonly hostName = 'esx-02'
  output = ''
  full = false
  drained = 0
  readonly #tickers = new Tickers(this.clock)

  write(bytes: Uint8Array): boolean {
    this.output += Buffer.from(bytes).toString('latin1')
    return !this.full
  }

  inputDrained(): void {
    this.drained++
  }

  ticker(intervalMs: number) {
    return this.#tickers.get(intervalMs)
  }

  /** What the guest prints from here on. */
  take(): string {
    const { output } = this
    this.output = ''
    return output
  }
}

function boot<G extends Guest>(guest: G): { guest: G; machine: Machine; type(text: string): string } {
  const machine = new Machine()
  guest.start(machine)
  const type = (text: string) => {
    machine.take()
    guest.input(Buffer.from(text, 'latin1'))
    return machine.take()
  }
  return { guest, machine, type }
}

describe('ShellGuest', () => {
  it('prompts, echoes, answers; CR LF is one Enter, in one piece or two', () => {
    const { machine, type } = boot(new ShellGuest())
    expect(machine.take()).toMatch(/vm-7:~# $/)
    expect(type('host')).toBe('host')
    expect(type('name\r')).toBe('name\r\nvm-7\r\nvm-7:~# ')
    expect(type('\n')).toBe('')
    expect(type('echo a  b\r\n')).toBe('echo a  b\r\na  b\r\nvm-7:~# ')
    expect(type('where\n')).toBe('where\r\nesx-02\r\nvm-7:~# ')
    expect(type('\r')).toBe('\r\nvm-7:~# ')
    expect(type('nonsense\r')).toContain('nonsense: not found')
    expect(type('constructor\r')).toContain('constructor: not found')
  })

  it('help lists every command, and each one runs', () => {
    const { machine, type } = boot(new ShellGuest())
    machine.clock.advance(3_723_000)
    const names = type('help\r').match(/^ {2}(\w+)/gm) ?? []
    expect(names.length).toBeGreaterThan(10)
    for (const name of names) expect(type(`${name.trim()}\r`)).not.toContain('not found')
    expect(type('uptime\r')).toContain('up 01:02:03')
    expect(type('date\r')).toContain('GMT')
  })

  it('edits: backspace by character, ^U, ^W, up arrow, other cursor keys are swallowed', () => {
    const { type } = boot(new ShellGuest())
    expect(type('echo ab\x7f\x08x\r')).toContain('\r\nx\r\n')
    expect(type('echo gr\xc3\xbc\x7f\r')).toContain('\b \b\r\ngr\r\n')
    expect(type('rubbish\x15echo ok\r')).toContain('\r\nok\r\n')
    expect(type('echo one two\x17three\r')).toContain('\r\none three\r\n')
    expect(type('\x1b[A')).toBe('echo one three')
    expect(type('\x1b[D\x1b[1;5C\x1bOP\r')).toBe('\r\none three\r\nvm-7:~# ')
  })

  it('C3: echoes 8-bit bytes unchanged', () => {
    const { type } = boot(new ShellGuest())
    const high = Array.from({ length: 128 }, (_, n) => String.fromCharCode(128 + n)).join('')
    expect(type(high)).toBe(high)
  })

  it('a line past the cap rings the bell instead of growing', () => {
    const { type } = boot(new ShellGuest())
    expect(type('x'.repeat(2_000))).toBe(`${'x'.repeat(1_024)}${'\x07'.repeat(976)}`)
  })

  it('count runs at its interval; ^C ends it, and no timer is left', () => {
    const { machine, type } = boot(new ShellGuest())
    expect(type('count 3\r')).toContain('1\r\n2\r\n3\r\n')
    type('count 100 10\r')
    machine.clock.advance(35)
    expect(machine.take()).toBe('1\r\n2\r\n3\r\n')
    expect(type('ignored')).toBe('')
    expect(type('\x03')).toBe('^C\r\nvm-7:~# ')
    expect(machine.clock.pending).toBe(0)
    expect(type('count x\r')).toContain('usage')
  })

  it('BREAK shows', () => {
    const { guest, machine } = boot(new ShellGuest())
    machine.take()
    guest.break()
    expect(machine.take()).toBe('\r\n[BREAK]\r\nvm-7:~# ')
  })
})

describe('printing guests', () => {
  it('counter: gapless, whatever the stuns and full lines; off means off', () => {
    const { guest, machine } = boot(new CounterGuest(100))
    machine.clock.advance(200)
    expect(machine.take()).toBe('000001\r\n000002\r\n')
    guest.stun()
    machine.clock.advance(500)
    expect(machine.take()).toBe('')
    guest.resume()
    machine.full = true
    machine.clock.advance(500)
    expect(machine.take()).toBe('000003\r\n')
    machine.full = false
    guest.drain()
    machine.clock.advance(100)
    expect(machine.take()).toBe('000004\r\n')
    guest.stop()
    expect(machine.clock.pending).toBe(0)
  })

  it('a hundred counters need one timer', () => {
    const machine = new Machine()
    const guests = Array.from({ length: 100 }, () => new CounterGuest(1_000))
    for (const guest of guests) guest.start(machine)
    expect(machine.clock.pending).toBe(1)
    machine.clock.advance(1_000)
    expect(machine.take().match(/000001/g)).toHaveLength(100)
    for (const guest of guests) guest.stop()
  })

  it('pattern: holds all 256 values, continues over chunks, and shows loss and doubling', () => {
    const { guest, machine } = boot(new PatternGuest(10, 100))
    machine.clock.advance(200)
    const bytes = Buffer.from(machine.take(), 'latin1')
    expect(bytes).toHaveLength(2_000)
    expect(patternFault(bytes)).toBe(-1)
    expect(new Set(bytes.subarray(4, PATTERN_RECORD_BYTES)).size).toBe(256)
    expect(patternFault(Buffer.concat([bytes.subarray(0, 50), bytes.subarray(51)]))).toBeGreaterThanOrEqual(50)
    expect(patternFault(bytes.subarray(300), 300)).toBe(-1)
    expect(patternBytes(0, 8)).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 1, 2, 3))
    guest.stop()
  })

  it('parseGuests names what is accepted', () => {
    expect(parseGuests('echo,counter:250')).toEqual([{ kind: 'echo' }, { kind: 'counter', intervalMs: 250 }])
    expect(() => parseGuests('ecko')).toThrow(/unknown guest "ecko"; accepted: echo, counter/)
    expect(() => parseGuests('counter:0')).toThrow('accepted')
  })
})

describe('BackendGuest behind a simulated VM', () => {
  const close: (() => unknown)[] = []
  afterEach(async () => {
    for (const each of close.splice(0).reverse()) await each()
  })

  /** A byte stream in the place of a QEMU serial socket. */
  async function backend(): Promise<{ uri: string; socket: Promise<Socket> }> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    close.push(() => server.close())
    const { port } = server.address() as { port: number }
    const socket = once(server, 'connection').then(([accepted]) => {
      const peer = accepted as Socket
      peer.on('error', () => {})
      close.push(() => peer.destroy())
      return peer
    })
    return { uri: `tcp://127.0.0.1:${port}`, socket }
  }

  async function bootVm(uri: string): Promise<{ vm: SimVm; proxy: ProxyDouble }> {
    const proxy = await ProxyDouble.listen()
    const connection = { noDelay: true }
    const vm = new SimVm({ name: 'real', target: proxy.target, ports: [{ guest: new BackendGuest(uri) }], connection })
    close.push(() => proxy.close())
    close.push(() => vm.close())
    await vm.powerOn()
    return { vm, proxy }
  }

  it('bytes pass verbatim both ways, and through a migration: nothing lost, doubled or reordered', async () => {
    const { uri, socket } = await backend()
    const { vm, proxy } = await bootVm(uri)
    const machine = await socket
    const all = patternBytes(0, 1 << 20)
    machine.write(all)
    const result = await vm.migrate({ to: { name: 'b' }, stunMs: 5 })
    expect(result.outcome).toBe('completed')
    const total = () => proxy.connections.reduce((sum, each) => sum + each.serial.length, 0)
    await proxy.until(() => total() >= all.length)
    const seen = Buffer.concat(proxy.connections.map((each) => each.serial))
    expect(patternFault(seen)).toBe(-1)
    expect(seen).toHaveLength(all.length)
    ;(await proxy.connection(1)).send(Buffer.from('ls\r\xff\xff', 'latin1'))
    const [typed] = (await once(machine, 'data')) as [Buffer]
    expect(typed.toString('latin1')).toBe('ls\r\xff')
  })

  it('a backend that does not read makes the concentrator wait, and then gets every byte', async () => {
    const { uri, socket } = await backend()
    const { proxy } = await bootVm(uri)
    const machine = await socket
    machine.pause()
    const wire = await proxy.connection(0)
    const bytes = Buffer.alloc(16 << 20, 0x42)
    expect(wire.socket.write(bytes)).toBe(false)
    let got = 0
    machine.on('data', (chunk: Buffer) => {
      got += chunk.length
    })
    machine.resume()
    await once(wire.socket, 'drain')
    wire.socket.write('!')
    while (got < bytes.length + 1) await once(machine, 'data')
    expect(got).toBe(bytes.length + 1)
  })
})
