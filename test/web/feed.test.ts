import { expect, test } from 'vitest'
import {
  ConsoleFeed,
  type FeedListener,
  type FeedSocket,
  type LinkState,
  type SocketListener,
} from '../../src/app/web/console-feed.ts'
import type { ConsoleMessage, ConsoleMode } from '../../src/vspc/index.ts'

const EPOCH = 'epoch-1'

/** A server with one port, time by hand, and a terminal that deals with output when it is told to. */
class World {
  printed = ''
  epoch = EPOCH
  /** Oldest byte held. */
  start = 0
  screenFails: { status: number; message: string } | null = null
  refuses: { code: string; message: string } | null = null
  unreachable = false
  readonly queries: string[] = []
  readonly requests: string[] = []
  readonly inputs: string[] = []
  readonly news: string[] = []
  readonly links: LinkState[] = []
  mode: ConsoleMode = 'read'
  /** What the terminal shows; a screen replaces all before it. */
  shown = ''
  /** The part of it that may be answered to. */
  live = ''
  stalled = false
  /** The server keeps what it has to send. */
  holding = false
  readonly #unshown: (() => void)[] = []
  readonly #timers: { at: number; run: () => void }[] = []
  #now = 0
  #socket: { listener: SocketListener; at: number } | null = null
  readonly feed: ConsoleFeed

  constructor() {
    const listener: FeedListener = {
      screen: ({ screen }) => {
        this.shown = screen
      },
      output: (bytes, old, shown) => {
        const text = Buffer.from(bytes).toString('latin1')
        this.shown += text
        if (!old) this.live += text
        if (this.stalled) this.#unshown.push(shown)
        else shown()
      },
      link: (state) => this.links.push(state),
      message: (message) => {
        if (message.type === 'error') this.news.push(message.code)
      },
      gap: (bytes, why) => this.news.push(`${why} ${bytes}`),
      restarted: () => this.news.push('restarted'),
      mode: (mode) => {
        this.mode = mode
      },
    }
    this.feed = new ConsoleFeed(
      {
        open: (query, socketListener) => this.#open(query, socketListener),
        screen: async () => {
          if (this.unreachable) throw { status: 0, message: 'away' }
          if (this.screenFails !== null) throw this.screenFails
          const { printed, epoch, start } = this
          const from = Math.max(start, printed.length - 100_000)
          const screen = printed.slice(from)
          const offsets = { start: from, top: from, offset: printed.length, historyStart: start }
          const nothing = { historyEnd: printed.length, markLine: null, from: null, until: null }
          return { port: 'p', epoch, ...offsets, ...nothing, screen }
        },
        after: (ms, run) => {
          const timer = { at: this.#now + ms, run }
          this.#timers.push(timer)
          return () => {
            const at = this.#timers.indexOf(timer)
            if (at >= 0) this.#timers.splice(at, 1)
          }
        },
        now: () => this.#now,
        random: () => 1,
      },
      listener,
    )
  }

  /** Lets promises and opened sockets come through. */
  async settle(): Promise<void> {
    for (let n = 0; n < 20; n++) await Promise.resolve()
  }

  async pass(ms: number): Promise<void> {
    const until = this.#now + ms
    for (;;) {
      await this.settle()
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers.splice(this.#timers.indexOf(next), 1)
      this.#now = next.at
      next.run()
    }
    this.#now = until
    await this.settle()
  }

  async started(): Promise<this> {
    this.feed.start()
    await this.settle()
    return this
  }

  /** The VM prints; an attached console gets it in frames of some size. */
  print(text: string, frame = 1_000): void {
    this.printed += text
    this.flush(frame)
  }

  flush(frame = 1_000): void {
    while (!this.holding && this.#socket !== null && this.#socket.at < this.printed.length) {
      const { listener, at } = this.#socket
      const piece = this.printed.slice(at, at + frame)
      this.#socket.at += piece.length
      listener.bytes(Buffer.from(piece, 'latin1'))
    }
  }

  cut(code = 1006): void {
    const socket = this.#socket
    this.#socket = null
    socket?.listener.closed(code, '')
  }

  tell(message: ConsoleMessage): void {
    this.#socket?.listener.text(JSON.stringify(message))
  }

  /** The terminal has dealt with all that it was given. */
  catchUp(): void {
    this.stalled = false
    for (const shown of this.#unshown.splice(0)) shown()
  }

  get attached(): boolean {
    return this.#socket !== null
  }

  #open(query: string, listener: SocketListener): FeedSocket {
    this.queries.push(query)
    const values = new URLSearchParams(query)
    let open = true
    const attach = () => {
      if (!open) return
      if (this.unreachable) {
        listener.closed(1006, '')
        return
      }
      if (this.refuses !== null && values.get('mode') !== 'read') {
        listener.text(JSON.stringify({ type: 'error', ...this.refuses }))
        listener.closed(4409, '')
        return
      }
      const next = this.printed.length
      const from = values.get('from')
      const offset = from === null ? next : Math.min(Math.max(Number(from), this.start), next)
      this.#socket = { listener, at: offset }
      const mode = values.get('mode') as ConsoleMode
      const { start, epoch } = this
      this.tell({
        type: 'attached',
        port: 'p',
        name: 'p',
        mode,
        offset,
        start,
        next,
        state: 'online',
        console: 1,
        epoch,
        may: [],
      })
      this.flush()
    }
    queueMicrotask(attach)
    return {
      bufferedAmount: 0,
      send: (data) => {
        if (typeof data === 'string') this.requests.push(data)
        else this.inputs.push(Buffer.from(data).toString('latin1'))
      },
      close: () => {
        open = false
        if (this.#socket?.listener === listener) this.#socket = null
      },
    }
  }
}

test('the screen comes first, then what follows it, each byte once, and only what is live may be answered', async () => {
  const world = new World()
  world.print('before ')
  await world.started()
  world.print('after')
  expect(world.shown).toBe('before after')
  expect(world.live).toBe('after')
  expect(world.queries).toEqual(['mode=read&from=7'])
  expect(world.feed.offset).toBe(12)
})

test('after a loss it goes on at its offset; what was printed meanwhile is old', async () => {
  const world = await new World().started()
  world.print('one ')
  world.cut()
  world.print('two ')
  await world.pass(500)
  world.print('three')
  expect(world.shown).toBe('one two three')
  expect(world.live).toBe('one three')
  expect(world.links).toContain('waiting')
  expect(world.news).toEqual([])
})

test('a frame that is old and live in part is split where it was attached', async () => {
  const world = await new World().started()
  world.print('x')
  world.cut()
  world.printed += 'old'
  world.holding = true
  await world.pass(500)
  world.printed += 'live'
  world.holding = false
  world.flush()
  expect([world.shown, world.live]).toEqual(['xoldlive', 'xlive'])
})

test('what history has lost meanwhile is told', async () => {
  const world = await new World().started()
  world.print('one')
  world.cut()
  world.print('gone and kept')
  world.start = 8
  await world.pass(500)
  expect(world.news).toEqual(['lost 5'])
  expect(world.shown).toBe('oneand kept')
})

test.each([
  ['another epoch', { epoch: 'epoch-2', printed: 'a whole new story, and longer' }],
  ['fewer bytes than we have seen', { epoch: EPOCH, printed: 'new' }],
])('a server that counts anew (%s) is shown from its screen on', async (_why, { epoch, printed }) => {
  const world = await new World().started()
  world.print('the old story')
  world.cut()
  Object.assign(world, { epoch, printed })
  await world.pass(500)
  expect(world.news).toEqual(['restarted'])
  expect(world.shown).toBe(printed)
  world.print('!')
  expect(world.shown).toBe(`${printed}!`)
  expect(world.feed.offset).toBe(printed.length + 1)
})

test('a terminal that falls behind stops the flow, bounded, and goes on without a loss', async () => {
  const world = await new World().started()
  world.stalled = true
  world.print('x'.repeat(3 << 20), 65_536)
  expect(world.attached).toBe(false)
  expect(world.shown.length).toBeLessThan((1 << 20) + 65_537)
  world.catchUp()
  await world.pass(1_000)
  expect(world.attached).toBe(true)
  expect(world.shown.length).toBe(3 << 20)
  expect(world.news).toEqual([])
})

test('too much to catch up with is skipped: the newest is shown, and how much is missing is told', async () => {
  const world = await new World().started()
  world.stalled = true
  world.print('x'.repeat(20 << 20), 65_536)
  const reached = world.feed.offset ?? 0
  world.catchUp()
  await world.pass(1_000)
  expect(world.news).toEqual([`skipped ${(20 << 20) - 100_000 - reached}`])
  expect(world.shown.length).toBe(100_000)
  world.print('end')
  expect(world.shown.endsWith('xend')).toBe(true)
})

test('who had the keyboard asks for it again after a loss, never by force, and reads on when it is taken', async () => {
  const world = await new World().started()
  world.tell({ type: 'writer', mode: 'write', writers: [], reason: '' })
  expect(world.mode).toBe('write')
  world.cut()
  world.refuses = { code: 'VSPC_CONSOLE_BUSY', message: 'held by another' }
  await world.pass(500)
  expect(world.queries.slice(1)).toEqual(['mode=write&from=0', 'mode=read&from=0'])
  expect([world.mode, world.attached, world.news]).toEqual(['read', true, ['VSPC_CONSOLE_BUSY']])
})

test('input is sent now or never', async () => {
  const world = await new World().started()
  expect(world.feed.send(Buffer.from('a'))).toBe('read-only')
  world.tell({ type: 'writer', mode: 'write', writers: [], reason: '' })
  expect(world.feed.send(Buffer.from('b'))).toBe('sent')
  world.cut()
  expect(world.feed.send(Buffer.from('c'))).toBe('not-attached')
  await world.pass(500)
  expect(world.inputs).toEqual(['b'])
})

test('pauses grow while the server is away, and it is tried at once when somebody comes back', async () => {
  const world = await new World().started()
  world.cut()
  world.unreachable = true
  await world.pass(60_000)
  const tried = world.queries.length
  expect(tried).toBeLessThan(16)
  await world.pass(3_000)
  world.unreachable = false
  world.feed.wake()
  await world.settle()
  expect(world.attached).toBe(true)
})

test('a connection that has died without a word is noticed, and replaced', async () => {
  const world = await new World().started()
  await world.pass(19_000)
  expect(world.requests).toEqual([])
  await world.pass(2_000)
  expect(world.requests).toEqual(['{"type":"who"}'])
  await world.pass(20_000)
  expect(world.links).toContain('waiting')
  await world.pass(1_000)
  expect(world.attached).toBe(true)
})

test('a server that cannot draw the screen still gives live output', async () => {
  const world = new World()
  world.print('unseen')
  world.screenFails = { status: 503, message: 'busy' }
  await world.started()
  world.print('seen')
  expect([world.shown, world.live, world.feed.offset]).toEqual(['seen', 'seen', 10])
  expect(world.queries).toEqual(['mode=read'])
})

test('a screen that comes after the page was left is not shown', async () => {
  const world = new World()
  world.print('too late')
  world.feed.start()
  world.feed.close()
  await world.pass(60_000)
  expect([world.shown, world.queries]).toEqual(['', []])
})

test('a page that is left hears nothing more', async () => {
  const world = await new World().started()
  world.feed.close()
  world.print('late')
  await world.pass(60_000)
  expect([world.shown, world.attached, world.queries.length]).toEqual(['', false, 1])
})
