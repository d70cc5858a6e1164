/** The vSphere client before a server, or a proxy on the way, that fails: every failure has a code, an end and a bound. */
import { setImmediate } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import {
  addSerialPort,
  findVm,
  list,
  type ManagedRef,
  readExtraConfig,
  readSerialPorts,
  reconfigureVm,
  retrieveOne,
  watch,
} from '../../src/vsphere/index.ts'
import {
  answered,
  broken,
  cut,
  type Fault,
  failedTask,
  flood,
  held,
  refused,
  silence,
  slow,
} from '../support/fault-proxy.ts'
import { describeWithPeers } from '../support/peers.ts'
import { FaultyVcenter, QUICK } from './vsphere-support.ts'

describeWithPeers(['vcsim', 'openssl'], 'a vCenter that fails', () => {
  let vcenter: FaultyVcenter
  let vm: ManagedRef

  beforeAll(async () => {
    vcenter = await FaultyVcenter.start()
    vm = (await findVm(vcenter.direct, 'DC0_H0_VM0')).ref
  })
  afterAll(() => vcenter?.stop())
  afterEach(() => vcenter.tidy())

  const names = async (session = vcenter.direct) =>
    (await list(session, 'VirtualMachine', ['name'])).map(({ properties }) => properties.get('name')?.text).sort()
  const extraOf = async (key: string) =>
    readExtraConfig(
      (await retrieveOne(vcenter.direct, vm, ['config.extraConfig']))?.properties.get('config.extraConfig'),
    ).get(key)

  const SHARES = [0, 0.02, 0.2, 0.5, 0.9, 0.99] as const
  const ENDS = ['content-length fits', 'content-length says more', 'chunks', 'chunks end'] as const
  test.each(SHARES.flatMap((share) => ENDS.map((how) => [share, how] as const)))(
    'an answer that ends after %f of it (%s) is an error, never a part of the truth',
    async (share, how) => {
      const session = await vcenter.session()
      vcenter.proxy.inject({ method: 'RetrievePropertiesEx', fault: cut(share, how) })
      const whole = how === 'content-length fits' || how === 'chunks end'
      await expect(retrieveOne(session, vm, ['name'])).rejects.toMatchObject({
        code: whole ? 'VSPC_VSPHERE_ANSWER' : 'VSPC_VSPHERE_UNREACHABLE',
        retryable: true,
      })
      expect(vcenter.proxy.count('RetrievePropertiesEx')).toBeLessThanOrEqual(2)
      vcenter.proxy.heal()
      expect(await names(session)).toEqual(await names())
    },
  )

  test.each<[string, Fault, string, RegExp]>([
    [
      '500 with HTML',
      answered(500, '<html>oops', 'text/html'),
      'VSPC_VSPHERE_UNREACHABLE',
      /HTTP 500; is vCenter starting/,
    ],
    ['502', answered(502, '', 'text/html'), 'VSPC_VSPHERE_UNREACHABLE', /HTTP 502; is vCenter starting/],
    ['503', answered(503, 'no', 'text/plain'), 'VSPC_VSPHERE_UNREACHABLE', /HTTP 503; is vCenter starting/],
    ['404', answered(404, 'no', 'text/html'), 'VSPC_VSPHERE_ANSWER', /HTTP 404; the URL ends in \/sdk/],
    ['200 with a login page', answered(200, '<html>', 'text/html'), 'VSPC_VSPHERE_ANSWER', /text\/html instead of XML/],
    ['200 with JSON', answered(200, '{}', 'application/json'), 'VSPC_VSPHERE_ANSWER', /instead of XML/],
    ['an empty 200', answered(200, ''), 'VSPC_VSPHERE_ANSWER', /it is empty/],
    ['an empty 500', answered(500, ''), 'VSPC_VSPHERE_ANSWER', /it is empty/],
    ['an answer to something else', answered(200, '<a/>'), 'VSPC_VSPHERE_ANSWER', /does the URL end in \/sdk/],
    ['an answer without end', flood(), 'VSPC_VSPHERE_ANSWER', /longer than 1000000 bytes|more than 500000 elements/],
    ['a reset', broken('before'), 'VSPC_VSPHERE_UNREACHABLE', /the connection broke/],
    ['a reset instead of the answer', broken('after'), 'VSPC_VSPHERE_UNREACHABLE', /the connection broke/],
    ['silence', silence(), 'VSPC_VSPHERE_UNREACHABLE', /no answer within 300 ms/],
    ['an answer that drips', slow(40, 20), 'VSPC_VSPHERE_UNREACHABLE', /no answer within 300 ms/],
    ['a runtime fault', refused('SystemError'), 'VSPC_VSPHERE_FAULT', /SystemError: injected/],
  ])('%s: a clear error after two calls at most, and the next call works', async (_name, fault, code, message) => {
    // Where nothing is waited for, a busy machine gets its time.
    const requestMs = message.source.includes('300 ms') ? 300 : 10_000
    const session = await vcenter.session({
      limits: { ...QUICK, requestMs, maxReplyBytes: 1e6, keepAliveMs: 60_000 },
    })
    vcenter.proxy.inject({ method: 'RetrievePropertiesEx', fault })
    await expect(retrieveOne(session, vm, ['name'])).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
    expect(vcenter.proxy.count('RetrievePropertiesEx')).toBeLessThanOrEqual(2)
    vcenter.proxy.heal()
    // On a busy machine 300 ms are not much.
    const name = () => retrieveOne(session, vm, ['name']).catch(() => null)
    await expect.poll(async () => (await name())?.properties.get('name')?.text).toBe('DC0_H0_VM0')
  })

  test('an answer that is late, or comes in drops within its time, is an answer', async () => {
    const session = await vcenter.session()
    vcenter.proxy.inject({ method: 'RetrievePropertiesEx', times: 1, fault: slow(100) })
    vcenter.proxy.inject({ method: 'RetrievePropertiesEx', times: 1, fault: slow(1, 100) })
    for (let i = 0; i < 2; i++) expect(await retrieveOne(session, vm, ['name'])).not.toBeNull()
  })

  test.each<[string, Fault, number]>([
    ['before it was passed on', broken('before'), 0],
    ['after it was made', broken('after'), 1],
    ['in the middle of its answer', cut(0.5, 'content-length says more'), 1],
    ['by half an answer that looks whole', cut(0.5, 'content-length fits'), 1],
    ['by a 503 behind which it was made', answered(503, '', 'text/html', true), 1],
  ])('a change whose call is lost %s is not made twice by itself', async (name, fault, made) => {
    const session = await vcenter.session()
    const key = `guestinfo.${name.replaceAll(' ', '-')}`
    vcenter.proxy.inject({ method: 'ReconfigVM_Task', fault })
    await expect(reconfigureVm(session, vm, { extraConfig: [[key, 'x']] })).rejects.toMatchObject({ retryable: true })
    expect(vcenter.proxy.count('ReconfigVM_Task')).toBe(1)
    expect(vcenter.proxy.passed('ReconfigVM_Task')).toHaveLength(made)
    if (made === 1) await expect.poll(() => extraOf(key)).toBe('x')
    else expect(await extraOf(key)).toBeUndefined()
  })

  test.each([
    ['ConcurrentAccess', 'VSPC_VSPHERE_BUSY'],
    ['TaskInProgress', 'VSPC_VSPHERE_BUSY'],
    ['InvalidState', 'VSPC_VSPHERE_STATE'],
    ['InvalidDeviceSpec', 'VSPC_VSPHERE_FAULT'],
    ['NoPermission', 'VSPC_VSPHERE_PERMISSION'],
    ['RuntimeFault', 'VSPC_VSPHERE_FAULT'],
  ])('a change refused with %s, by the call or by its task, is %s, and not tried again here', async (fault, code) => {
    const session = await vcenter.session()
    vcenter.proxy.inject({ method: 'ReconfigVM_Task', times: 1, fault: refused(fault) })
    const change = () => reconfigureVm(session, vm, { extraConfig: [['guestinfo.z', 'z']] })
    await expect(change()).rejects.toMatchObject({ code, fault, message: expect.stringContaining('injected') })
    vcenter.proxy.inject({ method: 'RetrievePropertiesEx', fault: failedTask(fault) })
    await expect(change()).rejects.toMatchObject({ code, fault, message: expect.stringContaining('cannot change vm-') })
    expect(vcenter.proxy.count('ReconfigVM_Task')).toBe(2)
  })

  test('a task that ends while its server is away, or answers nonsense, is still seen to end', async () => {
    const session = await vcenter.session()
    const tasks = { method: 'RetrievePropertiesEx', when: ({ body }: { body: string }) => body.includes('info.state') }
    vcenter.proxy.inject({ ...tasks, times: 3, fault: answered(503, '', 'text/html') })
    vcenter.proxy.inject({ ...tasks, times: 2, fault: broken('before') })
    vcenter.proxy.inject({ ...tasks, times: 1, fault: cut(0.5, 'chunks end') })
    await reconfigureVm(session, vm, { devices: [addSerialPort(BACKING)] })
    const found = await retrieveOne(vcenter.direct, vm, ['config.hardware.device'])
    expect(readSerialPorts(found?.properties.get('config.hardware.device'))).toHaveLength(1)
    expect(vcenter.proxy.count('ReconfigVM_Task')).toBe(1)
    expect(vcenter.proxy.calls.length).toBeLessThan(20)
  })

  test('sessions that are forgotten at once: one login and one repetition for each call, then a clear error', async () => {
    const session = await vcenter.session()
    vcenter.proxy.inject({
      when: ({ method }) => !['Login', 'RetrieveServiceContent'].includes(method),
      fault: refused('NotAuthenticated'),
    })
    vcenter.proxy.calls.length = 0
    for (let i = 0; i < 5; i++) {
      await expect(retrieveOne(session, vm, ['name'])).rejects.toMatchObject({ code: 'VSPC_VSPHERE_SESSION' })
    }
    expect([vcenter.proxy.count('Login'), vcenter.proxy.count('RetrievePropertiesEx')]).toEqual([5, 10])
  })

  test.each([
    ['CreateContainerView', 100],
    ['RetrievePropertiesEx', 1],
  ])(
    'a session that is renewed by somebody else behind a %s: all VMs are listed, not none of them',
    async (method, pageObjects) => {
      const session = await vcenter.session({ limits: { ...QUICK, pageObjects } })
      let release = (): void => {}
      const released = new Promise<void>((resolve) => {
        release = resolve
      })
      const rule = vcenter.proxy.inject({ method, times: 1, fault: held(released) })
      const listing = names(session)
      await expect.poll(() => rule.hits).toBe(1)
      // What was made for the old session is not there in the new one, and a server may be silent about it.
      await session.login()
      release()
      expect(await listing).toEqual(await names())
    },
  )

  test('another certificate is refused by its fingerprint, before a byte is sent; the right one is taken again', async () => {
    const other = await vcenter.certificates.selfSigned('other')
    const session = await vcenter.session()
    const trusting = await vcenter.session({ pin: null, ca: vcenter.certificate.cert })
    const seen = vcenter.proxy.calls.length
    vcenter.proxy.present(other)
    await expect(retrieveOne(session, vm, ['name'])).rejects.toMatchObject({
      code: 'VSPC_TLS_PIN_MISMATCH',
      message: expect.stringContaining(other.sha256),
    })
    await expect(retrieveOne(trusting, vm, ['name'])).rejects.toMatchObject({ code: 'VSPC_TLS_HANDSHAKE' })
    await expect(vcenter.session()).rejects.toMatchObject({ code: 'VSPC_TLS_PIN_MISMATCH' })
    expect(vcenter.proxy.calls).toHaveLength(seen)
    vcenter.proxy.present(vcenter.certificate)
    expect(await names(session)).toEqual(await names())
    expect(await names(trusting)).toEqual(await names())
  })

  test('a watch of a server that nobody reaches for ten minutes: as many attempts as its pauses allow, no more', async () => {
    const clock = new ManualClock()
    const session = await vcenter.session({ clock, limits: { keepAliveMs: 30_000, requestMs: 60_000 } })
    const stop = new AbortController()
    const pauses: number[] = []
    const news = watch(
      session,
      { type: 'VirtualMachine', properties: ['runtime.host'], objects: [vm] },
      { signal: stop.signal, random: () => 1, onTrouble: (_error, retryMs) => pauses.push(retryMs) },
    )
    expect((await news.next()).value).toMatchObject({ restarted: true })
    vcenter.proxy.refuse()
    const before = vcenter.proxy.connections
    const next = news.next()
    for (let at = 0; at < 600_000; at += 250) {
      const waiting = pauses.length
      clock.advance(250)
      // Connections of this machine fail within a few turns.
      for (let turn = 0; turn < 12 && pauses.length === waiting; turn++) await setImmediate()
    }
    // 0.5 + 1 + 2 + 4 + 8 s, then every 15 s: 43 or so; each tries twice at most. And every 30 s a look at the session.
    expect(pauses.slice(0, 7)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000])
    expect(vcenter.proxy.connections - before).toBeGreaterThan(30)
    expect(vcenter.proxy.connections - before).toBeLessThan(2 * 45 + 25)
    vcenter.proxy.heal()
    let told: unknown = null
    void next.then(({ value }) => {
      told = value
    })
    await expect
      .poll(() => {
        clock.advance(100)
        return told
      })
      .toMatchObject({ restarted: true })
    stop.abort(new Error('over'))
    await expect(news.next()).rejects.toThrow('over')
  })

  test('a watch that breaks off after its first news each time grows slower: it is no busy loop', async () => {
    const session = await vcenter.session({ limits: { ...QUICK, retryMaxMs: 5_000 } })
    vcenter.proxy.inject({
      method: 'WaitForUpdatesEx',
      when: ({ body }) => !body.includes('<version></version>'),
      fault: broken('before'),
    })
    const pauses: number[] = []
    const query = { type: 'VirtualMachine', properties: ['runtime.host'], objects: [vm] }
    const news = watch(session, query, { random: () => 1, onTrouble: (_error, retryMs) => pauses.push(retryMs) })
    for (let i = 0; i < 5; i++) expect((await news.next()).value).toMatchObject({ restarted: true })
    await news.return(undefined as never)
    expect(pauses).toEqual([10, 20, 40, 80])
  })
})

const BACKING = { serviceURI: 'vspc', direction: 'client', proxyURI: 'telnet://10.0.0.1:13370' } as const
