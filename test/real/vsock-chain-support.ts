/** For the program that runs in the guest: processes of ours, and who talks through them. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { get } from 'node:http'
import { createInterface } from 'node:readline'
import { WebSocket } from 'ws'
import { type GuestMachine, PATTERN_RECORD_BYTES, patternBytes, SilentGuest, SimVm } from '../../src/sim/index.ts'
import type { ConsoleMessage, PortInfo } from '../../src/vspc/index.ts'

/** Emulated, and on a machine that is busy with other tests. */
const DEADLINE_MS = 40_000
const LOOK_AGAIN_MS = 50
const TALK_EVERY_MS = 100
const CHUNK_BYTES = 3_000
/** Of a console's input, not yet taken. */
const MAX_UNSENT_BYTES = 65_536
/** Each way, for each VM, of each scenario. */
const WANTED_BYTES = 100_000

const HOSTS = [
  { name: 'esx-01', localAddress: '127.0.1.1' },
  { name: 'esx-02', localAddress: '127.0.1.2' },
] as const

export async function until<T>(
  what: string,
  attempt: () => T | Promise<T>,
): Promise<Exclude<T, false | null | undefined>> {
  const end = performance.now() + DEADLINE_MS
  for (;;) {
    const found = await attempt()
    if (found !== false && found !== null && found !== undefined) return found as Exclude<T, false | null | undefined>
    if (performance.now() > end) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
  }
}

/** One run of a program of ours: `vspc`, or the thin `relay`. */
export class Program {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly stdout: string[] = []
  readonly stderr: string[] = []

  constructor(program: 'vspc' | 'relay', ...args: string[]) {
    this.#name = [program, ...args].join(' ')
    this.#child = spawn(process.execPath, [`/t/${program}.mjs`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#exited = once(this.#child, 'close')
    for (const name of ['stdout', 'stderr'] as const) {
      const input = this.#child[name]
      if (input) createInterface({ input }).on('line', (line) => this[name].push(line))
    }
  }

  /** It has announced what it listens on. */
  async ready(): Promise<void> {
    await until(`${this.#name} is ready`, () => {
      if (this.#child.exitCode !== null) throw new Error(`${this.#name} ended: ${this.stderr.join(' ')}`)
      return this.stdout.length > 0
    })
  }

  async endsWell(): Promise<void> {
    await this.#exited
    assert.equal(this.#child.exitCode, 0, `${this.#name}: ${this.stderr.join(' ')}`)
  }

  /** As by a power cut. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  /** By SIGTERM; it has to end well, with nothing to be ashamed of in its log. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.endsWell()
    assert.deepEqual(
      this.stderr.filter((line) => /"level":"(?:error|fatal)"|^[^{]/.test(line)),
      [],
    )
  }
}

export function getJson<T>(
  where: { readonly port: number } | { readonly socketPath: string },
  path: string,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', ...where, path, agent: false }, async (response) => {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk
      if (response.statusCode === 200) resolve(JSON.parse(text) as T)
      else reject(new Error(`${path}: ${response.statusCode} ${text}`))
    })
    request.on('error', reject)
  })
}

/** A stream of bytes that is nobody else's, as far as it has come; all byte values are in it. */
export class Checked {
  readonly #from: number
  bytes = 0
  fault: string | null = null

  /** @param seed which stream. */
  constructor(seed: number) {
    this.#from = seed * 100_000 * PATTERN_RECORD_BYTES
  }

  next(): Uint8Array {
    const chunk = patternBytes(this.#from + this.bytes, CHUNK_BYTES)
    this.bytes += chunk.length
    return chunk
  }

  take(chunk: Uint8Array): void {
    const wanted = patternBytes(this.#from + this.bytes, chunk.length)
    const at = chunk.findIndex((byte, index) => byte !== wanted[index])
    if (at >= 0) this.fault ??= `the byte at ${this.bytes + at} is another one`
    this.bytes += chunk.length
  }
}

/** The guest of a simulated VM: prints a stream when told, and checks what it reads. */
class TalkingGuest extends SilentGuest {
  readonly printed: Checked
  readonly read: Checked
  #machine: GuestMachine | null = null
  #waits = false

  constructor(seed: number) {
    super()
    this.printed = new Checked(seed)
    this.read = new Checked(seed + 1)
  }

  override start(machine: GuestMachine): void {
    this.#machine = machine
  }

  override input(bytes: Uint8Array): boolean {
    this.read.take(bytes)
    return true
  }

  override drain(): void {
    this.#waits = false
  }

  override stun(): void {
    this.#waits = true
  }

  override resume(): void {
    this.#waits = false
  }

  talk(): void {
    if (this.#machine && !this.#waits) this.#waits = !this.#machine.write(this.printed.next())
  }
}

/** A console that types a stream when told, and checks what it is shown. */
export class TalkingConsole {
  readonly typed: Checked
  readonly shown: Checked
  readonly messages: ConsoleMessage[] = []
  readonly #socket: WebSocket

  private constructor(socket: WebSocket, seed: number) {
    this.#socket = socket
    this.shown = new Checked(seed)
    this.typed = new Checked(seed + 1)
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.shown.take(data)
      else this.messages.push(JSON.parse(data.toString('utf8')) as ConsoleMessage)
    })
    socket.on('error', (error) => {
      this.shown.fault ??= error.message
    })
  }

  /** @param port by its VM's name. @param seed as that of the guest. */
  static async attach(port: string, seed: number): Promise<TalkingConsole> {
    const path = `/api/v1/ports/${port}/console?mode=write&from=0`
    const socket = new WebSocket(`ws://127.0.0.1:13371${path}`, 'vspc.v1')
    const attached = new TalkingConsole(socket, seed)
    await until(`${port} has a console`, () => attached.messages.some(({ type }) => type === 'attached'))
    return attached
  }

  talk(): void {
    if (this.#socket.bufferedAmount < MAX_UNSENT_BYTES) this.#socket.send(this.typed.next(), { binary: true })
  }

  /** Everything but good news. */
  get complaints(): ConsoleMessage[] {
    return this.messages.filter(
      (message) =>
        ['gap', 'detached', 'error'].includes(message.type) ||
        (message.type === 'state' && message.state === 'offline'),
    )
  }

  close(): void {
    this.#socket.close()
  }
}

/** Both ends of a serial line, at which both talk all the time. */
export class Conversation {
  readonly #guest: Pick<TalkingGuest, 'printed' | 'read' | 'talk'>
  readonly #console: TalkingConsole
  readonly #timer: NodeJS.Timeout

  constructor(guest: Pick<TalkingGuest, 'printed' | 'read' | 'talk'>, console: TalkingConsole) {
    this.#guest = guest
    this.#console = console
    this.#timer = setInterval(() => {
      guest.talk()
      console.talk()
    }, TALK_EVERY_MS)
  }

  get heard(): readonly number[] {
    return [this.#guest.read.bytes, this.#console.shown.bytes]
  }

  /** Resolves when so many bytes more have arrived each way. */
  async goesOn(bytes: number): Promise<void> {
    const before = this.heard
    await until(`${bytes} bytes after ${before}`, () => {
      this.#intact()
      return this.heard.every((now, index) => now >= (before[index] ?? 0) + bytes)
    })
  }

  /** At least WANTED_BYTES in all; then no more is said, and everything said arrives. */
  async end(): Promise<void> {
    await until(`${WANTED_BYTES} bytes`, () => this.heard.every((bytes) => bytes >= WANTED_BYTES))
    clearInterval(this.#timer)
    const said = [this.#console.typed.bytes, this.#guest.printed.bytes]
    await until(`${this.heard} are the ${said} said`, () =>
      this.heard.every((bytes, index) => bytes >= (said[index] ?? 0)),
    )
    assert.deepEqual(this.heard, said)
    this.#intact()
  }

  #intact(): void {
    assert.deepEqual([this.#guest.read.fault, this.#console.shown.fault], [null, null])
    assert.deepEqual(this.#console.complaints, [])
  }
}

/** VMs on both hosts that connect to a relay, each with a console attached and in conversation. */
export class Vms {
  readonly all: SimVm[] = []
  #conversations: Conversation[] = []
  #consoles: TalkingConsole[] = []

  static async connect(prefix: string, count: number, tcpPort: number): Promise<Vms> {
    const vms = new Vms()
    const seed = (index: number): number => prefix.charCodeAt(0) + index * 2
    const guests = Array.from({ length: count }, (_, index) => new TalkingGuest(seed(index)))
    for (const [index, guest] of guests.entries()) {
      const host = HOSTS[index % HOSTS.length] ?? HOSTS[0]
      const target = { host: '127.0.0.1', port: tcpPort }
      vms.all.push(
        new SimVm({ name: `${prefix}-${index}`, target, host, ports: [{ guest }], recordInput: false, redialMs: 0 }),
      )
    }
    await Promise.all(vms.all.map((vm) => vm.powerOn()))
    vms.#consoles = await Promise.all(vms.all.map(({ name }, index) => TalkingConsole.attach(name, seed(index))))
    vms.#conversations = vms.#consoles.map((console, index) => new Conversation(guests[index] as TalkingGuest, console))
    return vms
  }

  /** As the server lists them. */
  async ports(): Promise<PortInfo[]> {
    const ports = await getJson<PortInfo[]>({ port: 13371 }, '/api/v1/ports')
    return this.all.flatMap(({ name }) => ports.filter(({ vm }) => vm.name === name))
  }

  /** Where the VMs run is where the server says that they do. */
  async checkHosts(): Promise<void> {
    assert.deepEqual(
      (await this.ports()).map(({ vm, host, state }) => ({ name: vm.name, host, state })),
      this.all.map(({ name, host }) => ({ name, host: host.localAddress, state: 'online' })),
    )
  }

  /** To their other host. */
  async move(vms: readonly SimVm[] = this.all, atGoahead?: () => Promise<void>): Promise<void> {
    const results = await Promise.all(
      vms.map((vm) => {
        const to = HOSTS.find(({ name }) => name !== vm.host.name) ?? HOSTS[0]
        const onStage = (stage: string) => (stage === 'goahead' ? atGoahead?.() : undefined)
        return vm.migrate({ to, stunMs: 100, goaheadLimitMs: DEADLINE_MS, peerOkLimitMs: DEADLINE_MS, onStage })
      }),
    )
    for (const { outcome, reason } of results) assert.equal(outcome, 'completed', reason)
  }

  async goOn(bytes: number): Promise<void> {
    await Promise.all(this.#conversations.map((conversation) => conversation.goesOn(bytes)))
  }

  /** Every byte said has arrived, and no host has anything to complain about. */
  async end(): Promise<void> {
    await Promise.all(this.#conversations.map((conversation) => conversation.end()))
    for (const vm of this.all) {
      assert.deepEqual(vm.violations, [])
      for (const { reconnects, lostInputBytes } of vm.ports) assert.deepEqual([reconnects, lostInputBytes], [0, 0])
    }
  }

  async close(): Promise<void> {
    for (const console of this.#consoles) console.close()
    await Promise.all(this.all.map((vm) => vm.close()))
  }
}
