/** kill -9 in the middle of a vMotion: the port comes back with its history, and nobody gets in with an old secret. */
import { expect, test } from 'vitest'
import { SUB } from '../../src/sim/codes.ts'
import { eventually, filesOf, Host, ServerProcess, temporary, uuidOf, Watcher } from './history-support.ts'

const LIMITS = { historyVisibleMs: 10_000, drainMs: 2_000, unknownPeerLingerMs: 200 }
const SEQUENCE = Uint8Array.of(0x76, 0x19, 0xff, 0xe9)

interface Moving {
  readonly cookie: Buffer
  readonly destination: Host | null
}

async function goahead(source: Host): Promise<Moving> {
  return { cookie: await source.begin(SEQUENCE), destination: null }
}

async function peerOk(source: Host, server: ServerProcess): Promise<Moving & { destination: Host }> {
  const cookie = await source.begin(SEQUENCE)
  const destination = await Host.connect(server)
  destination.say(SUB.VMOTION_PEER, cookie)
  expect(await destination.hears(SUB.VMOTION_PEER_OK)).toEqual(Buffer.from(SEQUENCE))
  return { cookie, destination }
}

/** How far the vMotions of VM 1, 2, ... get before the server dies. */
const STAGES: ((source: Host, server: ServerProcess) => Promise<Moving>)[] = [
  goahead,
  peerOk,
  // Output of the destination before COMPLETE is not history yet: it goes with the process.
  async (source, server) => {
    const moving = await peerOk(source, server)
    moving.destination.print('held')
    await moving.destination.processed()
    return moving
  },
  async (source, server) => {
    const moving = await peerOk(source, server)
    moving.destination.say(SUB.VMOTION_COMPLETE, SEQUENCE)
    await moving.destination.processed()
    return moving
  },
]

/** A VM that is being moved, and the console on it. */
class MovingVm {
  readonly n: number
  readonly id: string
  readonly #seen: Buffer[] = []
  #watcher: Watcher | null = null
  #source: Host | null = null
  #moving: Moving | null = null
  #epoch: string | undefined

  constructor(n: number) {
    this.n = n
    this.id = uuidOf(n).id
  }

  get seen(): string {
    return Buffer.concat(this.#seen).toString()
  }

  get watcher(): Watcher {
    return this.#watcher as Watcher
  }

  async attach(server: ServerProcess, from: number): Promise<void> {
    this.#watcher = await Watcher.attach(server, this.id, from, (bytes) => this.#seen.push(bytes))
    this.#epoch ??= this.watcher.epoch
    expect(this.watcher.told('attached')[0]).toMatchObject({ offset: from, start: 0, epoch: this.#epoch })
  }

  async begin(server: ServerProcess, stage: (typeof STAGES)[number]): Promise<void> {
    this.#source = await Host.boot(server, this.n)
    await this.attach(server, 0)
    this.#source.print('before;')
    await this.watcher.reaches(7)
    this.#moving = await stage(this.#source, server)
  }

  /** The server is dead, and everybody has noticed. */
  get left(): boolean {
    const open = [this.#source, this.#moving?.destination, this.watcher].filter((one) => one && !one.closed)
    return open.length === 0
  }

  /** Both hosts dial again: the source with its VM, the destination with what it knows from before the crash. */
  async comeBack(server: ServerProcess): Promise<Host> {
    this.#source = await Host.boot(server, this.n)
    const stranger = await Host.connect(server)
    stranger.say(SUB.VMOTION_PEER, this.#moving?.cookie as Buffer)
    stranger.print('from a stranger;')
    this.#source.print('between;')
    await this.watcher.reaches(15)
    return stranger
  }

  /** The vMotion is tried again, with the same sequence. */
  async moveAgain(server: ServerProcess): Promise<void> {
    const source = this.#source as Host
    const { cookie, destination } = await peerOk(source, server)
    expect(cookie.equals(this.#moving?.cookie as Buffer)).toBe(false)
    destination.say(SUB.VMOTION_COMPLETE, SEQUENCE)
    source.socket.destroy()
    destination.print('after')
    await this.watcher.reaches(20)
  }
}

test('after GOAHEAD, PEER-OK, output before COMPLETE, COMPLETE: ports come back whole, old secrets open nothing', async () => {
  const dataDir = temporary()
  let server = await ServerProcess.start(dataDir, { limits: LIMITS })
  const vms = STAGES.map((_stage, i) => new MovingVm(i + 1))
  for (const vm of vms) await vm.begin(server, STAGES[vm.n - 1] as (typeof STAGES)[number])
  const states = new Map((await server.ports()).map((port) => [port.id, port.state]))
  expect(vms.map(({ id }) => states.get(id))).toEqual(['migrating', 'migrating', 'migrating', 'online'])

  await server.kill()
  await eventually(
    () => 'hosts and consoles have noticed',
    () => vms.every(({ left }) => left),
  )
  server = await ServerProcess.start(dataDir, { limits: LIMITS })
  for (const vm of vms) {
    expect(await server.port(vm.id)).toMatchObject({
      id: vm.id,
      vm: { name: `vm${vm.n}`, uuid: vm.id },
      state: 'offline',
      bytesFromVm: 7,
      host: null,
      vmotions: 0,
      serviceURI: 'vSPC.py',
    })
    await vm.attach(server, 7)
  }

  const strangers = await Promise.all(vms.map((vm) => vm.comeBack(server)))
  // Silence is the answer, and in the end a close. protocol.md: cookies do not outlive the process.
  await eventually(
    () => 'the strangers are closed',
    () => strangers.every(({ closed }) => closed),
  )
  const answers: number[] = [SUB.VMOTION_PEER_OK, SUB.VMOTION_NOTNOW]
  for (const { heard } of strangers) expect(heard.filter(({ code }) => answers.includes(code))).toEqual([])
  await expect.poll(() => server.logs('VMOTION-PEER with an unknown or used cookie').length).toBe(vms.length)
  expect(await server.metric('vspc_vmotion_unknown_peers_total')).toBe(vms.length)

  await Promise.all(vms.map((vm) => vm.moveAgain(server)))
  for (const vm of vms) {
    expect([vm.seen, filesOf(dataDir, vm.id).toString()]).toEqual(['before;between;after', 'before;between;after'])
    expect(await server.port(vm.id)).toMatchObject({ state: 'online', vmotions: 1, bytesFromVm: 20 })
  }
})

test('the destination runs the VM although it never said COMPLETE: its new connection gets the port, with its history', async () => {
  const dataDir = temporary()
  const { id } = uuidOf(1)
  let server = await ServerProcess.start(dataDir, { limits: LIMITS })
  const source = await Host.boot(server, 1)
  const first = await Watcher.attach(server, id, 0)
  source.print('on the source;')
  await first.reaches(14)
  await peerOk(source, server)
  await server.kill()
  server = await ServerProcess.start(dataDir, { limits: LIMITS })
  const seen: Buffer[] = []
  const watcher = await Watcher.attach(server, id, 0, (bytes) => seen.push(bytes))
  // The source's host has not noticed yet that its VM is gone; the newest connection wins.
  const stale = await Host.boot(server, 1)
  const destination = await Host.boot(server, 1)
  stale.socket.end()
  destination.print('on the destination')
  await watcher.reaches(32)
  expect(await server.metric('vspc_takeovers_total')).toBe(1)
  expect(Buffer.concat(seen).toString()).toBe('on the source;on the destination')
  expect(filesOf(dataDir, id).toString()).toBe('on the source;on the destination')
  expect(await server.ports()).toHaveLength(1)
})
