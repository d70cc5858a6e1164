/** The VMs and consoles of one generator process. */
import { RawConsole } from './raw-console.ts'
import { addressOf, type Dialogue, openingOf, RawVm } from './raw-vm.ts'
import { uuidOf } from './wire.ts'

export interface ConnectParameters {
  readonly tcpPort: number
  /** Numbers of the VMs: `first` and on. */
  readonly first: number
  readonly count: number
  readonly atOnce: number
  readonly dialogue: Dialogue
}

export interface AttachParameters {
  readonly httpPort: number
  readonly bare: boolean
  /** To the VMs at these places, in the order in which they were connected. */
  readonly from: number
  readonly count: number
  readonly mode: 'read' | 'write'
  /** False: these consoles never read. */
  readonly read: boolean
}

const LINE = Buffer.from('login: \r\n')

export class Fleet {
  vms: RawVm[] = []
  consoles: RawConsole[] = []

  /** Adds VMs, `atOnce` at a time. */
  async connect({ tcpPort, first, count, atOnce, dialogue }: ConnectParameters): Promise<{ seconds: number }> {
    const began = performance.now()
    const start = this.vms.length
    this.vms.length = start + count
    let next = 0
    const worker = async () => {
      while (next < count) {
        const place = next++
        const index = first + place
        const vm = new RawVm(index, tcpPort, addressOf(index), openingOf(index, dialogue))
        this.vms[start + place] = vm
        await vm.accepted()
      }
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
    return { seconds: (performance.now() - began) / 1000 }
  }

  /** Resets everything. */
  async drop(): Promise<void> {
    for (const console of this.consoles) console.socket.reset()
    for (const vm of this.vms) vm.socket.reset()
    this.consoles = []
    this.vms = []
  }

  async attach({ httpPort, bare, from, count, mode, read }: AttachParameters): Promise<void> {
    for (let place = from; place < from + count; place++) {
      const vm = this.vm(place)
      const path = bare
        ? `/console/${vm.address}:${vm.socket.localPort}`
        : `/api/v1/ports/${uuidOf(vm.index)}/console?mode=${mode}`
      const console = new RawConsole(httpPort, path, addressOf(place), read)
      this.consoles.push(console)
      await console.attached()
    }
  }

  vm(place: number): RawVm {
    const vm = this.vms[place]
    if (vm === undefined) throw new Error(`there is no VM at place ${place}`)
    return vm
  }

  console(place: number): RawConsole {
    const console = this.consoles[place]
    if (console === undefined) throw new Error(`there is no console at place ${place}`)
    return console
  }

  /** Every VM prints one line. */
  async printLine(): Promise<void> {
    for (const vm of this.vms) vm.socket.write(LINE)
  }

  /** VMs whose connection still stands. */
  async count(): Promise<{ open: number }> {
    return { open: this.vms.filter((vm) => vm.socket.open).length }
  }
}
