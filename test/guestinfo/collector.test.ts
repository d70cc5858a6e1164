/** All VMs followed, against the real simulator and a double of its hosts, through everything that can come between. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import {
  ApplianceSide,
  type CollectorNews,
  type CollectorOptions,
  GuestinfoCollector,
  GuestSide,
} from '../../src/guestinfo/index.ts'
import { parseEndpoint } from '../../src/transport/index.ts'
import { connect, findVm, leaf, retrieveOne, type VsphereSession } from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { FakeEsx } from '../support/fake-rpctool-vcsim.mjs'
import { describeWithPeers } from '../support/peers.ts'
import { SwitchedWay } from '../support/switched-way.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { allVms } from '../support/vcsim-fleet.ts'

const FAKE = fileURLToPath(new URL('../support/fake-rpctool.mjs', import.meta.url))
const PROCESS = 'guestinfo.vspc.process.main'
/** The simulator collects all VMs anew for each change of anything: with 200 it tells some ten changes a second. */
const POLL = { timeout: 18_000, interval: 20 }

describeWithPeers(['vcsim', 'openssl'], 'the collector', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
  })
  afterAll(() => certificates?.remove())

  /** A vCenter with its VMs and hosts, a way to it, and the folder of a collector. */
  class Site {
    readonly folder = mkdtempSync(join(tmpdir(), 'vspc-collect-'))
    readonly directory = join(this.folder, 'guestinfo')
    readonly news: CollectorNews[] = []
    sim!: Vcsim
    way!: SwitchedWay
    esx!: FakeEsx
    admin!: VsphereSession
    theirs: VsphereSession | null = null
    names: string[] = []
    collector: GuestinfoCollector | null = null

    static async open(vms: number): Promise<Site> {
      const site = new Site()
      onTestFinished(() => site.#close())
      site.sim = await Vcsim.start({ vms, cert: certificate.cert, key: certificate.key })
      site.way = await SwitchedWay.open(site.sim.tcpPort)
      site.admin = await site.connect(site.sim.url)
      site.names = (await allVms(site.admin)).map(({ name }) => name).sort()
      const access = { url: site.sim.url, user: VCSIM_USER, password: VCSIM_PASSWORD }
      site.esx = new FakeEsx({ ...access, file: join(site.folder, 'esx.json') })
      await site.esx.adopt(site.names)
      return site
    }

    connect(url: string, more: object = {}): Promise<VsphereSession> {
      return connect({ url, user: VCSIM_USER, password: () => VCSIM_PASSWORD, pin: certificate.sha256, ...more })
    }

    follow(options: Partial<CollectorOptions> = {}): GuestinfoCollector {
      const collector = new GuestinfoCollector({
        directory: this.directory,
        session: async () => {
          this.theirs ??= await this.connect('https://vcenter.example/sdk', {
            dial: parseEndpoint(`tcp://127.0.0.1:${this.way.tcpPort}`, 'dial', 'plain'),
            limits: { retryMinMs: 10, retryMaxMs: 100, keepAliveMs: 100 },
          })
          return this.theirs
        },
        limits: { collectRetryMinMs: 10, collectRetryMaxMs: 100 },
        ...options,
      })
      collector.subscribe((news) => this.news.push(news))
      collector.start()
      this.collector = collector
      return collector
    }

    async unfollow(): Promise<void> {
      await this.collector?.stop()
      await this.theirs?.close()
      this.theirs = null
    }

    /** The simulator forgets everything; hosts tell it anew, and `meanwhile` happens before anybody reaches it. */
    async restart(vms: number, meanwhile: () => Promise<void>): Promise<void> {
      this.way.switchTo(null)
      const known = await this.esx.inventory()
      await this.admin.close()
      await this.sim.stop()
      this.sim = await Vcsim.start({ vms, cert: certificate.cert, key: certificate.key })
      this.admin = await this.connect(this.sim.url)
      await this.esx.reconnect(this.sim.url, known)
      await meanwhile()
      this.way.switchTo(this.sim.tcpPort)
    }

    async terminateSession(): Promise<void> {
      const { sessionManager } = this.admin.content
      const found = await retrieveOne(this.theirs as VsphereSession, sessionManager, ['currentSession'])
      const key = found?.properties.get('currentSession')?.children.find(({ name }) => name === 'key')?.text ?? ''
      await this.admin.call(sessionManager, 'TerminateSession', [leaf('sessionId', key)])
    }

    /** Lines on the disk, of this type. */
    lines(type: string): { vm: string; vmName: string; name: string; value: string; n: number }[] {
      const text = readFileSync(join(this.directory, 'results.jsonl'), 'utf8')
      const all = text.split('\n').filter((line) => line.includes('"n":'))
      return all.map((line) => JSON.parse(line)).filter((line) => line.type === type)
    }

    exits(): string[] {
      return this.news.flatMap((one) => (one.type === 'guest-exit' ? [`${one.vm.name} ${one.record.exitCode}`] : []))
    }

    async settled(): Promise<void> {
      await expect.poll(() => this.collector?.status.state, POLL).toBe('following')
    }

    async #close(): Promise<void> {
      await this.unfollow()
      this.esx?.close()
      this.way?.close()
      await this.admin?.close()
      await this.sim?.stop()
      rmSync(this.folder, { recursive: true, force: true })
    }
  }

  test('200 VMs, a vCenter that restarts, a session that is ended, and we ourselves: each exit once', async () => {
    const site = await Site.open(100)
    const { names } = site
    expect(names).toHaveLength(200)
    const expected = new Map(names.map((name, i) => [name, i % 256]))
    const publish = async (name: string): Promise<void> => {
      const code = expected.get(name) as number
      const started = `started=${1_000 + code}`
      if (code % 20 === 0) await site.esx.publish(name, PROCESS, `running ${started}`)
      await site.esx.publishAll(name, {
        'guestinfo.vspc.address.eth0': `10.0.${code}.1/24`,
        ...(code % 5 === 0 ? { 'guestinfo.vspc.error.agent': `trouble ${code}` } : {}),
        [PROCESS]: `exited code=${code} ${started} stopped=${2_000 + code}`,
      })
    }
    const publishAll = async (from: number, to: number): Promise<void> => {
      const queue = names.slice(from, to)
      const worker = async (): Promise<void> => {
        for (let name = queue.shift(); name !== undefined; name = queue.shift()) await publish(name)
      }
      await Promise.all(Array.from({ length: 6 }, worker))
    }
    // Ten are prepared before they are switched on: what they publish survives.
    const prepared = names.slice(100, 110)
    for (const name of prepared) {
      await site.esx.powerOff(name)
      await new ApplianceSide({ session: site.admin }).prepare((await findVm(site.admin, name)).ref, [
        { kind: 'process', name: 'main' },
      ])
      await site.esx.powerOn(name)
    }

    // Some were there before us.
    await publishAll(0, 40)
    const first = site.follow()
    await expect.poll(() => site.exits().length, POLL).toBe(40)
    await publishAll(40, 55)
    await site.terminateSession()
    await publishAll(55, 70)
    await expect.poll(() => site.exits().length, POLL).toBe(70)
    expect(first.status.beginnings).toBeGreaterThan(1)

    // Published in the last moment before the restart, and while nobody was there; switched off at once.
    await publishAll(70, 80)
    await expect.poll(() => site.exits().length, POLL).toBe(80)
    await site.restart(100, async () => {
      await publishAll(80, 150)
      for (const name of prepared) await site.esx.powerOff(name)
    })
    await publishAll(150, 160)
    await expect.poll(() => site.exits().length, POLL).toBe(160)

    // We are restarted, and VMs go on.
    await site.unfollow()
    await publishAll(160, 185)
    const second = site.follow()
    await publishAll(185, 190)
    await expect.poll(() => site.exits().length, POLL).toBe(190)

    // The last ten are switched off as soon as their exit was seen: the keys vanish, the status is kept.
    for (const name of names.slice(190)) {
      await publish(name)
      await expect.poll(() => site.exits().some((exit) => exit.startsWith(`${name} `)), POLL).toBe(true)
      await site.esx.powerOff(name)
    }
    const last = names.at(-1) as string
    const { ref, instanceUuid } = await findVm(site.admin, last)
    const { values } = await new ApplianceSide({ session: site.admin }).read(ref)
    expect([...values.keys()].filter((key) => key.startsWith('guestinfo.'))).toEqual([])
    await expect.poll(() => second.latest(instanceUuid ?? '')?.addresses.length, POLL).toBe(0)
    expect(second.latest(instanceUuid ?? '')).toMatchObject({
      name: last,
      poweredOn: false,
      present: true,
      exits: [{ name: 'main', exitCode: 199, startedSeconds: 1_199, stoppedSeconds: 2_199 }],
    })
    // A value that comes back with the VM's power, or that the guest repeats, is no other exit.
    for (const name of prepared) await site.esx.powerOn(name)
    await site.esx.powerOn(last)
    await publish(last)
    await site.terminateSession()
    const { beginnings } = second.status
    await expect.poll(() => second.status.beginnings, POLL).toBeGreaterThan(beginnings)
    await site.settled()

    const wanted = names.map((name) => `${name} ${expected.get(name)}`).sort()
    expect(site.exits().sort()).toEqual(wanted)
    expect(
      site
        .lines('exit')
        .map(({ vmName, value }) => `${vmName} ${/code=(\d+)/.exec(value)?.[1]}`)
        .sort(),
    ).toEqual(wanted)
    expect(new Set(site.lines('exit').map(({ vm }) => vm)).size).toBe(200)
    // What was neither prepared nor seen in time is lost with the power: nobody can help that.
    expect([...new Set(site.lines('address').map(({ vmName }) => vmName))].sort()).toEqual(
      names.filter((name) => !prepared.includes(name)),
    )
    expect(new Set(site.news.map(({ seq }) => seq)).size).toBe(site.news.length)

    // And a third run of ours has nothing to say.
    await site.unfollow()
    const told = site.news.length
    const onDisk = site.lines('exit').length
    const third = site.follow()
    await site.settled()
    expect(third.status.vms).toBe(200)
    expect([site.news.slice(told), site.lines('exit').length]).toEqual([[], onDisk])
  }, 120_000)

  test("real processes of the guest's side reach it, VIC's keys too, secret ones never", async () => {
    const site = await Site.open(2)
    const log: unknown[] = []
    const record = (fields: object, message: string) => log.push(fields, message)
    const logger = { trace: record, debug: record, info: record, warn: record, error: record, child: () => logger }
    const collector = site.follow({ log: logger })
    await site.settled()
    const guests = site.names.map((name) => {
      const bin = join(site.folder, name)
      mkdirSync(bin)
      const tool = join(bin, 'vmware-rpctool')
      const env = `FAKE_VCSIM='${site.folder}/esx.json' FAKE_VCSIM_VM='${name}'`
      writeFileSync(tool, `#!/bin/sh\n${env} exec '${process.execPath}' '${FAKE}' rpctool "$@"\n`)
      chmodSync(tool, 0o755)
      return new GuestSide({ tool, limits: { paceMs: 1 } })
    })
    const [one, two] = guests as [GuestSide, GuestSide]
    const run = { startedSeconds: 100, stoppedSeconds: 200, error: null } as const
    await Promise.all([
      one.publish({ kind: 'process', name: 'main', state: 'exited', exitCode: 3, ...run }),
      two.publish({ kind: 'error', name: 'agent', text: 'no \u001b[31mdisk' }),
    ])
    const [, , third, fourth] = site.names as [string, string, string, string]
    const vic = 'guestinfo.vice..sessions|c1'
    await site.esx.publish(third, `${vic}.started`, 'true')
    await site.esx.publish(third, `${vic}.detail.starttime`, '100')
    await site.esx.publish(third, `${vic}.detail.stoptime`, '200')
    await site.esx.publish(third, `${vic}.status`, '9')
    await site.esx.publish(fourth, 'guestinfo.vspc.process.x@secret', 'exited code=77')
    await site.esx.publish(fourth, 'guestinfo.vice..sessions|c2.started@secret', 'hunter2')
    await site.esx.publish(fourth, 'guestinfo.vspc.process.strange', 'gibberish')
    await site.esx.publish(fourth, 'guestinfo.vspc.process.last', 'failed code=127 error=no such file')
    await expect.poll(() => site.exits().length, POLL).toBeGreaterThanOrEqual(4)
    const ofName = async (name: string) => collector.latest((await findVm(site.admin, name)).instanceUuid ?? '')
    expect((await ofName(site.names[0] as string))?.exits).toMatchObject([{ name: 'main', exitCode: 3 }])
    expect((await ofName(site.names[1] as string))?.errors).toMatchObject([{ name: 'agent', text: 'no [31mdisk' }])
    // VIC's guest writes the times before the status: the exit is corrected, not doubled.
    await expect.poll(async () => (await ofName(third))?.exits.map(({ exitCode }) => exitCode), POLL).toEqual([9])
    expect((await ofName(fourth))?.exits).toMatchObject([{ name: 'last', state: 'failed', error: 'no such file' }])
    const all = readFileSync(join(site.directory, 'results.jsonl'), 'utf8') + JSON.stringify(log)
    expect(all).not.toMatch(/hunter2|code=77/)
    expect(collector.status).toMatchObject({ state: 'following', vms: 4, unreadableVms: 0, trouble: null })
  })

  test('a server that is away, a login that is refused, a folder that cannot be written: it waits, and says so', async () => {
    const site = await Site.open(1)
    site.way.switchTo(null)
    mkdirSync(site.directory)
    mkdirSync(join(site.directory, 'results.jsonl'))
    const collector = site.follow()
    await expect.poll(() => collector.status.trouble?.code, POLL).toBe('VSPC_GUESTINFO_STORE')
    expect(collector.status.trouble?.message).toContain('a folder is in the place of the file: move it away')
    rmSync(join(site.directory, 'results.jsonl'), { recursive: true })
    await expect.poll(() => collector.status.trouble?.code, POLL).toMatch(/^VSPC_(VSPHERE_UNREACHABLE|TLS_HANDSHAKE)$/)
    const [name] = site.names as [string]
    await site.esx.publish(name, PROCESS, 'exited code=1')
    site.way.switchTo(site.sim.tcpPort)
    await expect.poll(() => site.exits(), POLL).toEqual([`${name} 1`])
    expect(collector.latest('not a uuid')).toBeNull()
    expect(collector.latest('564d0f39-0000-4000-8000-000000000000')).toBeNull()
    await site.unfollow()
    expect(collector.status.state).toBe('stopped')
    let asked = 0
    const refused = site.follow({
      session: () => {
        asked++
        return Promise.reject(new Error('made up'))
      },
    })
    await expect.poll(() => asked, POLL).toBeGreaterThan(1)
    expect(refused.status).toMatchObject({ state: 'trouble', trouble: { code: 'VSPC_INTERNAL' } })
    await site.unfollow()
  })

  test('a listener that throws hurts nobody, one that left hears nothing, and a VM that is gone is still known', async () => {
    const site = await Site.open(1)
    const collector = site.follow()
    const heard: string[] = []
    collector.subscribe(() => {
      throw new Error('made up')
    })
    const leave = collector.subscribe(() => heard.push('left'))
    collector.subscribe(({ type }) => heard.push(type))
    leave()
    const [name] = site.names as [string]
    await site.esx.publish(name, PROCESS, 'exited code=1')
    await expect.poll(() => heard, POLL).toEqual(['guest-exit'])
    const { ref, instanceUuid } = await findVm(site.admin, name)
    await site.admin.call(ref, 'PowerOffVM_Task')
    await expect.poll(() => collector.latest(instanceUuid ?? '')?.poweredOn, POLL).toBe(false)
    await site.admin.call(ref, 'Destroy_Task')
    await expect.poll(() => collector.latest(instanceUuid ?? '')?.present, POLL).toBe(false)
    expect(collector.latest((instanceUuid ?? '').toUpperCase())).toMatchObject({ name, exits: [{ exitCode: 1 }] })
    expect(heard).toEqual(['guest-exit'])
  })
})
