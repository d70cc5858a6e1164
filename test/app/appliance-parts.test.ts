/** What is told of following the appliance: how it looks, and that asking does not keep vCenter busy. */
import { expect, test } from 'vitest'
import { applianceInfo, MAX_WRONG_VMS, type PlanInfo, planInfo, vmRef } from '../../src/app/appliance-view.ts'
import { PlanReader } from '../../src/app/plan-reader.ts'
import type { PlanReport, TrackedVmInfo, TrackingStatus } from '../../src/appliance/index.ts'
import { Troubles } from '../../src/appliance/troubles.ts'
import { ManualClock } from '../../src/base/index.ts'

const HOSTILE = 'x\n\nevent: port-removed\u001b[2J\u202e'
const PLACE = { id: 'host-1', name: HOSTILE, managementIps: ['192.0.2.1\n'] }
const COUNTS = { vms: 300, queued: 0, working: 0, waiting: 100, stuck: 100, right: 0, cannot: 100 }
const STATUS: TrackingStatus = {
  vm: { id: 'vm-1', name: HOSTILE, instanceUuid: 'u' },
  host: PLACE,
  since: 0,
  moves: 1,
  reachable: true,
  trouble: { failure: { kind: 'busy', message: HOSTILE.repeat(100) }, since: 0 },
  retarget: { place: PLACE, proxyURI: 'telnet://x:1', settled: false, counts: COUNTS, nextHopsOpen: 0 },
}
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u202e]/

function* texts(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value
  else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) yield* texts(inner)
}

test('names of vCenter reach nobody uncleaned, and messages have an end', () => {
  const wrong: TrackedVmInfo[] = [{ vm: HOSTILE, uuid: HOSTILE, state: 'stuck', reason: HOSTILE, attempts: 3 }]
  const port = {
    key: 9000,
    label: HOSTILE,
    backing: { kind: 'uri', serviceURI: 'x', direction: 'server', proxyURI: HOSTILE } as const,
    connected: true,
    startConnected: true,
    status: null,
  }
  const vm = {
    id: 'vm-2',
    name: HOSTILE,
    instanceUuid: null,
    biosUuid: null,
    poweredOn: true,
    folder: '',
    resourcePool: '',
    customValues: new Map<string, string>(),
    ports: [port],
  }
  const report: PlanReport = {
    place: PLACE,
    proxyURI: 'telnet://x:1',
    steps: [{ do: 'keep', why: 'right', vm, port }],
    nextHops: { problem: HOSTILE },
  }
  const all = [...texts([applianceInfo(STATUS, wrong), planInfo(report, 0), vmRef(vm)])]
  expect(all.length).toBeGreaterThan(10)
  expect(all.filter((text) => UNSAFE.test(text) || text.length > 500)).toEqual([])
})

test('of VMs that are not right a bounded number is shown, those first that somebody has to look at', () => {
  const of = (state: TrackedVmInfo['state']): TrackedVmInfo[] =>
    Array.from({ length: 60 }, (_, at) => ({ vm: `${state}${at}`, uuid: null, state, reason: null, attempts: 0 }))
  const { vms } = applianceInfo(STATUS, [...of('waiting'), ...of('cannot'), ...of('stuck')])
  expect(vms).toHaveLength(MAX_WRONG_VMS)
  expect([vms[0]?.name, vms[59]?.state, vms[60]?.name, vms[99]?.state]).toEqual([
    'stuck0',
    'stuck',
    'cannot0',
    'cannot',
  ])
})

class SlowTracking {
  readonly asked: { signal: AbortSignal; answer: (report: PlanReport) => void; fail: (error: Error) => void }[] = []

  readPlan(signal: AbortSignal = new AbortController().signal): Promise<PlanReport> {
    return new Promise((answer, fail) => {
      this.asked.push({ signal, answer, fail })
      signal.addEventListener('abort', () => fail(signal.reason as Error))
    })
  }
}

const REPORT: PlanReport = { place: PLACE, proxyURI: 'telnet://x:1', steps: [], nextHops: [] }

test('however many ask for the plan, vCenter is asked one at a time, and not again at once', async () => {
  const [clock, tracking] = [new ManualClock(), new SlowTracking()]
  const plans = new PlanReader(tracking, clock)
  const waiting = Array.from({ length: 50 }, () => plans.read())
  expect(tracking.asked).toHaveLength(1)
  tracking.asked[0]?.answer(REPORT)
  const answers = await Promise.all(waiting)
  expect(new Set(answers).size).toBe(1)
  clock.advance(1_999)
  expect(await plans.read()).toBe(answers[0])
  clock.advance(1)
  const next: Promise<PlanInfo> = plans.read()
  expect(tracking.asked).toHaveLength(2)
  // A failure is no reason to ask at once again, either.
  tracking.asked[1]?.fail(new Error('away'))
  await expect(next).rejects.toThrow('away')
  await expect(plans.read()).rejects.toThrow('away')
  clock.advance(2_000)
  expect(tracking.asked).toHaveLength(2)
})

test('a vCenter that does not answer is given up after half a minute', async () => {
  const [clock, tracking] = [new ManualClock(), new SlowTracking()]
  const waiting = new PlanReader(tracking, clock).read()
  clock.advance(30_000)
  await expect(waiting).rejects.toMatchObject({ code: 'VSPC_WAIT_TIMEOUT' })
  expect(tracking.asked[0]?.signal.aborted).toBe(true)
})

test('while the server is away all say the same: it is told once, and well again once', () => {
  const troubles = new Troubles()
  const away = { kind: 'transient', message: 'away' } as const
  expect([troubles.add('news', away, 1), troubles.add('appliance', away, 2)]).toEqual([true, false])
  expect(troubles.add('appliance', { kind: 'gone', message: 'not there' }, 3)).toBe(true)
  expect(troubles.first).toEqual({ failure: away, since: 1 })
  expect([troubles.end('news'), troubles.end('vms')]).toEqual([false, false])
  // With another reason it is still wrong since then.
  expect(troubles.first).toMatchObject({ failure: { message: 'not there' }, since: 2 })
  expect([troubles.end('appliance'), troubles.end('appliance')]).toEqual([true, false])
  expect(troubles.first).toBeNull()
})
