import { afterEach, describe, expect, it } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import {
  canonicalUuid,
  IDENTITY_KINDS,
  parseSimScript,
  Simulation,
  type SimulationEvent,
  type SimulationOptions,
  simUuid,
  simulate,
  simVmName,
} from '../../src/sim/index.ts'
import { type DoubleBehaviour, hex, ProxyDouble } from './proxy-double.ts'

let proxy: ProxyDouble
let simulation: Simulation | null = null
const events: SimulationEvent[] = []
let wake: (() => void)[] = []

afterEach(async () => {
  await simulation?.stop()
  simulation = null
  events.length = 0
  await proxy?.close()
})

async function run(behaviour: DoubleBehaviour, options: Partial<SimulationOptions>): Promise<Simulation> {
  proxy = await ProxyDouble.listen(behaviour)
  const onEvent = (event: SimulationEvent) => {
    events.push(event)
    const waiting = wake
    wake = []
    for (const each of waiting) each()
  }
  simulation = simulate({ targets: [proxy.target], onEvent, ...options })
  await simulation.started
  return simulation
}

async function seen(test: (all: SimulationEvent[]) => boolean): Promise<void> {
  while (!test(events)) await new Promise<void>((resolve) => wake.push(resolve))
}

describe('simulate', () => {
  it('connects N VMs with M ports from their hosts, each with a name, UUID and label of its own', async () => {
    const sim = await run({}, { hosts: 3, vms: 10, portsPerVm: 2, opening: 'mixed', guests: [{ kind: 'silent' }] })
    expect(sim.statistics()).toMatchObject({ vms: 10, ports: 20, portsAttached: 20, portsRefused: 0, violations: 0 })
    await proxy.until(({ connections }) =>
      connections.every((each) => each.tokens.some((token) => token.startsWith('FFFAE852'))),
    )
    const told = (prefix: string) =>
      new Set(proxy.connections.map((each) => each.tokens.find((token) => token.startsWith(prefix))))
    expect(told('FFFAE850').size).toBe(10)
    expect(told('FFFAE852').size).toBe(10)
    expect(told('FFFAE846').size).toBe(2)
    if (process.platform === 'linux') {
      const addresses = new Set(proxy.connections.map((each) => each.remoteAddress))
      expect([...addresses].sort()).toEqual(['127.0.1.1', '127.0.1.2', '127.0.1.3'])
    }
  })

  it('moves VMs at the given rate, all as expected, and counts', async () => {
    const sim = await run(
      {},
      { hosts: 2, vms: 5, vmotionsPerSecond: 200, guests: [{ kind: 'counter', intervalMs: 10 }] },
    )
    await seen((all) => all.filter((event) => event.type === 'vmotion').length >= 20)
    const { vmotions, goaheadMs, violations, lostInputBytes } = sim.statistics()
    expect(vmotions.completed).toBeGreaterThanOrEqual(20)
    expect(vmotions).toMatchObject({ refused: 0, lost: 0, aborted: 0, unexpected: 0 })
    expect(goaheadMs?.min).toBeLessThanOrEqual(goaheadMs?.p99 ?? -1)
    expect({ violations, lostInputBytes }).toEqual({ violations: 0, lostInputBytes: 0 })
  })

  it('a proxy that refuses is counted as unexpected, not hidden', async () => {
    const sim = await run({ begin: 'notnow' }, { vms: 1, vmotionsPerSecond: 100 })
    await seen((all) => all.some((event) => event.type === 'vmotion'))
    expect(sim.statistics().vmotions).toMatchObject({ completed: 0, unexpected: sim.statistics().vmotions.refused })
  })

  it('a VM that cannot attach is named, the others go on', async () => {
    const sim = await run({ wontProxy: true }, { vms: 2 })
    expect(sim.statistics()).toMatchObject({ portsAttached: 0, portsRefused: 2 })
    expect(events).toContainEqual({ type: 'note', vm: 'vm-0002', text: 'vm-0002: the proxy answered WONT-PROXY' })
  })

  it('no server: says so, and nothing is left running', async () => {
    proxy = await ProxyDouble.listen()
    const { target } = proxy
    await proxy.close()
    const dead = new Simulation({ targets: [target], vms: 3 })
    await expect(dead.started).rejects.toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
    expect(dead.vms.every((vm) => !vm.poweredOn)).toBe(true)
    proxy = await ProxyDouble.listen()
  })

  it('an abort signal ends everything', async () => {
    const controller = new AbortController()
    const sim = await run({}, { vms: 3, signal: controller.signal })
    controller.abort()
    await sim.stop()
    await proxy.until(({ connections }) => connections.every((each) => each.ended))
    expect(sim.vms.every((vm) => vm.connections.size === 0)).toBe(true)
  })

  it('acts a script out', async () => {
    const script = parseSimScript(`
- { at: 1, vm: vm-0001, do: print, text: hello }
- { at: 2, vm: 'vm-000?', do: migrate, to: esx-02, sourceFin: before-peer }
- { at: 3, vm: vm-0002, do: abort }
- { at: 4, vm: vm-0001, do: power-off }
- { at: 5, vm: vm-0001, do: migrate }
`)
    const clock = new ManualClock()
    const sim = await run({}, { vms: 2, guests: [{ kind: 'silent' }], script, clock })
    for (const happened of [0, 2, 3, 3, 4]) {
      clock.advance(1_000)
      await seen((all) => all.length >= happened)
    }
    expect(sim.vm('vm-0002').host.name).toBe('esx-02')
    expect(
      events.map((event) => (event.type === 'note' ? event.text : `${event.vm} ${event.result.outcome}`)).sort(),
    ).toEqual([
      'vm-0001 completed',
      'vm-0001 is powered off: it cannot migrate',
      'vm-0002 aborted',
      'vm-0002 completed',
    ])
    expect(sim.statistics().vmotions.unexpected).toBe(0)
    expect((await proxy.connection(0)).serial.toString() + (await proxy.connection(1)).serial.toString()).toBe('hello')
  })

  it('a script sends bytes of its own: raw ones many times over, and suboptions of any size', async () => {
    const script = parseSimScript(`
- { at: 1, vm: vm-0001, do: send, hex: 'ff fc 03 ff fe 03', times: 100 }
- { at: 1, vm: vm-0001, do: suboption, code: 255, hex: '01 ff' }
- { at: 1, vm: vm-0001, do: suboption, code: 82, bytes: 65536 }
- { at: 2, vm: vm-0001, do: migrate, sequence: 'ff f0 00' }
`)
    const clock = new ManualClock()
    await run({}, { vms: 1, guests: [{ kind: 'silent' }], script, clock })
    const wire = await proxy.connection(0)
    clock.advance(1_000)
    await wire.until((each) => each.raw.length > 65_536 && each.raw.subarray(-2).equals(hex('fff0')))
    expect(wire.tokens.filter((token) => token === 'FFFC03')).toHaveLength(100)
    expect(wire.tokens).toContain('FFFAE8FF01FFFFF0')
    clock.advance(1_000)
    await seen((all) => all.length === 1)
    expect(wire.tokens).toContain('FFFAE828FFF000FFF0')
    expect(events).toMatchObject([{ type: 'vmotion', result: { outcome: 'completed' } }])
  })

  it('stall: what the proxy sends meanwhile is read afterwards', async () => {
    const script = parseSimScript('- { at: 1, vm: vm-0001, do: stall, ms: 500 }')
    const clock = new ManualClock()
    const sim = await run({}, { vms: 2, guests: [{ kind: 'silent' }], script, clock })
    const [stalled, other] = [await proxy.connection(0), await proxy.connection(1)]
    clock.advance(1_000)
    stalled.send(Buffer.concat([Buffer.from('typed'), hex('fffd18')]))
    other.send(Buffer.concat([Buffer.from('and'), hex('fffd18')]))
    await other.until((each) => each.tokens.includes('FFFC18'))
    expect(sim.statistics().bytesToVms).toBe(3)
    clock.advance(500)
    await stalled.until((each) => each.tokens.includes('FFFC18'))
    expect(sim.statistics().bytesToVms).toBe(8)
  })

  it.each(IDENTITY_KINDS)('identity %s: attaches', async (identity) => {
    const sim = await run({}, { vms: 8, identity, split: 'glue' })
    expect(sim.statistics()).toMatchObject({ portsAttached: 8 })
  })

  it('what a power-off cuts short is no news', async () => {
    const sim = await run({}, { vms: 1, guests: [{ kind: 'silent' }] })
    const [vm] = sim.vms
    if (!vm) throw new Error('no VM')
    const migration = sim.migrate(vm, { stunMs: 60_000 })
    await (await proxy.connection(0)).until(() => proxy.events.includes('begin 0'))
    await sim.stop()
    expect((await migration).outcome).toBe('lost')
    expect(events).toEqual([])
  })
})

describe('identities', () => {
  it('are the same for the same seed and distinct for 10,000 VMs', () => {
    const all = Array.from({ length: 10_000 }, (_, index) => simUuid('vc', 1, index))
    expect(new Set(all).size).toBe(10_000)
    expect(simUuid('vc', 1, 5)).toBe(all[5])
    expect(simUuid('vc', 2, 5)).not.toBe(all[5])
    expect(simUuid('bios', 1, 5)).not.toBe(all[5])
    expect(all[5]).toMatch(/^([0-9a-f]{2} ){7}[0-9a-f]{2}-([0-9a-f]{2} ){7}[0-9a-f]{2}$/)
    expect(canonicalUuid('01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00')).toBe(
      '01234567-89ab-cdef-fedc-ba9800000000',
    )
    expect([simVmName(0), simVmName(9_999)]).toEqual(['vm-0001', 'vm-10000'])
  })
})

describe('parseSimScript', () => {
  it('takes JSON too', () => {
    const steps = parseSimScript('[{"at": 1, "every": 2, "vm": "*", "do": "power-off", "how": "reset"}]', 'x.json')
    expect(steps).toEqual([{ at: 1, every: 2, vm: '*', do: 'power-off', how: 'reset', where: 'x.json:1' }])
  })

  it.each([
    ['at: 1', /^s\.yaml:1: expected a list of steps, as in - \{ at: 5/],
    ['- { at: 1, vm: a, do: [ }', /^s\.yaml:1: /],
    ['- { at: 1, vm: a, do: drop }\n- nonsense', /^s\.yaml:2: step 2: expected fields/],
    ['\n- { at: 1, vm: a, do: migrte }', /^s\.yaml:2: step 1: "do" is "migrte".*did you mean "migrate"\?$/],
    ['- { at: soon, vm: a, do: drop }', /"at" is "soon"; expected a number of seconds/],
    ['- { vm: a, do: drop }', /"at" is missing/],
    ['- { at: 1, do: drop }', /"vm" is missing/],
    ['- { at: 1, vm: a, do: drop, txt: x }', /drop has no field "txt"; it takes at, every, vm, do/],
    ['- { at: 1, vm: a, do: print, txt: x }', /did you mean "text"\?/],
    ['- { at: 1, vm: a, do: print }', /"text" is missing/],
    ['- { at: 1, vm: a, do: migrate, failure: peer-rong }', /did you mean "peer-wrong"\?/],
    ['- { at: 1, vm: a, do: migrate, stunMs: -1 }', /"stunMs" is -1/],
    ['- { at: 1, every: 0, vm: a, do: drop }', /more than 0/],
    ['- { at: 1, vm: a, do: send, hex: fff }', /"hex" is "fff"; expected pairs of hex digits/],
    ['- { at: 1, vm: a, do: send, hex: ff, times: 99999999 }', /more than 16777216 bytes in one step/],
    ['- { at: 1, vm: a, do: suboption, code: 256 }', /"code" is 256; expected 0 to 255/],
    ['- { at: 1, vm: a, do: migrate, sequence: 7 }', /"sequence" is 7/],
  ])('%j is refused with line, step and fix', (text, message) => {
    expect(() => parseSimScript(text, 's.yaml')).toThrow(message)
    expect(() => parseSimScript(text, 's.yaml')).toThrow(expect.objectContaining({ code: 'VSPC_SIM_SCRIPT' }))
  })

  it('a step for VMs or hosts that do not exist is refused at the start', () => {
    const make = (text: string) => () =>
      simulate({ targets: [{ path: '/none' }], vms: 2, script: parseSimScript(text) })
    expect(make('- { at: 1, vm: web*, do: drop }')).toThrow(
      /script:1: no VM matches "web\*"; there are vm-0001 to vm-0002/,
    )
    expect(make('- { at: 1, vm: "*", do: migrate, to: esx-9 }')).toThrow(/no host "esx-9"; there are esx-01, esx-02/)
  })
})
