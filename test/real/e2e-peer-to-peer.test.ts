/**
 * A relay on the VMs' host, relays on two hosts of the appliance, and the appliance, which moves: hosts are network
 * namespaces, the relay's leg into the appliance a Unix socket (AF_VSOCK has its own test, in a guest).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { VSPC_BIN } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { addAddresses, type NetworkHost, networkHosts } from './network-hosts.ts'
import { Output, type ServeProcess, serve, temporary, WsClient } from './support.ts'

vi.setConfig({ testTimeout: 120_000 })

const VM_COUNT = 200
const VMS = '10.213.100.'
const VMS_SCRIPT = fileURLToPath(new URL('./stream-vms.mjs', import.meta.url))
/** Sent to each VM by its console. */
const INPUT_BYTES = 40_000

let certificates: TestCertificates
let onVmHost: CertificateFiles
let onApplianceHosts: CertificateFiles
beforeAll(async () => {
  certificates = await TestCertificates.create()
  onVmHost = await certificates.selfSigned('vm-host')
  onApplianceHosts = await certificates.selfSigned('appliance-host')
})
afterAll(() => certificates.remove())

/** A program on a host. */
class HostProgram {
  readonly #child: ChildProcess
  readonly stdout: Output
  readonly stderr: Output
  readonly #exited: Promise<unknown>

  constructor(host: NetworkHost, command: readonly string[]) {
    const [program, ...args] = host.run(command)
    this.#child = spawn(program as string, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.stdout = new Output(`${command.slice(1, 3).join(' ')}, stdout`)
    this.stderr = new Output(`${command.slice(1, 3).join(' ')}, stderr`)
    this.#child.stdin?.on('error', () => {})
    this.#child.stdout?.on('data', (chunk: Buffer) => this.stdout.push(chunk))
    this.#child.stderr?.on('data', (chunk: Buffer) => this.stderr.push(chunk))
    this.#child.on('close', () => this.stdout.end())
    this.#exited = once(this.#child, 'exit')
    onTestFinished(() => this.kill())
  }

  async exitCode(): Promise<number | null> {
    await this.#exited
    return this.#child.exitCode
  }

  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  /** At once, as by a power cut: `ip netns exec` has become the program itself. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }
}

const vspc = (...args: string[]): string[] => [process.execPath, VSPC_BIN, ...args]

async function relay(host: NetworkHost, ...args: string[]): Promise<HostProgram> {
  const program = new HostProgram(host, vspc('relay', '--json', '--log-level', 'info', ...args))
  await program.stdout.until('\n').catch((error: Error) => {
    throw new Error(`${error.message}; on stderr: ${program.stderr.text}`)
  })
  return program
}

/** The whole arrangement, with VMs that print. */
class Arrangement {
  readonly server: ServeProcess
  readonly vms: HostProgram
  readonly #control: string
  readonly #first: NetworkHost
  readonly #appliance: string
  readonly #resume: string
  #relays: HostProgram[] = []

  private constructor(server: ServeProcess, vms: HostProgram, hosts: NetworkHost[], dir: string, resume: string) {
    this.server = server
    this.vms = vms
    this.#first = hosts[0] as NetworkHost
    this.#control = `unix://${dir}/control.sock`
    this.#appliance = `unix://${dir}/appliance.sock`
    this.#resume = resume
  }

  static async make(resume: 'on' | 'off'): Promise<{ arrangement: Arrangement; hosts: NetworkHost[] }> {
    const dir = temporary()
    const hosts = networkHosts(3)
    const [vmHost, hostB] = hosts as [NetworkHost, NetworkHost]
    addAddresses(vmHost, `${VMS}0/24`)
    const server = await serve(
      ...['--listen', `unix://${dir}/appliance.sock?protocol=raw&proxy=v2&resume=${resume}`],
      ...['--data-dir', `${dir}/data`],
    )
    const arrangement = new Arrangement(
      server,
      new HostProgram(vmHost, [process.execPath, VMS_SCRIPT, vmHost.address, '4000', String(VM_COUNT), VMS]),
      hosts,
      dir,
      resume,
    )
    await arrangement.startOn(hostB)
    await relay(
      vmHost,
      ...['--listen', `tcp://${vmHost.address}:4000`, '--dial', 'next-hop:appliance'],
      ...['--next-hop', `appliance=${arrangement.hop(hostB)}`, '--control', arrangement.#control],
    )
    await arrangement.vms.stdout.until('{"ready":true}\n')
    return { arrangement, hosts }
  }

  hop(host: NetworkHost): string {
    const own = `cert=${onVmHost.cert}&key=${onVmHost.key}`
    return `tls://${host.address}:13380?${own}&pin=sha256:${onApplianceHosts.sha256}&proxy=v2&resume=${this.#resume}`
  }

  /** The relay of the host that the appliance is on. */
  async startOn(host: NetworkHost): Promise<void> {
    const own = `cert=${onApplianceHosts.cert}&key=${onApplianceHosts.key}`
    const listen = `tls://${host.address}:13380?${own}&pin=sha256:${onVmHost.sha256}`
    this.#relays.push(await relay(host, '--listen', listen, '--dial', this.#appliance))
  }

  /** The appliance moves to `host`: its vSockets break, and the relays of VMs' hosts are told. */
  async move(host: NetworkHost): Promise<void> {
    const former = this.#relays.splice(0)
    await this.startOn(host)
    for (const one of former) await one.kill()
    const set = new HostProgram(
      this.#first,
      vspc('relay', 'next-hop', 'set', 'appliance', this.hop(host), '--control', this.#control),
    )
    expect(await set.exitCode(), set.stderr.text).toBe(0)
  }
}

interface VmReport {
  readonly sent: number
  readonly sentHash: string
  readonly got: number
  readonly gotHash: string
  readonly closes: number
}

async function finish(vms: HostProgram): Promise<VmReport[]> {
  vms.say('finish')
  const line = await vms.stdout.until(/\{"done":true.*\n/)
  return (JSON.parse(line.slice(line.indexOf('{"done"'))) as { vms: VmReport[] }).vms
}

const idOf = (index: number): string => `addr:${VMS}${index + 1}`

async function historyOf(server: ServeProcess, id: string): Promise<Buffer> {
  const response = await fetch(`${server.url}/api/v1/ports/${encodeURIComponent(id)}/log`)
  expect(response.status).toBe(200)
  return Buffer.from(await response.arrayBuffer())
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Input for a VM, of all byte values. */
function inputFor(index: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: INPUT_BYTES }, (_, at) => (at * 31 + index * 7 + (at >> 8)) & 0xff))
}

describeWithPeers(['namespaces', 'openssl'], 'peer to peer: the appliance moves between hosts', () => {
  test('with resume=on, 200 streams go on through two moves, every byte once and in order, both ways', async () => {
    const { arrangement, hosts } = await Arrangement.make('on')
    const { server, vms } = arrangement
    const [, hostB, hostC] = hosts as [NetworkHost, NetworkHost, NetworkHost]
    await vi.waitFor(async () => expect(await server.ports()).toHaveLength(VM_COUNT), 20_000)
    const consoles = await Promise.all(
      Array.from({ length: VM_COUNT }, (_, index) => WsClient.attach(server, idOf(index), 'mode=write')),
    )
    const type = (from: number, to: number): void => {
      for (const [index, console] of consoles.entries()) console.write(inputFor(index).subarray(from, to))
    }
    type(0, 10_000)
    const printed = async (): Promise<number> =>
      (await server.ports()).reduce((least, { bytesFromVm }) => Math.min(least, bytesFromVm), Number.MAX_SAFE_INTEGER)
    const untilMore = async (bytes: number): Promise<void> => {
      const goal = (await printed()) + bytes
      await vi.waitFor(async () => expect(await printed()).toBeGreaterThan(goal), { timeout: 30_000, interval: 100 })
    }
    await untilMore(20_000)
    type(10_000, 15_000)
    await arrangement.move(hostC)
    type(15_000, 20_000)
    await untilMore(20_000)
    await arrangement.move(hostB)
    type(20_000, 40_000)
    await untilMore(20_000)

    expect(vms.stdout.text).not.toContain('closed')
    expect((await server.ports()).filter(({ state }) => state !== 'online')).toEqual([])
    expect((await server.ports())[0]).toMatchObject({ host: expect.stringContaining(VMS), transport: 'unix' })
    // What was typed is with the VMs before they end their side.
    await vi.waitFor(
      async () => expect((await server.ports()).every(({ bytesToVm }) => bytesToVm === INPUT_BYTES)).toBe(true),
      20_000,
    )
    const reports = await finish(vms)
    for (const [index, report] of reports.entries()) {
      await vi.waitFor(async () => {
        const { bytesFromVm } = await server.port(idOf(index))
        expect(bytesFromVm, idOf(index)).toBe(report.sent)
      }, 20_000)
      const history = await historyOf(server, idOf(index))
      expect([index, history.length, sha256(history)]).toEqual([index, report.sent, report.sentHash])
      expect([index, report.got, report.gotHash]).toEqual([index, INPUT_BYTES, sha256(inputFor(index))])
      expect(report.closes).toBe(0)
    }
  })

  test('without it every VM sees a clean close, and is back under its own name after it has connected again', async () => {
    const { arrangement, hosts } = await Arrangement.make('off')
    const { server, vms } = arrangement
    const [, , hostC] = hosts as [NetworkHost, NetworkHost, NetworkHost]
    await vi.waitFor(async () => expect(await server.ports()).toHaveLength(VM_COUNT), 20_000)
    await arrangement.move(hostC)
    for (let i = 0; i < VM_COUNT; i++) await vms.stdout.until('{"closed":')
    const closes = vms.stdout.text.match(/\{"closed":.*\}/g)?.map((line) => JSON.parse(line)) ?? []
    expect(new Set(closes.map(({ closed }) => closed)).size).toBe(VM_COUNT)
    expect(closes.filter(({ error, ended }) => error !== null || !ended)).toEqual([])
    await vi.waitFor(
      async () => {
        const ports = await server.ports()
        expect(ports).toHaveLength(VM_COUNT)
        expect(ports.filter(({ state }) => state !== 'online')).toEqual([])
      },
      { timeout: 30_000, interval: 200 },
    )
    const consoles = await Promise.all(
      Array.from({ length: VM_COUNT }, (_, index) => WsClient.attach(server, idOf(index), 'mode=write')),
    )
    const before = new Map((await server.ports()).map(({ id, bytesFromVm }) => [id, bytesFromVm]))
    for (const [index, console] of consoles.entries()) console.write(inputFor(index))
    await vi.waitFor(
      async () => {
        for (const { id, bytesFromVm, bytesToVm } of await server.ports()) {
          expect(bytesFromVm, id).toBeGreaterThan(before.get(id) ?? 0)
          expect(bytesToVm, id).toBe(INPUT_BYTES)
        }
      },
      { timeout: 30_000, interval: 200 },
    )
    const reports = await finish(vms)
    for (const [index, report] of reports.entries()) {
      expect([index, report.got, report.gotHash]).toEqual([index, INPUT_BYTES, sha256(inputFor(index))])
    }
  })
})
