import { beforeEach, describe, expect, test } from 'vitest'
import { type ErrorCode, ManualClock, VspcError } from '../../src/base/index.ts'
import { ConsoleFeed } from '../../src/client/feed.ts'
import { TIMING } from '../../src/client/timing.ts'
import { ScriptedConsoles } from '../cli/scripted-console.ts'

const lost = (code: ErrorCode = 'VSPC_SERVER_UNREACHABLE') => new VspcError(code, `because of ${code}`)

describe('a console that outlives its connection', () => {
  let clock: ManualClock
  let consoles: ScriptedConsoles
  let feed: ConsoleFeed
  let seen: string[]

  function start(from: number | null = null, mode: 'read' | 'write' = 'write'): void {
    feed = new ConsoleFeed(
      { port: 'web1', mode, from, force: true },
      consoles.open,
      {
        output: (bytes) => seen.push(`"${Buffer.from(bytes).toString('latin1')}"`),
        attached: (message, again) => seen.push(`attached at ${message.offset}${again ? ' again' : ''}`),
        message: ({ type }) => seen.push(type),
        gap: (bytes, offset) => seen.push(`gap of ${bytes} before ${offset}`),
        lost: ({ code }) => seen.push(`lost ${code}`),
        waiting: ({ code }) => seen.push(`waiting ${code}`),
        restarted: () => seen.push('restarted'),
        demoted: ({ code }) => seen.push(`demoted ${code}`),
        drained: () => seen.push('drained'),
        ended: ({ code }) => seen.push(`ended ${code}`),
      },
      clock,
      () => 1,
    )
    feed.start()
  }

  /** What happened since the last look. */
  const news = () => seen.splice(0)

  beforeEach(() => {
    clock = new ManualClock()
    consoles = new ScriptedConsoles()
    seen = []
  })

  test('after a loss it goes on at the offset it had reached, under the id it was told', () => {
    start()
    expect(consoles.current.target).toEqual({ port: 'web1', mode: 'write', from: null, force: true })
    consoles.current.attach(1000)
    consoles.current.print('hello')
    consoles.current.lose(lost())
    clock.advance(TIMING.reconnectMinMs)
    // Not forced again: someone may have taken it over for a reason while we were away.
    expect(consoles.current.target).toEqual({ port: 'id-1', mode: 'write', from: 1005, force: false })
    consoles.current.attach(1005, { next: 1010 })
    consoles.current.print('world')
    expect(news()).toEqual([
      'attached at 1000',
      '"hello"',
      'lost VSPC_SERVER_UNREACHABLE',
      'attached at 1005 again',
      '"world"',
    ])
    expect(feed.offset).toBe(1010)
  })

  test('a VM renamed or given a better identity is found again under its new id', () => {
    start()
    consoles.current.attach(0)
    consoles.current.listener.message({ type: 'renamed', name: 'web2', port: 'id-2' })
    consoles.current.lose(lost())
    clock.advance(TIMING.reconnectMinMs)
    expect(consoles.current.target.port).toBe('id-2')
  })

  test('the pauses double up to the cap, and start small again after a steady connection', () => {
    start()
    consoles.current.attach(0)
    const pauses: number[] = []
    const measure = () => {
      const before = consoles.all.length
      consoles.current.lose(lost())
      const from = clock.now()
      while (consoles.all.length === before) clock.advance(50)
      pauses.push(clock.now() - from)
    }
    for (let i = 0; i < 7; i++) measure()
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000, 5000, 5000])
    consoles.current.attach(0)
    clock.advance(TIMING.steadyMs)
    measure()
    expect(pauses.at(-1)).toBe(250)
  })

  test('a server that takes and drops us at once is not hammered', () => {
    start()
    for (let i = 0; i < 20; i++) {
      consoles.current.attach(0)
      consoles.current.lose(lost())
      clock.advance(TIMING.reconnectMaxMs)
    }
    const before = consoles.all.length
    consoles.current.attach(0)
    consoles.current.lose(lost())
    clock.advance(TIMING.reconnectMaxMs - 1)
    expect(consoles.all.length).toBe(before)
  })

  test('the loss is told once, however many attempts fail', () => {
    start()
    consoles.current.attach(0)
    for (let i = 0; i < 5; i++) {
      consoles.current.lose(lost())
      clock.advance(TIMING.reconnectMaxMs)
    }
    expect(news()).toEqual(['attached at 0', 'lost VSPC_SERVER_UNREACHABLE'])
  })

  test('bytes that history no longer holds are told as a gap, once', () => {
    start()
    consoles.current.attach(100)
    consoles.current.lose(lost())
    clock.advance(250)
    consoles.current.attach(130, { start: 130, next: 200 })
    consoles.current.listener.message({ type: 'gap', bytes: 30, offset: 130 })
    consoles.current.print('x')
    expect(news().slice(2)).toEqual(['attached at 130 again', 'gap of 30 before 130', '"x"'])
    expect(feed.offset).toBe(131)
  })

  test('a gap in the middle, for a reader that fell behind, moves the offset on', () => {
    start()
    consoles.current.attach(100)
    consoles.current.print('abc')
    consoles.current.listener.message({ type: 'gap', bytes: 1000, offset: 1103 })
    consoles.current.print('d')
    consoles.current.lose(lost())
    clock.advance(250)
    expect(consoles.current.target.from).toBe(1104)
    expect(news()).toContain('gap of 1000 before 1103')
  })

  test('an offset asked for that is gone is a gap as well; one counted from the end is not', () => {
    start(0)
    consoles.current.attach(40, { start: 40, next: 50 })
    expect(news()).toEqual(['attached at 40', 'gap of 40 before 40'])
    start(-1000)
    consoles.current.attach(40, { start: 40, next: 50 })
    expect(news()).toEqual(['attached at 40'])
  })

  test('a server restarted without its history: all it has since is shown from its beginning', () => {
    start()
    consoles.current.attach(5000)
    consoles.current.lose(lost())
    clock.advance(250)
    const first = consoles.current
    first.attach(80, { start: 0, next: 80 })
    expect(first.closedByUs).toBe(true)
    expect(consoles.current.target).toMatchObject({ from: 0 })
    first.print('not twice')
    consoles.current.attach(0, { start: 0, next: 80 })
    consoles.current.print('boot')
    expect(news().slice(2)).toEqual(['restarted', 'attached at 0 again', '"boot"'])
    expect(feed.offset).toBe(4)
  })

  test('a restart is noticed even when the server has already counted past our offset', () => {
    start()
    consoles.current.attach(100, { epoch: 'one' })
    consoles.current.lose(lost())
    clock.advance(250)
    consoles.current.attach(100, { start: 0, next: 400, epoch: 'two' })
    expect(consoles.current.target.from).toBe(0)
    consoles.current.attach(0, { start: 0, next: 400, epoch: 'two' })
    expect(news().slice(2)).toEqual(['restarted', 'attached at 0 again'])
    consoles.current.lose(lost())
    clock.advance(500)
    consoles.current.attach(0, { start: 0, next: 400, epoch: 'two' })
    expect(news().slice(1)).toEqual(['attached at 0 again'])
  })

  test('such a server that begins at its beginning by itself is not attached twice', () => {
    start()
    consoles.current.attach(5000)
    consoles.current.lose(lost())
    clock.advance(250)
    consoles.current.attach(0, { start: 0, next: 0 })
    expect(consoles.all.length).toBe(2)
    expect(news().slice(2)).toEqual(['restarted', 'attached at 0 again'])
  })

  test('a server that refuses an offset beyond its end is asked from its beginning', () => {
    start()
    consoles.current.attach(5000)
    consoles.current.lose(lost())
    clock.advance(250)
    consoles.current.lose(lost('VSPC_REQUEST_INVALID'))
    clock.advance(500)
    expect(consoles.current.target.from).toBe(0)
    expect(news().slice(2)).toEqual(['restarted'])
    consoles.current.lose(lost('VSPC_REQUEST_INVALID'))
    expect(news()).toEqual(['ended VSPC_REQUEST_INVALID'])
  })

  test('the first attachment has to succeed', () => {
    for (const code of ['VSPC_SERVER_UNREACHABLE', 'VSPC_PORT_NOT_FOUND', 'VSPC_CONSOLE_BUSY'] as const) {
      start()
      consoles.current.lose(lost(code))
      clock.advance(60_000)
      expect(news()).toEqual([`ended ${code}`])
    }
  })

  test('an error message before the attachment is the reason, not the closing after it', () => {
    start()
    consoles.current.listener.message({ type: 'error', code: 'VSPC_CONSOLE_BUSY', message: 'held by bob' })
    consoles.current.lose(lost())
    expect(news()).toEqual(['ended VSPC_CONSOLE_BUSY'])
  })

  test('a port that is not back yet after a restart is waited for, and told once', () => {
    start()
    consoles.current.attach(10)
    consoles.current.lose(lost('VSPC_SERVER_STOPPING'))
    for (let i = 0; i < 3; i++) {
      clock.advance(TIMING.reconnectMaxMs)
      consoles.current.lose(lost('VSPC_PORT_NOT_FOUND'))
    }
    clock.advance(TIMING.reconnectMaxMs)
    consoles.current.attach(10)
    expect(news().slice(1)).toEqual([
      'lost VSPC_SERVER_STOPPING',
      'waiting VSPC_PORT_NOT_FOUND',
      'attached at 10 again',
    ])
  })

  test('a port taken by someone else while we were away is read instead', () => {
    start()
    consoles.current.attach(10)
    consoles.current.lose(lost())
    clock.advance(250)
    consoles.current.lose(lost('VSPC_CONSOLE_BUSY'))
    clock.advance(500)
    expect(consoles.current.target).toMatchObject({ mode: 'read', from: 10 })
    expect(news().slice(2)).toEqual(['demoted VSPC_CONSOLE_BUSY'])
  })

  test.each(['VSPC_PORT_REMOVED', 'VSPC_NOT_ALLOWED', 'VSPC_CONSOLE_BUSY'] as const)(
    '%s ends an attachment',
    (code) => {
      start()
      consoles.current.attach(10)
      consoles.current.listener.message({ type: 'detached', reason: 'so it is', code })
      consoles.current.lose(lost())
      clock.advance(60_000)
      expect(news().slice(1)).toEqual([`ended ${code}`])
      expect(consoles.all.length).toBe(1)
    },
  )

  test('detached for a reason that this version does not know: reconnects', () => {
    start()
    consoles.current.attach(10)
    consoles.current.listener.message({ type: 'detached', reason: 'moved', code: 'VSPC_FROM_THE_FUTURE' })
    consoles.current.lose(lost())
    clock.advance(250)
    expect(consoles.all.length).toBe(2)
  })

  test('the mode last granted is the one asked for again', () => {
    start()
    consoles.current.attach(10)
    consoles.current.listener.message({ type: 'writer', mode: 'read', writers: [], reason: 'taken over' })
    consoles.current.lose(lost())
    clock.advance(250)
    expect(consoles.current.target.mode).toBe('read')
  })

  test('what is sent while not attached is dropped, and never sent later', () => {
    start()
    expect(feed.send(Buffer.from('early'))).toBe('dropped')
    consoles.current.attach(0)
    expect(feed.send(Buffer.from('a'))).toBe('sent')
    const first = consoles.current
    first.lose(lost())
    expect(feed.send(Buffer.from('rm -rf /\r'))).toBe('dropped')
    expect(feed.request({ type: 'break' })).toBe(false)
    clock.advance(250)
    expect(feed.send(Buffer.from('still early'))).toBe('dropped')
    consoles.current.attach(0)
    expect(feed.send(Buffer.from('b'))).toBe('sent')
    expect([first.input, consoles.current.input]).toEqual(['a', 'b'])
  })

  test('a stalled terminal stays stalled over a reconnect', () => {
    start()
    consoles.current.attach(0)
    feed.setPaused(true)
    consoles.current.lose(lost())
    clock.advance(250)
    expect(consoles.current.paused).toBe(true)
    feed.setPaused(false)
    expect(consoles.current.paused).toBe(false)
  })

  test('after close nothing is told and nothing is tried', async () => {
    start()
    consoles.current.attach(0)
    news()
    await feed.close()
    consoles.current.print('late')
    consoles.current.lose(lost())
    clock.advance(60_000)
    expect(news()).toEqual([])
    expect(consoles.all.length).toBe(1)
    expect(clock.pending).toBe(0)
  })

  test('closing in the pause between two attempts ends them', async () => {
    start()
    consoles.current.attach(0)
    consoles.current.lose(lost())
    await feed.close()
    clock.advance(60_000)
    expect(consoles.all.length).toBe(1)
  })
})
