import { afterEach, describe, expect, it } from 'vitest'
import {
  MIGRATION_FAILURES,
  type MigrationFailure,
  SimVm,
  type SimVmOptions,
  SOURCE_FINS,
  VARIANTS,
} from '../../src/sim/index.ts'
import { type DoubleBehaviour, ProxyDouble } from './proxy-double.ts'

let proxy: ProxyDouble
const vms: SimVm[] = []
const HERE = { name: 'esx-a', localAddress: '127.0.0.2' }
const THERE = { name: 'esx-b', localAddress: '127.0.0.3' }

afterEach(async () => {
  for (const vm of vms.splice(0)) await vm.close()
  await proxy.close()
})

async function boot(behaviour: DoubleBehaviour = {}, options: Partial<SimVmOptions> = {}): Promise<SimVm> {
  proxy = await ProxyDouble.listen(behaviour)
  const vm = new SimVm({ name: 'vm-0001', target: proxy.target, host: HERE, connection: { noDelay: true }, ...options })
  vms.push(vm)
  await vm.powerOn()
  return vm
}

const serial = (text: string) => (connection: { serial: Buffer }) => connection.serial.toString('latin1').endsWith(text)

describe('SimVm', () => {
  it('prints before and after a migration, and each byte arrives once, in order', async () => {
    const vm = await boot()
    vm.print('one ')
    const first = await proxy.connection(0)
    await first.until(serial('one '))
    const migration = vm.migrate({ to: THERE })
    vm.print('two ')
    const result = await migration
    vm.print('three')
    const second = await proxy.connection(1)
    await second.until(serial('two three'))
    expect(first.serial.toString()).toBe('one ')
    expect(result).toMatchObject({ outcome: 'completed', asExpected: true, from: 'esx-a', to: 'esx-b' })
    expect(result.goaheadMs).toBeGreaterThan(0)
    expect(first.remoteAddress).toBe('127.0.0.2')
    expect(second.remoteAddress).toBe('127.0.0.3')
    expect(vm.host).toBe(THERE)
    expect(vm.violations).toEqual([])
  })

  it('goes back and forth five times, and its input is one stream', async () => {
    const vm = await boot()
    for (let n = 0; n < 5; n++) {
      const at = await proxy.connection(n)
      at.send(Buffer.from(`input ${n} \xff\xff`, 'latin1'))
      await vm.expectInput(Buffer.from(`input ${n} \xff`, 'latin1'))
      const result = await vm.migrate({ to: n % 2 ? HERE : THERE })
      expect(result.outcome).toBe('completed')
    }
    const wanted = [0, 1, 2, 3, 4].map((n) => `input ${n} \xff`).join('')
    expect(Buffer.from(vm.input).toString('latin1')).toBe(wanted)
  })

  it.each(SOURCE_FINS)('source FIN %s: completes, and the FIN is sent', async (sourceFin) => {
    const vm = await boot()
    expect(await vm.migrate({ to: THERE, sourceFin })).toMatchObject({ outcome: 'completed', asExpected: true })
    await proxy.until(({ events }) => events.includes('complete 1') && events.includes('fin 0'))
    expect(proxy.events.filter((event) => event !== 'fin 0')).toEqual(['begin 0', 'peer 1', 'complete 1'])
  })

  it.each(MIGRATION_FAILURES)('%s ends as a correct proxy lets it, and the VM still talks', async (failure) => {
    const vm = await boot({}, { redialMs: 1 })
    if (failure === 'peer-replayed') expect((await vm.migrate({ to: THERE })).outcome).toBe('completed')
    const result = await vm.migrate({ to: THERE, failure, goaheadLimitMs: failure === 'goahead-late' ? 5 : 5_000 })
    expect(result.outcome).toBe(VARIANTS[failure].expected)
    expect(result.asExpected).toBe(true)
    vm.print('still here')
    await proxy.until(({ connections }) => connections.some(serial('still here')))
    expect(vm.violations).toEqual([])
  })

  it.each(['peer-wrong', 'peer-truncated', 'peer-extended', 'peer-late'] as MigrationFailure[])(
    'C43: %s accepted by a careless proxy is not as expected',
    async (failure) => {
      const vm = await boot({ anyPeer: true })
      const result = await vm.migrate({ to: THERE, failure })
      expect(result).toMatchObject({ outcome: 'aborted', asExpected: false, ports: [{ peerOk: true }] })
    },
  )

  it('NOTNOW: goes on at the source without ABORT, output held meanwhile comes out there', async () => {
    const vm = await boot({ begin: 'notnow' })
    const migration = vm.migrate({ to: THERE })
    vm.print('held')
    expect(await migration).toMatchObject({ outcome: 'refused', asExpected: false, ports: [{ secret: null }] })
    await (await proxy.connection(0)).until(serial('held'))
    expect(proxy.events).toEqual(['begin 0'])
  })

  it('no answer to BEGIN within the limit: goes on in place, without ABORT', async () => {
    const vm = await boot({ begin: 'silence' })
    const migration = vm.migrate({ to: THERE, goaheadLimitMs: 20 })
    vm.print('held')
    expect(await migration).toMatchObject({ outcome: 'timeout', goaheadMs: null })
    await (await proxy.connection(0)).until(serial('held'))
    expect(proxy.events).toEqual(['begin 0'])
  })

  it('C34: input pushed into the frozen source is lost when the VM moves, and named', async () => {
    const vm = await boot({ behindGoahead: Buffer.from('typed') })
    await vm.migrate({ to: THERE, stunMs: 1 })
    expect(vm.input).toEqual(new Uint8Array(0))
    expect(vm.port(0).lostInputBytes).toBe(5)
    expect(vm.violations).toEqual(['vm-0001 port 0: 5 input bytes sent to the frozen source after GOAHEAD'])
  })

  it('input pushed into the frozen source is read when the VM stays', async () => {
    const vm = await boot({ behindGoahead: Buffer.from('typed') })
    await vm.migrate({ to: THERE, failure: 'abort-after-goahead' })
    await vm.expectInput('typed')
    expect(vm.violations).toEqual([])
  })

  it('C34: input sent to the destination before COMPLETE is lost and named', async () => {
    const vm = await boot({ behindPeerOk: Buffer.from('early') })
    await vm.migrate({ to: THERE })
    expect(vm.violations).toEqual(['vm-0001 port 0: 5 input bytes sent to the destination before COMPLETE'])
  })

  it('C32, C33: a secret behind PEER-OK or NOTNOW is tolerated, and named', async () => {
    const vm = await boot({ appendSecret: true })
    expect((await vm.migrate({ to: THERE })).outcome).toBe('completed')
    expect(vm.violations).toEqual(['vm-0001 port 0: PEER-OK carries 4 bytes besides the sequence'])
  })

  it('two ports: one migration, two handshakes, each its own', async () => {
    const vm = await boot({}, { ports: [{ serviceURI: 'vSPC.py?port=a' }, { serviceURI: 'vSPC.py?port=b' }] })
    const result = await vm.migrate({ to: THERE })
    expect(result.ports.map((port) => port.port)).toEqual([0, 1])
    expect(result.ports[0]?.secret).not.toEqual(result.ports[1]?.secret)
    vm.print('A', 0)
    vm.print('B', 1)
    const [a, b] = [await proxy.connection(2), await proxy.connection(3)]
    await Promise.all([a.until((c) => c.serial.length > 0), b.until((c) => c.serial.length > 0)])
    expect([a.serial.toString(), b.serial.toString()].sort()).toEqual(['A', 'B'])
  })

  it('dials again after a reset, and what it printed meanwhile is not lost', async () => {
    const vm = await boot({}, { redialMs: 1 })
    const first = await proxy.connection(0)
    first.socket.resetAndDestroy()
    await [...vm.connections][0]?.closed
    vm.print('while away')
    await (await proxy.connection(1)).until(serial('while away'))
    expect(vm.port(0).reconnects).toBe(1)
  })

  it('redialMs 0: stays away', async () => {
    const vm = await boot({}, { redialMs: 0 })
    ;(await proxy.connection(0)).socket.destroy()
    await [...vm.connections][0]?.closed
    expect(vm.port(0).state).toBe('waiting')
  })

  it('WONT-PROXY: powerOn says so, the link stays up', async () => {
    await expect(boot({ wontProxy: true })).rejects.toThrow('WONT-PROXY')
    expect(vms[0]?.port(0).state).toBe('refused')
  })

  it('powerOn without a server rejects with the cause', async () => {
    proxy = await ProxyDouble.listen()
    const { target } = proxy
    await proxy.close()
    const vm = new SimVm({ name: 'x', target, redialMs: 0 })
    await expect(vm.powerOn()).rejects.toMatchObject({ code: 'VSPC_TRANSPORT_DIAL' })
    proxy = await ProxyDouble.listen()
  })

  it('power-off in the middle of a migration ends it', async () => {
    const vm = await boot()
    const migration = vm.migrate({ to: THERE, stunMs: 60_000 })
    await (await proxy.connection(0)).until(() => proxy.events.includes('begin 0'))
    const off = vm.powerOff()
    expect(await migration).toMatchObject({ outcome: 'lost' })
    await off
    expect(vm.connections.size).toBe(0)
    await expect(vm.migrate({ to: THERE })).rejects.toMatchObject({ code: 'VSPC_SIM_STATE' })
  })

  it('power-off and on again is a fresh connection with DO-PROXY', async () => {
    const vm = await boot()
    await vm.powerOff()
    await vm.powerOn()
    vm.print('again')
    const second = await proxy.connection(1)
    await second.until(serial('again'))
    expect(second.tokens.some((token) => token.startsWith('FFFAE846'))).toBe(true)
  })

  it('a rename goes out unasked, and the new name is told from then on', async () => {
    const vm = await boot()
    vm.rename('neu')
    await (await proxy.connection(0)).until((c) => c.tokens.includes('FFFAE8526E6575FFF0'))
    await vm.migrate({ to: THERE })
    await (await proxy.connection(1)).until((c) => c.tokens.includes('FFFAE8526E6575FFF0'))
  })
})
