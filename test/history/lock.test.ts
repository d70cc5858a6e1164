import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { type DirLock, lockDir } from '../../src/history/lock.ts'
import { temporaryFolder } from './support.ts'

async function locked(dir: string, clock = new ManualClock()): Promise<DirLock> {
  const lock = await lockDir(dir, clock)
  onTestFinished(() => lock.release())
  return lock
}

/** A clock on which waiting takes no time. */
class EagerClock extends ManualClock {
  override after(ms: number, run: () => void) {
    const timer = super.after(ms, run)
    setImmediate(() => this.advance(ms))
    return timer
  }
}

const path = (dir: string) => join(dir, 'lock')
const content = (dir: string) => JSON.parse(readFileSync(path(dir), 'utf8'))
const write = (dir: string, holder: object | string) =>
  writeFileSync(path(dir), typeof holder === 'string' ? holder : JSON.stringify(holder))

function touch(dir: string, ageMs: number): void {
  const at = (Date.now() - ageMs) / 1000
  utimesSync(path(dir), at, at)
}

test('one of two servers gets the directory; the other is told who has it and what to do', async () => {
  const dir = temporaryFolder()
  await locked(dir)
  const refused = lockDir(dir, new ManualClock())
  await expect(refused).rejects.toMatchObject({ code: 'VSPC_HISTORY_LOCKED' })
  await expect(refused).rejects.toThrow(new RegExp(`process id ${process.pid}.*--data-dir`))
  expect(readdirSync(dir)).toEqual(['lock'])
})

test('of many that start at once exactly one gets it', async () => {
  const dir = temporaryFolder()
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => locked(dir)))
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(readdirSync(dir)).toEqual(['lock'])
})

test('of many that find a lock left behind exactly one gets it', async () => {
  const dir = temporaryFolder()
  const first = await locked(dir)
  const stale = { ...content(dir), pid: 2 ** 22 + 1 }
  await first.release()
  write(dir, stale)
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => locked(dir)))
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
})

test('a lock let go of is free', async () => {
  const dir = temporaryFolder()
  await (await locked(dir)).release()
  expect(existsSync(path(dir))).toBe(false)
  await locked(dir)
})

test('a lock whose process is gone, or whose process id is another process by now, is taken over at once', async () => {
  const dir = temporaryFolder()
  const first = await locked(dir)
  const mine = content(dir)
  await first.release()
  write(dir, { ...mine, pid: 2 ** 22 + 1 })
  await (await locked(dir)).release()
  write(dir, { ...mine, pid: 1 })
  await (await locked(dir)).release()
})

test.each([
  ['of a process that cannot be seen from here', { world: 'another boot pid:[1]' }],
  ['that says nothing', null],
])('a lock %s is taken over when nobody has written it for a while', async (_name, change) => {
  const dir = temporaryFolder()
  const first = await locked(dir)
  const mine = content(dir)
  await first.release()
  write(dir, change === null ? '' : { ...mine, ...change })
  touch(dir, 8000)
  await (await locked(dir)).release()
  // A younger one is waited for.
  write(dir, change === null ? '' : { ...mine, ...change })
  touch(dir, 6900)
  const clock = new EagerClock()
  await locked(dir, clock)
  expect(clock.now()).toBeGreaterThanOrEqual(250)
})

test('a lock that somebody keeps writing is respected, whoever it is', async () => {
  const dir = temporaryFolder()
  const first = await locked(dir)
  const mine = content(dir)
  await first.release()
  write(dir, { ...mine, world: 'another container' })
  touch(dir, 1000)
  const clock = new EagerClock()
  const after = clock.after.bind(clock)
  clock.after = (ms, run) => {
    if (clock.now() >= 1000) touch(dir, 0)
    return after(ms, run)
  }
  await expect(lockDir(dir, clock)).rejects.toMatchObject({ code: 'VSPC_HISTORY_LOCKED' })
})

test('its holder writes it, so that others see it live', async () => {
  const dir = temporaryFolder()
  const lock = await locked(dir)
  touch(dir, 60_000)
  await lock.beat()
  await expect(lockDir(dir, new ManualClock())).rejects.toMatchObject({ code: 'VSPC_HISTORY_LOCKED' })
  expect(content(dir)).toMatchObject({ pid: process.pid })
})

test('its holder notices when another has taken it, and leaves it to that one', async () => {
  const dir = temporaryFolder()
  const lock = await locked(dir)
  const lost: string[] = []
  lock.events = { lost: (loss) => lost.push(loss), regained: () => lost.push('regained') }
  await lock.beat()
  renameSync(path(dir), join(dir, 'aside'))
  write(dir, { pid: 7, nonce: 'x' })
  await lock.beat()
  await lock.beat()
  expect(lost).toEqual(['taken'])
  await lock.release()
  expect(content(dir)).toMatchObject({ pid: 7 })
})

test('its holder makes it anew when the directory was deleted', async () => {
  const dir = join(temporaryFolder(), 'data')
  mkdirSync(dir)
  const lock = await locked(dir)
  const lost: string[] = []
  lock.events = { lost: (loss) => lost.push(loss), regained: () => lost.push('regained') }
  rmSync(dir, { recursive: true })
  await lock.beat()
  await lock.beat()
  expect(lost).toEqual(['removed', 'regained'])
  await expect(lockDir(dir, new ManualClock())).rejects.toMatchObject({ code: 'VSPC_HISTORY_LOCKED' })
})

test('a server that was killed, and whose parent has not noticed yet, holds nothing', async () => {
  const dir = temporaryFolder()
  // The shell starts a child and becomes a program that never waits for it; only then the child ends.
  const shell = spawn('sh', ['-c', 'read -r _ <&3 & echo $!; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  })
  onTestFinished(() => void shell.kill('SIGKILL'))
  const [line] = (await once(shell.stdout as Readable, 'data')) as [Buffer]
  const pid = Number(line)
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  while (readFileSync(`/proc/${shell.pid}/comm`, 'latin1') !== 'sleep\n') await turn()
  ;(shell.stdio[3] as Writable).end()
  const stat = () => readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
  while (stat()[0] !== 'Z') await turn()
  const lock = await lockDir(dir, new ManualClock())
  const { world } = content(dir)
  await lock.release()
  write(dir, { pid, started: stat()[19], world, nonce: 'killed' })
  await locked(dir)
  expect(content(dir).pid).toBe(process.pid)
})
