/** The client against the real simulator. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import { parseEndpoint } from '../../src/transport/index.ts'
import {
  addSerialPort,
  type ConnectOptions,
  connect,
  customFieldNames,
  editSerialPort,
  findVm,
  findVms,
  hostOfVm,
  leaf,
  list,
  type ManagedRef,
  type News,
  node,
  readCustomValues,
  readExtraConfig,
  readHosts,
  readSerialPorts,
  readSetting,
  reconfigureVm,
  refElement,
  removeSerialPort,
  retrieve,
  retrieveOne,
  taskOf,
  type VsphereSession,
  watch,
} from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { describeWithPeers } from '../support/peers.ts'
import { SwitchedWay } from '../support/switched-way.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'

describeWithPeers(['vcsim', 'openssl'], 'the vSphere client and vcsim', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  const open: (() => unknown)[] = []

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 4, cert: certificate.cert, key: certificate.key })
    session = await newSession()
  })
  afterAll(async () => {
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close()
  })

  function newSession(options: Partial<ConnectOptions> = {}): Promise<VsphereSession> {
    return connect({
      url: sim.url,
      user: VCSIM_USER,
      password: () => VCSIM_PASSWORD,
      pin: certificate.sha256,
      ...options,
    })
  }

  const BACKING = { serviceURI: 'vspc', direction: 'client', proxyURI: 'telnet://10.0.0.1:13370' } as const
  const portsOf = async (vm: ManagedRef) =>
    readSerialPorts(
      (await retrieveOne(session, vm, ['config.hardware.device']))?.properties.get('config.hardware.device'),
    )
  const extraOf = async (vm: ManagedRef) =>
    readExtraConfig((await retrieveOne(session, vm, ['config.extraConfig']))?.properties.get('config.extraConfig'))

  test('login with a password full of XML; a wrong one is refused', async () => {
    expect(session.about).toMatchObject({ isVcenter: true, version: '6.5.0' })
    expect(await session.isActive()).toBe(true)
    await expect(newSession({ password: () => 'wrong' })).rejects.toMatchObject({ code: 'VSPC_VSPHERE_LOGIN' })
  })

  test('a VM is found by name, path, instance UUID and BIOS UUID, in any spelling', async () => {
    const vm = await findVm(session, 'DC0_H0_VM0')
    const bios = (vm.biosUuid ?? '').replaceAll('-', '')
    const spaced = `VMware-${bios
      .replace(/../g, '$& ')
      .trim()
      .replace(/^(.{23}) /, '$1-')}`
    for (const selector of [
      '/DC0/vm/DC0_H0_VM0',
      'DC0/vm/DC0_H0_VM0',
      vm.instanceUuid ?? '',
      bios.toUpperCase(),
      spaced,
    ]) {
      expect([selector, await findVms(session, selector)]).toEqual([selector, [vm]])
    }
    await expect(findVm(session, 'nobody')).rejects.toMatchObject({ code: 'VSPC_VSPHERE_NOT_FOUND' })
    await expect(findVm(session, '/DC0/vm/nobody')).rejects.toMatchObject({ code: 'VSPC_VSPHERE_NOT_FOUND' })
    await expect(findVm(session, '00000000-0000-0000-0000-000000000000')).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_NOT_FOUND',
    })
  })

  test('VMs that share a BIOS UUID are told, not guessed', async () => {
    const [one, two] = [await findVm(session, 'DC0_C0_RP0_VM0'), await findVm(session, 'DC0_C0_RP0_VM1')]
    const response = await session.call(two.ref, 'ReconfigVM_Task', [node('spec', [leaf('uuid', one.biosUuid ?? '')])])
    await session.tasks.wait(taskOf(response), 'clone')
    await expect(findVm(session, one.biosUuid ?? '')).rejects.toMatchObject({ code: 'VSPC_VSPHERE_AMBIGUOUS' })
    expect((await findVm(session, two.instanceUuid ?? '')).name).toBe('DC0_C0_RP0_VM1')
  })

  test('all VMs, also in pages of one; an object that is gone hides no other', async () => {
    const paged = await newSession({ limits: { pageObjects: 1 } })
    open.push(() => paged.close())
    const names = async (from: VsphereSession) =>
      (await list(from, 'VirtualMachine', ['name'])).map(({ properties }) => properties.get('name')?.text).sort()
    expect(await names(session)).toHaveLength(8)
    expect(await names(paged)).toEqual(await names(session))
    const gone = { type: 'VirtualMachine', value: 'vm-99999' }
    expect(await retrieveOne(session, gone, ['name'])).toBeNull()
  })

  test('host and its management address', async () => {
    const vm = await findVm(session, 'DC0_H0_VM0')
    const host = await hostOfVm(session, vm.ref)
    expect(host?.type).toBe('HostSystem')
    expect(await readHosts(session, host ? [host] : [])).toEqual([
      { ref: host, name: 'DC0_H0', managementIps: ['127.0.0.1'] },
    ])
    expect(await hostOfVm(session, { type: 'VirtualMachine', value: 'vm-99999' })).toBeNull()
  })

  test('serial ports are added, re-pointed and removed by key; their neighbours stay as they are', async () => {
    const { ref } = await findVm(session, 'DC0_H0_VM0')
    const pipe = node('deviceChange', [
      leaf('operation', 'add'),
      node(
        'device',
        [
          leaf('key', -2),
          node(
            'backing',
            [leaf('pipeName', 'p'), leaf('endpoint', 'client'), leaf('noRxLoss', true)],
            'VirtualSerialPortPipeBackingInfo',
          ),
          leaf('yieldOnPoll', true),
        ],
        'VirtualSerialPort',
      ),
    ])
    await reconfigureVm(session, ref, { devices: [addSerialPort(BACKING)] })
    await reconfigureVm(session, ref, { devices: [pipe] })
    await reconfigureVm(session, ref, { devices: [addSerialPort({ ...BACKING, serviceURI: 'second' })] })
    const before = await portsOf(ref)
    expect(before.map(({ backing }) => backing.kind)).toEqual(['uri', 'pipe', 'uri'])
    const [first, , third] = before
    // The documented two steps.
    await reconfigureVm(session, ref, { devices: [editSerialPort(first!, { connected: false })] })
    const disconnected = (await portsOf(ref)).find(({ key }) => key === first?.key)
    expect(disconnected).toMatchObject({ connected: false, backing: first?.backing })
    const moved = { ...BACKING, proxyURI: 'telnets://10.0.0.2:13370#thumbprint=AA:BB&verify' }
    await reconfigureVm(session, ref, { devices: [editSerialPort(disconnected!, { backing: moved, connected: true })] })
    const after = await portsOf(ref)
    expect(after.find(({ key }) => key === first?.key)).toMatchObject({ connected: true, backing: moved })
    for (const { key, backing } of before.slice(1)) {
      expect(after.find((port) => port.key === key)?.backing).toEqual(backing)
    }
    await reconfigureVm(session, ref, { devices: [removeSerialPort(third!)] })
    expect((await portsOf(ref)).map(({ key }) => key)).toEqual(before.slice(0, 2).map(({ key }) => key))
  })

  test('a task that fails says why; a VM that is not there cannot be changed', async () => {
    const { ref } = await findVm(session, 'DC0_H0_VM1')
    const response = await session.call(ref, 'PowerOnVM_Task')
    await expect(session.tasks.wait(taskOf(response), 'cannot start it')).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_STATE',
      fault: 'InvalidPowerState',
      message: expect.stringContaining('cannot start it'),
    })
    await expect(reconfigureVm(session, { type: 'VirtualMachine', value: 'vm-99999' }, {})).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_NOT_FOUND',
    })
  })

  test('guestinfo values keep every character; an empty one removes the key', async () => {
    const { ref } = await findVm(session, 'DC0_H0_VM1')
    const value = ' two\r\nlines\t<&>"\' \u{1f600} '
    await reconfigureVm(session, ref, {
      extraConfig: [
        ['guestinfo.a', value],
        ['guestinfo.b', '1'],
      ],
    })
    expect((await extraOf(ref)).get('guestinfo.a')).toBe(value)
    await reconfigureVm(session, ref, { extraConfig: [['guestinfo.a', '']] })
    const left = await extraOf(ref)
    expect([left.has('guestinfo.a'), left.get('guestinfo.b')]).toEqual([false, '1'])
  })

  test('custom values by the name of their field; a setting', async () => {
    const { ref } = await findVm(session, 'DC0_H0_VM0')
    const manager = session.content.customFieldsManager!
    const added = await session.call(manager, 'AddCustomFieldDef', [
      leaf('name', 'vspc'),
      leaf('moType', 'VirtualMachine'),
    ])
    const key = Number(added.children[0]?.children.find(({ name }) => name === 'key')?.text)
    await session.call(manager, 'SetField', [refElement('entity', ref), leaf('key', key), leaf('value', 'console')])
    const vm = await retrieveOne(session, ref, ['customValue'])
    expect([...readCustomValues(vm?.properties.get('customValue'), await customFieldNames(session))]).toEqual([
      ['vspc', 'console'],
    ])
    expect(await readSetting(session, 'VirtualCenter.InstanceName')).not.toBeUndefined()
    expect(await readSetting(session, 'config.vpxd.SerialPort.PersistNetworkBacking')).toBeNull()
  })

  /** Follows values of one property, and waits for what a test needs to see. */
  function follow(from: VsphereSession, vm: ManagedRef, property: string, options: { onTrouble?: () => void } = {}) {
    const stop = new AbortController()
    const seen: { restarted: boolean; value: string | undefined }[] = []
    let wake = (): void => {}
    const ended = (async () => {
      const news: AsyncIterable<News> = watch(
        from,
        { type: vm.type, properties: [property], objects: [vm] },
        { signal: stop.signal, ...options },
      )
      for await (const { restarted, updates } of news) {
        for (const { changes } of updates) {
          const element = changes.get(property)
          const value = property === 'config.extraConfig' ? readExtraConfig(element).get('guestinfo.w') : element?.text
          seen.push({ restarted, value })
        }
        wake()
      }
    })().catch((error: unknown) => error)
    open.push(async () => {
      stop.abort(new VspcError('VSPC_USAGE', 'over'))
      expect(await ended).toMatchObject({ message: 'over' })
    })
    const until = async (test: () => boolean): Promise<void> => {
      while (!test()) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
    return { seen, until }
  }

  async function relocate(vm: ManagedRef, to: ManagedRef): Promise<void> {
    const response = await session.call(vm, 'RelocateVM_Task', [node('spec', [refElement('host', to)])])
    await session.tasks.wait(taskOf(response), 'relocate')
  }

  test('a move to another host is told within the long poll', async () => {
    const { ref } = await findVm(session, 'DC0_C0_RP0_VM2')
    const hosts = (await list(session, 'HostSystem', ['name'])).map((host) => host.ref)
    const here = (await hostOfVm(session, ref))?.value
    const elsewhere = hosts.filter(({ value }) => value !== here)
    const { seen, until } = follow(session, ref, 'runtime.host')
    await until(() => seen.length > 0)
    expect(seen[0]).toEqual({ restarted: true, value: here })
    for (const host of elsewhere.slice(0, 2)) {
      await relocate(ref, host)
      await until(() => seen.at(-1)?.value === host.value)
    }
    expect(seen.filter(({ restarted }) => restarted)).toHaveLength(1)
  })

  test('guestinfo that the VM publishes is told', async () => {
    const { ref } = await findVm(session, 'DC0_C0_RP0_VM3')
    const { seen, until } = follow(session, ref, 'config.extraConfig')
    await until(() => seen.length > 0)
    await reconfigureVm(session, ref, { extraConfig: [['guestinfo.w', '10.0.0.7']] })
    await until(() => seen.at(-1)?.value === '10.0.0.7')
  })

  test('several watches of one session take no news from each other', async () => {
    const vms = await Promise.all(['DC0_H0_VM2', 'DC0_H0_VM3'].map((name) => findVm(session, name)))
    const watches = vms.flatMap(({ ref }) => [
      follow(session, ref, 'config.extraConfig'),
      follow(session, ref, 'config.extraConfig'),
    ])
    await Promise.all(watches.map(({ seen, until }) => until(() => seen.length > 0)))
    await Promise.all(vms.map(({ ref }) => reconfigureVm(session, ref, { extraConfig: [['guestinfo.w', 'all']] })))
    await Promise.all(watches.map(({ seen, until }) => until(() => seen.at(-1)?.value === 'all')))
  })

  test('the first news of many objects come in truncated sets, all of them', async () => {
    const paged = await newSession({ limits: { pageObjects: 3 } })
    open.push(() => paged.close())
    const found = new Set<string>()
    for await (const { updates, truncated } of watch(paged, { type: 'VirtualMachine', properties: ['name'] })) {
      for (const { ref, kind } of updates) if (kind === 'enter') found.add(ref.value)
      if (!truncated && found.size >= 8) break
    }
    expect(found.size).toBe(8)
  })

  test('a session that an administrator ends: the watch begins anew, and nothing is missed', async () => {
    const victim = await newSession({ limits: { keepAliveMs: 100, retryMinMs: 10 } })
    open.push(() => victim.close())
    const { ref } = await findVm(session, 'DC0_H0_VM2')
    const { seen, until } = follow(victim, ref, 'config.extraConfig')
    await until(() => seen.length > 0)
    const { sessionManager } = session.content
    const own = (await retrieveOne(session, sessionManager, ['currentSession']))?.properties.get('currentSession')
    const keyOf = (element: typeof own) => element?.children.find(({ name }) => name === 'key')?.text ?? ''
    const theirs = (await retrieveOne(victim, sessionManager, ['currentSession']))?.properties.get('currentSession')
    expect(keyOf(theirs)).not.toBe(keyOf(own))
    await session.call(sessionManager, 'TerminateSession', [leaf('sessionId', keyOf(theirs))])
    await reconfigureVm(session, ref, { extraConfig: [['guestinfo.w', 'meanwhile']] })
    // The poll of the session that was ended may still be told.
    await until(() => seen.at(-1)?.value === 'meanwhile' && seen.filter(({ restarted }) => restarted).length > 1)
    expect(victim.epoch).toBeGreaterThan(1)
  })

  test('a vCenter that restarts: the watch comes back by itself, and calls work again', async () => {
    const first = await Vcsim.start({ cert: certificate.cert, key: certificate.key })
    open.push(() => first.stop())
    const way = await SwitchedWay.open(first.tcpPort)
    open.push(() => way.close())
    const through = await newSession({
      dial: parseEndpoint(`tcp://127.0.0.1:${way.tcpPort}`, 'dial', 'plain'),
      limits: { retryMinMs: 10, retryMaxMs: 50, keepAliveMs: 200 },
    })
    open.push(() => through.close())
    const { ref } = await findVm(through, 'DC0_H0_VM0')
    let troubles = 0
    const { seen, until } = follow(through, ref, 'runtime.host', { onTrouble: () => troubles++ })
    await until(() => seen.length > 0)
    way.switchTo(null)
    await first.stop()
    await expect(findVm(through, 'DC0_H0_VM0')).rejects.toMatchObject({ retryable: true })
    const second = await Vcsim.start({ cert: certificate.cert, key: certificate.key })
    open.push(() => second.stop())
    way.switchTo(second.tcpPort)
    await until(() => seen.filter(({ restarted }) => restarted).length > 1)
    expect(troubles).toBeGreaterThan(0)
    expect((await findVm(through, 'DC0_H0_VM0')).ref).toEqual(ref)
  })

  test('a watched VM that is not there is told as gone, beside one that is', async () => {
    const { ref } = await findVm(session, 'DC0_H0_VM0')
    const gone = { type: 'VirtualMachine', value: 'vm-99999' }
    const news = watch(session, { type: gone.type, properties: ['name'], objects: [gone, ref] })
    const first = (await news.next()).value
    await news.return(undefined as never)
    expect(first.updates.map(({ ref: { value }, kind }) => [value, kind]).sort()).toEqual([
      [ref.value, 'enter'],
      [gone.value, 'leave'],
    ])
  })

  test('200 VMs, 8 changes at a time', async () => {
    // The simulator itself takes seconds to make so many.
    const big = await Vcsim.start({ vms: 100, cert: certificate.cert, key: certificate.key })
    open.push(() => big.stop())
    const many = await newSession({ url: big.url })
    open.push(() => many.close())
    const vms = (await list(many, 'VirtualMachine', ['name'])).map(({ ref }) => ref)
    expect(vms).toHaveLength(200)
    const queue = [...vms]
    const worker = async (): Promise<void> => {
      for (let vm = queue.pop(); vm !== undefined; vm = queue.pop()) {
        await reconfigureVm(many, vm, { devices: [addSerialPort(BACKING)] })
      }
    }
    await Promise.all(Array.from({ length: 8 }, worker))
    const found = await retrieve(many, { type: 'VirtualMachine', properties: ['config.hardware.device'], objects: vms })
    const proxies = found.map(({ properties }) => readSerialPorts(properties.get('config.hardware.device'))[0]?.backing)
    expect(proxies).toEqual(Array.from({ length: 200 }, () => ({ kind: 'uri', ...BACKING })))
  }, 60_000)

  test('a stand-alone host says so', async () => {
    const host = await Vcsim.start({ esx: true, cert: certificate.cert, key: certificate.key })
    open.push(() => host.stop())
    const alone = await newSession({ url: host.url })
    open.push(() => alone.close())
    expect(alone.about.isVcenter).toBe(false)
    expect(await customFieldNames(alone)).toEqual(new Map())
    expect(await list(alone, 'VirtualMachine', ['name'])).toHaveLength(2)
  })
})
