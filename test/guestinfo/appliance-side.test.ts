/** Keys and values over the vSphere API, against the real simulator and a double of the hosts' volatile keys. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import { ApplianceSide, GuestSide } from '../../src/guestinfo/index.ts'
import { connect, faultError, findVm, taskOf, type VsphereSession } from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { FakeEsx } from '../support/fake-rpctool-vcsim.mjs'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'

describeWithPeers(['vcsim', 'openssl'], "the appliance's side", () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  let esx: FakeEsx

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 2, cert: certificate.cert, key: certificate.key })
    session = await connect({ url: sim.url, user: VCSIM_USER, password: () => VCSIM_PASSWORD, pin: certificate.sha256 })
    esx = new FakeEsx({ url: sim.url, user: VCSIM_USER, password: VCSIM_PASSWORD })
    await esx.adopt(['DC0_H0_VM0', 'DC0_H0_VM1', 'DC0_C0_RP0_VM0', 'DC0_C0_RP0_VM1'])
  })
  afterAll(async () => {
    esx?.close()
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })

  const fast = { changeRetryMinMs: 1, changeRetryMaxMs: 2 }
  const vm = async (name: string) => (await findVm(session, name)).ref
  const side = (limits = {}) => new ApplianceSide({ session, limits: { ...fast, ...limits } })

  /** Changes that are submitted from here on, each with its keys; `fail` may throw instead of the nth one. */
  function submitted(fail: (nth: number) => void = () => {}): string[][] {
    vi.restoreAllMocks()
    const calls: string[][] = []
    const real = session.call.bind(session)
    vi.spyOn(session, 'call').mockImplementation((self, method, args, options) => {
      if (method === 'ReconfigVM_Task') {
        const entries = (args?.[0]?.children ?? []).filter(({ name }) => name === 'extraConfig')
        calls.push(entries.map((entry) => entry.children[0]?.text ?? ''))
        try {
          fail(calls.length)
        } catch (error) {
          return Promise.reject(error)
        }
      }
      return real(self, method, args, options)
    })
    onTestFinished(() => {
      vi.restoreAllMocks()
    })
    return calls
  }

  test('many keys in one change, none of them again that is so already; also read-only, hidden and strange ones', async () => {
    const ref = await vm('DC0_H0_VM0')
    const calls = submitted()
    const values: [string, string][] = [
      ['guestinfo.a', 'one & <two> "three"'],
      ['guestinfo.lines', ' with\r\nblank end '],
      ['guestinfo.control', '\u0001\u0000'],
      ['guestinfo.empty', ''],
      ['guestinfo.nil', '<nil>'],
      ['guestinfo.vice./repo', 'read-only to the guest'],
      ['hidden.key', 'not seen by the guest'],
      ...Array.from({ length: 200 }, (_, i): [string, string] => [`guestinfo.many.${i}`, `value ${i}`]),
    ]
    const first = await side().set(ref, values)
    expect(new Set(first.outcomes.values())).toEqual(new Set(['created']))
    expect(first.volatileKeys).toHaveLength(207)
    expect(calls).toEqual([values.map(([key]) => key)])
    const read = await side().get(ref, [...values.map(([key]) => key), 'guestinfo.none'])
    expect([...read]).toEqual([...values, ['guestinfo.none', null]])
    const again = await side().set(ref, [...values.slice(1), ['guestinfo.a', 'two']])
    expect([...again.outcomes].filter(([, outcome]) => outcome !== 'unchanged')).toEqual([['guestinfo.a', 'changed']])
    await side().set(ref, values.slice(1))
    expect(calls.slice(1)).toEqual([['guestinfo.a']])
    expect(await esx.rpc('DC0_H0_VM0', 'info-get guestinfo.empty')).toEqual([true, '<nil>'])
    expect(await esx.rpc('DC0_H0_VM0', 'info-get hidden.key')).toEqual([false, 'No value found'])
    const gone = await side().remove(ref, ['guestinfo.a', 'guestinfo.none'])
    expect([...gone.outcomes]).toEqual([
      ['guestinfo.a', 'removed'],
      ['guestinfo.none', 'unchanged'],
    ])
    expect(await side().get(ref, ['guestinfo.a'])).toEqual(new Map([['guestinfo.a', null]]))
  })

  test('prepared before power-on: what the guest publishes survives its power-off; what was not, vanishes', async () => {
    const ref = await vm('DC0_H0_VM1')
    await esx.powerOff('DC0_H0_VM1')
    const records = [
      { kind: 'process', name: 'main' },
      { kind: 'address', name: 'eth0' },
    ] as const
    const made = await side().prepare(ref, records)
    expect([[...made.outcomes], made.volatileKeys]).toEqual([
      [
        ['guestinfo.vspc.process.main', 'created'],
        ['guestinfo.vspc.address.eth0', 'created'],
      ],
      [],
    ])
    const vic = await side().prepare(ref, [{ kind: 'process', name: 'c1' }], { scheme: 'vic' })
    expect([...vic.outcomes.keys()]).toContain('guestinfo.vice..sessions|c1.status')
    await esx.powerOn('DC0_H0_VM1')
    await esx.publish('DC0_H0_VM1', 'guestinfo.vspc.process.main', 'exited code=3')
    await esx.publish('DC0_H0_VM1', 'guestinfo.vspc.process.other', 'exited code=4')
    const calls = submitted()
    // Prepared again, they are left alone: a resubmitted key may become a volatile one, and results are no keys to empty.
    const late = await side().prepare(ref, [...records, { kind: 'error', name: 'agent' }])
    expect([...late.outcomes.values()]).toEqual(['unchanged', 'unchanged', 'created'])
    expect([late.volatileKeys, calls]).toEqual([['guestinfo.vspc.error.agent'], [['guestinfo.vspc.error.agent']]])
    await esx.powerOff('DC0_H0_VM1')
    const { values, poweredOn } = await side().read(ref)
    expect(poweredOn).toBe(false)
    expect([...values].filter(([key]) => key.startsWith('guestinfo.vspc.')).sort()).toEqual([
      ['guestinfo.vspc.address.eth0', '<nil>'],
      ['guestinfo.vspc.process.main', 'exited code=3'],
    ])
    await esx.powerOn('DC0_H0_VM1')
  })

  test('another change is under way: tried again, and given up after some attempts', async () => {
    const ref = await vm('DC0_C0_RP0_VM0')
    const busy = (name: string) => faultError({ name, message: '', detail: null }, 'cannot change it')
    const troubles: string[] = []
    const calls = submitted((nth) => {
      if (nth < 4) throw busy(nth % 2 === 1 ? 'ConcurrentAccess' : 'TaskInProgress')
    })
    const onTrouble = ({ code }: VspcError) => troubles.push(code)
    const done = await side().set(ref, [['guestinfo.a', '1']], { onTrouble })
    expect([...done.outcomes]).toEqual([['guestinfo.a', 'created']])
    expect([calls.length, troubles]).toEqual([4, Array.from({ length: 3 }, () => 'VSPC_VSPHERE_BUSY')])
    const never = submitted(() => {
      throw busy('TaskInProgress')
    })
    const given = side({ changeAttempts: 3 }).set(ref, [['guestinfo.a', '2']])
    await expect(given).rejects.toMatchObject({ code: 'VSPC_VSPHERE_BUSY' })
    expect(never).toHaveLength(3)
    const denied = submitted(() => {
      throw busy('NoPermission')
    })
    await expect(side().set(ref, [['guestinfo.a', '2']])).rejects.toMatchObject({ code: 'VSPC_VSPHERE_PERMISSION' })
    expect(denied).toHaveLength(1)
  })

  test('a change whose answer was lost is not made twice, and told as it was', async () => {
    const ref = await vm('DC0_C0_RP0_VM1')
    const calls: string[] = []
    const real = session.call.bind(session)
    vi.spyOn(session, 'call').mockImplementation(async (self, method, args, options) => {
      const answer = await real(self, method, args, options)
      if (method !== 'ReconfigVM_Task') return answer
      calls.push(method)
      await session.tasks.wait(taskOf(answer), 'change')
      throw new VspcError('VSPC_VSPHERE_UNREACHABLE', 'the connection was reset')
    })
    onTestFinished(() => {
      vi.restoreAllMocks()
    })
    const done = await side().set(ref, [['guestinfo.a', '1']])
    expect([[...done.outcomes], calls.length]).toEqual([[['guestinfo.a', 'created']], 1])
  })

  test.each([
    ['a key with blanks', [['guestinfo.a b', '1']], 'VSPC_GUESTINFO_KEY'],
    ['an empty key', [['', '1']], 'VSPC_GUESTINFO_KEY'],
    ['more than a guest can read', [['guestinfo.a', 'x'.repeat(65_536)]], 'VSPC_GUESTINFO_TOO_LONG'],
    ['too many keys', Array.from({ length: 1_001 }, (_, i) => [`guestinfo.${i}`, '1']), 'VSPC_GUESTINFO_KEY'],
    [
      'too much at once',
      Array.from({ length: 100 }, (_, i) => [`guestinfo.${i}`, 'x'.repeat(60_000)]),
      'VSPC_GUESTINFO_TOO_LONG',
    ],
  ] as [string, [string, string][], string][])('%s: nothing is changed', async (_, values, code) => {
    const calls = submitted()
    const good = ['guestinfo.good', '1'] as const
    await expect(side().set(await vm('DC0_C0_RP0_VM0'), [good, ...values])).rejects.toMatchObject({ code })
    expect(calls).toEqual([])
  })

  test('a watch tells what is there, each change, and the power; and ends when the VM is gone', async () => {
    const ref = await vm('DC0_C0_RP0_VM1')
    const stop = new AbortController()
    const looks = side().watch(ref, { signal: stop.signal })
    const next = async () => (await looks.next()).value
    const start = await next()
    expect([start.first, start.poweredOn]).toEqual([true, true])
    await esx.publish('DC0_C0_RP0_VM1', 'guestinfo.w', 'x')
    expect((await next()).changes).toEqual([{ key: 'guestinfo.w', before: null, after: 'x' }])
    await side().set(ref, [['guestinfo.w', 'y']])
    expect((await next()).changes).toEqual([{ key: 'guestinfo.w', before: 'x', after: 'y' }])
    await esx.powerOff('DC0_C0_RP0_VM1')
    let look = await next()
    while (look.values.has('guestinfo.w')) look = await next()
    expect(look.poweredOn).toBe(false)
    const response = await session.call(ref, 'Destroy_Task')
    await session.tasks.wait(taskOf(response), 'destroy')
    await expect(looks.next()).rejects.toMatchObject({ code: 'VSPC_VSPHERE_NOT_FOUND' })
    await expect(side().read(ref)).rejects.toMatchObject({ code: 'VSPC_VSPHERE_NOT_FOUND' })
    await expect(side().set(ref, [['guestinfo.w', 'z']])).rejects.toMatchObject({ code: 'VSPC_VSPHERE_NOT_FOUND' })
  })

  test("the guest's side, through the double as a process of its own, and ours read each other", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-esx-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'esx.json')
    const hosts = new FakeEsx({ url: sim.url, user: VCSIM_USER, password: VCSIM_PASSWORD, file })
    onTestFinished(() => hosts.close())
    await hosts.adopt(['DC0_C0_RP0_VM0'])
    const ref = await vm('DC0_C0_RP0_VM0')
    const bin = join(folder, 'vmware-rpctool')
    const fake = fileURLToPath(new URL('../support/fake-rpctool.mjs', import.meta.url))
    const env = `FAKE_VCSIM='${file}' FAKE_VCSIM_VM=DC0_C0_RP0_VM0`
    writeFileSync(bin, `#!/bin/sh\n${env} exec '${process.execPath}' '${fake}' rpctool "$@"\n`, { mode: 0o755 })
    const guest = new GuestSide({ tool: bin, limits: { paceMs: 1 } })
    await side().set(ref, [
      ['guestinfo.vice./repo', ' http://repo/ '],
      ['guestinfo.hello', 'über\nzwei Zeilen'],
      ['secret.of.ours', 'x'],
    ])
    expect(await guest.get('guestinfo.vice./repo')).toBe(' http://repo/ ')
    expect(await guest.get('guestinfo.hello')).toBe('über\nzwei Zeilen')
    expect(await guest.set('guestinfo.back', '\u0001binary')).toBe('created')
    expect(await guest.set('guestinfo.back', '\u0001binary')).toBe('unchanged')
    await guest.publish({ kind: 'error', name: 'agent', text: 'no disk' })
    expect([...(await side().get(ref, ['guestinfo.back', 'guestinfo.vspc.error.agent'])).values()]).toEqual([
      '\u0001binary',
      'no disk',
    ])
    // The host, not our guest's side, is what keeps a guest from it.
    const [ok, text] = await hosts.rpc('DC0_C0_RP0_VM0', 'info-set guestinfo.vice./repo mine')
    expect([ok, text]).toEqual([false, 'Permission denied'])
  })
})
