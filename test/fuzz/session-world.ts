/**
 * A server under a script of acts, beside a bystander: a healthy VM with a console, whose every byte must arrive exactly
 * once in both directions whatever the others do. The ground is either memory and a clock that is wound by hand, or
 * loopback sockets (see session-ground.ts).
 */
import type { Console, Port, Server } from '../../src/vspc/index.ts'
import { type LogLines, TestConsole } from '../vspc/support.ts'
import { doubled, HELLO, introduction, SEQUENCES, suboption } from './hostile.ts'
import type { Act, CookieRef, Part } from './session-script.ts'
import { WireScanner } from './wire-scanner.ts'

export interface GroundWire {
  send(bytes: Uint8Array): void
  fin(): void
  reset(): void
  stall(on: boolean): void
  /** The server has nothing to do with it any more. */
  readonly gone: boolean
}

export type LineProtocol = 'vmware' | 'telnet' | 'raw'

export interface Ground {
  readonly server: Server
  readonly log: LogLines
  open(protocol: LineProtocol, hear: (chunk: Uint8Array) => void): GroundWire
  /** Lets that much time pass, or what stands for it. */
  pass(ms: number): Promise<void>
  /** Until `condition`, or long enough to see that it will never be. */
  until(condition: () => boolean): Promise<void>
  /** Timers of the server that are running. */
  readonly timers: number
}

const BYSTANDER_UUID = 'b1 57 a2 de 00 00 00 00-00 00 00 00 00 00 00 01'
const BYSTANDER_ID = 'b157a2de-0000-0000-0000-000000000001'
const BYSTANDER_SEQUENCE = SEQUENCES[2] as readonly number[]
/** In everything the bystander prints: must never be in a log. */
const BYSTANDER_WORD = 'bystander-output'
/** Told to people who come to the wrong door; the only serial data that nobody typed. */
const WRONG_DOOR = 'This is the port of a virtual serial port concentrator'
const GOAHEAD = 41
const NOTNOW = 43
const PEER_OK = 45

/** One end of a connection, and everything that went over it. */
class Line {
  readonly wire: GroundWire
  readonly heard = new WireScanner()
  readonly said = new WireScanner()
  readonly protocol: LineProtocol
  sentBytes = 0
  finished = false

  constructor(ground: Ground, protocol: LineProtocol) {
    this.protocol = protocol
    this.wire = ground.open(protocol, (chunk) => {
      if (protocol === 'raw') this.heard.data.push(Uint8Array.from(chunk))
      else this.heard.push(chunk)
    })
  }

  send(bytes: readonly number[]): void {
    if (this.finished || this.wire.gone) return
    this.sentBytes += bytes.length
    this.said.push(Uint8Array.from(bytes))
    this.wire.send(Uint8Array.from(bytes))
  }

  end(how: 'fin' | 'reset'): void {
    if (this.finished) return
    this.finished = true
    this.wire[how]()
  }
}

/** Prints and reads on, and migrates now and then, like a VM that nothing is wrong with. */
class Bystander {
  readonly #ground: Ground
  #source: Line
  #destination: Line | null = null
  readonly #former: Line[] = []
  #printed: number[] = []
  #typed = ''
  #count = 0
  console: TestConsole | null = null

  constructor(ground: Ground) {
    this.#ground = ground
    this.#source = new Line(ground, 'vmware')
  }

  async boot(): Promise<void> {
    // Output before the VM has a name belongs to it, too.
    const early = [...Buffer.from(`${BYSTANDER_WORD} early `), 0xff, 0]
    this.#printed.push(...early)
    this.#source.send([...HELLO, ...doubled(early), ...introduction(BYSTANDER_UUID, 'vSPC.py', 'bystander')])
    await this.#ground.until(() => this.#port !== undefined)
    if (this.#port === undefined) throw new Error('the bystander was not attached')
    this.console = new TestConsole(this.#port, { mode: 'write', from: 0 })
  }

  get #port(): Port | undefined {
    return this.#ground.server.table.get(BYSTANDER_ID)
  }

  /** A step of ordinary life. While it moves the VM is stunned: it prints nothing. */
  live(): void {
    const n = this.#count++
    this.#typed += `<${n}>`
    this.console?.type(`<${n}>`)
    if (this.#destination !== null) return
    const bytes = [...Buffer.from(`${BYSTANDER_WORD} ${n} `), n & 0xff, 0xff, 0, 0x0d, 0x0a]
    this.#printed.push(...bytes)
    this.#source.send(doubled(bytes))
  }

  /** BEGIN and connect, then PEER, then COMPLETE; now and then ABORT instead. */
  async move(): Promise<void> {
    const destination = this.#destination
    if (destination === null) {
      const before = this.#source.heard.messages(GOAHEAD).length
      this.#source.send(suboption(40, BYSTANDER_SEQUENCE))
      this.#destination = new Line(this.#ground, 'vmware')
      await this.#ground.until(() => this.#source.heard.messages(GOAHEAD).length > before)
      if (this.#source.heard.messages(GOAHEAD).length === before) throw new Error('the bystander got no GOAHEAD')
      this.#destination.send(HELLO)
      return
    }
    if (this.#count % 5 === 4) {
      this.#source.send(suboption(48))
      destination.end('fin')
      this.#destination = null
      return
    }
    const cookie = this.#source.heard.messages(GOAHEAD).at(-1) as Uint8Array
    destination.send(suboption(44, [...cookie]))
    await this.#ground.until(() => destination.heard.messages(PEER_OK).length > 0)
    if (destination.heard.messages(PEER_OK).length === 0) throw new Error('the bystander got no PEER-OK')
    if (this.#count % 2 === 0) this.#source.end('fin')
    destination.send(suboption(46, BYSTANDER_SEQUENCE))
    if (this.#count % 2 === 1) this.#source.end('fin')
    this.#former.push(this.#source)
    this.#source = destination
    this.#destination = null
    await this.#ground.until(() => this.#port?.state === 'online')
  }

  async settle(): Promise<void> {
    while (this.#destination !== null) await this.move()
  }

  get moves(): number {
    return this.#former.length
  }

  get secrets(): Uint8Array[] {
    return [...this.#former, this.#source].flatMap((line) =>
      line.heard.messages(GOAHEAD).map((all) => all.subarray(-8)),
    )
  }

  #heard(): string {
    return [...this.#former, this.#source].map((line) => line.heard.text).join('')
  }

  async faults(): Promise<string[]> {
    const console = this.console as TestConsole
    const output = (): boolean => console.bytes.length >= this.#printed.length
    await this.#ground.until(() => output() && this.#heard().length >= this.#typed.length)
    const faults: string[] = []
    if (!Buffer.from(this.#printed).equals(console.bytes)) {
      faults.push(
        `the bystander printed ${this.#printed.length} bytes, its console got ${console.bytes.length} or others`,
      )
    }
    if (this.#heard() !== this.#typed) faults.push(`the bystander was typed ${this.#typed}, it got ${this.#heard()}`)
    const told = console.messages.filter(({ type }) => type === 'gap' || type === 'error' || type === 'detached')
    if (told.length > 0) faults.push(`the bystander's console was told ${JSON.stringify(told)}`)
    return faults
  }
}

export class SessionWorld {
  readonly #ground: Ground
  readonly #lines = new Map<string, Line>()
  readonly #bystander: Bystander
  readonly #consoles = new Map<Port, TestConsole>()
  #baseline = 0

  constructor(ground: Ground) {
    this.#ground = ground
    this.#bystander = new Bystander(ground)
  }

  /** Everything that went wrong; none if the server is right. */
  async run(acts: readonly Act[]): Promise<string[]> {
    await this.#bystander.boot()
    await this.#ground.pass(0)
    this.#baseline = this.#ground.timers
    for (const act of acts) {
      await this.#perform(act)
      this.#bystander.live()
      await this.#ground.pass(0)
    }
    await this.#bystander.settle()
    return [...(await this.#bystander.faults()), ...this.#lineFaults(), ...(await this.#leave()), ...this.#logFaults()]
  }

  async #perform(act: Act): Promise<void> {
    switch (act.do) {
      case 'send':
        this.#line(act.line).send(act.parts.flatMap((part) => this.#bytesOf(part)))
        break
      case 'fin':
      case 'reset':
        this.#line(act.line).end(act.do)
        break
      case 'stall':
      case 'go':
        this.#line(act.line).wire.stall(act.do === 'stall')
        break
      case 'wait':
        // A stunned VM resumes, and its cookie dies, when nothing happens for too long.
        if (act.ms > 500) await this.#bystander.settle()
        await this.#ground.pass(act.ms)
        break
      case 'move':
        await this.#bystander.move()
        break
      default:
        this.#atConsole(act)
    }
  }

  #line(name: string): Line {
    const known = this.#lines.get(name)
    if (known) return known
    const line = new Line(this.#ground, name === 'T' ? 'telnet' : name === 'R' ? 'raw' : 'vmware')
    this.#lines.set(name, line)
    return line
  }

  #bytesOf(part: Part): readonly number[] {
    return 'cookie' in part ? doubled(this.#cookie(part)) : part
  }

  #cookie({ cookie, form }: CookieRef): number[] {
    const granted = [...this.#lines.values()].flatMap((line) => line.heard.messages(GOAHEAD))
    const index = cookie < 0 ? cookie : cookie % Math.max(1, granted.length)
    const whole = [...(granted.at(index) ?? [1, 2, 3])]
    return form === 'whole' ? whole : form === 'short' ? whole.slice(0, -1) : [...whole, 7]
  }

  #atConsole(act: Extract<Act, { port: number }>): void {
    const ports = [...this.#ground.server.table].filter((port) => port.id !== BYSTANDER_ID)
    const port = ports[act.port % Math.max(1, ports.length)]
    if (port === undefined) return
    const there = this.#consoles.get(port)
    if (act.do === 'watch') {
      there?.console.detach()
      const mode = act.mode === 'stuck' ? 'write' : act.mode
      this.#consoles.set(port, new TestConsole(port, { mode, from: 0, takes: act.mode !== 'stuck', force: true }))
    } else if (act.do === 'type') there?.type('typed\xff\x00')
    else if (act.do === 'break') there?.console.request({ type: 'break' })
    else there?.console.detach()
  }

  /** What the server said to the fuzzers: all of it Telnet, little of it, and nothing that was not theirs. */
  #lineFaults(): string[] {
    const granted = new Map<string, string>()
    for (const line of this.#lines.values()) {
      for (const all of line.heard.messages(GOAHEAD)) granted.set(hex(all), hex(all.subarray(0, -8)))
    }
    const faults = [...this.#lines].flatMap(([name, line]) => faultsOf(line, granted).map((one) => `${name}: ${one}`))
    const entitled = this.#bystander.moves + [...this.#lines.values()].filter(mayHaveMoved).length
    const { vmotionsCompleted } = this.#ground.server.counters
    if (vmotionsCompleted > entitled) faults.push(`${vmotionsCompleted} vMotions completed, ${entitled} could be`)
    return faults
  }

  /** The fuzzers go; after all deadlines nothing of them is left but what the port table may remember. */
  async #leave(): Promise<string[]> {
    const { server } = this.#ground
    for (const line of this.#lines.values()) {
      line.wire.stall(false)
      line.end('reset')
    }
    for (const { console } of this.#consoles.values()) (console as Console).detach()
    const fuzzed = (): Port[] => [...server.table].filter((port) => port.id !== BYSTANDER_ID)
    await this.#ground.pass(200_000)
    await this.#ground.until(
      () =>
        [...this.#lines.values()].every(({ wire }) => wire.gone) &&
        fuzzed().every(({ state }) => state === 'offline') &&
        this.#ground.timers <= this.#baseline,
    )
    const faults: string[] = []
    for (const [name, line] of this.#lines) if (!line.wire.gone) faults.push(`${name} is still connected`)
    for (const port of fuzzed()) {
      if (!server.forget(port)) faults.push(`port ${port.id} stays ${port.state}`)
      if (port.consoles.length > 0) faults.push(`port ${port.id} keeps consoles`)
    }
    if (server.table.size !== 1) faults.push(`${server.table.size} ports stay`)
    if (server.cookies.size !== 0) faults.push(`${server.cookies.size} cookies stay`)
    const timers = this.#ground.timers
    if (timers > this.#baseline) faults.push(`${timers} timers run, ${this.#baseline} at the beginning`)
    return faults
  }

  #logFaults(): string[] {
    const { log, server } = this.#ground
    const faults: string[] = []
    if (server.counters.internalErrors > 0) faults.push('internal error', ...log.matching(/^error /))
    const all = log.lines.join('\n')
    if (all.includes(BYSTANDER_WORD)) faults.push('console output in the log')
    const fuzzed = [...this.#lines.values()].flatMap((line) => line.heard.messages(GOAHEAD))
    for (const secret of [...this.#bystander.secrets, ...fuzzed.map((whole) => whole.subarray(-8))]) {
      const spellings = [hex(secret), hex(secret, ' '), hex(secret, ':'), [...secret].join(','), base64(secret)]
      if (spellings.some((spelling) => all.toLowerCase().includes(spelling.toLowerCase()))) {
        faults.push('a vMotion secret in the log')
      }
    }
    return faults
  }
}

/** It was told PEER-OK for a sequence, and said COMPLETE for it. */
function mayHaveMoved({ heard, said }: Line): boolean {
  const agreed = heard.messages(PEER_OK).map((sequence) => hex(sequence))
  return said.messages(46).some((sequence) => agreed.includes(hex(sequence)))
}

/** `granted`: sequence by sequence and secret. */
function faultsOf(line: Line, granted: ReadonlyMap<string, string>): string[] {
  const { heard, said } = line
  const faults = [...heard.faults]
  const data = heard.text.replaceAll('typed\xff\x00', '')
  if (data !== '' && !data.startsWith(WRONG_DOOR)) faults.push(`it got data nobody typed: ${JSON.stringify(data)}`)
  if (line.protocol === 'raw') return faults
  if (heard.negotiations > 256) faults.push(`${heard.negotiations} negotiations`)
  if (heard.commands.some((code) => code !== 243)) faults.push(`commands ${heard.commands}`)
  const strange = heard.subs.filter(({ option, payload: [code = -1] }) =>
    option === 232 ? !PROXY_CODES.includes(code) : option !== 44 || code < 100 || code > 112,
  )
  for (const { option, payload } of strange) faults.push(`SB ${option} ${hex(payload, ' ')}`)
  const answers = heard.messages(GOAHEAD).length + heard.messages(NOTNOW).length
  const begins = said.messages(40).length
  if (answers > begins) faults.push(`${answers} answers to ${begins} BEGINs`)
  const presented = said.messages(44).map((payload) => hex(payload))
  for (const sequence of heard.messages(PEER_OK)) {
    const right = presented.some((cookie) => granted.get(cookie) === hex(sequence))
    if (!right) faults.push(`PEER-OK ${hex(sequence)} for no cookie that was granted`)
  }
  const allowed = ANSWERS_FLAT + ANSWERS_FACTOR * line.sentBytes
  if (heard.controlBytes > allowed) faults.push(`${heard.controlBytes} bytes of answers to ${line.sentBytes}`)
  return faults
}

/** Of option 232, those that only a proxy sends. */
const PROXY_CODES = [1, 3, 41, 43, 45, 71, 73, 81, 83, 85, 87]
/** Our offers, and as many answers to negotiations as one connection may draw, each with a KNOWN-SUBOPTIONS-2. */
const ANSWERS_FLAT = 256 * 40
/** Beyond it an answer is hardly longer than what it answers; GOAHEAD to the shortest BEGIN is the worst. */
const ANSWERS_FACTOR = 2.5

const hex = (bytes: Uint8Array, separator = ''): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(separator)
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64').replace(/=+$/, '')
