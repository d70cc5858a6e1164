import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import * as nodeFs from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { AUDIT_DEFAULTS, type AuditEntry, AuditLog, type AuditOptions } from '../../src/access/index.ts'
import { ManualClock } from '../../src/base/index.ts'
import { type LoggedLine, loggerInto, temporaryFolder } from './support.ts'

const entry = (over: Partial<AuditEntry> = {}): AuditEntry => ({
  who: 'alice',
  via: 'token',
  from: '10.0.0.7',
  action: 'console.write',
  port: 'some-id',
  allowed: true,
  ...over,
})

type Fault = { code: string; after?: number } | null

/** The real file system, but writing fails while `fault` says so. */
class Disk {
  fault: Fault = null
  writes = 0
  readonly fs: AuditOptions['fs'] = {
    ...nodeFs,
    open: async (...args: Parameters<typeof nodeFs.open>) => {
      const handle = await nodeFs.open(...args)
      const write = handle.write.bind(handle) as (bytes: Uint8Array, from: number, length: number) => Promise<unknown>
      const failing = async (bytes: Uint8Array, from: number, length: number) => {
        this.writes++
        if (this.fault === null) return write(bytes, from, length)
        if (this.fault.after !== undefined) await write(bytes, from, this.fault.after)
        throw Object.assign(new Error(`${this.fault.code}: as the test wants it`), { code: this.fault.code })
      }
      return Object.assign(handle, { write: failing })
    },
  }
}

function opened(over: Partial<AuditOptions> = {}) {
  const folder = join(temporaryFolder(), 'audit')
  const path = join(folder, 'audit.jsonl')
  const disk = new Disk()
  const clock = new ManualClock()
  const lines: LoggedLine[] = []
  const audit = new AuditLog({ ...AUDIT_DEFAULTS, path, fs: disk.fs, clock, log: loggerInto(lines), ...over })
  onTestFinished(() => audit.close())
  return { audit, path, folder, disk, clock, lines }
}

const parsed = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>)

test('who, from where, what, which port, whether and when: one line each, for the owner alone', async () => {
  const { audit, path, folder } = opened()
  audit.record(entry({ name: 'web1' }))
  audit.record(entry({ who: null, port: null, allowed: false, reason: 'no token' }))
  await audit.flush()
  const at = '2023-11-14T22:13:20.000Z'
  expect(readFileSync(path, 'utf8').split('\n')[0]).toBe(
    `{"at":"${at}","who":"alice","via":"token","from":"10.0.0.7","action":"console.write","port":"some-id","name":"web1","allowed":true}`,
  )
  expect(parsed(path)[1]).toMatchObject({ at, who: null, port: null, allowed: false, reason: 'no token' })
  expect([statSync(path).mode & 0o777, statSync(folder).mode & 0o777]).toEqual([0o600, 0o700])
})

test('no name forges a line, reaches a terminal or fills the disk', async () => {
  const { audit, path } = opened()
  const hostile = 'web1"}\n{"who":"root\u001b[2J\u2028\u202e\u0085\ud800'
  audit.record(entry({ who: hostile, via: hostile, from: hostile, port: hostile, name: hostile, reason: hostile }))
  audit.record(entry({ name: 'x'.repeat(1_000_000) }))
  await audit.flush()
  const text = readFileSync(path, 'utf8')
  expect(text.split('\n')).toHaveLength(3)
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e]/)
  expect(parsed(path)[0]?.['name']).toBe('web1"}{"who":"root[2J')
  expect(text.length).toBeLessThan(3_000)
})

test('a new file is begun before one is too large, and so many are kept', async () => {
  const { audit, path, folder } = opened({ maxFileBytes: 400, keptFiles: 2 })
  for (let i = 0; i < 12; i++) {
    audit.record(entry({ reason: `number ${i}` }))
    await audit.flush()
  }
  expect(readdirSync(folder).sort()).toEqual(['audit.jsonl', 'audit.jsonl.1', 'audit.jsonl.2'])
  const kept = [`${path}.2`, `${path}.1`, path].flatMap((one) => parsed(one).map(({ reason }) => reason))
  expect(kept).toEqual(Array.from({ length: kept.length }, (_, i) => `number ${12 - kept.length + i}`))
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).size).toBeLessThanOrEqual(400)
})

test('with none kept the file begins anew', async () => {
  const { audit, path, folder } = opened({ maxFileBytes: 300, keptFiles: 0 })
  for (let i = 0; i < 9; i++) {
    audit.record(entry())
    await audit.flush()
  }
  expect(readdirSync(folder)).toEqual(['audit.jsonl'])
  expect(statSync(path).size).toBeLessThanOrEqual(300)
})

test('a file that somebody moved or deleted is made again', async () => {
  const { audit, path } = opened()
  audit.record(entry({ reason: 'first' }))
  await audit.flush()
  renameSync(path, `${path}.moved`)
  audit.record(entry({ reason: 'second' }))
  await audit.flush()
  expect([parsed(`${path}.moved`), parsed(path)].map((lines) => lines.map(({ reason }) => reason))).toEqual([
    ['first'],
    ['second'],
  ])
})

test('a start goes on in the file that is there', async () => {
  const first = opened()
  first.audit.record(entry({ reason: 'first' }))
  await first.audit.close()
  const second = opened({ path: first.path })
  second.audit.record(entry({ reason: 'second' }))
  await second.audit.close()
  expect(parsed(first.path).map(({ reason }) => reason)).toEqual(['first', 'second'])
})

test('a full disk is told once, nothing of what was kept is lost, and what has no room is counted', async () => {
  const { audit, path, disk, clock, lines } = opened({ maxQueueBytes: 1_000 })
  audit.record(entry({ reason: 'before' }))
  await audit.flush()
  // Half a line gets through.
  disk.fault = { code: 'ENOSPC', after: 40 }
  for (let i = 0; i < 50; i++) {
    audit.record(entry({ reason: `while full ${i}` }))
    if (i % 10 === 0) {
      await audit.flush()
      clock.advance(5_000)
      await audit.flush()
    }
  }
  const { dropped } = audit
  expect(dropped).toBeGreaterThan(40)
  expect(lines.map(({ level }) => level)).toEqual(['error'])
  disk.fault = null
  clock.advance(5_000)
  await audit.flush()
  // Also while nothing else happens.
  expect(parsed(path).at(-1)).toEqual({ at: expect.any(String), dropped })
  audit.record(entry({ reason: 'after' }))
  await audit.flush()
  const reasons = parsed(path).map((line) => line['reason'] ?? line['dropped'])
  const kept = Array.from({ length: 50 - dropped }, (_, i) => `while full ${i}`)
  expect(reasons).toEqual(['before', ...kept, dropped, 'after'])
  expect(lines.map(({ level }) => level)).toEqual(['error', 'info'])
})

test('half a line that cannot be taken back does not spoil the next one', async () => {
  const { audit, path, disk, clock } = opened()
  const open = disk.fs.open
  Object.assign(disk.fs, {
    open: async (...args: Parameters<typeof nodeFs.open>) =>
      Object.assign(await open(...args), { truncate: () => Promise.reject(new Error('no')) }),
  })
  disk.fault = { code: 'EIO', after: 10 }
  audit.record(entry())
  await audit.flush()
  disk.fault = null
  clock.advance(5_000)
  await audit.flush()
  const [half = '', whole = ''] = readFileSync(path, 'utf8').split('\n')
  expect(half).toHaveLength(10)
  expect(JSON.parse(whole)).toMatchObject({ who: 'alice' })
})

test('recording never waits and never throws, whatever the disk does', async () => {
  const { audit, disk, lines } = opened({ maxQueueBytes: 10_000 })
  let release = () => {}
  const stuck = new Promise<void>((resolve) => {
    release = resolve
  })
  const open = disk.fs.open
  Object.assign(disk.fs, {
    open: async (...args: Parameters<typeof nodeFs.open>) => {
      await stuck
      return open(...args)
    },
  })
  for (let i = 0; i < 10_000; i++) audit.record(entry())
  expect(audit.dropped).toBeGreaterThan(9_000)
  expect(disk.writes).toBe(0)
  release()
  await audit.flush()
  expect(lines).toEqual([])
})

test('a folder in its place is told once, and the end says how much is lost', async () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'audit'), '')
  const { audit, lines } = opened({ path: join(folder, 'audit', 'audit.jsonl') })
  audit.record(entry())
  audit.record(entry())
  await audit.flush()
  await audit.close()
  audit.record(entry())
  expect(lines.map(({ level, fields }) => [level, fields['lines']])).toEqual([
    ['error', undefined],
    ['error', 2],
  ])
})

test('what was recorded last is there after the end, also when it came at the very end', async () => {
  const { audit, path } = opened()
  for (let i = 0; i < 2_000; i++) audit.record(entry({ reason: String(i) }))
  await audit.close()
  expect(parsed(path).map(({ reason }) => reason)).toEqual(Array.from({ length: 2_000 }, (_, i) => String(i)))
})
