/** A real simulator behind a proxy that fails, and a way around the proxy to see what really became of the VMs. */
import { systemClock } from '../../src/base/index.ts'
import {
  ApplianceHost,
  type Failure,
  fillProxyTemplate,
  parseProxyTemplate,
  type RetargetEvent,
  Retargeter,
  type RetargetTimes,
} from '../../src/vmotion/index.ts'
import { type ConnectOptions, connect, VsphereInventory, type VsphereSession } from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'

/** Short enough for tests, in the same proportions as the real ones. */
export const QUICK = { retryMinMs: 10, retryMaxMs: 100, requestMs: 3_000, keepAliveMs: 500, loginPauseMs: 100 } as const

export class FaultyVcenter {
  readonly certificates: TestCertificates
  readonly certificate: CertificateFiles
  readonly sim: Vcsim
  readonly proxy: FaultProxy
  /** Goes around the proxy. */
  readonly direct: VsphereSession
  readonly #open: (() => unknown)[] = []

  private constructor(parts: Pick<FaultyVcenter, 'certificates' | 'certificate' | 'sim' | 'proxy' | 'direct'>) {
    this.certificates = parts.certificates
    this.certificate = parts.certificate
    this.sim = parts.sim
    this.proxy = parts.proxy
    this.direct = parts.direct
  }

  /** @param vms of each of two pools. */
  static async start(vms = 2): Promise<FaultyVcenter> {
    const certificates = await TestCertificates.create()
    const certificate = await certificates.selfSigned('vcenter')
    const sim = await Vcsim.start({ vms, cert: certificate.cert, key: certificate.key })
    const proxy = await FaultProxy.start(sim.tcpPort, certificate)
    const direct = await connect({ url: sim.url, ...login(certificate) })
    return new FaultyVcenter({ certificates, certificate, sim, proxy, direct })
  }

  /** Through the proxy. */
  options(more: Partial<ConnectOptions> = {}): ConnectOptions {
    return { url: this.proxy.url, ...login(this.certificate), limits: QUICK, ...more }
  }

  async session(more: Partial<ConnectOptions> = {}): Promise<VsphereSession> {
    const session = await connect(this.options(more))
    this.later(() => session.close())
    return session
  }

  /** Done by `tidy`, last first. */
  later(close: () => unknown): void {
    this.#open.push(close)
  }

  /** After each test: all goes well again. */
  async tidy(): Promise<void> {
    this.proxy.heal()
    for (const close of this.#open.splice(0).reverse()) await close()
    this.proxy.upstream = this.sim.tcpPort
    this.proxy.present(this.certificate)
    this.proxy.calls.length = 0
  }

  async stop(): Promise<void> {
    await this.direct.close()
    await this.proxy.stop()
    await this.sim.stop()
    await this.certificates.remove()
  }
}

function login(certificate: CertificateFiles): Omit<ConnectOptions, 'url'> {
  return { user: VCSIM_USER, password: () => VCSIM_PASSWORD, pin: certificate.sha256 }
}

const TEMPLATE = parseProxyTemplate('telnet://{host}:13370')
export const proxyOf = (host: string): string => `telnet://${host}:13370`

/** Tracker and re-pointing of all VMs but the appliance, through the proxy. Ends with `tidy`. */
export class Following {
  /** Names of the hosts that were announced. */
  readonly moves: string[] = []
  readonly events: RetargetEvent[] = []
  readonly troubles: Failure[] = []
  readonly retargeter: Retargeter
  readonly follower: ApplianceHost
  #wake = (): void => {}

  /** @param selector of the appliance. */
  constructor(vcenter: FaultyVcenter, selector: string, times: Partial<RetargetTimes>, name = selector) {
    const inventory = new VsphereInventory({
      connect: (signal, guard) => connect({ ...vcenter.options(), signal, guard }),
      loginPauseMs: QUICK.loginPauseMs,
    })
    vcenter.later(() => inventory.close())
    this.retargeter = new Retargeter({
      inventory,
      selects: (vm) => vm.name !== name,
      wanted: { folders: false, resourcePools: false, customValues: false },
      choice: {},
      proxyURI: (place) => fillProxyTemplate(TEMPLATE, place),
      clock: systemClock,
      random: () => 0.5,
      times,
      onEvent: (event) => {
        this.events.push(event)
        this.#wake()
      },
    })
    vcenter.later(() => this.retargeter.stop(100))
    this.follower = new ApplianceHost({
      inventory,
      selector,
      clock: systemClock,
      random: () => 0.5,
      times: { settleMs: 5, resyncMs: 1_000, retryMinMs: 10, retryMaxMs: 100, callMs: 3_000 },
      onMove: ({ to }) => {
        this.moves.push(to.name)
        this.retargeter.point(to)
        this.#wake()
      },
      onTrouble: (failure) => {
        this.troubles.push(failure)
        this.#wake()
      },
      onWell: () => this.#wake(),
    })
    vcenter.later(() => this.follower.stop())
    this.follower.start()
  }

  readonly until = async (test: () => boolean): Promise<void> => {
    while (!test()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  readonly settledAt = (host: string) => (): boolean =>
    this.retargeter.status.settled &&
    this.retargeter.status.place?.name === host &&
    this.follower.status.host?.name === host
}
