/** The vSphere simulator (govmomi's vcsim), unmodified, on a free port of 127.0.0.1, for one test file. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { peerPath } from './peers.ts'

export interface VcsimOptions {
  /** VMs per resource pool; there are two pools. Default 2. */
  readonly vms?: number
  /** Hosts of the one cluster; another one stands alone. Default 3. */
  readonly hosts?: number
  readonly user?: string
  readonly password?: string
  /** PEM files; default: a certificate that the simulator makes up. */
  readonly cert?: string
  readonly key?: string
  /** A lone host instead of a vCenter. */
  readonly esx?: boolean
  /** Such as `Login:200`. Milliseconds. */
  readonly methodDelay?: string
}

/** The simulator takes no `@` in names. */
export const VCSIM_USER = 'vspc'
export const VCSIM_PASSWORD = 'pass <&>"w0rd'

export class Vcsim {
  /** `https://127.0.0.1:PORT/sdk`. */
  readonly url: string
  readonly tcpPort: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, tcpPort: number) {
    this.#child = child
    this.tcpPort = tcpPort
    this.url = `https://127.0.0.1:${tcpPort}/sdk`
  }

  static async start(options: VcsimOptions = {}): Promise<Vcsim> {
    const { vms = 2, hosts = 3, user = VCSIM_USER, password = VCSIM_PASSWORD } = options
    const flags = ['-l', '127.0.0.1:0', '-vm', String(vms), '-host', String(hosts)]
    flags.push('-username', user, '-password', password)
    if (options.cert !== undefined && options.key !== undefined) {
      flags.push('-tlscert', options.cert, '-tlskey', options.key)
    }
    if (options.esx === true) flags.push('-esx')
    if (options.methodDelay !== undefined) flags.push('-method-delay', options.methodDelay)
    const child = spawn(peerPath('vcsim'), flags, { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    const tcpPort = await new Promise<number>((resolve, reject) => {
      const listen = (chunk: Buffer): void => {
        // Bounded: it goes on talking.
        said = (said + chunk.toString()).slice(-4_000)
        const port = /GOVC_URL=https:\/\/\S*@127\.0\.0\.1:(\d+)\/sdk/.exec(said)?.[1]
        if (port !== undefined) resolve(Number(port))
      }
      child.stdout.on('data', listen)
      child.stderr.on('data', listen)
      child.on('error', reject)
      child.on('exit', () => reject(new Error(`vcsim ended: ${said}`)))
    })
    return new Vcsim(child, tcpPort)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }
}
