/** Results on disk: kept before they are told, once each, through torn lines, crashes, full disks and restarts. */
import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import * as fsPromises from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import {
  formatRecord,
  type GuestRecord,
  type GuestReport,
  type ResultFs,
  type ResultLine,
  ResultStore,
  type ResultStoreOptions,
  recordId,
} from '../../src/guestinfo/index.ts'

const VM = '564d0f39-0000-4000-8000-000000000001'
const NOISY = '564d0f39-0000-4000-8000-ffffffffffff'
const file = (directory: string) => join(directory, 'results.jsonl')

function folder(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vspc-results-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function report(...records: GuestRecord[]): GuestReport {
  return { records: new Map(records.map((record) => [recordId(record), record])), strange: [] }
}

function exit(name: string, exitCode: number, started: number | null = 100, stopped: number | null = 110): GuestRecord {
  return {
    kind: 'process',
    name,
    state: 'exited',
    exitCode,
    startedSeconds: started,
    stoppedSeconds: stopped,
    error: null,
  }
}

function running(name: string, started: number | null = 100): GuestRecord {
  const times = { startedSeconds: started, stoppedSeconds: null }
  return { kind: 'process', name, state: 'running', exitCode: null, ...times, error: null }
}

const failure = (name: string, text: string): GuestRecord => ({ kind: 'error', name, text })
const address = (name: string, ip: string): GuestRecord => ({
  kind: 'address',
  name,
  address: ip,
  prefix: 24,
  gateway: null,
  dns: [],
})

class Run {
  readonly told: ResultLine[] = []
  readonly again: ResultLine[] = []
  readonly clock = new ManualClock()
  caughtUp = 0
  store!: ResultStore

  static async open(directory: string, options: Partial<ResultStoreOptions> = {}): Promise<Run> {
    const run = new Run()
    run.store = await ResultStore.open({
      directory,
      clock: run.clock,
      random: () => 0.5,
      onTold: (lines, again) => (again ? run.again : run.told).push(...lines),
      onCaughtUp: () => run.caughtUp++,
      ...options,
    })
    return run
  }

  see(...records: GuestRecord[]): void {
    this.seeOn(true, ...records)
  }

  seeOn(poweredOn: boolean, ...records: GuestRecord[]): void {
    this.store.observe({ vm: VM, vmName: 'web1', poweredOn }, report(...records))
  }

  get words(): string[] {
    return this.told.map(words)
  }
}

const words = ({ type, name, value, corrected }: ResultLine) =>
  `${type} ${name}${value === '' ? '' : ` ${value}`}${corrected ? ' corrected' : ''}`

const lines = (directory: string) =>
  readFileSync(file(directory), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"n":'))
    .map((line) => JSON.parse(line))

test('each thing is told once, however often it is seen; what is gone is told, but for processes', async () => {
  const run = await Run.open(folder())
  run.see(address('eth0', '10.0.0.1'), running('main'))
  run.see(address('eth0', '10.0.0.1'), running('main'), failure('agent', 'no disk'))
  run.see(address('eth0', '10.0.0.2'), exit('main', 3))
  run.see(address('eth0', '10.0.0.2'), exit('main', 3))
  run.see()
  run.see(exit('main', 3))
  run.see(exit('main', 0, 200, 210))
  run.see(exit('main', 3))
  await run.store.whenKept()
  expect(run.words).toEqual([
    'address eth0 10.0.0.1/24',
    'start main running started=100',
    'error agent no disk',
    'error-cleared agent',
    'address eth0 10.0.0.2/24',
    'exit main exited code=3 started=100 stopped=110',
    'address-gone eth0',
    'exit main exited code=0 started=200 stopped=210',
  ])
  await run.store.close()
})

test('a status that comes after its times corrects the exit; without times another value is another exit', async () => {
  const run = await Run.open(folder())
  run.see(exit('vic', 0))
  run.see(exit('vic', 3))
  run.see(exit('vic', 0))
  run.see(exit('bare', 0, null, null))
  run.see()
  run.see(exit('bare', 0, null, null))
  run.see(running('bare', null))
  run.see(exit('bare', 0, null, null))
  run.see(exit('bare', 1, null, null))
  await run.store.whenKept()
  expect(run.words).toEqual([
    'exit vic exited code=0 started=100 stopped=110',
    'exit vic exited code=3 started=100 stopped=110 corrected',
    'exit vic exited code=0 started=100 stopped=110 corrected',
    'exit bare exited code=0',
    'start bare running',
    'exit bare exited code=0',
    'exit bare exited code=1',
  ])
  await run.store.close()
})

test('errors of a VM that was switched off stay until it is on again; its address goes', async () => {
  const run = await Run.open(folder())
  run.see(failure('agent', 'no disk'), address('eth0', '10.0.0.1'))
  run.seeOn(false)
  await run.store.whenKept()
  expect([...(run.store.latest(VM)?.errors.keys() ?? [])]).toEqual(['agent'])
  run.seeOn(true)
  await run.store.whenKept()
  expect(run.words.slice(2)).toEqual(['address-gone eth0', 'error-cleared agent'])
  await run.store.close()
})

test('after a restart what was told is known: nothing is told again, what changed meanwhile is', async () => {
  const directory = folder()
  const first = await Run.open(directory)
  first.see(address('eth0', '10.0.0.1'), exit('main', 3), running('other'))
  await first.store.close()
  const second = await Run.open(directory)
  second.store.tellAgain()
  second.see(address('eth0', '10.0.0.9'), exit('main', 3), exit('other', 1))
  await second.store.close()
  expect([second.again, second.words]).toEqual([
    [],
    ['address eth0 10.0.0.9/24', 'exit other exited code=1 started=100 stopped=110'],
  ])
  expect(lines(directory).map(({ n }) => n)).toEqual([1, 2, 3, 4, 5])
})

test('nothing is told, or given out, before it is on the disk; file and folder are for us alone', async () => {
  const directory = join(folder(), 'deep', 'guestinfo')
  const seen: string[] = []
  const run = await Run.open(directory, {
    onTold: (told) => seen.push(...told.map(({ seq }) => `${seq} ${lines(directory).some(({ n }) => n === seq)}`)),
  })
  run.see(exit('main', 3))
  expect(run.store.latest(VM)).toBeNull()
  await run.store.whenKept()
  run.see(exit('main', 4, 200))
  await run.store.whenKept()
  expect(seen).toEqual(['1 true', '2 true'])
  expect([statSync(file(directory)).mode & 0o777, statSync(directory).mode & 0o777]).toEqual([0o600, 0o700])
  await run.store.close()
})

test('what reached the disk, but nobody, is told after the restart: once more, and marked', async () => {
  const directory = folder()
  const first = await Run.open(directory, {
    onTold: () => {
      throw new Error('the process dies here')
    },
  })
  const kept = first.store
  first.seeOn(true, exit('main', 3))
  await expect(kept.whenKept()).rejects.toThrow('dies here')
  const second = await Run.open(directory)
  second.store.tellAgain()
  second.see(exit('main', 3))
  await second.store.close()
  expect([second.again.map(words), second.words]).toEqual([['exit main exited code=3 started=100 stopped=110'], []])
  const third = await Run.open(directory)
  third.store.tellAgain()
  expect([third.again, third.told]).toEqual([[], []])
  await third.store.close()
  await first.store.close()
})

test('what is told last and then leaves the file keeps its number: another line of that number would go untold', async () => {
  const directory = folder()
  const first = await Run.open(directory, { limits: { compactMinBytes: 1 } })
  do {
    first.see(address('eth0', '10.0.0.1'))
    await first.store.whenKept()
    first.see()
    await first.store.whenKept()
  } while (lines(directory).length > 0 && first.told.length < 100)
  const told = first.told.length
  await first.store.close()
  const dying = await Run.open(directory, {
    onTold: () => {
      throw new Error('the process dies here')
    },
  })
  const kept = dying.store
  dying.see(exit('main', 3))
  await expect(kept.whenKept()).rejects.toThrow('dies here')
  expect(lines(directory).map(({ n }) => n)).toEqual([told + 1])
  const last = await Run.open(directory)
  last.store.tellAgain()
  expect(last.again.map(words)).toEqual(['exit main exited code=3 started=100 stopped=110'])
  await last.store.close()
  await dying.store.close()
})

test('torn at every byte: what is whole is known, the rest is told again, and the file is good again', async () => {
  const directory = folder()
  const first = await Run.open(directory)
  first.see(exit('a', 1))
  await first.store.whenKept()
  first.see(exit('a', 1), exit('b', 2), failure('agent', 'zu groß: ä'))
  await first.store.close()
  const whole = readFileSync(file(directory))
  const found: Record<string, number> = {}
  for (let length = 0; length <= whole.length; length++) {
    writeFileSync(file(directory), whole.subarray(0, length))
    const run = await Run.open(directory)
    run.store.tellAgain()
    run.see(exit('a', 1), exit('b', 2), failure('agent', 'zu groß: ä'))
    await run.store.close()
    const all = lines(directory)
    expect(all.map(({ name, value }) => `${name} ${value}`).sort()).toEqual([
      'a exited code=1 started=100 stopped=110',
      'agent zu groß: ä',
      'b exited code=2 started=100 stopped=110',
    ])
    expect(new Set(all.map(({ n }) => n)).size).toBe(3)
    // Whatever was lost: nobody goes without hearing of it.
    const heard = new Set([...run.again, ...run.told].map(({ name }) => name))
    found[[...heard].sort().join('')] = length
  }
  expect(Object.keys(found)).toContain('aagentb')
})

test('lines that are none of ours are skipped, and kept out of the way of good ones', async () => {
  const directory = folder()
  const first = await Run.open(directory)
  first.see(exit('a', 1))
  await first.store.close()
  const bad = [
    'nonsense',
    '{"n":0}',
    '[]',
    'null',
    `{"n":9,"at":1,"vm":"${VM}","vmName":"x","type":"exit","name":"../x","value":"exited"}`,
    `{"n":9,"at":1,"vm":"nobody","vmName":"x","type":"exit","name":"x","value":"exited"}`,
    `{"n":9,"at":1,"vm":"${VM}","vmName":"x","type":"exit","name":"x","value":"gibberish"}`,
    '\0\0\0',
    'x'.repeat(200_000),
  ]
  appendFileSync(file(directory), `${bad.join('\n')}\n`)
  const warned: object[] = []
  const second = await Run.open(directory, {
    log: { ...logger, warn: (fields: object) => warned.push(fields) } as never,
  })
  expect(warned).toEqual([expect.objectContaining({ strange: bad.length, torn: 0 })])
  second.see(exit('a', 1), exit('b', 2))
  await second.store.close()
  expect(second.words).toEqual(['exit b exited code=2 started=100 stopped=110'])
})

const logger = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => logger }

/** A disk on which writing fails as long as `full`, after half of what was to be written. */
class Disk {
  full = false
  readonly fs: ResultFs = {
    ...fsPromises,
    open: async (...args: Parameters<typeof fsPromises.open>) => {
      const handle = await fsPromises.open(...args)
      const write = handle.write.bind(handle) as (...args: unknown[]) => Promise<unknown>
      handle.write = (async (bytes: Uint8Array, offset: number, length: number, position: number) => {
        if (!this.full) return write(bytes, offset, length, position)
        await write(bytes, offset, Math.floor(length / 2), position)
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      }) as never
      return handle
    },
  }
}

test('a full disk: said once, nothing is told; when there is room again all of it is, and the file is whole', async () => {
  const directory = folder()
  const disk = new Disk()
  const errors: object[] = []
  const run = await Run.open(directory, {
    fs: disk.fs,
    log: { ...logger, error: (f: object) => errors.push(f) } as never,
  })
  run.see(exit('a', 1))
  await run.store.whenKept()
  disk.full = true
  run.see(exit('a', 1), exit('b', 2))
  for (let i = 0; i < 5; i++) {
    await expect.poll(() => run.clock.pending).toBe(1)
    run.clock.advance(10_000)
  }
  run.see(exit('a', 1), exit('b', 2), exit('c', 3))
  expect([run.words.length, run.store.status.pending]).toEqual([1, 2])
  expect(run.store.status.trouble).toMatchObject({ code: 'VSPC_GUESTINFO_STORE' })
  expect(run.store.status.trouble?.message).toContain('the disk is full: make room (ENOSPC)')
  expect(errors).toHaveLength(1)
  await expect.poll(() => run.clock.pending).toBe(1)
  disk.full = false
  run.clock.advance(10_000)
  await run.store.whenKept()
  expect(run.words.map((each) => each.slice(0, 6))).toEqual(['exit a', 'exit b', 'exit c'])
  expect([run.store.status.trouble, run.caughtUp]).toEqual([null, 0])
  await run.store.close()
  expect(lines(directory).map(({ n }) => n)).toEqual([1, 2, 3])
  expect(
    readFileSync(file(directory), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .every(isJson),
  ).toBe(true)
})

test('who has lost the folder to another server writes nothing more: what that one has written stays', async () => {
  const directory = folder()
  const disk = new Disk()
  const run = await Run.open(directory, { fs: disk.fs })
  run.see(exit('a', 1))
  await run.store.whenKept()
  disk.full = true
  run.see(exit('a', 1), exit('b', 2))
  await expect.poll(() => run.clock.pending).toBe(1)
  disk.full = false
  const theirs = await Run.open(directory)
  theirs.see(exit('a', 1), exit('c', 3))
  await theirs.store.whenKept()
  await run.store.close(false)
  expect(lines(directory).map(({ name }) => name)).toEqual(['a', 'c'])
  await theirs.store.close()
  expect(lines(directory).map(({ name }) => name)).toEqual(['a', 'c'])
})

const isJson = (line: string) => {
  JSON.parse(line)
  return true
}

test('more waits for a full disk than may: exits have room longest, what is left out asks for another look', async () => {
  const disk = new Disk()
  const run = await Run.open(folder(), { fs: disk.fs, limits: { maxPendingBytes: 2_000 } })
  disk.full = true
  for (let i = 0; i < 8; i++) run.see(...Array.from({ length: i }, (_, j) => failure(`e${j}`, 'x'.repeat(100))))
  const before = run.store.status.pending
  for (let i = 0; i < 30; i++) run.see(exit('p', i, i + 1, i + 2))
  const { pending, leftOut } = run.store.status
  expect([before > 2, pending > before + 2, leftOut > 10]).toEqual([true, true, true])
  await expect.poll(() => run.clock.pending).toBe(1)
  disk.full = false
  run.clock.advance(10_000)
  await run.store.whenKept()
  expect([run.told.length >= pending, run.caughtUp]).toEqual([true, 1])
  await run.store.close()
})

test('a disk that is full to the end: closing does not wait for it, and the next start tells what is still there', async () => {
  const directory = folder()
  const disk = new Disk()
  const run = await Run.open(directory, { fs: disk.fs })
  disk.full = true
  run.see(exit('a', 1))
  await expect.poll(() => run.clock.pending).toBe(1)
  await run.store.close()
  expect(run.told).toEqual([])
  const next = await Run.open(directory)
  next.see(exit('a', 1))
  await next.store.close()
  expect(next.told).toHaveLength(1)
})

test.each(['deleted', 'replaced', 'its folder deleted'])('the file is %s: it is made anew from memory', async (how) => {
  const directory = join(folder(), 'guestinfo')
  const run = await Run.open(directory)
  run.see(exit('a', 1))
  await run.store.whenKept()
  if (how === 'replaced') {
    writeFileSync(`${file(directory)}.other`, 'somebody else\n')
    renameSync(`${file(directory)}.other`, file(directory))
  } else {
    rmSync(how === 'deleted' ? file(directory) : directory, { recursive: true })
  }
  run.see(exit('a', 1), exit('b', 2))
  await run.store.close()
  expect(run.told).toHaveLength(2)
  expect(lines(directory).map(({ name }) => name)).toEqual(['a', 'b'])
  expect(statSync(file(directory)).mode & 0o777).toBe(0o600)
})

test('it is made smaller when it has grown: superseded lines go, nothing that counts', async () => {
  const directory = folder()
  const run = await Run.open(directory, { limits: { compactMinBytes: 2_000 } })
  run.see(exit('once', 7))
  await run.store.whenKept()
  let most = 0
  for (let i = 1; i <= 100; i++) {
    run.see(exit('once', 7), exit('often', i, i, i), address('eth0', `10.0.0.${i}`))
    await run.store.whenKept()
    most = Math.max(most, statSync(file(directory)).size)
  }
  expect(most).toBeLessThan(5_000)
  await run.store.close()
  expect(run.told).toHaveLength(201)
  const again = await Run.open(directory)
  again.store.tellAgain()
  again.see(exit('once', 7), exit('often', 100, 100, 100), exit('often', 98, 98, 98), address('eth0', '10.0.0.100'))
  expect(again.store.status.pending).toBe(0)
  again.see(exit('next', 1), address('eth0', '10.0.0.100'))
  await again.store.close()
  expect([again.again, again.words]).toEqual([[], ['exit next exited code=1 started=100 stopped=110']])
  expect(again.told[0]?.seq).toBe(202)
})

test('many VMs, and one that fills its room: what is kept stays below the limit, the talkative one pays', async () => {
  const directory = folder()
  const limits = { maxKeptBytes: 70_000, compactMinBytes: 50_000 }
  const run = await Run.open(directory, { limits })
  const uuid = (i: number) => `564d0f39-0000-4000-8000-${String(i).padStart(12, '0')}`
  for (let i = 0; i < 100; i++) {
    run.store.observe({ vm: uuid(i), vmName: `vm${i}`, poweredOn: true }, report(exit('main', i)))
  }
  await run.store.whenKept()
  for (let i = 0; i < 200; i++) {
    const noisy = Array.from({ length: 40 }, (_, j) => exit(`p${i}-${j}`.slice(0, 20), 1, i + 1, i + 2))
    run.store.observe({ vm: NOISY, vmName: 'noisy', poweredOn: true }, report(...noisy))
    expect(run.store.status.keptBytes).toBeLessThanOrEqual(limits.maxKeptBytes)
  }
  await run.store.whenKept()
  expect(run.store.status.dropped).toBeGreaterThan(0)
  for (let i = 0; i < 100; i++) expect(run.store.latest(uuid(i))?.processes.size).toBe(1)
  expect(statSync(file(directory)).size).toBeLessThan(4 * limits.maxKeptBytes)
  await run.store.close()
})

test('of VMs that are gone results go first', async () => {
  const uuid = (i: number) => `564d0f39-0000-4000-8000-${String(i).padStart(12, '0')}`
  const run = await Run.open(folder(), {
    limits: { maxKeptVms: 10 },
    isPresent: (vm) => Number(vm.slice(-2)) % 2 === 0,
  })
  for (let i = 0; i < 14; i++) {
    run.store.observe({ vm: uuid(i), vmName: `vm${i}`, poweredOn: true }, report(exit('main', i)))
  }
  await run.store.whenKept()
  const kept = Array.from({ length: 14 }, (_, i) => i).filter((i) => run.store.latest(uuid(i)) !== null)
  expect(kept).toEqual([0, 2, 4, 6, 8, 9, 10, 11, 12, 13])
  await run.store.close()
})

const anyRecord = fc.oneof(
  fc
    .record({
      name: fc.constantFrom('a', 'b'),
      code: fc.integer({ min: 0, max: 2 }),
      run: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ name, code, run }) => exit(name, code, run, run + 1)),
  fc.constantFrom('a', 'b').map((name) => running(name, 4)),
  fc.string({ minLength: 1, unit: 'grapheme' }).map((text) => failure('agent', `x${text}`)),
  fc.integer({ min: 1, max: 9 }).map((i) => address('eth0', `10.0.0.${i}`)),
)

test('whatever is seen, with restarts and torn ends in between: each run of a process is on the disk once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          { weight: 4, arbitrary: fc.array(anyRecord, { maxLength: 4 }) },
          { weight: 1, arbitrary: fc.nat(400) },
        ),
        {
          maxLength: 12,
        },
      ),
      async (steps) => {
        const directory = folder()
        let run = await Run.open(directory, { limits: { maxKeptExits: 100 } })
        const heard: ResultLine[] = []
        for (const step of steps) {
          if (typeof step !== 'number') {
            run.see(...step)
            continue
          }
          await run.store.close()
          heard.push(...run.told)
          const { size } = statSync(file(directory))
          // Only what was never told can be torn.
          appendFileSync(file(directory), '{"n":999,"at":1,"vm":"x'.slice(0, step % 24))
          run = await Run.open(directory, { limits: { maxKeptExits: 100 } })
          run.store.tellAgain()
          expect([run.again, statSync(file(directory)).size]).toEqual([[], size])
        }
        await run.store.close()
        heard.push(...run.told)
        const kept = lines(directory)
        expect(kept.map(({ n }) => n)).toEqual(heard.map(({ seq }) => seq))
        const exits = kept.filter(({ type, corrected }) => type === 'exit' && corrected !== true)
        const runs = exits.map(({ name, value }) => `${name} ${value.replace(/code=\d/, '')}`)
        expect(new Set(runs).size).toBe(runs.length)
        for (const { type, name, value } of kept) {
          if (type === 'error') expect(formatRecord(failure(name, value))[1]).toBe(value)
        }
      },
    ),
    { numRuns: 40 },
  )
})
