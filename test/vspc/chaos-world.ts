/**
 * Hosts that keep to nothing: any connection says anything at any time. What must hold even then: a byte typed goes to
 * one connection, once; what a connection may say for a port appears there once; nothing is held for ever.
 */
import type { Port } from '../../src/vspc/index.ts'
import type { SessionRole } from '../../src/vspc/vm-session.ts'
import { unitsOf } from './model-world.ts'
import { TestConsole, type TestServer, testServer } from './support.ts'
import { CODE, frame, HELLO, type Heard, serial, turn, UUID, UUID2, VmPeer } from './vm-peer.ts'

export const CHAOS = {
  connect: 2,
  attach: 6,
  peer: 8,
  begin: 8,
  complete: 6,
  abort: 3,
  print: 8,
  type: 8,
  fin: 1,
  reset: 1,
  advance: 5,
  nonsense: 1,
  toggle: 1,
  stall: 2,
  letGo: 2,
} as const

export interface ChaosAction {
  readonly act: keyof typeof CHAOS
  /** Which connection, which value. */
  readonly link: number
  readonly n: number
}

/** Who usually says it. */
const ROLES: Partial<Record<ChaosAction['act'], SessionRole[]>> = {
  attach: ['opening'],
  peer: ['opening'],
  begin: ['source'],
  abort: ['source', 'retired'],
  complete: ['destination'],
  print: ['source', 'retired', 'destination'],
  fin: ['source', 'retired', 'destination'],
  reset: ['source', 'retired', 'destination'],
}

const UUIDS = [UUID, UUID2]
const sequenceOf = (n: number): number[] => [n % 3, 0xff]
const FIRST = 0xfd
const STEPS_MS = [1, 1, 20, 60, 150, 150, 600, 1_100, 2_100, 6_000, 11_000, 121_000]

class Link {
  readonly peer: VmPeer
  lastUnit = 0
  begins = 0
  /** Has said FIN, or was reset: nothing it says arrives. */
  finished = false
  wasSource = false

  constructor(peer: VmPeer) {
    this.peer = peer
  }
}

export class Chaos {
  readonly setup: TestServer
  readonly faults: string[] = []
  readonly #stalls: boolean
  readonly #links: Link[] = []
  /** Of every GOAHEAD, oldest first. */
  readonly #cookies: Uint8Array[] = []
  readonly #consoles = new Map<Port, TestConsole>()
  /** Typed units, by the port they were typed at. */
  readonly #typed = new Map<number, Port>()
  readonly #heard = new Map<number, Link>()
  readonly #printed = new Map<number, { link: Link; role: SessionRole }>()
  readonly #suspects: (() => void)[] = []
  #counter = FIRST

  /** @param stalls connections may stop reading: then what was on its way when they break is lost. */
  constructor(stalls: boolean) {
    this.#stalls = stalls
    this.setup = testServer({ portRetentionMs: 1e9 })
  }

  async do({ act, link: index, n }: ChaosAction): Promise<void> {
    if (act === 'connect' || this.#links.length === 0) this.#connect()
    else this.#perform(act, this.#pick(act, index), n)
    await turn()
    for (const check of this.#suspects.splice(0)) check()
    this.#check()
  }

  /** Mostly a connection for which the message means something; now and then any. */
  #pick(act: ChaosAction['act'], index: number): Link {
    const roles = ROLES[act]
    const fit = this.#links.filter(({ finished, peer }) => !finished && roles?.includes(peer.session.role))
    if (index % 8 !== 7 && fit.length > 0) return fit[index % fit.length] as Link
    if (index % 8 !== 7 && roles?.[0] === 'opening') return this.#connect()
    return this.#links[index % this.#links.length] as Link
  }

  #connect(): Link {
    const peer = new VmPeer(this.setup.server, {}, `10.0.0.${this.#links.length}`, this.#stalls ? 40 : 1 << 20)
    const link = new Link(peer)
    peer.onHeard = (heard) => this.#hear(link, heard)
    peer.send(HELLO)
    this.#links.push(link)
    return link
  }

  #perform(act: ChaosAction['act'], link: Link, n: number): void {
    link.finished ||= link.peer.socket.destroyed
    if (!link.finished || act === 'type' || act === 'advance' || act === 'letGo') this.#acts[act](link, n)
  }

  readonly #acts: Record<ChaosAction['act'], (link: Link, n: number) => void> = {
    connect: () => void this.#connect(),
    attach: ({ peer }, n) => {
      peer.say(CODE.DO_PROXY, n % 5 === 0 ? 'SvSPC.py?port=a' : 'SvSPC.py')
      if (n % 8 > 0) peer.say(CODE.VM_VC_UUID, UUIDS[n % 8 === 1 ? 1 : 0])
      if (n % 3 > 0) peer.say(CODE.VM_NAME, `vm${n % 4}`)
    },
    peer: ({ peer }, n) => {
      const cookie = this.#cookies.at(n % 5 === 0 ? -1 - (n % 3) : -1) ?? Uint8Array.of(n)
      peer.say(CODE.PEER, n % 7 === 6 ? cookie.subarray(1) : cookie)
    },
    begin: (link, n) => {
      link.begins++
      link.peer.say(CODE.BEGIN, n % 11 === 10 ? new Uint8Array(300) : sequenceOf(n))
    },
    complete: ({ peer }, n) => {
      const right = n % 6 > 0 ? peer.session.port?.handover.cookie?.sequence : null
      peer.say(CODE.COMPLETE, right ?? sequenceOf(n))
    },
    abort: ({ peer }) => peer.say(CODE.ABORT),
    print: (link) => {
      const unit = this.#unit()
      this.#printed.set(unit.number, { link, role: link.peer.session.role })
      link.peer.send(serial(unit.bytes))
    },
    type: (_, n) => this.#type(n),
    fin: (link) => {
      link.finished = true
      link.peer.end()
    },
    reset: ({ peer }) => peer.reset(),
    advance: (_, n) => this.setup.clock.advance(STEPS_MS[n % STEPS_MS.length] as number),
    nonsense: ({ peer }, n) => {
      peer.send([...frame(n), ...frame(CODE.VM_VC_UUID, [n]), 0xff, 0xfa, 44, 0xff, 0xf0, 0xff, 0xf1])
    },
    toggle: ({ peer }) => peer.send([0xff, 0xfc, 232, 0xff, 0xfb, 232]),
    stall: ({ peer }) => {
      if (this.#stalls) peer.socket.stalled = true
    },
    letGo: () => {
      for (const one of this.#links) one.peer.socket.stalled = false
    },
  }

  #unit(): { number: number; bytes: number[] } {
    const number = this.#counter++
    return { number, bytes: [(number >> 16) & 0xff, (number >> 8) & 0xff, number & 0xff] }
  }

  #type(n: number): void {
    const ports = [...this.setup.server.table]
    const port = ports[n % Math.max(1, ports.length)]
    if (port) this.#typeAt(port)
  }

  #typeAt(port: Port): number {
    const unit = this.#unit()
    const console = this.#consoles.get(port) ?? new TestConsole(port)
    this.#consoles.set(port, console)
    this.#typed.set(unit.number, port)
    console.console.write(Uint8Array.from(unit.bytes))
    return unit.number
  }

  #hear(link: Link, heard: Heard): void {
    if ('code' in heard && heard.code === CODE.GOAHEAD) this.#cookies.push(heard.payload.slice())
    if (!('data' in heard) || heard.data.length > 100) return
    for (const one of unitsOf(heard.data)) {
      const port = this.#typed.get(one)
      if (port === undefined) this.faults.push(`${one} was never typed`)
      if (this.#heard.has(one)) this.faults.push(`${one} reached two connections`)
      if (one <= link.lastUnit) this.faults.push(`${one} out of order`)
      this.#heard.set(one, link)
      link.lastUnit = one
      if (this.#stalls || port === undefined) continue
      const { source, state } = port.handover
      if (source !== link.peer.session) this.faults.push(`${one} reached a connection that is not the source`)
      if (state !== 'STEADY' && state !== 'RESUMED') {
        // Written with one GOAHEAD in one piece: then the VM reads it before that.
        const at = link.peer.heard.length
        this.#suspects.push(() => {
          const goahead = link.peer.heard.slice(at).some((later) => 'code' in later && later.code === CODE.GOAHEAD)
          if (!goahead) this.faults.push(`${one} was sent while ${state}`)
        })
      }
    }
  }

  #check(): void {
    const { server } = this.setup
    const sources = new Set<unknown>()
    let cookies = 0
    for (const port of server.table) {
      const { source, destination, cookie } = port.handover
      if (cookie !== null) cookies++
      for (const session of [source, destination]) {
        if (session === null) continue
        if (sources.has(session)) this.faults.push('one connection plays two roles')
        sources.add(session)
        if (session.ended || session.role === 'closed') this.faults.push('a closed connection plays a role')
        if (session.role !== (session === source ? 'source' : 'destination')) {
          this.faults.push(`a ${session === source ? 'source' : 'destination'} believes it is ${session.role}`)
        }
        if (session === source) {
          for (const link of this.#links) link.wasSource ||= link.peer.session === source
        }
        if (session.port !== port) this.faults.push('a connection believes it is of another port')
      }
    }
    if (server.cookies.size !== cookies) this.faults.push(`${server.cookies.size} cookies, ${cookies} in use`)
    if (server.counters.internalErrors > 0) {
      this.faults.push('internal error', ...this.setup.log.matching(/internal|failed/))
    }
    for (const link of this.#links) {
      const answers = link.peer.said(CODE.GOAHEAD).length + link.peer.said(CODE.NOTNOW).length
      if (answers > link.begins) this.faults.push(`${link.begins} BEGINs, ${answers} answers`)
    }
  }

  /** Silence: every timer ends, and what runs a port is served. */
  async rest(): Promise<void> {
    const { clock, server } = this.setup
    for (const link of this.#links) link.peer.socket.stalled = false
    await turn()
    for (const ms of [60, 1_100, 2_100, 6_000, 16_000, 121_000, 121_000]) {
      clock.advance(ms)
      await turn()
      await turn()
    }
    this.#check()
    for (const port of server.table) {
      if (port.state === 'migrating') this.faults.push(`${port.id} is ${port.handover.state} for ever`)
      if (port.state !== 'online') continue
      const unit = this.#typeAt(port)
      await turn()
      if (!this.#heard.has(unit)) this.faults.push(`${port.id} is online and deaf`)
    }
    this.#judgeInput()
    this.#judgeOutput()
    for (const link of this.#links) link.peer.reset()
    await turn()
    clock.advance(60)
    if (clock.pending > 0) this.faults.push(`${clock.pending} timers are left`)
  }

  #judgeInput(): void {
    if (this.#stalls) return
    for (const [unit, port] of this.#typed) {
      if (!this.#heard.has(unit) && port.state === 'online') this.faults.push(`input ${unit} was lost`)
    }
  }

  #judgeOutput(): void {
    const seen = new Set<number>()
    for (const port of this.setup.server.table) {
      const lastOn = new Map<Link, number>()
      for (let at = port.history.start; at < port.history.next; ) {
        const piece = port.history.read(at, 3)
        const [unit = 0] = unitsOf(piece ?? new Uint8Array(0))
        at += 3
        const printed = this.#printed.get(unit)
        if (printed === undefined) this.faults.push(`${unit} was never printed`)
        else if (unit <= (lastOn.get(printed.link) ?? 0)) this.faults.push(`output ${unit} out of order`)
        else lastOn.set(printed.link, unit)
        if (seen.has(unit)) this.faults.push(`output ${unit} doubled`)
        seen.add(unit)
      }
    }
    for (const [unit, { role, link }] of this.#printed) {
      const counts = role === 'source' || role === 'retired' || (role === 'destination' && link.wasSource)
      if (counts && !seen.has(unit)) this.faults.push(`output ${unit} of a ${role} was lost`)
      const never = role === 'refused' || role === 'closed' || (role === 'destination' && !link.wasSource)
      if (never && seen.has(unit)) this.faults.push(`output ${unit} of a ${role} was shown`)
    }
  }
}
