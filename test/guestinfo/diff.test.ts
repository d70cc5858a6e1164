import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  applyChanges,
  diffSnapshots,
  formatRecord,
  formatVicRecord,
  type GuestRecord,
  guestNews,
  NIL,
  reportOf,
  takeSnapshot,
} from '../../src/guestinfo/index.ts'

const entries = (...records: GuestRecord[]) => new Map(records.map(formatRecord))
const report = (...records: GuestRecord[]) => reportOf(entries(...records))

const exited: GuestRecord = {
  kind: 'process',
  name: 'main',
  state: 'exited',
  exitCode: 3,
  startedSeconds: 100,
  stoppedSeconds: 200,
  error: null,
}
const lease: GuestRecord = { kind: 'address', name: 'eth0', address: '10.0.0.7', prefix: 24, gateway: null, dns: [] }
const fault: GuestRecord = { kind: 'error', name: 'dhcp', text: 'no lease' }

describe('snapshots', () => {
  const snapshot = fc
    .array(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('', '1', '2')))
    .map((all) => new Map(all))

  test('what changed, made to the one before, is the one after; and nothing else is named', () => {
    fc.assert(
      fc.property(snapshot, snapshot, (before, after) => {
        const changes = diffSnapshots(before, after)
        expect(new Map([...applyChanges(before, changes)].sort())).toEqual(new Map([...after].sort()))
        for (const change of changes) expect(change.before).not.toBe(change.after)
        expect(changes.map(({ key }) => key)).toEqual([...new Set(changes.map(({ key }) => key))].sort())
      }),
    )
  })

  test('only what a guest sees is taken, and no more of it than is in bounds', () => {
    const all: [string, string][] = [
      ['numa.x', '1'],
      ['guestinfo.a', 'xxxx'],
      ['guestinfo.b', 'é'],
      ['guestinfo.c', 'x'],
    ]
    const keys = (limits: { maxSnapshotKeys: number; maxSnapshotBytes: number }) => {
      const { snapshot: taken, dropped } = takeSnapshot(all, undefined, limits)
      return [[...taken.keys()], dropped]
    }
    expect(keys({ maxSnapshotKeys: 9, maxSnapshotBytes: 99 })).toEqual([
      ['guestinfo.a', 'guestinfo.b', 'guestinfo.c'],
      0,
    ])
    expect(keys({ maxSnapshotKeys: 2, maxSnapshotBytes: 99 })).toEqual([['guestinfo.a', 'guestinfo.b'], 1])
    expect(keys({ maxSnapshotKeys: 9, maxSnapshotBytes: 28 })).toEqual([['guestinfo.a', 'guestinfo.b'], 1])
    expect(keys({ maxSnapshotKeys: 9, maxSnapshotBytes: 27 })).toEqual([['guestinfo.a', 'guestinfo.c'], 1])
  })

  test('a key that is given twice counts once, with its last value', () => {
    const twice: [string, string][] = [
      ['guestinfo.a', '1'],
      ['guestinfo.a', '2'],
    ]
    expect(takeSnapshot(twice, undefined, { maxSnapshotKeys: 1, maxSnapshotBytes: 12 })).toEqual({
      snapshot: new Map([['guestinfo.a', '2']]),
      dropped: 0,
    })
  })
})

describe('news', () => {
  test('an exit is told once, and not again or taken back when its keys vanish', () => {
    const none = report()
    const done = report(exited)
    expect(guestNews(none, done)).toEqual([{ type: 'process', record: exited }])
    expect(guestNews(done, done)).toEqual([])
    expect(guestNews(done, none)).toEqual([])
  })

  test('the next run that ends the same way is news', () => {
    const again = { ...exited, startedSeconds: 300, stoppedSeconds: 400 }
    expect(guestNews(report(exited), report(again))).toEqual([{ type: 'process', record: again }])
  })

  test('a key made in advance is no news, nor is its value <nil> after a power cycle', () => {
    const empty = reportOf(new Map([['guestinfo.vspc.process.main', NIL]]))
    expect(guestNews(report(), empty)).toEqual([])
    expect(guestNews(report(exited), empty)).toEqual([])
  })

  test('addresses and errors come and go', () => {
    const moved: GuestRecord = { ...lease, address: '10.0.0.8' }
    expect(guestNews(report(), report(lease, fault))).toEqual([
      { type: 'address', record: lease },
      { type: 'error', record: fault },
    ])
    expect(guestNews(report(lease, fault), report(moved))).toEqual([
      { type: 'address', record: moved },
      { type: 'error-cleared', name: 'dhcp' },
    ])
    expect(guestNews(report(lease), report())).toEqual([{ type: 'address-gone', name: 'eth0' }])
  })

  test('the same record from another scheme is no news; where they differ, ours counts', () => {
    const vic = reportOf(new Map([lease, exited].flatMap(formatVicRecord)))
    expect(guestNews(vic, report(lease, exited))).toEqual([])
    const both = new Map([...formatVicRecord(lease), ...entries({ ...lease, address: '10.0.0.9' })])
    expect([...reportOf(both).records.values()]).toMatchObject([{ address: '10.0.0.9' }])
  })

  test('values that are no records are named, and keep none of the others away', () => {
    const values = new Map([...entries(lease), ['guestinfo.vspc.process.x', 'who knows'] as const])
    const { records, strange } = reportOf(values)
    expect([[...records.keys()], strange]).toEqual([['address/eth0'], ['guestinfo.vspc.process.x']])
  })

  test('a VM that publishes without end gets a bounded report', () => {
    const many = new Map<string, string>()
    for (let i = 0; i < 50; i++) {
      for (const [key, value] of [
        ...entries({ ...fault, name: `e${i}` }, { ...lease, name: `a${i}` }),
        ...formatVicRecord({ ...exited, name: `p${i}` }),
      ]) {
        many.set(key, value)
      }
      many.set(`guestinfo.vspc.address.s${i}`, 'strange')
    }
    const { records, strange } = reportOf(many, 10)
    const kinds = [...records.values()].map(({ kind }) => kind)
    expect(['address', 'error', 'process'].map((kind) => kinds.filter((each) => each === kind).length)).toEqual([
      10, 10, 10,
    ])
    expect(strange).toHaveLength(10)
  })
})
