/**
 * A VM that keeps to the protocol, on hosts and a network that need not: the truth against which a port is judged.
 *
 * What hosts send waits in a queue per connection until it is delivered, so that two connections may overtake each
 * other; what the server sends may be stalled. Serial data are units of three bytes that count up, both ways; so a byte
 * lost, doubled or moved shows, and where.
 */
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bytesOf, CODE, frame, HELLO, type Heard, ID, serial, turn, UUID, VmPeer } from './vm-peer.ts'

/** Counters begin here: 0xFF, which doubles on the wire, comes soon. */
const FIRST = 0xfd

const unit = (n: number): number[] => [(n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff]

export function unitsOf(bytes: Uint8Array): number[] {
  if (bytes.length % 3 !== 0) throw new Error(`${bytes.length} bytes are no whole units`)
  return Array.from({ length: bytes.length / 3 }, (_, i) => {
    const [high = 0, middle = 0, low = 0] = bytes.subarray(i * 3)
    return (high << 16) | (middle << 8) | low
  })
}

const GREETING = [...HELLO, ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py'))]
const IDENTITY = [...frame(CODE.VM_VC_UUID, bytesOf(UUID)), ...frame(CODE.VM_NAME, bytesOf('vm1'))]
/** How long after BEGIN a stunned VM's source may still send what it had left: less than `resumeAfterMs`. */
const LAST_WORDS_MS = 900

/** What is on its way to the server. */
type Item = { bytes: number[]; units: number[] } | 'FIN'

/** One connection of a host. */
class Link {
  readonly peer: VmPeer
  readonly queue: Item[] = []
  /** The host is gone, or uses another connection: what is typed may still be lost on this one up to `sealedAt`. */
  abandoned = false
  sealedAt = 0
  lastUnit = 0
  /** FIN is sent or queued. */
  finished = false
  /** Counts the boots and reconnects: no order holds across them but that of arrival. */
  readonly life: number

  constructor(peer: VmPeer, life: number) {
    this.peer = peer
    this.life = life
  }

  get usable(): boolean {
    return !this.finished && !this.abandoned && !this.peer.socket.destroyed
  }
}

/** `cleared`: GOAHEAD is heard. `peering`, `peered`: before and after PEER-OK. In all but `running` the VM is stunned. */
type Phase = 'off' | 'running' | 'begun' | 'cleared' | 'peering' | 'peered'

interface Begin {
  link: Link
  sequence: number
  /** The host took it back, or has asked anew: no answer is owed. */
  moot: boolean
}

export interface WorldOptions {
  /** A former connection's bytes are delivered before time moves on; otherwise only the order per connection holds. */
  prompt: boolean
  /** Of the server's sockets, in bytes: small, so that draining takes turns. */
  highWaterMark: number
}

/** What may happen, and how often. */
export const ACTIONS = {
  type: 6,
  print: 14,
  deliver: 8,
  deliverAll: 3,
  proceed: 24,
  begin: 2,
  beginAgain: 1,
  beginNew: 1,
  connect: 1,
  complete: 1,
  finish: 2,
  abort: 1,
  resume: 1,
  replace: 1,
  stall: 3,
  letGo: 3,
  advance: 4,
  reconnect: 1,
  crash: 1,
  boot: 3,
  intruder: 1,
  noise: 1,
  slowConsole: 1,
} as const

export interface Action {
  readonly act: keyof typeof ACTIONS
  readonly n: number
}

export class World {
  readonly setup: TestServer
  readonly faults: string[] = []
  readonly #options: WorldOptions
  readonly #links: Link[] = []
  readonly #intruders: VmPeer[] = []
  readonly #begins: Begin[] = []
  readonly #consoles: TestConsole[] = []
  #link: Link | null = null
  #destination: Link | null = null
  #phase: Phase = 'off'
  #life = 0
  #sequence = 0
  #cookie: Uint8Array | null = null
  #begunAt = 0
  readonly #oldCookies: Uint8Array[] = []
  #typed = FIRST
  #printed = FIRST
  /** Units the server has been given, in the order in which the VM printed them, with the link each came on. */
  readonly #given = new Map<number, Link>()
  /** Units the VM has read. */
  readonly #read: number[] = []

  private constructor(options: WorldOptions) {
    this.#options = options
    this.setup = testServer()
  }

  static async start(options: WorldOptions): Promise<World> {
    const world = new World(options)
    await world.do({ act: 'boot', n: 0 })
    await world.do({ act: 'deliverAll', n: 0 })
    const port = portOf(world.setup.server, ID)
    world.#consoles.push(
      new TestConsole(port, { who: 'main', from: 0 }),
      new TestConsole(port, { who: 'slow', from: 0 }),
    )
    return world
  }

  /** Does what an action says, or nothing where it makes no sense. */
  async do({ act, n }: Action): Promise<void> {
    this.#acts[act](n)
    await turn()
    const ports = [...this.setup.server.table].map(({ id }) => id)
    // One that broke off before it said whose it is has a port of its own.
    if (ports.some((id) => id !== ID && !id.startsWith('addr:'))) this.faults.push(`ports ${ports}`)
    this.#seal()
  }

  /** Until the server can know that a connection is dead, what is typed may go there. */
  #seal(): void {
    const source = this.setup.server.table.get(ID)?.handover.source
    for (const link of this.#links) if (link.abandoned && link.peer.session === source) link.sealedAt = this.#typed
  }

  /** The next step of a vMotion, or what the VM waits for. */
  #proceed(n: number): void {
    if (this.#phase === 'begun') this.#deliver(this.#link ?? undefined)
    else if (this.#phase === 'peering') this.#deliver(this.#destination ?? undefined)
    else if (this.#phase === 'off') this.#boot()
    else if (this.#phase === 'running') this.#acts.begin(n)
    else if (this.#phase === 'cleared') this.#connectDestination()
    else this.#complete(n)
  }

  readonly #acts: Record<Action['act'], (n: number) => void> = {
    type: (n) => this.#type(1 + (n % 20)),
    print: (n) => {
      const link = this.#runsOn ?? this.#lastWordsOn
      if (link) this.#print(link, 1 + (n % 20))
    },
    deliver: (n) => {
      const waiting = this.#links.filter((link) => link.queue.length > 0)
      this.#deliver(waiting[n % Math.max(1, waiting.length)])
    },
    deliverAll: () => this.#deliverAll(),
    proceed: (n) => this.#proceed(n),
    begin: () => {
      const link = this.#runsOn
      if (link) this.#begin(link, ++this.#sequence)
    },
    beginAgain: () => {
      if (this.#isIn('begun', 'cleared') && this.#link?.usable) this.#begin(this.#link, this.#sequence)
    },
    beginNew: (n) => {
      if (this.#isIn('off', 'running') || !this.#link?.usable) return
      this.#dropDestination(n)
      this.#begin(this.#link, ++this.#sequence)
    },
    connect: () => {
      if (this.#isIn('cleared')) this.#connectDestination()
    },
    complete: (n) => this.#complete(n),
    finish: () => this.#finishSource(),
    abort: (n) => this.#abort(n),
    resume: () => {
      // GOAHEAD came too late for the host: the VM runs on, and no ABORT is sent.
      if (this.#isIn('begun', 'cleared') && this.#link?.usable) this.#phase = 'running'
    },
    replace: (n) => {
      if (!this.#isIn('peering', 'peered')) return
      this.#dropDestination(n)
      this.#connectDestination()
    },
    stall: () => {
      if (this.#link) this.#link.peer.socket.stalled = true
    },
    letGo: () => {
      for (const link of this.#links) link.peer.socket.stalled = false
    },
    advance: (n) => this.#advance(n),
    reconnect: () => {
      if (!this.#isIn('running') || this.#link === null) return
      this.#abandon(this.#link, true)
      this.#boot()
    },
    crash: (n) => this.#crash(n),
    boot: () => {
      if (this.#isIn('off')) this.#boot()
    },
    intruder: (n) => this.#intrude(n),
    noise: (n) => this.#noise(n),
    slowConsole: () => {
      const slow = this.#consoles[1]
      if (!slow) return
      slow.takes = !slow.takes
      if (slow.takes) slow.console.drained()
    },
  }

  /** Whether a source still sends after BEGIN what its VM printed before is not known: this one does. */
  get #lastWordsOn(): Link | null {
    const soon = this.setup.clock.now() - this.#begunAt < LAST_WORDS_MS
    return this.#phase !== 'off' && this.#link?.usable && soon ? this.#link : null
  }

  #isIn(...phases: Phase[]): boolean {
    return phases.includes(this.#phase)
  }

  /** The connection on which the VM can say something now. */
  get #runsOn(): Link | null {
    return this.#phase === 'running' && this.#link?.usable ? this.#link : null
  }

  // People

  #type(count: number): void {
    const bytes = Array.from({ length: count }, () => unit(this.#typed++)).flat()
    this.#consoles[0]?.console.write(Uint8Array.from(bytes))
  }

  // The VM and its hosts

  #print(link: Link, count: number): void {
    const units = Array.from({ length: count }, () => this.#printed++)
    link.queue.push({ bytes: serial(units.flatMap(unit)), units })
  }

  #say(link: Link, code: number, payload: Iterable<number> = []): void {
    link.queue.push({ bytes: frame(code, payload), units: [] })
  }

  #connect(greeting: number[]): Link {
    const number = this.#links.length
    const peer = new VmPeer(this.setup.server, {}, `10.0.0.${number}`, this.#options.highWaterMark)
    const link = new Link(peer, this.#life)
    peer.onHeard = (heard) => this.#hear(link, heard)
    link.queue.push({ bytes: greeting, units: [] })
    this.#links.push(link)
    return link
  }

  #boot(): void {
    // An earlier connection's greeting or COMPLETE that arrives only after the new one's greeting: no host is that slow.
    for (const link of this.#links) {
      if (link.abandoned && link.peer.session.role !== 'source') this.#abandon(link, false)
    }
    this.#life++
    this.#link = this.#connect(GREETING)
    this.#phase = 'running'
    // Before the port can be known.
    this.#print(this.#link, 1)
    this.#link.queue.push({ bytes: IDENTITY, units: [] })
  }

  #begin(link: Link, sequence: number): void {
    for (const begin of this.#begins) if (begin.sequence !== sequence) begin.moot = true
    this.#begins.push({ link, sequence, moot: false })
    // The next vMotion begins seconds after the last: what came before it has arrived.
    for (const former of this.#links) if (former !== link) while (former.queue.length > 0) this.#deliver(former)
    if (this.#phase === 'running') this.#begunAt = this.setup.clock.now()
    this.#phase = 'begun'
    this.#say(link, CODE.BEGIN, this.#wire(sequence))
  }

  /** Of different lengths, with bytes that mean something to Telnet. */
  #wire(sequence: number): number[] {
    return [...unit(sequence), 0xff, ...Array.from({ length: sequence % 5 }, () => 0xf0)]
  }

  #connectDestination(): void {
    if (this.#cookie === null) return
    this.#destination = this.#connect([...HELLO, ...frame(CODE.PEER, this.#cookie)])
    this.#phase = 'peering'
  }

  #complete(n: number): void {
    const { link, destination } = { link: this.#link, destination: this.#destination }
    if (this.#phase !== 'peered' || !destination?.usable) return
    this.#say(destination, CODE.COMPLETE, this.#wire(this.#sequence))
    if (n % 3 === 0) this.#say(destination, CODE.COMPLETE, this.#wire(this.#sequence))
    if (link && n % 2 === 0) this.#fin(link)
    this.#link = destination
    this.#destination = null
    this.#phase = 'running'
    this.#endVmotion()
  }

  /** The source's FIN, which comes whenever it likes once the VM has left. */
  #finishSource(): void {
    if (this.#phase === 'peering' || this.#phase === 'peered' || this.#phase === 'cleared') {
      if (this.#link) this.#fin(this.#link)
      return
    }
    for (const link of this.#links) if (link !== this.#link && link !== this.#destination) this.#fin(link)
  }

  #fin(link: Link): void {
    if (!link.usable) return
    link.finished = true
    link.queue.push('FIN')
  }

  #abort(n: number): void {
    const link = this.#link
    if (this.#phase === 'off' || this.#phase === 'running' || !link?.usable) return
    this.#say(link, CODE.ABORT, n % 2 === 0 ? [] : [1, 2, 3])
    this.#dropDestination(n)
    this.#phase = 'running'
    this.#endVmotion()
  }

  #endVmotion(): void {
    for (const begin of this.#begins) begin.moot = true
    if (this.#cookie !== null) this.#oldCookies.push(this.#cookie)
    this.#cookie = null
  }

  #dropDestination(n: number): void {
    const destination = this.#destination
    this.#destination = null
    if (destination === null) return
    // Were its PEER still on its way when the next one comes, it would be the newest for the server.
    this.#fin(destination)
    if (n % 2 === 0) while (destination.queue.length > 0) this.#deliver(destination)
    else this.#abandon(destination, false)
  }

  /** Whatever was on its way is lost. @param halfOpen the server is not told. */
  #abandon(link: Link, halfOpen: boolean): void {
    link.abandoned = true
    // With what was on its way, the server's knowledge that a cookie is dead may be lost.
    if (link.queue.length > 0) this.#oldCookies.length = 0
    link.queue.length = 0
    link.sealedAt = this.#typed
    if (!halfOpen) link.peer.reset()
  }

  #crash(n: number): void {
    if (this.#phase === 'off') return
    this.#endVmotion()
    this.#oldCookies.length = 0
    this.#phase = 'off'
    for (const link of this.#links) {
      if (n % 3 === 0) this.#fin(link)
      link.abandoned = true
      link.sealedAt = this.#typed
      if (n % 3 === 0) continue
      link.queue.length = 0
      if (n % 3 === 1) link.peer.reset()
    }
    this.#link = null
    this.#destination = null
  }

  /** Somebody who knows old cookies, or none. */
  #intrude(n: number): void {
    this.#deliverAll()
    const peer = new VmPeer(this.setup.server, {}, '192.0.2.1')
    this.#intruders.push(peer)
    const cookie =
      n % 3 === 0 ? this.#oldCookies.at(-1) : n % 3 === 1 ? this.#cookie?.subarray(0, -1) : Uint8Array.of(0, 0, n)
    peer.send([...HELLO, ...frame(CODE.PEER, cookie ?? [1]), ...frame(CODE.COMPLETE, this.#wire(this.#sequence))])
    peer.send([...frame(CODE.ABORT), 1, 2, ...frame(CODE.BEGIN, [n])])
    peer.onHeard = (heard) => {
      if ('data' in heard) this.faults.push('an intruder got input')
      if ('code' in heard && heard.code === CODE.PEER_OK) this.faults.push('an intruder got PEER-OK')
    }
  }

  /** Messages on the wrong side, of the wrong sequence, or at the wrong time: all without effect. */
  #noise(n: number): void {
    const [link, destination] = [this.#link, this.#destination]
    if (destination?.usable && n % 2 === 0) {
      this.#say(destination, CODE.ABORT)
      this.#say(destination, CODE.COMPLETE, [...this.#wire(this.#sequence), 1])
    } else if (link?.usable) {
      this.#say(link, CODE.COMPLETE, this.#wire(this.#sequence))
      this.#say(link, CODE.PEER, this.#oldCookies.at(-1) ?? [1])
      if (n % 3 === 0) this.#say(link, CODE.VM_NAME, bytesOf(`vm${n}`))
    }
  }

  // The network

  #deliver(link: Link | undefined): void {
    const item = link?.queue.shift()
    if (link === undefined || item === undefined) return
    if (item === 'FIN') {
      link.peer.end()
      return
    }
    if (link.peer.socket.destroyed) return
    for (const one of item.units) this.#given.set(one, link)
    link.peer.send(item.bytes)
    this.#seal()
  }

  #deliverAll(): void {
    for (const link of this.#links) while (link.queue.length > 0) this.#deliver(link)
  }

  #advance(n: number): void {
    const steps = [1, 60, 1_100, 2_100, 121_000]
    const ms = steps[n % steps.length] as number
    // A host gives up long before T_orphan: that much time only passes when nobody waits for anything.
    if (ms > 10_000) {
      if (this.#phase !== 'off' && this.#phase !== 'running') return
      this.#deliverAll()
    }
    for (const link of this.#links) {
      const former = link !== this.#link && link !== this.#destination
      const lastWords = link === this.#link && !this.#isIn('off', 'running')
      // A VM says who it is at once, or it gets another name.
      const introduces = link === this.#link && ms > 2_000 && link.peer.session.role === 'opening'
      if (lastWords || introduces || (former && (this.#options.prompt || ms > 100))) {
        while (link.queue.length > 0) this.#deliver(link)
      }
    }
    this.setup.clock.advance(ms)
  }

  // What the VM's side hears

  #hear(link: Link, heard: Heard): void {
    if ('data' in heard) this.#hearInput(link, heard.data)
    else if ('code' in heard) this.#hearAnswer(link, heard.code, heard.payload)
    else if (link === this.#link && link.usable) this.faults.push('the server closed the connection the VM runs on')
  }

  #hearInput(link: Link, data: Uint8Array): void {
    // Not input, but words for people: the greeting was lost on its way.
    if (link.abandoned && link.peer.session.port === null) return
    const units = unitsOf(data)
    for (const one of units) {
      if (one <= link.lastUnit) this.faults.push(`input ${one} after ${link.lastUnit} on one connection`)
      link.lastUnit = one
    }
    if (link.abandoned) {
      const late = units.find(
        (one) => one >= link.sealedAt && link.peer.session !== portOf(this.setup.server, ID).handover.source,
      )
      if (late !== undefined) this.faults.push(`input ${late} went to a connection that was given up before it`)
      return
    }
    if (link !== this.#link) this.faults.push('input reached a connection the VM does not run on')
    if (this.#phase !== 'running' && this.#phase !== 'begun')
      this.faults.push(`input reached a VM that is ${this.#phase}`)
    this.#read.push(...units)
  }

  #hearAnswer(link: Link, code: number, payload: Uint8Array): void {
    if (link.abandoned) return
    const sequence = this.#wire(this.#sequence)
    const isOurs = sequence.every((byte, i) => payload[i] === byte)
    if (code === CODE.GOAHEAD && this.#phase === 'begun' && link === this.#link && isOurs) {
      if (payload.length !== sequence.length + 8) this.faults.push(`a secret of ${payload.length} bytes`)
      this.#cookie = payload.slice()
      this.#phase = 'cleared'
    } else if (code === CODE.NOTNOW && this.#phase === 'begun' && link === this.#link && isOurs) {
      if (payload.length !== sequence.length) this.faults.push('NOTNOW with more than the sequence')
      const owed = this.#begins.filter((begin) => !begin.moot).length - link.peer.said(CODE.NOTNOW).length
      if (owed <= 0) this.#phase = 'running'
    } else if (code === CODE.PEER_OK && link === this.#destination && isOurs) {
      if (payload.length !== sequence.length) this.faults.push('PEER-OK with more than the sequence')
      if (this.#phase === 'peering') this.#phase = 'peered'
    }
  }

  // Judgement

  /** Everything arrives, time passes; then the VM must be served as if nothing had been. */
  async rest(): Promise<void> {
    const { clock, server } = this.setup
    await this.do({ act: 'letGo', n: 0 })
    for (let i = 0; i < 3; i++) await this.do({ act: 'deliverAll', n: 0 })
    // No time has passed: what can be taken is answered at once.
    this.#judgeAnswers()
    // A host that waits for something gives up, says so if it can, and runs the VM where it was.
    if (this.#phase !== 'running') await this.do({ act: 'abort', n: 0 })
    if (this.#phase !== 'running') await this.do({ act: 'crash', n: 1 })
    for (let i = 0; i < 3; i++) await this.do({ act: 'deliverAll', n: 0 })
    for (const ms of [60, 2_100, 121_000, 121_000]) {
      clock.advance(ms)
      await turn()
    }
    this.#judgeAnswers()
    if (this.#phase === 'off') {
      await this.do({ act: 'boot', n: 0 })
      await this.do({ act: 'deliverAll', n: 0 })
    }
    const slow = this.#consoles[1]
    if (slow) slow.takes = true
    slow?.console.drained()
    // Before anybody types again: what is held must not wait for the next keystroke.
    this.#judgeInput()
    this.#type(1)
    if (this.#link?.usable) this.#print(this.#link, 1)
    await this.do({ act: 'deliverAll', n: 0 })
    this.#judge()
    for (const link of [...this.#links.map((one) => one.peer), ...this.#intruders]) link.reset()
    await turn()
    clock.advance(60)
    if (clock.pending > 0) this.faults.push(`${clock.pending} timers are left`)
    if (server.cookies.size > 0) this.faults.push(`${server.cookies.size} cookies are left`)
  }

  #judgeAnswers(): void {
    for (const { link, sequence, moot } of this.#begins) {
      if (moot || link.abandoned || link.finished) continue
      const text = Buffer.from(this.#wire(sequence)).toString('hex')
      const answers = [...link.peer.said(CODE.GOAHEAD), ...link.peer.said(CODE.NOTNOW)]
      if (!answers.some((answer) => answer.startsWith(text))) this.faults.push(`BEGIN ${sequence} was never answered`)
    }
    for (const link of this.#links) {
      const asked = this.#begins.filter((begin) => begin.link === link).length
      const answered = link.peer.said(CODE.GOAHEAD).length + link.peer.said(CODE.NOTNOW).length
      if (answered > asked) this.faults.push(`${asked} BEGINs, ${answered} answers`)
    }
  }

  #judge(): void {
    const { server } = this.setup
    const port = portOf(server, ID)
    if (port.state !== 'online') this.faults.push(`the port is ${port.state}`)
    if (port.handover.source !== this.#link?.peer.session) this.faults.push('the port runs on another connection')
    if (server.counters.internalErrors > 0) this.faults.push('internal errors')
    this.#judgeInput()
    this.#judgeOutput()
  }

  #judgeInput(): void {
    const { faults } = this
    for (let i = 1; i < this.#read.length; i++) {
      if ((this.#read[i] as number) <= (this.#read[i - 1] as number)) faults.push(`input ${this.#read[i]} out of order`)
    }
    const read = new Set(this.#read)
    if (read.size !== this.#read.length) faults.push('input doubled')
    for (let one = FIRST; one < this.#typed; one++) {
      if (read.has(one)) continue
      // Lost with a connection that broke: that it was handed to it is all one can ask for.
      const excused = this.#links.some((link) => link.abandoned && one < link.sealedAt)
      if (!excused) faults.push(`input ${one} was lost`)
    }
  }

  #judgeOutput(): void {
    for (const { text, chunks, console } of this.#consoles) {
      const got = unitsOf(Buffer.concat(chunks))
      const { who } = console
      if (new Set(got).size !== got.length) this.faults.push(`${who}: output doubled`)
      for (const [one, link] of this.#given) {
        // A connection that broke before it said whose it is: nobody can know.
        const known = link.peer.session.port?.id === ID
        if (known && !got.includes(one)) this.faults.push(`${who}: output ${one} was lost`)
      }
      for (const one of got)
        if (!this.#given.has(one)) this.faults.push(`${who}: output ${one} of ${text.length} is not the VM's`)
      const lastOn = new Map<Link | number | undefined, number>()
      for (const one of got) {
        const link = this.#given.get(one)
        const key = this.#options.prompt ? link?.life : link
        if (one < (lastOn.get(key) ?? 0)) this.faults.push(`${who}: output ${one} out of order`)
        lastOn.set(key, one)
      }
    }
  }
}
