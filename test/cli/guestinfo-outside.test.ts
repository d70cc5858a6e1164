/** `vspc guestinfo` over the vSphere API: the built program, the real simulator, and a double of its hosts. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { connect, findVm, reconfigureVm, taskOf, type VsphereSession } from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { type RunOptions, runVspc, VSPC_BIN } from '../support/cli.ts'
import { FakeEsx } from '../support/fake-rpctool-vcsim.mjs'
import { temporaryHome } from '../support/home.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { rename } from '../support/vcsim-fleet.ts'

const [ON, OFF, RUNS, GONE] = ['DC0_H0_VM0', 'DC0_H0_VM1', 'DC0_C0_RP0_VM0', 'DC0_C0_RP0_VM1'] as const
const MAIN = 'guestinfo.vspc.process.main'

describeWithPeers(['vcsim', 'openssl'], 'vspc guestinfo from outside', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let admin: VsphereSession
  let esx: FakeEsx
  let access: string[] = []
  let env: Record<string, string> = {}

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 2, cert: certificate.cert, key: certificate.key })
    const passwordFile = join(certificates.directory, 'password')
    writeFileSync(passwordFile, `${VCSIM_PASSWORD}\n`)
    chmodSync(passwordFile, 0o600)
    access = ['--vsphere', sim.url, '--user', VCSIM_USER, '--password-file', passwordFile]
    access.push('--pin', `sha256:${certificate.sha256}`)
    env = {
      VSPC_VSPHERE_URL: sim.url,
      VSPC_VSPHERE_USER: VCSIM_USER,
      VSPC_VSPHERE_PASSWORD_FILE: passwordFile,
      VSPC_VSPHERE_PIN: `sha256:${certificate.sha256}`,
    }
    admin = await connect({ url: sim.url, user: VCSIM_USER, password: () => VCSIM_PASSWORD, pin: certificate.sha256 })
    esx = new FakeEsx({ url: sim.url, user: VCSIM_USER, password: VCSIM_PASSWORD })
    await esx.adopt([ON, OFF, RUNS, GONE])
  })
  afterAll(async () => {
    esx?.close()
    await admin?.close()
    await sim?.stop()
    await certificates?.remove()
  })

  async function guestinfo(args: readonly string[], options: RunOptions = {}) {
    const run = await runVspc(['guestinfo', ...args], options)
    return [run.code, run.stdout.toString(), run.stderr]
  }

  test('set, get, remove: by name, path and UUID; settings from flags and from the environment', async () => {
    const values = [
      'guestinfo.a=one two',
      'guestinfo.vice./repo=http://r/',
      'guestinfo.empty=',
      'guestinfo.k@secret=s3',
    ]
    const [code, json, stderr] = await guestinfo(['set', ON, ...values, '--json', ...access])
    expect([code, JSON.parse(String(json)), stderr]).toEqual([
      0,
      {
        'guestinfo.a': 'created',
        'guestinfo.vice./repo': 'created',
        'guestinfo.empty': 'created',
        'guestinfo.k@secret': 'created',
      },
      '',
    ])
    const { instanceUuid } = await findVm(admin, ON)
    expect(await guestinfo(['get', `/DC0/vm/${ON}`, 'guestinfo.a'], { env })).toEqual([0, 'one two\n', ''])
    expect(await guestinfo(['get', String(instanceUuid).toUpperCase()], { env })).toEqual([
      0,
      'guestinfo.a=one two\nguestinfo.empty=\nguestinfo.k@secret=***\nguestinfo.vice./repo=http://r/\n',
      '',
    ])
    expect(await guestinfo(['get', ON, 'guestinfo.k@secret', 'guestinfo.none'], { env })).toEqual([
      3,
      'guestinfo.k@secret=s3\n',
      'vspc: guestinfo.none: no value\n',
    ])
    expect(await guestinfo(['get', ON, 'guestinfo.empty', '--raw'], { env })).toEqual([0, '<nil>\n', ''])
    const piped = await guestinfo(['set', ON, '--stdin', 'guestinfo.in', 'hidden=1'], { env, input: 'two\nlines\n' })
    expect(piped).toEqual([0, '', 'vspc: hidden does not begin with guestinfo.: the guest does not see it\n'])
    expect(await esx.rpc(ON, 'info-get guestinfo.in')).toEqual([true, 'two\nlines'])
    const removed = ['set', ON, '--remove', 'guestinfo.a', 'guestinfo.none', 'guestinfo.b=2', '--json']
    const [, outcomes] = await guestinfo(removed, { env })
    expect(JSON.parse(String(outcomes))).toEqual({
      'guestinfo.a': 'removed',
      'guestinfo.none': 'unchanged',
      'guestinfo.b': 'created',
    })
  })

  test('--prepare: warned of for a VM that is on; for one that is off the exit status survives', async () => {
    expect(await guestinfo(['set', ON, '--prepare', MAIN], { env })).toEqual([
      0,
      '',
      `vspc: warning: ${ON} is on: ${MAIN} will vanish when it is switched off; to make them last, switch the VM off, and prepare them before it is switched on again\n`,
    ])
    await esx.powerOff(OFF)
    const [code, json, stderr] = await guestinfo(['set', OFF, '--prepare', MAIN, '--json'], { env })
    expect([code, JSON.parse(String(json)), stderr]).toEqual([0, { [MAIN]: 'created' }, ''])
    await esx.powerOn(OFF)
    await esx.publish(OFF, MAIN, 'exited code=7')
    await esx.powerOff(OFF)
    expect(await guestinfo(['watch', OFF, '--until-exit=main', '--timeout=10s'], { env })).toEqual([0, '7\n', ''])
  })

  test('watch --until-exit prints the status as soon as there is one; of VIC, too', async () => {
    const waiting = new Watch(['watch', RUNS, '--until-exit=main', ...access])
    const any = new Watch(['watch', RUNS, '--until-exit', '--json', ...access])
    const failed = new Watch(['watch', RUNS, '--until-exit=other', ...access])
    await esx.publish(RUNS, 'guestinfo.vice..sessions|main.started', 'true')
    await esx.publish(RUNS, 'guestinfo.vice..sessions|main.detail.starttime', '100')
    await esx.publish(RUNS, 'guestinfo.vice..sessions|main.detail.stoptime', '200')
    await esx.publish(RUNS, 'guestinfo.vice..sessions|main.status', '42')
    expect([await waiting.exit, waiting.lines, waiting.err]).toEqual([0, ['42'], ''])
    expect([await any.exit, JSON.parse(String(any.lines[0]))]).toEqual([
      0,
      {
        vm: { name: RUNS, uuid: (await findVm(admin, RUNS)).instanceUuid },
        process: 'main',
        state: 'exited',
        exitCode: 42,
        startedSeconds: 100,
        stoppedSeconds: 200,
        error: null,
      },
    ])
    await esx.publish(RUNS, 'guestinfo.vspc.process.other', 'failed code=127 error=no such file')
    const told = [await failed.exit, failed.lines, failed.err]
    expect(told).toEqual([1, ['127'], 'vspc: process other did not start: no such file\n'])
  })

  test('watch prints what is there, each change, and the power; until Ctrl-C, or the VM is gone', async () => {
    await esx.publish(GONE, 'guestinfo.a', '1')
    const watch = new Watch(['watch', GONE, ...access])
    const exact = new Watch(['watch', GONE, 'guestinfo.a', 'guestinfo.b', '--json', ...access])
    await expect.poll(() => [watch.lines.length, exact.lines.length], POLL).toEqual([1, 2])
    await esx.publish(GONE, 'guestinfo.b', 'two\n\u009b31mlines')
    await expect.poll(() => [watch.lines.length, exact.lines.length], POLL).toEqual([2, 3])
    expect(watch.lines).toEqual(['guestinfo.a=1', 'guestinfo.b=two 31mlines'])
    expect(exact.lines.map((line) => JSON.parse(line))).toEqual([
      { key: 'guestinfo.a', before: null, after: '1' },
      { key: 'guestinfo.b', before: null, after: null },
      { key: 'guestinfo.b', before: null, after: 'two\n\u009b31mlines' },
    ])
    exact.kill('SIGINT')
    expect(await exact.exit).toBe(130)
    await esx.powerOff(GONE)
    await expect.poll(() => watch.lines.length, POLL).toBe(4)
    expect(watch.err).toBe(`vspc: ${GONE} is off\n`)
    const { ref } = await findVm(admin, GONE)
    await admin.tasks.wait(taskOf(await admin.call(ref, 'Destroy_Task')), 'destroy')
    expect(await watch.exit).toBe(7)
    expect(watch.err).toContain(`vspc: VM ${GONE} is gone`)
  })

  test('names of VMs and keys neither speak to the terminal nor look like other lines', async () => {
    const name = 'ev\u009b31mil\nvspc: x\u202e'
    const { ref } = await findVm(admin, OFF)
    await rename(admin, ref, name)
    onTestFinished(() => rename(admin, ref, OFF))
    // It may be off from before.
    await admin.tasks.wait(taskOf(await admin.call(ref, 'PowerOffVM_Task')), 'off').catch(() => {})
    const key = 'guestinfo.\u009b2Ja\nguestinfo.b'
    await reconfigureVm(admin, ref, { extraConfig: [[key, 'v']] })
    for (const args of [
      ['get', name],
      ['watch', name, '--timeout', '1s'],
      ['watch', name, '--until-exit=none', '--timeout', '1s'],
    ]) {
      const [, stdout, stderr] = await guestinfo([...args, ...access])
      expect(`${stdout}${stderr}`).not.toMatch(/[\u009b\u202e]|^(?:guestinfo\.b|vspc: x)/m)
      if (!args.includes('--until-exit=none')) expect(stdout).toContain('guestinfo.')
      else expect(stderr).toContain('is off, and there is no exit status yet')
    }
  })

  test('waiting has an end', async () => {
    const [gave] = await Promise.all([
      guestinfo(['get', ON, 'guestinfo.never', '--wait=300ms'], { env }),
      guestinfo(['watch', ON, 'guestinfo.never', '--timeout=3s'], { env }).then((run) =>
        expect(run).toEqual([124, 'guestinfo.never has no value\n', '']),
      ),
      guestinfo(['watch', ON, '--until-exit=never', '--timeout=300ms'], { env }).then((run) =>
        expect(run).toEqual([124, '', 'vspc: process never has not ended within 0.3 s\n']),
      ),
    ])
    expect(gave).toEqual([124, '', 'vspc: guestinfo.never: no value yet; gave up after 0.3 s\n'])
    const waiting = guestinfo(['get', ON, 'guestinfo.later', '--wait'], { env })
    await esx.publish(ON, 'guestinfo.later', 'now')
    expect(await waiting).toEqual([0, 'now\n', ''])
  })

  test.each([
    [['get', 'nobody', 'guestinfo.a'], 3, "no VM 'nobody'"],
    [['get', 'guestinfo.a'], 2, 'with VSPC_VSPHERE_URL the first argument is the VM, not a key'],
    [['get'], 2, 'with VSPC_VSPHERE_URL name a VM first'],
    [['get', ON, '--wait'], 2, '--wait needs the keys'],
    [['set', ON], 2, 'nothing to set'],
    [['set', ON, 'guestinfo.a'], 2, '"guestinfo.a" is not KEY=VALUE'],
    [['set', ON, 'a b=1'], 2, 'characters that a key cannot have'],
    [['set', ON, '--prepare', 'guestinfo.a', 'guestinfo.a=1'], 2, 'given twice'],
    [['set', ON, '--prepare', '--remove', 'guestinfo.a'], 2, 'cannot be used with'],
    [['watch', ON, '--until-exit=main', 'guestinfo.a'], 2, 'with --until-exit no keys are shown: name none\n'],
    [['watch', ON, '--until-exit', 'main'], 2, 'did you mean --until-exit=main?'],
    [['get', ON, 'guestinfo.a', '--pin', `sha256:${'0'.repeat(64)}`], 1, 'sha256'],
  ])('%j ends with %d', async (args, code, text) => {
    const [ended, stdout, stderr] = await guestinfo(args, { env })
    expect([ended, stdout, stderr]).toEqual([code, '', expect.stringContaining(text)])
    expect(stderr).not.toContain(VCSIM_PASSWORD.slice(0, 8))
  })
})

const POLL = { timeout: 15_000, interval: 20 }

class Watch {
  readonly #child: ChildProcess
  readonly lines: string[] = []
  err = ''
  readonly exit: Promise<number | NodeJS.Signals | null>

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [VSPC_BIN, 'guestinfo', ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: temporaryHome() },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => this.lines.push(line))
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk.toString()
    })
    this.exit = once(this.#child, 'close').then(([code, by]) => code ?? by)
    onTestFinished(() => {
      this.#child.kill('SIGKILL')
    })
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }
}
