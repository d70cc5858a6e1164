/** What `vspc doctor` makes of what a server tells of itself: one thing is wrong at a time, and exactly that is found. */
import { describe, expect, test } from 'vitest'
import type { HealthInfo, RefusalInfo } from '../../src/app/index.ts'
import { HEALTH_CHECKS } from '../../src/cli/doctor-checks-health.ts'
import { answered, type Facts } from '../../src/cli/doctor-facts.ts'
import { type Finding, runChecks } from '../../src/cli/doctor-finding.ts'
import { formatFindings } from '../../src/cli/doctor-report.ts'
import { REFUSAL_REASONS } from '../../src/vspc/refusals.ts'
import { CERTIFICATE, healthInfo, LISTENER, NOW } from './doctor-support.ts'

function findings(info: HealthInfo, times: { aheadMs?: number; tookMs?: number } = {}): Finding[] {
  const { aheadMs = 0, tookMs = 10 } = times
  const server = { ready: answered(null), health: answered({ info, aheadMs, tookMs }) }
  return runChecks(HEALTH_CHECKS, { server } as unknown as Facts)
}

function troubles(change: Partial<HealthInfo>, times: Parameters<typeof findings>[1] = {}): string[] {
  return findings(healthInfo(change), times)
    .filter(({ level }) => level !== 'ok')
    .map(({ level, id }) => `${level} ${id}`)
}

const WELL = healthInfo()
const history = (change: Partial<HealthInfo['history']>) => ({ history: { ...WELL.history, ...change } })
const disk = (change: object) =>
  history({ disk: { path: '/d', freeBytes: 1e12, freeFiles: 1e6, writable: true, ...change } })
const certificate = (change: object) => ({ listeners: [{ ...LISTENER, certificate: { ...CERTIFICATE, ...change } }] })
const lost = (change: Partial<HealthInfo['lost']>) => ({ lost: { ...WELL.lost, ...change } })
const refusal = (change: Partial<RefusalInfo>): RefusalInfo => ({
  reason: 'service-uri',
  peer: '10.0.0.7',
  detail: 'its serviceURI "x" is not one of "serviceUris"',
  count: 3,
  firstAt: '2026-06-01T11:00:00.000Z',
  lastAt: '2026-06-01T11:59:00.000Z',
  ...change,
})
const refusals = (...recent: RefusalInfo[]) => ({ refusals: { ...WELL.refusals, recent } })
const trouble = (kind: HealthInfo['history']['troubles'][0]['kind']) =>
  history({ troubles: [{ kind, code: 'ENOSPC', message: 'no room; delete something', since: NOW }] })

test('when all is well, every check says so', () => {
  expect(troubles({})).toEqual([])
  const said = new Set(findings(WELL).map(({ id }) => id))
  expect(HEALTH_CHECKS.map(({ id }) => id).filter((id) => !said.has(id))).toEqual(['health'])
})

describe('one thing is wrong', () => {
  test.each<[string, Partial<HealthInfo>, string[]]>([
    ['few files left', { openFiles: { open: 900, max: 1_000 } }, ['warn server-files']],
    ['a low limit of files', { openFiles: { open: 20, max: 1_024 } }, ['warn server-files']],
    ['a limit that nobody knows', { openFiles: { open: null, max: null } }, ['note server-files']],
    ['few connections left', { connections: { open: 95, max: 100 } }, ['warn connections']],
    ['a certificate that ran out', certificate({ validTo: '2026-05-31T00:00:00.000Z' }), ['warn certificates']],
    ['one that soon runs out', certificate({ validTo: '2026-06-20T00:00:00.000Z' }), ['warn certificates']],
    ['one of tomorrow', certificate({ validFrom: '2026-06-02T00:00:00.000Z' }), ['warn certificates']],
    [
      'that of HTTPS',
      { http: { url: 'https://h', certificate: { ...CERTIFICATE, validTo: '2026-06-02T00:00:00.000Z' } } },
      ['warn certificates'],
    ],
    ['a clock that jumped', { clock: { jumps: 2, lastAt: NOW, lastByMs: -5_000 } }, ['warn server-clock']],
    ['history in memory, against the configuration', history({ persistent: false, disk: null }), ['fail disk']],
    ['history in memory, as configured', history({ persistent: false, wanted: 'memory', disk: null }), ['note disk']],
    ['a disk that nobody may write', disk({ writable: false }), ['fail disk']],
    ['no room', disk({ freeBytes: 1e6 }), ['fail disk']],
    ['little room', disk({ freeBytes: 5e8 }), ['warn disk']],
    ['less room than history may take', disk({ freeBytes: 10e9 }), ['warn disk']],
    ['no limit, and room', { history: { ...disk({ freeBytes: 10e9 }).history, budgetBytes: 0 } }, []],
    ['few inodes', disk({ freeFiles: 100 }), ['warn disk']],
    ['a file system that tells nothing', disk({ freeBytes: null, freeFiles: null }), ['note disk']],
    ['writes that fail', trouble('write'), ['fail history']],
    ['a disk that is late', trouble('late'), ['warn history']],
    ['ports that are late', history({ troubledPorts: 3 }), ['warn history']],
    ['a VM with another serviceURI', refusals(refusal({})), ['warn refused']],
    ['the same, but long ago', refusals(refusal({ lastAt: '2026-06-01T09:00:00.000Z' })), ['note refused']],
    ['a port scan', refusals(refusal({ reason: 'left' })), ['note refused']],
    ['a server newer than we are', refusals(refusal({ reason: 'new' as RefusalInfo['reason'] })), ['warn refused']],
    [
      'two reasons',
      refusals(refusal({}), refusal({ reason: 'tls', peer: null }), refusal({ peer: '10.0.0.8' })),
      ['warn refused', 'warn refused'],
    ],
    ['vMotions that timed out', { vmotions: { ...WELL.vmotions, timedOut: 1 } }, ['note vmotions']],
    ['an event loop that is late', { eventLoop: { p50Ms: 50, p99Ms: 500, maxMs: 900 } }, ['warn event-loop']],
    ['one that hung once', { eventLoop: { p50Ms: 1, p99Ms: 1, maxMs: 2_000 } }, ['note event-loop']],
    ['gaps in history', lost({ historyBytes: 5 }), ['warn lost']],
    ['a fault of ours', lost({ internalErrors: 1 }), ['warn lost']],
    [
      'small losses',
      lost({ consoleBytes: 1, preAttachBytes: 1, captureBytes: 1, logLines: 1 }),
      Array(4).fill('note lost'),
    ],
    ['no vCenter', { vsphere: { reachable: false, trouble: 'gone' } }, ['warn following']],
    ['trouble with vCenter', { vsphere: { reachable: true, trouble: 'odd' } }, ['warn following']],
    [
      'VMs that stay behind',
      { appliance: { host: 'a', settled: true, stuckVms: 2, nextHopsOpen: 0 } },
      ['warn following'],
    ],
    [
      'a relay that has not heard',
      { appliance: { host: 'a', settled: true, stuckVms: 0, nextHopsOpen: 1 } },
      ['warn following'],
    ],
    ['no host yet', { appliance: { host: null, settled: false, stuckVms: 0, nextHopsOpen: 0 } }, ['note following']],
    ['guestinfo that is not heard', { guestinfo: { following: false, trouble: null } }, ['warn following']],
    ['guestinfo that is not kept', { guestinfo: { following: true, trouble: 'no room' } }, ['warn following']],
    ['nothing to follow', { vsphere: null, appliance: null, guestinfo: null }, []],
  ])('%s', (_name, change, expected) => {
    expect(troubles(change)).toEqual(expected)
  })

  test('a clock that goes otherwise than ours, unless the answer took so long', () => {
    expect(troubles({}, { aheadMs: 90_000 })).toEqual(['warn server-clock'])
    expect(troubles({}, { aheadMs: -90_000 })).toEqual(['warn server-clock'])
    expect(troubles({}, { aheadMs: 65_000, tookMs: 9_000 })).toEqual([])
  })

  test('who was refused is named, with what to do, for every reason there is', () => {
    const [one] = findings(healthInfo(refusals(refusal({}), refusal({ peer: '10.0.0.8', count: 1 })))).filter(
      ({ id }) => id === 'refused',
    )
    expect(one?.message).toBe(
      'VMs with a serviceURI that is not accepted: 4 times, last 1m ago, from ' +
        '10.0.0.7 (its serviceURI "x" is not one of "serviceUris"), 10.0.0.8 (its serviceURI "x" is not one of "serviceUris")',
    )
    for (const reason of REFUSAL_REASONS) {
      const [found] = findings(healthInfo(refusals(refusal({ reason })))).filter(({ id }) => id === 'refused')
      expect([reason, found?.next]).toEqual([reason, expect.stringMatching(/\S{3}/)])
    }
  })

  test('hostile texts reach no terminal', () => {
    const evil = '\x1b]0;evil\x07'
    const info = healthInfo({
      ...refusals(refusal({ peer: evil, detail: evil })),
      vsphere: { reachable: false, trouble: evil },
    })
    expect(formatFindings(findings(info)).join('')).not.toMatch(/\p{Cc}/u)
  })
})
