import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock, type Timer } from '../base/index.ts'
import { BackendGuest, parseSimTarget, type QemuGuest, type SimHost, SimVm, startQemuGuest } from '../sim/index.ts'

/** A real Linux in QEMU, its serial port behind a simulated host that speaks option 232 and migrates it. */
export class DemoGuest {
  readonly #folder: string
  readonly #qemu: QemuGuest
  readonly #vm: SimVm
  readonly #hosts: readonly [SimHost, SimHost]
  readonly #everyMs: number
  #timer: Timer | null = null

  private constructor(folder: string, qemu: QemuGuest, vm: SimVm, hosts: readonly [SimHost, SimHost], everyMs: number) {
    this.#folder = folder
    this.#qemu = qemu
    this.#vm = vm
    this.#hosts = hosts
    this.#everyMs = everyMs
  }

  /**
   * Boots the guest and connects it as VM `name`. All its files are in a folder of its own that `stop` removes.
   * @throws VspcError VSPC_DEMO_PEER_MISSING.
   */
  static async start(options: { name: string; target: string; everyMs: number }): Promise<DemoGuest> {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-demo-'))
    try {
      const socket = join(folder, 'serial.sock')
      const qemu = await startQemuGuest({ serial: [`unix:${socket},server=on,wait=off`], cacheDir: folder })
      const hosts = [
        { name: 'esx-qemu-1', localAddress: '127.0.2.1' },
        { name: 'esx-qemu-2', localAddress: '127.0.2.2' },
      ] as const
      const vm = new SimVm({
        name: options.name,
        target: parseSimTarget(options.target),
        host: hosts[0],
        ports: [{ guest: new BackendGuest(`unix://${socket}`) }],
        recordInput: false,
      })
      const guest = new DemoGuest(folder, qemu, vm, hosts, options.everyMs)
      await vm.powerOn()
      guest.#scheduleMove()
      return guest
    } catch (error) {
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  }

  get ended(): Promise<void> {
    return this.#qemu.ended
  }

  async stop(): Promise<void> {
    this.#timer?.cancel()
    await this.#vm.close()
    await this.#qemu.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #scheduleMove(): void {
    this.#timer = systemClock.after(this.#everyMs, () => {
      const to = this.#vm.host === this.#hosts[0] ? this.#hosts[1] : this.#hosts[0]
      this.#vm.migrate({ to, stunMs: 100 }).then(
        () => this.#scheduleMove(),
        // Between two connections there is nothing to move: the next round tries again.
        () => this.#scheduleMove(),
      )
    })
  }
}
