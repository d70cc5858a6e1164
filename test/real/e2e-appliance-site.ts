/** Where an appliance moves about: vCenter, ESXi hosts with their relays, the appliance, and the VMs that follow it. */
import { chmodSync, writeFileSync } from 'node:fs'
import { expect, onTestFinished } from 'vitest'
import {
  connect,
  type Element,
  list,
  type ManagedRef,
  readSerialPorts,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import type { CertificateFiles } from '../support/certificates.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { addPorts, clusterHosts, forAll, relocate, rename, type SimHost } from '../support/vcsim-fleet.ts'
import type { GuestReport, HostNews } from './e2e-appliance-esxi.ts'
import { bundledEsxi, EsxiHost, startRelay, TCP_PORTS, VsocketLeg } from './e2e-appliance-support.ts'
import { type Reconfiguration, VcenterEvents } from './e2e-appliance-vcenter.ts'
import { type NetworkHost, networkHosts } from './network-hosts.ts'
import { type ServeProcess, serve, temporary } from './support.ts'

const APPLIANCE = 'DC0_C0_RP0_VM0'
const HOSTS = 3
/** VMs with such a port that nobody selects. */
const DECOYS = 3
export const SERVICE_URI = 'vspc'

export interface SiteOptions {
  readonly vms: number
  /** Between relays. */
  readonly peers: 'tcp' | 'tls'
  readonly vcenter: CertificateFiles
  readonly relays: CertificateFiles
}

/** A VM that follows the appliance. */
export interface ContainerVm {
  readonly ref: ManagedRef
  readonly name: string
  /** Of the instance; the id of its port. */
  readonly uuid: string
  /** Of {@link Site.hosts}: it stays there. */
  readonly host: number
  /** Of its serial port. */
  readonly key: number
  /** What vCenter has made of the port, as its host was told. */
  connected: boolean
  proxyURI: string
  /** Where the host has it attached, and since when; milliseconds since 1970. */
  attachedTo: string
  attachedAt: number
  /** What was done to it, in order. */
  readonly changes: Reconfiguration[]
}

export class Site {
  readonly #options: SiteOptions
  readonly #dir = temporary()
  readonly hosts: readonly NetworkHost[]
  readonly legs: readonly VsocketLeg[]
  readonly vms = new Map<string, ContainerVm>()
  /** Reconfigurations of VMs that nobody has selected. */
  readonly stray: Reconfiguration[] = []
  readonly refused: string[] = []
  readonly #byRef = new Map<string, ContainerVm>()
  readonly #esxi: EsxiHost[] = []
  readonly #wakers = new Set<() => void>()
  #simHosts: readonly SimHost[] = []
  #sim: Vcsim | null = null
  #session: VsphereSession | null = null
  #server: ServeProcess | null = null
  #appliance: ManagedRef | null = null
  /** Where the appliance is; of {@link hosts}. */
  at = 0

  private constructor(options: SiteOptions) {
    this.#options = options
    this.hosts = networkHosts(HOSTS, { reachable: true })
    this.legs = this.hosts.map((_, at) => new VsocketLeg(`${this.#dir}/leg${at}.sock`, `${this.#dir}/appliance.sock`))
  }

  /** Everything runs, the appliance is on the first host, and every VM is attached by way of the relay there. */
  static async make(options: SiteOptions): Promise<Site> {
    const site = new Site(options)
    await Promise.all([site.#startVcenter().then(() => site.#placeVms()), site.#startHosts()])
    await site.#startAppliance()
    return site
  }

  get server(): ServeProcess {
    return present(this.#server)
  }

  get #vcenter(): VsphereSession {
    return present(this.#session)
  }

  #simHost(at: number): SimHost {
    return present(this.#simHosts[at])
  }

  proxyAt(host: number): string {
    return `telnet://${present(this.hosts[host]).address}:${TCP_PORTS.vms}`
  }

  #hop(address: string): string {
    const { peers, relays } = this.#options
    const secure = peers === 'tls' ? `cert=${relays.cert}&key=${relays.key}&pin=sha256:${relays.sha256}&` : ''
    return `${peers}://${address}:${TCP_PORTS.peers}?${secure}proxy=v2&resume=on`
  }

  async #startVcenter(): Promise<void> {
    const { vms, vcenter } = this.#options
    // Half of them are not in the cluster.
    const sim = await Vcsim.start({
      vms: (vms + 1 + DECOYS + 1) >> 1,
      hosts: HOSTS,
      cert: vcenter.cert,
      key: vcenter.key,
    })
    onTestFinished(() => sim.stop())
    this.#sim = sim
    const session = await connect({
      url: sim.url,
      user: VCSIM_USER,
      password: () => VCSIM_PASSWORD,
      pin: vcenter.sha256,
    })
    onTestFinished(() => session.close())
    this.#session = session
    this.#simHosts = await clusterHosts(session)
    expect(this.#simHosts).toHaveLength(HOSTS)
  }

  async #startHosts(): Promise<void> {
    const { peers, relays } = this.#options
    const hop = this.#hop(present(this.hosts[0]).address)
    const program = await bundledEsxi(this.#dir)
    await Promise.all(
      this.hosts.map((host, at) =>
        startRelay(host, { dir: this.#dir, own: relays, leg: present(this.legs[at]).path, hop, peers }),
      ),
    )
    for (const host of this.hosts) this.#esxi.push(new EsxiHost(host, program, (news) => this.#heard(news)))
  }

  /** Each has its port at the relay of the first host; so have some that nobody selects. */
  async #placeVms(): Promise<void> {
    const session = this.#vcenter
    const found = await list(session, 'VirtualMachine', ['name', 'runtime.host', 'config.instanceUuid'])
    const all = found
      .map(({ ref, properties }) => ({
        ref,
        name: properties.get('name')?.text ?? '',
        uuid: properties.get('config.instanceUuid')?.text ?? '',
        on: properties.get('runtime.host')?.text ?? '',
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
    const [appliance, ...others] = [
      ...all.filter(({ name }) => name === APPLIANCE),
      ...all.filter(({ name }) => name !== APPLIANCE),
    ]
    this.#appliance = present(appliance).ref
    const chosen = others.slice(0, this.#options.vms)
    const rest = others.slice(this.#options.vms)
    expect(rest.length).toBeGreaterThanOrEqual(DECOYS)
    await relocate(session, this.#appliance, this.#simHost(0).ref)
    await forAll(rest, ({ ref }, at) => rename(session, ref, `other-${at + 1}`))
    const placed = chosen.map((vm, at) => {
      const here = this.#simHosts.findIndex(({ ref }) => ref.value === vm.on)
      return { ...vm, host: here < 0 ? at % HOSTS : here, away: here < 0 }
    })
    await forAll(
      placed.filter(({ away }) => away),
      ({ ref, host }) => relocate(session, ref, this.#simHost(host).ref),
    )
    const proxyURI = this.proxyAt(0)
    const port = { serviceURI: SERVICE_URI, direction: 'client', proxyURI } as const
    await addPorts(
      session,
      all.map(({ ref }) => ref),
      () => port,
    )
    // A second one without a proxy is none of the tracker's business.
    const second = { serviceURI: 'telnet://:7001', direction: 'server', proxyURI: null } as const
    await addPorts(
      session,
      placed.filter((_, at) => at % 10 === 0).map(({ ref }) => ref),
      () => second,
    )
    const keys = new Map<string, number>()
    for (const { ref, properties } of await list(session, 'VirtualMachine', ['config.hardware.device'])) {
      keys.set(ref.value, readSerialPorts(properties.get('config.hardware.device'))[0]?.key ?? -1)
    }
    for (const { ref, name, uuid, host } of placed) {
      const key = present(keys.get(ref.value))
      const state = { connected: true, proxyURI, attachedTo: '', attachedAt: 0, changes: [] }
      const vm: ContainerVm = { ref, name, uuid, host, key, ...state }
      this.vms.set(name, vm)
      this.#byRef.set(ref.value, vm)
    }
  }

  /** It follows itself, and takes the VMs along. */
  async #startAppliance(): Promise<void> {
    const { url } = present(this.#sim)
    const { vcenter, relays } = this.#options
    const events = await VcenterEvents.follow(url, VCSIM_USER, VCSIM_PASSWORD, (change) => this.#reconfigured(change))
    onTestFinished(() => events.stop())
    const passwordFile = `${this.#dir}/password`
    writeFileSync(passwordFile, VCSIM_PASSWORD)
    chmodSync(passwordFile, 0o600)
    const secure = `cert=${relays.cert}&key=${relays.key}&pin=sha256:${relays.sha256}`
    const config = {
      listen: [`unix://${this.#dir}/appliance.sock?proxy=v2&resume=on`],
      dataDir: `${this.#dir}/data`,
      vsphere: { url, user: VCSIM_USER, passwordFile, pin: `sha256:${vcenter.sha256}` },
      track: {
        appliance: APPLIANCE,
        vms: ['DC0_*'],
        proxyUri: `telnet://{relay}:${TCP_PORTS.vms}`,
        relays: Object.fromEntries(this.hosts.map(({ address }, at) => [this.#simHost(at).name, address])),
        nextHops: this.hosts.map(
          ({ address }) => `tls://${address}:${TCP_PORTS.control}?${secure}#appliance=${this.#hop('{relay}')}`,
        ),
      },
    }
    const file = `${this.#dir}/vspc.yaml`
    writeFileSync(file, JSON.stringify(config))
    this.#server = await serve('--config', file)
    await present(this.legs[0]).begin()
    for (const vm of this.vms.values()) this.#order(vm)
    await this.until('all are attached', () => this.settled)
  }

  #order({ host, name: vm, uuid, connected, proxyURI, changes }: ContainerVm): void {
    present(this.#esxi[host]).order({ vm, turn: changes.length, uuid, connected, proxyURI })
  }

  /** The only way in which a host hears of it. */
  #reconfigured(change: Reconfiguration): void {
    const vm = this.#byRef.get(change.vm)
    if (vm === undefined) {
      this.stray.push(change)
      return
    }
    vm.changes.push(change)
    vm.connected = change.connected
    vm.proxyURI = change.proxyURI ?? ''
    vm.attachedTo = ''
    this.#order(vm)
    this.#poke()
  }

  #heard({ kind, vm: name, turn, proxyURI, at }: Exclude<HostNews, { kind: 'finished' }>): void {
    const vm = present(this.vms.get(name))
    if (kind === 'refused') this.refused.push(name)
    // It was given another order meanwhile.
    if (turn !== vm.changes.length) return
    vm.attachedTo = kind === 'attached' ? proxyURI : ''
    vm.attachedAt = at
    this.#poke()
  }

  #poke(): void {
    for (const wake of this.#wakers) wake()
  }

  /** Asked at all news from vCenter and the hosts. */
  async until(what: string, holds: () => boolean, withinMs = 40_000): Promise<void> {
    if (holds()) return
    await new Promise<void>((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer)
        this.#wakers.delete(wake)
      }
      const wake = (): void => {
        if (!holds()) return
        settle()
        resolve()
      }
      const timer = setTimeout(() => {
        settle()
        reject(new Error(`not within ${withinMs} ms: ${what}; ${this.#complaint()}`))
      }, withinMs)
      this.#wakers.add(wake)
    })
  }

  #complaint(): string {
    const proxyURI = this.proxyAt(this.at)
    const open = [...this.vms.values()].filter((vm) => vm.attachedTo !== proxyURI)
    const shown = open
      .slice(0, 5)
      .map(
        (vm) => `${vm.name} is ${vm.connected ? '' : 'not '}connected to ${vm.proxyURI}, attached to ${vm.attachedTo}`,
      )
    return [`${open.length} VMs are not at ${proxyURI}`, ...shown, ...this.#esxi.map((one) => one.complaints)].join(
      '; ',
    )
  }

  /** Every VM is attached by way of the relay where the appliance is. */
  get settled(): boolean {
    const proxyURI = this.proxyAt(this.at)
    return [...this.vms.values()].every((vm) => vm.connected && vm.proxyURI === proxyURI && vm.attachedTo === proxyURI)
  }

  get changes(): number {
    return [...this.vms.values()].reduce((sum, { changes }) => sum + changes.length, 0)
  }

  /** Milliseconds since 1970. */
  get lastAttachedAt(): number {
    return Math.max(...[...this.vms.values()].map(({ attachedAt }) => attachedAt))
  }

  /** As vMotion does it: nothing moves for a moment. vCenter tells of it a little before that, or a little after. */
  async move(to: number, random: () => number): Promise<void> {
    const early = random() < 0.5
    const told = (): Promise<void> => relocate(this.#vcenter, present(this.#appliance), this.#simHost(to).ref)
    if (early) await told()
    present(this.legs[this.at]).freeze()
    await pause(20 + random() * 130)
    present(this.legs[this.at]).end()
    await present(this.legs[to]).begin()
    if (!early) await told()
    this.at = to
  }

  /** Name of the host on which vCenter has the appliance. */
  get hostName(): string {
    return this.#simHost(this.at).name
  }

  /** Devices of all VMs, by name. */
  async devices(): Promise<Map<string, readonly Element[]>> {
    const all = await list(this.#vcenter, 'VirtualMachine', ['name', 'config.hardware.device'])
    return new Map(
      all.map(({ properties }) => [
        properties.get('name')?.text ?? '',
        properties.get('config.hardware.device')?.children ?? [],
      ]),
    )
  }

  /** The guests print nothing more. */
  async finish(): Promise<GuestReport[]> {
    return (await Promise.all(this.#esxi.map((one) => one.finish()))).flat()
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

function present<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error('not there')
  return value
}
