import { describe, expect, test } from 'vitest'
import { type Cookie, Handover, type HandoverOwner } from '../../src/vmotion/index.ts'

/**
 * Every sequence of events up to a length, with a byte typed after each: who gets it? The owner here is the smallest
 * thing that can lose, double or reorder input; connections are kept apart by number and never used again once closed.
 */
class Line {
  closed = false
  /** What was written to it, in order: typed bytes as numbers, answers as text. */
  readonly log: (number | string)[] = []
  /** GOAHEAD was sent and nothing has happened that gives the port back to it. */
  mayNotBeFed = false
  readonly id: number

  constructor(id: number) {
    this.id = id
  }
}

class World implements HandoverOwner<Line> {
  readonly handover = new Handover<Line>(this)
  readonly lines: Line[] = []
  readonly faults: string[] = []
  readonly open = new Set<Cookie<unknown>>()
  held = false
  congested = false
  drainArmed = false
  orphanArmed = false
  typed = 0
  #queue: number[] = []
  #sequence = 0
  /** BEGINs without an answer, by sequence. */
  readonly unanswered = new Set<number>()
  /** Cookies ever handed out, newest last. */
  readonly cookies: Cookie<unknown>[] = []

  connect(): Line {
    const line = new Line(this.lines.length)
    this.lines.push(line)
    return line
  }

  type(): void {
    this.#queue.push(++this.typed)
    this.pump()
  }

  pump(): void {
    const { source } = this.handover
    if (source === null || this.held || this.congested) return
    for (const byte of this.#queue) {
      if (source.closed) this.faults.push(`byte ${byte} went to closed connection ${source.id}`)
      if (source.mayNotBeFed) this.faults.push(`byte ${byte} reached connection ${source.id} after its GOAHEAD`)
      source.log.push(byte)
    }
    this.#queue = []
  }

  begin(again: boolean, grantable = true): void {
    const { source, state } = this.handover
    if (source === null) return
    const sequence = again ? this.#sequence : ++this.#sequence
    if (sequence === 0) return
    // A newer BEGIN takes the place of one that drains; the older one is the only kind that stays without an answer.
    if (state === 'DRAINING' && !again) this.unanswered.clear()
    this.unanswered.add(sequence)
    this.handover.begin(source, Uint8Array.of(sequence), grantable)
  }

  close(line: Line | null): void {
    if (line === null) return
    line.closed = true
    if (line === this.handover.source && this.handover.state === 'DRAINING') this.unanswered.clear()
    this.handover.closed(line)
  }

  hold(): void {
    this.held = true
  }

  release(to: Line): void {
    if (to !== this.handover.source) this.faults.push('released to a connection that is not the source')
    this.held = false
    this.pump()
  }

  startDrain(): void {
    this.drainArmed = true
    if (!this.congested) this.drained()
  }

  drained(): void {
    this.drainArmed = false
    this.handover.drained()
  }

  openCookie(sequence: Uint8Array): Cookie<unknown> {
    const cookie = { owner: this, sequence, secret: Uint8Array.of(this.cookies.length) }
    this.open.add(cookie)
    this.cookies.push(cookie)
    return cookie
  }

  failed(): void {}

  closeCookie(cookie: Cookie<unknown>): void {
    if (!this.open.delete(cookie)) this.faults.push('a cookie was closed that is not open')
  }

  sendGoahead(source: Line, cookie: Cookie<unknown>): void {
    this.#answer(source, 'GOAHEAD', cookie.sequence)
    source.mayNotBeFed = true
  }

  sendNotNow(source: Line, sequence: Uint8Array): void {
    this.#answer(source, 'NOTNOW', sequence)
    source.mayNotBeFed = false
  }

  #answer(source: Line, answer: string, [sequence = 0]: Uint8Array): void {
    const text = `${answer} ${sequence}`
    if (!this.unanswered.delete(sequence)) this.faults.push(`${text} answers nothing`)
    if (source !== this.handover.source) this.faults.push(`${text} to a connection that is not the source`)
    source.log.push(text)
  }

  sendPeerOk(destination: Line): void {
    destination.log.push('PEER-OK')
  }

  retire(): void {}

  drop(destination: Line): void {
    destination.closed = true
  }

  discardDestinationOutput(): void {}

  promoted(source: Line): void {
    source.mayNotBeFed = false
  }

  armOrphan(): void {
    this.orphanArmed = true
  }

  disarm(): void {
    this.drainArmed = false
    this.orphanArmed = false
  }

  report(): void {}

  orphanTimeout(): void {
    if (!this.orphanArmed) return
    this.orphanArmed = false
    // A source that is still there when T_orphan ends never left.
    const { source } = this.handover
    if (source !== null) source.mayNotBeFed = false
    this.handover.orphanTimeout()
  }

  /** Everything a later event could depend on. */
  fingerprint(): string {
    const { state, source, destination, cookie } = this.handover
    const flags = [this.held, this.congested, this.drainArmed, this.orphanArmed, source?.mayNotBeFed ?? false]
    return [
      state,
      source?.id,
      destination?.id,
      cookie && this.cookies.indexOf(cookie),
      ...flags,
      this.lines.length,
    ].join()
  }

  check(): void {
    const { state, source, destination, cookie } = this.handover
    if (source !== null && source === destination) this.faults.push('source and destination are one')
    if (source?.closed || destination?.closed) this.faults.push('a closed connection plays a role')
    if (this.open.size !== (cookie === null ? 0 : 1)) this.faults.push(`${this.open.size} cookies are open`)
    if (cookie !== null && !this.open.has(cookie)) this.faults.push('the cookie is closed already')
    if (this.held && state !== 'OFFLINE' && !this.drainArmed && !this.orphanArmed) {
      this.faults.push(`${state} holds input, and no timer will end it`)
    }
    if (!this.held && !this.congested && source !== null && this.#queue.length > 0) {
      this.faults.push('input waits for nothing')
    }
    const seen = [
      ...this.lines.flatMap((line) => line.log.filter((entry) => typeof entry === 'number')),
      ...this.#queue,
    ]
    const wanted = Array.from({ length: this.typed }, (_, i) => i + 1)
    if (seen.sort((a, b) => a - b).join() !== wanted.join()) this.faults.push(`typed ${wanted}, arrived ${seen}`)
    for (const line of this.lines) {
      const bytes = line.log.filter((entry) => typeof entry === 'number')
      if (bytes.some((byte, i) => i > 0 && byte < (bytes[i - 1] as number))) this.faults.push('input out of order')
    }
  }

  /** Time passes and nobody says anything: afterwards nothing may still be held for a connection that is there. */
  settle(): void {
    this.congested = false
    for (let i = 0; i < 10 && (this.drainArmed || this.orphanArmed); i++) {
      if (this.drainArmed) this.drained()
      this.orphanTimeout()
    }
    this.pump()
    this.check()
    if (this.handover.source !== null && (this.held || this.#queue.length > 0)) this.faults.push('held for ever')
    if (this.unanswered.size > 0) this.faults.push(`BEGIN ${[...this.unanswered]} was never answered`)
  }
}

const EVENTS: Record<string, (world: World) => void> = {
  attach: (world) => world.handover.attach(world.connect()),
  begin: (world) => world.begin(false),
  beginAgain: (world) => world.begin(true),
  congestion: (world) => {
    world.congested = !world.congested
    if (world.congested) return
    if (world.handover.state === 'DRAINING') world.drained()
    else world.pump()
  },
  drainTimeout: (world) => {
    if (!world.drainArmed) return
    world.drainArmed = false
    world.handover.drainTimeout()
  },
  peer: (world) => {
    const cookie = world.cookies.at(-1)
    if (!cookie) return
    const line = world.connect()
    if (!world.handover.peer(line, cookie)) world.lines.pop()
    else if (!world.open.has(cookie)) world.faults.push('a dead cookie opened the port')
  },
  complete: (world) => {
    const { destination, cookie } = world.handover
    if (destination !== null && cookie !== null) world.handover.complete(destination, cookie.sequence)
  },
  abort: (world) => {
    const { source, state } = world.handover
    if (source === null) return
    if (state === 'DRAINING') world.unanswered.clear()
    source.mayNotBeFed = false
    world.handover.abort(source, false)
  },
  sourceCloses: (world) => world.close(world.handover.source),
  destinationCloses: (world) => world.close(world.handover.destination),
  retiredAborts: (world) => {
    const line = world.connect()
    if (!world.handover.abort(line, true)) world.lines.pop()
  },
  refuse: (world) => world.begin(false, false),
  destinationFloods: (world) => void world.handover.destinationData(true),
  destinationTalks: (world) => void world.handover.destinationData(false),
  sourceResumes: (world) => {
    const { source, state } = world.handover
    if (source !== null && state === 'HELD') source.mayNotBeFed = false
    world.handover.sourceData(true)
  },
  orphanTimeout: (world) => world.orphanTimeout(),
}
const NAMES = Object.keys(EVENTS)

function step(world: World, event: string): void {
  EVENTS[event]?.(world)
  world.type()
}

function replay(events: readonly string[]): World {
  const world = new World()
  for (const event of events) step(world, event)
  return world
}

/** Calls `visit` with every sequence of up to `depth` events that all have an effect, and the world after it. */
function everySequence(depth: number, visit: (events: readonly string[], world: World) => void): void {
  const walk = (events: readonly string[], left: number): void => {
    let world = replay(events)
    const before = world.fingerprint()
    for (const event of NAMES) {
      step(world, event)
      const next = [...events, event]
      // An event without effect leads nowhere new: what follows it is walked without it.
      if (world.fingerprint() === before) {
        if (world.faults.length > 0) visit(next, world)
        continue
      }
      visit(next, world)
      if (left > 1) walk(next, left - 1)
      world = replay(events)
    }
  }
  walk([], depth)
}

describe('every sequence of events', () => {
  test('up to seven: one owner, no byte lost, doubled, reordered or held for ever, every BEGIN answered', () => {
    let sequences = 0
    everySequence(7, (events, world) => {
      sequences++
      world.check()
      if (world.faults.length > 0) expect.fail(`${events.join(', ')}: ${world.faults.join('; ')}`)
      world.settle()
      if (world.faults.length > 0) expect.fail(`${events.join(', ')}, then silence: ${world.faults.join('; ')}`)
    })
    // The walk is worth nothing if it ends early.
    expect(sequences).toBeGreaterThan(60_000)
  })
})
