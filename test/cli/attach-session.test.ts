import { describe, expect, test } from 'vitest'
import { ManualClock, VspcError } from '../../src/base/index.ts'
import { type AttachOptions, runAttach } from '../../src/cli/attach-session.ts'
import { CommandExit } from '../../src/cli/exit-codes.ts'
import { TIMING } from '../../src/cli/timing.ts'
import { CLIENT_TIMING } from '../../src/client/index.ts'
import type { ConsoleInfo, ConsoleMessage } from '../../src/vspc/types.ts'
import { ScriptedConsoles, ScriptedTerminal } from './scripted-console.ts'

const LOST = new VspcError('VSPC_SERVER_UNREACHABLE', 'connection lost')

function start(interactive: boolean, options: Partial<AttachOptions> = {}) {
  const clock = new ManualClock()
  const consoles = new ScriptedConsoles()
  const terminal = new ScriptedTerminal(interactive)
  const asked: [string, number, number][] = []
  const parts = {
    open: consoles.open,
    terminal,
    clock,
    random: () => 1,
    history: async (port: string, from: number, to: number) => {
      asked.push([port, from, to])
      return Buffer.from('one\r\ntwo\r\n$ ')
    },
  }
  const defaults: AttachOptions = {
    port: 'web1',
    mode: 'write',
    force: false,
    from: null,
    quiet: false,
    escape: 0x1d,
    rawInput: false,
    queueMs: null,
    lingerMs: TIMING.lingerMs,
  }
  // 'left', or what it was thrown.
  let end: unknown = null
  const ended = runAttach({ ...defaults, ...options }, parts).then(
    () => {
      end = 'left'
    },
    (error: unknown) => {
      end = error
    },
  )
  return { clock, consoles, terminal, asked, ended, end: () => end, vm: () => consoles.current }
}

const console = (id: number, who: string, mode: ConsoleInfo['mode']): ConsoleInfo => ({
  id,
  who,
  via: 'websocket',
  mode,
  attachedAt: '2026-01-02T03:04:05.678Z',
  lastInputAt: null,
  waiting: null,
})

describe('at a terminal', () => {
  test('says where it is and how to get out, then passes bytes both ways as they are', async () => {
    const { terminal, vm, ended, end } = start(true)
    vm().attach(0)
    expect(terminal.news()).toEqual(['attached to web1 (id-1), escape is ^] then ? for help'])
    vm().print('login: \x00\xff\n')
    terminal.type('root\r\x03\x1b[A\xe9')
    expect(terminal.screen).toBe('login: \x00\xff\n')
    expect(vm().input).toBe('root\r\x03\x1b[A\xe9')
    terminal.type('\x1d.not sent')
    await ended
    expect(end()).toBe('left')
    expect(vm().input).not.toContain('not sent')
    expect(terminal.restored).toBe(true)
    expect(vm().closedByUs).toBe(true)
  })

  test('without an escape character everything is typed, and nothing promises one', () => {
    const { terminal, vm } = start(true, { escape: null })
    vm().attach(0)
    expect(terminal.news()).toEqual(['attached to web1 (id-1)'])
    terminal.type('\x1d.')
    expect(vm().input).toBe('\x1d.')
  })

  test.each([
    ['s', { type: 'mode', mode: 'read' }],
    ['a', { type: 'mode', mode: 'write' }],
    ['f', { type: 'mode', mode: 'write', force: true }],
    ['x', { type: 'mode', mode: 'exclusive' }],
    ['l', { type: 'break' }],
    ['w', { type: 'who' }],
  ])('^] %s asks the server, and types nothing', (key, request) => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    const before = vm().requests.length
    terminal.type(`\x1d${key}`)
    expect(vm().requests.slice(before)).toEqual([request])
    expect(vm().input).toBe('')
  })

  test('^] ? lists every key, ^] z suspends, an unknown key says so; nothing is typed', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.news()
    terminal.type('\x1d?\x1dz\x1dj')
    const [help, unknown] = terminal.news()
    for (const key of '.?afxsqcyhbkwlrz') expect(help).toContain(`  ^] ${key}  `)
    expect(help).toContain('^] ^]')
    expect(unknown).toBe('^] j is no command, nothing was sent; ^] ? lists them')
    expect(terminal.suspended).toBe(1)
    expect(vm().input).toBe('')
  })

  test('^] w shows who is there, and who of them is oneself', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.type('\x1dw')
    terminal.news()
    vm().listener.message({ type: 'consoles', consoles: [console(7, 'me', 'write'), console(9, 'b\x1b[2Job', 'read')] })
    expect(terminal.news()).toEqual([
      '2 attached to web1:\n  7  me, write, since 2026-01-02 03:04:05Z (you)\n  9  b[2Job, read, since 2026-01-02 03:04:05Z',
    ])
  })

  test('the queue: its place, who is in the way and when it is over are told; a bell when it is our turn', () => {
    const { terminal, vm } = start(true, { queueMs: Number.POSITIVE_INFINITY })
    expect(vm().target).toMatchObject({ mode: 'write', wait: true })
    vm().attach(0, { mode: 'read' })
    const bob = console(3, 'bob\x1b[2J', 'write')
    const say = (message: ConsoleMessage) => vm().listener.message(message)
    terminal.news()
    say({ type: 'queued', position: 2, mode: 'write', holders: [bob], idleTakeoverMs: null })
    say({ type: 'queued', position: 1, mode: 'write', holders: [bob], idleTakeoverMs: 59_600 })
    expect(terminal.news()).toEqual([
      'held by bob[2J: you are number 2 in the queue; ^] c ends waiting',
      'held by bob[2J: you are next; yours in 60 s if they type nothing; ^] c ends waiting',
    ])
    terminal.type('too early')
    expect(vm().input).toBe('')
    const bells = terminal.bells
    say({ type: 'queued', position: 0, mode: 'write', holders: [], idleTakeoverMs: null })
    say({ type: 'writer', mode: 'write', writers: [console(7, 'me', 'write')], reason: 'next in the queue: bob left' })
    expect(terminal.news().at(-1)).toBe('you can write now (next in the queue: bob left)')
    expect(terminal.bells).toBe(bells + 1)
    terminal.type('now')
    expect(vm().input).toBe('now')
    say({ type: 'asked', by: bob, mode: 'exclusive', idleTakeoverMs: 5_000 })
    say({ type: 'said', from: bob, text: 'hello\x1b]0;x\x07', at: '' })
    say({ type: 'said', from: null, text: 'carol was kicked by bob', at: '' })
    say({
      type: 'queued',
      position: 0,
      mode: 'write',
      holders: [],
      idleTakeoverMs: null,
      reason: 'the token was removed',
    })
    expect(terminal.news()).toEqual([
      'bob[2J (console 3) asks to write alone, and has it in 5 s unless you type; ^] y hands over',
      'bob[2J to all: hello]0;x',
      'to all: carol was kicked by bob',
      'waiting no longer (the token was removed)',
    ])
  })

  test('the queue that does not end in time ends the command, and one that does goes on for good', async () => {
    const late = start(true, { queueMs: 60_000 })
    late.vm().attach(0, { mode: 'read' })
    late.clock.advance(60_000)
    await late.ended
    expect(late.end()).toMatchObject({ code: 'VSPC_WAIT_TIMEOUT' })
    const { vm, clock, end } = start(true, { queueMs: 60_000 })
    vm().attach(0, { mode: 'read' })
    vm().listener.message({ type: 'writer', mode: 'write', writers: [], reason: '' })
    clock.advance(1_000_000)
    expect(end()).toBe(null)
  })

  test('keys that ask the others: queue, cancel, yield', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.type('\x1dq\x1dc\x1dy')
    expect(vm().requests.slice(1)).toEqual([
      { type: 'mode', mode: 'write', wait: true },
      { type: 'cancel' },
      { type: 'yield' },
    ])
    expect(vm().input).toBe('')
  })

  test('what is typed into a question reaches the server alone, never the VM; Esc and Ctrl-C give it up', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    vm().requests.length = 0
    terminal.type('\x1dbhellp')
    terminal.type('\x7fo \x1b[A\xc3\xa9\xc3\xa9\x08!\rls\r')
    expect(vm().requests).toEqual([{ type: 'say', text: 'hello é!' }])
    terminal.type('\x1dk')
    terminal.type('12')
    terminal.type('\r')
    terminal.type('\x1dhno number\r')
    expect(terminal.news().at(-1)).toBe('"no number" is no number: nothing was done')
    terminal.type('\x1dh9\r')
    for (const key of ['\x03', '\x1b', '\x07']) terminal.type(`\x1dbnever mind${key}`)
    terminal.type('\x1dbcut off by a command\x1dw')
    expect(vm().requests.slice(1)).toEqual([{ type: 'kick', console: 12 }, { type: 'yield', to: 9 }, { type: 'who' }])
    expect(vm().input).toBe('')
    terminal.type('after')
    expect(vm().input).toBe('after')
  })

  test('^] r shows the last lines that were seen, while output waits', async () => {
    const { terminal, vm, asked } = start(true)
    vm().attach(20_000)
    vm().print('abc')
    terminal.news()
    terminal.type('\x1dr')
    expect(vm().paused).toBe(true)
    expect(asked).toEqual([['id-1', 20_003 - TIMING.replayBytes, 20_003]])
    await new Promise(setImmediate)
    expect(vm().paused).toBe(false)
    expect(terminal.news()).toEqual(['the last lines of web1:'])
    expect(terminal.screen).toBe('abcone\r\ntwo\r\n$ ')
  })

  test('says once that the guest is silent', () => {
    const { terminal, vm, clock } = start(true)
    vm().attach(0)
    terminal.news()
    clock.advance(TIMING.silentHintMs - 1)
    expect(terminal.news()).toEqual([])
    clock.advance(60_000)
    expect(terminal.news()).toEqual([
      'no output yet: the guest is silent; press Enter, or check that a getty or console runs on this serial port',
    ])
  })

  test.each<[string, (parts: ReturnType<typeof start>) => void]>([
    ['the guest has printed', ({ vm }) => vm().print('$ ')],
    ['the user has typed', ({ terminal }) => terminal.type('\r')],
    ['the connection is lost', ({ vm }) => vm().lose(LOST)],
  ])('but not when %s', (_name, happen) => {
    const parts = start(true)
    parts.vm().attach(0)
    happen(parts)
    parts.terminal.news()
    parts.clock.advance(TIMING.silentHintMs)
    expect(parts.terminal.news()).toEqual([])
  })

  test('a VM that is offline is waited for; coming online is told', () => {
    const { terminal, vm, clock, end } = start(true)
    vm().attach(0, { state: 'offline' })
    expect(terminal.news()[1]).toBe('the VM is offline, waiting for it')
    clock.advance(600_000)
    vm().listener.message({ type: 'state', state: 'online', host: '10.0.0.2', reason: '' })
    expect(terminal.news()).toEqual(['the VM is online again, on 10.0.0.2'])
    expect(end()).toBe(null)
  })

  test('vMotion: says that the VM moves, and where it is then', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.news()
    vm().listener.message({ type: 'state', state: 'migrating', host: 'esx-a', reason: 'BEGIN' })
    vm().listener.message({ type: 'state', state: 'online', host: 'esx-b', reason: 'COMPLETE' })
    expect(terminal.news()).toEqual(['the VM is moving to another host...', 'now on esx-b'])
  })

  test('vMotion in the middle of output: nothing is written into it; only the last news comes, once it is quiet', () => {
    const { terminal, vm, clock } = start(true)
    vm().attach(0)
    terminal.news()
    vm().print('a list of ')
    vm().listener.message({ type: 'state', state: 'migrating', host: 'esx-a', reason: 'BEGIN' })
    clock.advance(TIMING.moveNewsQuietMs - 1)
    vm().listener.message({ type: 'state', state: 'online', host: 'esx-b', reason: 'COMPLETE' })
    vm().print('files')
    clock.advance(TIMING.moveNewsQuietMs - 1)
    expect(terminal.news()).toEqual([])
    clock.advance(1)
    expect(terminal.news()).toEqual(['now on esx-b'])
    expect(terminal.screen).toBe('a list of files')
  })

  test('vMotion under a full-screen program: its picture stays whole; where the VM is comes afterwards, once', () => {
    const { terminal, vm, clock } = start(true)
    vm().attach(0)
    terminal.news()
    terminal.fullScreen = true
    for (const host of ['esx-b', 'esx-a', 'esx-b']) {
      vm().listener.message({ type: 'state', state: 'migrating', host: 'esx-x', reason: 'BEGIN' })
      vm().listener.message({ type: 'state', state: 'online', host, reason: 'COMPLETE' })
      vm().print('picture')
    }
    expect(terminal.news()).toEqual([])
    terminal.fullScreen = false
    vm().print('$ ')
    vm().print('more')
    clock.advance(TIMING.moveNewsQuietMs)
    expect(terminal.news()).toEqual(['now on esx-b'])
    expect(terminal.screen).toBe('picturepicturepicture$ more')
  })

  test('vMotion that is aborted: says that the VM stayed', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.news()
    vm().listener.message({ type: 'state', state: 'migrating', host: 'esx-a', reason: 'BEGIN' })
    vm().listener.message({ type: 'state', state: 'online', host: 'esx-a', reason: 'ABORT' })
    expect(terminal.news()).toEqual(['the VM is moving to another host...', 'stayed on esx-a (ABORT)'])
  })

  test('another writer is named when attaching, and when it changes, but not twice', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    expect(vm().requests).toEqual([{ type: 'who' }])
    terminal.news()
    vm().listener.message({ type: 'consoles', consoles: [console(7, 'me', 'write'), console(3, 'alice', 'write')] })
    vm().listener.message({ type: 'writer', mode: 'write', writers: [console(3, 'alice', 'write')], reason: '' })
    expect(terminal.news()).toEqual(['also writing here: alice'])
    vm().listener.message({ type: 'writer', mode: 'write', writers: [console(4, 'bob', 'write')], reason: '' })
    expect(terminal.news()).toEqual(['also writing here: bob'])
  })

  test('reading only: keys are not sent, with one hint until the mode changes', () => {
    const { terminal, vm } = start(true, { mode: 'read' })
    vm().attach(0)
    terminal.news()
    terminal.type('a')
    terminal.type('b')
    expect(vm().input).toBe('')
    expect(terminal.news()).toEqual(['reading only, keys are not sent; ^] f takes over'])
    expect(terminal.bells).toBe(2)
    vm().listener.message({ type: 'writer', mode: 'write', writers: [], reason: '' })
    terminal.type('c')
    expect(vm().input).toBe('c')
  })

  test('bumped to reading by someone else: told by whom', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.news()
    vm().listener.message({ type: 'writer', mode: 'read', writers: [], reason: 'taken over by bob' })
    expect(terminal.news()).toEqual(['you read only now (taken over by bob)'])
  })

  test('the mode one asked for comes without a reason', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.news()
    terminal.type('\x1dx')
    vm().listener.message({ type: 'writer', mode: 'exclusive', writers: [], reason: '10.0.0.1:5 is now exclusive' })
    vm().listener.message({ type: 'writer', mode: 'read', writers: [], reason: 'bob took over' })
    expect(terminal.news()).toEqual(['you alone can write now', 'you read only now (bob took over)'])
  })

  test('a refused change of mode is told, with the way to force it', () => {
    const { terminal, vm, end } = start(true)
    vm().attach(0)
    terminal.news()
    vm().listener.message({ type: 'error', code: 'VSPC_CONSOLE_BUSY', message: 'bob holds it' })
    expect(terminal.news()).toEqual(['bob holds it; ^] q waits for it; ^] f takes it over'])
    expect(end()).toBe(null)
  })

  test('typed while disconnected: a bell, one notice, and nothing of it is ever sent', () => {
    const { terminal, vm, clock } = start(true)
    vm().attach(0)
    vm().lose(LOST)
    expect(terminal.news()[1]).toBe('connection lost; reconnecting; ^] . leaves')
    terminal.type('reboot')
    terminal.type('\r')
    expect(terminal.news()).toEqual(['not connected: what you type is discarded'])
    expect(terminal.bells).toBe(2)
    clock.advance(CLIENT_TIMING.reconnectMinMs)
    vm().attach(0)
    terminal.type('x')
    expect(vm().input).toBe('x')
    expect(terminal.news()).toEqual(['attached to web1 again'])
  })

  test('escapes work while disconnected', async () => {
    const { terminal, vm, ended, end } = start(true)
    vm().attach(0)
    vm().lose(LOST)
    terminal.news()
    terminal.type('\x1dw')
    expect(terminal.news()).toEqual(['not connected'])
    terminal.type('\x1d.')
    await ended
    expect(end()).toBe('left')
  })

  test('lost output is counted', () => {
    const { terminal, vm, clock } = start(true)
    vm().attach(100)
    vm().lose(LOST)
    clock.advance(CLIENT_TIMING.reconnectMinMs)
    terminal.news()
    vm().attach(150, { start: 150, next: 150 })
    expect(terminal.news()[1]).toBe("50 bytes of output are lost: the server's history no longer holds them")
  })

  test('a stalled terminal stops the reading of the console until it drains', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    terminal.room = false
    vm().print('x')
    expect(vm().paused).toBe(true)
    terminal.events?.drained()
    expect(vm().paused).toBe(false)
  })

  test('a server that takes no more input stops the reading of keys; a lost connection starts it again', () => {
    const { terminal, vm } = start(true)
    vm().attach(0)
    vm().room = false
    terminal.type('a big paste')
    expect(terminal.inputPaused).toBe(true)
    vm().listener.drained()
    expect(terminal.inputPaused).toBe(false)
    terminal.type('more')
    expect(terminal.inputPaused).toBe(true)
    vm().lose(LOST)
    // Or the escape would never be seen again.
    expect(terminal.inputPaused).toBe(false)
  })

  test.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
    ['SIGINT', 130],
  ] as const)('%s restores the terminal and ends with %d', async (name, code) => {
    const { terminal, vm, ended, end } = start(true)
    vm().attach(0)
    terminal.events?.signal(name)
    await ended
    expect(end()).toBeInstanceOf(CommandExit)
    expect(end()).toMatchObject({ exitCode: code })
    expect(terminal.restored).toBe(true)
  })

  test('the port is removed: the terminal is restored, the reason is the error', async () => {
    const { terminal, vm, ended, end } = start(true)
    vm().attach(0)
    vm().listener.message({ type: 'detached', reason: 'the port was removed', code: 'VSPC_PORT_REMOVED' })
    vm().lose(LOST)
    await ended
    expect(end()).toMatchObject({ code: 'VSPC_PORT_REMOVED', message: 'the port was removed' })
    expect(terminal.restored).toBe(true)
  })

  test('refused because someone holds it: says who and names -f, unless -f was given', async () => {
    for (const force of [false, true]) {
      const { vm, ended, end } = start(true, { force })
      vm().lose(new VspcError('VSPC_CONSOLE_BUSY', 'bob@10.0.0.5 holds web1'))
      await ended
      const hint = force ? '' : '; --queue waits, -f takes it over, -s only watches'
      expect(end()).toMatchObject({ code: 'VSPC_CONSOLE_BUSY', message: `bob@10.0.0.5 holds web1${hint}` })
    }
  })

  test.each([
    ['write', 'read'],
    ['exclusive', 'write'],
    ['exclusive', 'read'],
  ] as const)('asked for %s, given %s: refused', async (asked, given) => {
    const { vm, ended, end } = start(true, { mode: asked })
    vm().attach(0, { mode: given })
    await ended
    expect(end()).toMatchObject({ code: 'VSPC_CONSOLE_BUSY' })
  })

  test('quiet: no news, but answers to keys', () => {
    const { terminal, vm, clock } = start(true, { quiet: true })
    vm().attach(0)
    clock.advance(TIMING.silentHintMs)
    vm().lose(LOST)
    expect(terminal.news()).toEqual([])
    terminal.type('\x1d?')
    expect(terminal.news()).toHaveLength(1)
  })

  test('a message of a newer server is ignored', () => {
    const { terminal, vm, end } = start(true)
    vm().attach(0)
    terminal.news()
    vm().listener.message({ type: 'from-the-future' } as never)
    expect(terminal.news()).toEqual([])
    expect(end()).toBe(null)
  })
})

describe('in a pipe', () => {
  test('input waits for the attachment, goes as keys, and the end comes when the guest is quiet', async () => {
    const { terminal, vm, clock, ended, end } = start(false)
    expect(terminal.inputPaused).toBe(true)
    vm().attach(0)
    expect(terminal.inputPaused).toBe(false)
    terminal.type('ls\n\x1d.')
    terminal.events?.inputEnd()
    expect(vm().input).toBe('ls\r\x1d.')
    clock.advance(TIMING.lingerMs - 1)
    vm().print('file\r\n')
    clock.advance(TIMING.lingerMs - 1)
    await Promise.resolve()
    expect(end()).toBe(null)
    clock.advance(1)
    await ended
    expect(end()).toBe('left')
    expect(terminal.screen).toBe('file\r\n')
  })

  test('raw input keeps its line feeds', () => {
    const { terminal, vm } = start(false, { rawInput: true })
    vm().attach(0)
    terminal.type('a\nb\r\n')
    expect(vm().input).toBe('a\nb\r\n')
  })

  test('a guest that never becomes quiet is left after the cap', async () => {
    const { terminal, vm, clock, ended } = start(false)
    vm().attach(0)
    terminal.events?.inputEnd()
    for (let ms = 0; ms < TIMING.lingerCapMs; ms += 500) {
      vm().print('tick\r\n')
      clock.advance(500)
    }
    await ended
    expect(terminal.news().at(-1)).toContain('has not been quiet')
    expect(clock.pending).toBe(0)
  })

  test('input that is still on its way is not cut off', async () => {
    const { terminal, vm, clock, ended, end } = start(false)
    vm().attach(0)
    terminal.type('much\n')
    vm().unsentBytes = 5
    terminal.events?.inputEnd()
    clock.advance(TIMING.lingerCapMs * 3)
    await Promise.resolve()
    expect(end()).toBe(null)
    vm().unsentBytes = 0
    clock.advance(2 * TIMING.lingerMs)
    await ended
    expect(end()).toBe('left')
  })

  test('taken over in the middle of the input: an error, not a script that ran by half', async () => {
    const { terminal, vm, ended, end } = start(false)
    vm().attach(0)
    terminal.type('one\n')
    vm().listener.message({ type: 'writer', mode: 'read', writers: [], reason: 'bob took over' })
    terminal.type('two\n')
    await ended
    expect(end()).toMatchObject({ code: 'VSPC_CONSOLE_BUSY' })
    expect(vm().input).toBe('one\r')
  })

  test('the quiet of a vMotion is not the end of the answer', async () => {
    const { terminal, vm, clock, ended, end } = start(false)
    vm().attach(0)
    terminal.events?.inputEnd()
    vm().listener.message({ type: 'state', state: 'migrating', host: 'a', reason: '' })
    clock.advance(TIMING.lingerMs * 5)
    await Promise.resolve()
    expect(end()).toBe(null)
    vm().listener.message({ type: 'state', state: 'online', host: 'b', reason: '' })
    clock.advance(TIMING.lingerMs)
    await ended
    expect(end()).toBe('left')
  })

  test('a VM that is offline gets no input, and the caller learns it', async () => {
    const { vm, ended, end } = start(false)
    vm().attach(0, { state: 'offline' })
    await ended
    expect(end()).toMatchObject({ exitCode: 7 })
    expect(vm().input).toBe('')
  })

  test('a connection lost before the end of the input is an error, not half a script run twice', async () => {
    const { terminal, vm, ended, end } = start(false)
    vm().attach(0)
    terminal.type('half')
    vm().lose(LOST)
    await ended
    expect(end()).toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
  })

  test('a connection lost after it is made again, for the rest of the answer', async () => {
    const { terminal, vm, clock, consoles, ended, end } = start(false)
    vm().attach(0)
    terminal.type('date\n')
    terminal.events?.inputEnd()
    vm().print('Mon')
    vm().lose(LOST)
    clock.advance(CLIENT_TIMING.reconnectMinMs)
    expect(vm().target.from).toBe(3)
    vm().attach(3)
    vm().print('day')
    clock.advance(2 * TIMING.lingerMs)
    await ended
    expect(end()).toBe('left')
    expect(terminal.screen).toBe('Monday')
    expect(consoles.all.map(({ input }) => input)).toEqual(['date\r', ''])
  })

  test('a connection lost after it and never made again is an error', async () => {
    const { terminal, vm, clock, ended, end } = start(false)
    vm().attach(0)
    terminal.events?.inputEnd()
    for (let ms = 0; ms <= TIMING.lingerCapMs; ms += 500) {
      vm().lose(LOST)
      clock.advance(500)
    }
    await ended
    expect(end()).toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
  })

  test('watching only, the input is not touched and its end is not the end', () => {
    const { terminal, vm, clock, end } = start(false, { mode: 'read' })
    expect(terminal.readsInput).toBe(false)
    vm().attach(0)
    clock.advance(600_000)
    expect(end()).toBe(null)
  })
})
