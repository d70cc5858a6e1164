/** Issue: history on disk. Nothing that was shown is lost, doubled or moved by the end of the process. */
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import {
  Command,
  eventually,
  FrontDoor,
  filesOf,
  Host,
  randomFrom,
  readLog,
  ServerProcess,
  Stream,
  temporary,
  uuidOf,
  Watcher,
} from './history-support.ts'

/** On a busy machine a write may take long: here it is waited for, since what is shown early a crash may lose. */
const PATIENT = { historyVisibleMs: 10_000, drainMs: 2_000 }

/** One VM over several runs of the server: what its history has to hold, and whether what readers get is that. */
class Vm {
  readonly id: string
  readonly stream: Stream
  host: Host | null = null
  /** Where each run began: in history, and in what the VM prints. What was in flight in between is gone. */
  readonly #runs: { at: number; position: number }[] = []
  #position = 0
  wrong: string | null = null
  readonly n: number

  constructor(n: number) {
    this.n = n
    this.id = uuidOf(n).id
    this.stream = new Stream(n)
  }

  /** @param at where history stands. */
  async connect(server: ServerProcess, at: number): Promise<void> {
    this.#position = Math.max(this.#position, this.host?.position ?? 0)
    this.host = await Host.boot(server, this.n)
    this.host.position = this.#position
    this.#runs.push({ at, position: this.#position })
  }

  /** Notes the first byte that is not the one of its offset. */
  readonly check = (bytes: Buffer, offset: number): void => {
    if (this.wrong !== null) return
    for (let done = 0; done < bytes.length; ) {
      const index = this.#runs.findLastIndex(({ at }) => at <= offset + done)
      const run = this.#runs[index] as { at: number; position: number }
      const end = Math.min(bytes.length, (this.#runs[index + 1]?.at ?? Number.POSITIVE_INFINITY) - offset)
      const position = run.position + offset + done - run.at
      const wrong = this.stream.firstWrong(position, bytes.subarray(done, end))
      if (wrong !== null) {
        this.wrong = `byte at ${offset + done + wrong} (run ${index})`
        return
      }
      done = end
    }
  }
}

/** A console that goes on where it was, from server to server. */
class Follower {
  readonly vm: Vm
  watcher: Watcher | null = null
  offset = 0
  epoch: string | undefined
  /** Called when it was shown something. */
  onOutput: () => void = () => {}
  readonly #slow: boolean

  constructor(vm: Vm, slow: boolean) {
    this.vm = vm
    this.#slow = slow
  }

  async attach(server: ServerProcess): Promise<void> {
    const from = this.offset
    const watcher = await Watcher.attach(server, this.vm.id, from, (bytes, offset, self) => {
      this.vm.check(bytes, offset)
      this.offset = offset + bytes.length
      this.onOutput()
      if (!this.#slow) return
      self.socket.pause()
      void nextTurn().then(() => self.socket.resume())
    })
    expect(watcher.told('attached')[0]?.offset).toBe(from)
    this.epoch ??= watcher.epoch
    expect(watcher.epoch).toBe(this.epoch)
    this.watcher = watcher
  }
}

describe('all that a VM sends', () => {
  test('is in its file and in every way to read it, 8-bit clean, however it is cut into chunks', async () => {
    const dataDir = temporary()
    const server = await ServerProcess.start(dataDir, { limits: PATIENT })
    const vm = new Vm(1)
    await vm.connect(server, 0)
    const live = new Follower(vm, false)
    await live.attach(server)
    const bytes = 3_000_000
    const random = randomFrom(7)
    // Chunks of one byte as well as large ones.
    vm.host?.printFast(vm.stream, bytes, (below) => random(random(2) === 0 ? 3 : below))
    await live.watcher?.reaches(bytes)
    const file = filesOf(dataDir, vm.id)
    expect([file.length, vm.stream.firstWrong(0, file), vm.wrong]).toEqual([bytes, null, null])
    for (const [query, start, end] of [
      ['', 0, bytes],
      ['?start=1', 1, bytes],
      ['?start=1048575&limit=2', 1_048_575, 1_048_577],
      ['?start=-1', bytes - 1, bytes],
    ] as const) {
      const log = await server.log(vm.id, query)
      expect([log.start, log.next, log.epoch]).toEqual([start, end, live.epoch])
      expect(log.body.equals(file.subarray(start, end))).toBe(true)
    }
    for (const from of [0, 1, 262_144, -5]) {
      const begin = from < 0 ? bytes + from : from
      const pieces: Buffer[] = []
      const watcher = await Watcher.attach(server, vm.id, from, (piece) => pieces.push(piece))
      await watcher.reaches(bytes)
      expect(watcher.told('attached')[0]?.offset).toBe(begin)
      expect(Buffer.concat(pieces).equals(file.subarray(begin))).toBe(true)
    }
  })
})

describe('kill -9 while VMs print as fast as they can', () => {
  test('no byte that anybody has seen is missing afterwards, doubled, or at another offset', async () => {
    const dataDir = temporary()
    const random = randomFrom(9)
    const followed = new Vm(1)
    const alone = new Vm(2)
    const chatting = new Vm(3)
    const vms = [followed, alone, chatting]
    const chat = new Follower(chatting, false)
    const followers = [new Follower(followed, false), new Follower(followed, true), chat]
    let logOffset = 0
    for (let run = 0; run < 4; run++) {
      const server = await ServerProcess.start(dataDir, { limits: PATIENT })
      for (const vm of vms) {
        const at = run === 0 ? 0 : filesOf(dataDir, vm.id).length
        if (run > 0) {
          expect(await server.port(vm.id)).toMatchObject({ state: 'offline', bytesFromVm: at, historyStart: 0 })
        }
        await vm.connect(server, at)
      }
      for (const follower of followers) await follower.attach(server)
      const before = followers.map((follower) => follower.offset)
      for (const { host, stream } of [followed, alone]) {
        host?.printFast(stream, host.position + 5_000_000, random)
      }
      const log = readLog(server, followed.id, logOffset, followed.check)
      // This VM says something whenever the last of it was shown; and the moment that is shown is the last of the server.
      const enough = 300_000 + random(1_500_000)
      const say = () => {
        const host = chatting.host as Host
        host.printFast(chatting.stream, host.position + 1 + random(200), random)
      }
      chat.onOutput = () => {
        const inTheMiddle = followers.every((one, i) => one === chat || one.offset > (before[i] as number) + enough)
        if (inTheMiddle) server.child.kill('SIGKILL')
        else say()
      }
      say()
      await server.exited
      // What is still in the sockets was shown, too.
      await eventually(
        () => 'all have read what they were sent',
        () => followers.every(({ watcher }) => watcher?.closed),
      )
      logOffset = (await log).next
      expect(logOffset).toBeLessThanOrEqual(filesOf(dataDir, followed.id).length)
      for (const { vm, offset } of followers) {
        expect(offset).toBeLessThanOrEqual(filesOf(dataDir, vm.id).length)
        expect(vm.wrong).toBeNull()
      }
    }
    chat.onOutput = () => {}
    // The last of them stops in peace.
    const server = await ServerProcess.start(dataDir, { limits: PATIENT })
    for (const follower of followers) await follower.attach(server)
    for (const vm of vms) {
      const file = filesOf(dataDir, vm.id)
      vm.check(file, 0)
      expect(vm.wrong).toBeNull()
      const log = await server.log(vm.id)
      expect(log.body.equals(file)).toBe(true)
      for (const follower of followers) if (follower.vm === vm) await follower.watcher?.reaches(file.length)
    }
    // What one reader of the log got in five pieces.
    const rest = await readLog(server, followed.id, logOffset, followed.check)
    expect([rest.whole, rest.next, followed.wrong]).toEqual([true, filesOf(dataDir, followed.id).length, null])
    expect(await server.stop()).toEqual({ code: 0, signal: null })
  })
})

describe('SIGTERM', () => {
  test('what was printed is there afterwards, to the last byte, followed or not; offsets go on', async () => {
    const dataDir = temporary()
    const vms = [new Vm(1), new Vm(2)]
    let printed = 0
    for (let run = 0; run < 3; run++) {
      const server = await ServerProcess.start(dataDir, { limits: PATIENT })
      for (const vm of vms) await vm.connect(server, printed)
      const follower = new Follower(vms[0] as Vm, false)
      follower.offset = printed
      await follower.attach(server)
      printed += 2_000_000
      for (const { host, stream } of vms) host?.printFast(stream, printed, randomFrom(run))
      // With the server, but not on disk for certain: nobody follows the second one.
      await eventually(
        () => 'all has come',
        async () => (await server.ports()).every((port) => port.bytesFromVm === printed),
      )
      const { exited } = server
      server.child.kill('SIGTERM')
      await once(follower.watcher?.socket as NonNullable<Watcher['socket']>, 'close')
      expect(await exited).toEqual({ code: 0, signal: null })
      for (const vm of vms) {
        const file = filesOf(dataDir, vm.id)
        vm.check(file, 0)
        expect([file.length, vm.wrong]).toEqual([printed, null])
      }
    }
  })
})

describe('vspc attach and vspc log -f', () => {
  test('go on by offset through SIGTERM and kill -9: their output is what the log says, byte for byte', async () => {
    const dataDir = temporary()
    const door = await FrontDoor.open()
    const { id } = uuidOf(1)
    let server = await ServerProcess.start(dataDir, { limits: PATIENT })
    door.server = server
    let host = await Host.boot(server, 1)
    host.print('booting\r\n')
    await eventually(
      () => 'it is shown',
      async () => (await server.log(id)).body.length === 9,
    )
    const commands = [
      new Command(['attach', '-s', '-q', '--from', '0', '--server', door.url, 'vm1']),
      new Command(['log', '-f', '--server', door.url, 'vm1']),
    ]
    const stream = new Stream(3)
    let position = 0
    // From its first attachment on a command outlives servers.
    await eventually(
      () => 'both are attached',
      async () => (await server.port(id)).consoles === 2,
    )
    for (const end of ['SIGTERM', 'SIGKILL'] as const) {
      host.position = position
      const seen = commands.map(({ length }) => length)
      host.printFast(stream, position + 3_000_000, randomFrom(5))
      await eventually(
        () => 'both have printed something',
        () => commands.every(({ length }, i) => length > (seen[i] as number) + 500_000),
      )
      door.server = null
      server.child.kill(end)
      await server.exited
      position = host.position
      server = await ServerProcess.start(dataDir, { limits: PATIENT })
      host = await Host.boot(server, 1)
      door.server = server
    }
    host.print('the end\r\n')
    let whole: Buffer = Buffer.alloc(0)
    await eventually(
      () => 'the last line is shown',
      async () => {
        whole = (await server.log(id)).body
        return whole.subarray(-9).toString() === 'the end\r\n'
      },
    )
    for (const command of commands) {
      await eventually(
        () => `${command.length} of ${whole.length}: ${command.stderr}`,
        () => command.length >= whole.length,
      )
      expect(command.stdout.equals(whole)).toBe(true)
    }
    const log = new Command(['log', '--server', door.url, '--from', '1000', 'vm1'])
    expect(await log.exited).toBe(0)
    expect(log.stdout.equals(whole.subarray(1000))).toBe(true)
  })
})
