/**
 * One server per data directory.
 *
 * Node has no flock, so the lock is a file that says who holds it. Of a process that can be seen, id and start time
 * tell whether it still runs: a lock left by kill -9 is taken over at once. One that cannot be seen (another container,
 * another host) shows that it lives by writing the file every `BEAT_MS`; it is taken over when it has not for
 * `STALE_MS`. Who holds the lock looks at every beat whether it still does.
 */
import { randomUUID } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, type Timer, VspcError } from '../base/index.ts'
import { describeDiskError, diskErrorCode, FILE_MODE } from './disk.ts'

const BEAT_MS = 2_000
const STALE_MS = 7_000
const LOOK_MS = 250
const ATTEMPTS = 20

/** `removed`: the file is gone, and could not be made anew yet. `taken`: another server has it now. */
export type LockLoss = 'removed' | 'taken'

export interface LockEvents {
  lost(loss: LockLoss, path: string): void
  /** After `removed` only. */
  regained(): void
}

/** Who holds a lock. Texts are compared only. */
interface Holder {
  readonly pid: number
  /** When the process started, in ticks since boot. */
  readonly started: string | null
  /** In which kernel and process-id namespace `pid` and `started` mean something. */
  readonly world: string | null
  /** Tells two locks of one process apart. */
  readonly nonce: string
}

/**
 * Takes the lock of `dir`.
 * @throws VspcError VSPC_HISTORY_LOCKED when another server has it, VSPC_HISTORY_OPEN when it cannot be written.
 */
export async function lockDir(dir: string, clock: Clock): Promise<DirLock> {
  const path = join(dir, 'lock')
  const text = `${JSON.stringify(await ourselves())}\n`
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const file = await create(path, text)
      if (file !== null) return new DirLock(path, text, file, (await file.stat()).ino, clock)
      const found = await readLock(path)
      if (found === null) continue
      const holder = parseHolder(found)
      if (await isAlive(holder, path, clock)) throw lockedError(dir, holder)
      await removeStale(path, found)
    }
  } catch (cause) {
    if (cause instanceof VspcError) throw cause
    throw new VspcError('VSPC_HISTORY_OPEN', describeDiskError('lock', path, cause), { cause })
  }
  throw new VspcError(
    'VSPC_HISTORY_LOCKED',
    `other servers are starting on data directory ${dir} at the same time: start one only`,
  )
}

export class DirLock {
  readonly path: string
  /** Set by whoever wants to know. */
  events: LockEvents | null = null
  readonly #text: string
  readonly #clock: Clock
  #file: fs.FileHandle
  #inode: number
  #timer: Timer | null = null
  #beating: Promise<void> | null = null
  #lost: LockLoss | null = null
  #released = false

  constructor(path: string, text: string, file: fs.FileHandle, inode: number, clock: Clock) {
    this.path = path
    this.#text = text
    this.#file = file
    this.#inode = inode
    this.#clock = clock
    this.#schedule()
  }

  /** Removes the lock, if it is still ours. Never rejects. */
  async release(): Promise<void> {
    this.#released = true
    this.#timer?.cancel()
    await this.#beating
    try {
      if ((await fs.stat(this.path)).ino === this.#inode) await fs.unlink(this.path)
    } catch {
      // Gone already, or the disk is: a lock without its process holds nobody up.
    }
    await close(this.#file)
  }

  #schedule(): void {
    if (this.#released || this.#lost === 'taken') return
    this.#timer = this.#clock.after(BEAT_MS, () => {
      this.#beating = this.beat().then(() => {
        this.#beating = null
        this.#schedule()
      })
    })
  }

  /** Shows that we live, and looks whether the lock is still ours. Never rejects. */
  async beat(): Promise<void> {
    await this.#touch()
    try {
      const { ino } = await fs.stat(this.path)
      if (ino !== this.#inode) this.#lose('taken')
    } catch (error) {
      if (diskErrorCode(error) !== 'ENOENT') return
      this.#lose('removed')
      await this.#regain()
    }
  }

  async #touch(): Promise<void> {
    try {
      await this.#file.write(this.#text, 0)
    } catch {
      const now = this.#clock.wall() / 1000
      // Full: then by our own clock. Broken: writing history says so.
      await this.#file.utimes(now, now).catch(() => {})
    }
  }

  #lose(loss: LockLoss): void {
    if (this.#lost === loss) return
    this.#lost = loss
    this.events?.lost(loss, this.path)
  }

  async #regain(): Promise<void> {
    try {
      await fs.mkdir(join(this.path, '..'), { recursive: true, mode: 0o700 })
      const file = await create(this.path, this.#text)
      // Another server was faster: the next beat will see it.
      if (file === null) return
      await close(this.#file)
      this.#file = file
      this.#inode = (await file.stat()).ino
    } catch {
      // The next beat tries again.
      return
    }
    this.#lost = null
    this.events?.regained()
  }
}

/** Null when there is a lock. A full disk may leave it empty: it holds all the same. */
async function create(path: string, text: string): Promise<fs.FileHandle | null> {
  let file: fs.FileHandle
  try {
    file = await fs.open(path, 'wx', FILE_MODE)
  } catch (error) {
    if (diskErrorCode(error) === 'EEXIST') return null
    throw error
  }
  try {
    await file.write(text, 0)
  } catch (error) {
    const code = diskErrorCode(error)
    if (code === 'ENOSPC' || code === 'EDQUOT') return file
    await close(file)
    throw error
  }
  return file
}

async function readLock(path: string): Promise<string | null> {
  try {
    return await fs.readFile(path, 'utf8')
  } catch (error) {
    if (diskErrorCode(error) === 'ENOENT') return null
    throw error
  }
}

function parseHolder(text: string): Holder | null {
  try {
    const { pid, started, world, nonce } = JSON.parse(text) as Partial<Holder>
    if (!Number.isSafeInteger(pid) || typeof nonce !== 'string') return null
    const string = (value: unknown) => (typeof value === 'string' ? value : null)
    return { pid: pid as number, started: string(started), world: string(world), nonce }
  } catch {
    // Just being written, or on a full disk: its beat will tell.
    return null
  }
}

async function isAlive(holder: Holder | null, path: string, clock: Clock): Promise<boolean> {
  if (holder !== null && holder.world !== null && holder.world === (await world())) {
    const started = await startTime(holder.pid)
    return started !== null && started === holder.started
  }
  return beats(path, clock)
}

/** Waits until the lock has been written, or has not for long enough. */
async function beats(path: string, clock: Clock): Promise<boolean> {
  const first = await age(path)
  if (first === null || first > STALE_MS) return false
  for (let waited = 0; waited < STALE_MS; waited += LOOK_MS) {
    await new Promise<void>((resolve) => clock.after(LOOK_MS, resolve))
    const now = await age(path)
    if (now === null || now > STALE_MS) return false
    // Younger than before: somebody wrote it meanwhile.
    if (now < first) return true
  }
  return false
}

/** How long ago the lock was written, by the clock of its file system; null when it is gone. */
async function age(path: string): Promise<number | null> {
  const probe = `${path}.${randomUUID()}`
  try {
    await fs.writeFile(probe, '', { flag: 'wx', mode: FILE_MODE })
    const now = (await fs.stat(probe)).mtimeMs
    await fs.unlink(probe)
    return now - (await fs.stat(path)).mtimeMs
  } catch (error) {
    if (diskErrorCode(error) === 'ENOENT') return null
    throw error
  }
}

/** A takeover takes milliseconds; one this old was left behind by a process that died in it. */
const TAKEOVER_LEFT_MS = 10_000

/**
 * Takes a lock away, unless it was replaced by another since `text` was read. Only whoever made the takeover file may:
 * between reading the lock and removing it nobody else can put a live one there.
 */
async function removeStale(path: string, text: string): Promise<void> {
  const takeover = `${path}.takeover`
  const file = await create(takeover, text)
  if (file === null) {
    await removeLeftover(takeover)
    return
  }
  try {
    if ((await readLock(path)) === text) await fs.unlink(path)
  } finally {
    await close(file)
    await fs.unlink(takeover)
  }
}

async function removeLeftover(takeover: string): Promise<void> {
  try {
    const age = Date.now() - (await fs.stat(takeover)).mtimeMs
    // Or from the future: the clock was set back.
    if (Math.abs(age) > TAKEOVER_LEFT_MS) await fs.unlink(takeover)
  } catch (error) {
    // Ended meanwhile.
    if (diskErrorCode(error) !== 'ENOENT') throw error
  }
}

async function ourselves(): Promise<Holder> {
  return { pid: process.pid, started: await startTime(process.pid), world: await world(), nonce: randomUUID() }
}

/**
 * proc(5): field 22 of `stat`, counted behind the name in parentheses, which may hold anything. Null when there is no such
 * process, or it has ended and only waits for its parent to notice.
 */
async function startTime(pid: number): Promise<string | null> {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, 'latin1')
    const [state = '', ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return 'ZX'.includes(state) ? null : (rest[18] ?? null)
  } catch {
    // No such process.
    return null
  }
}

/** Null where there is no /proc: then only beats count. */
async function world(): Promise<string | null> {
  try {
    const boot = await fs.readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    return `${boot.trim()} ${await fs.readlink('/proc/self/ns/pid')}`
  } catch {
    // Not Linux, or /proc is not mounted.
    return null
  }
}

function lockedError(dir: string, holder: Holder | null): VspcError {
  const who = holder === null ? 'another server' : `the server with process id ${holder.pid}`
  return new VspcError(
    'VSPC_HISTORY_LOCKED',
    `data directory ${dir} is in use by ${who}: stop that one, or give this one a directory of its own (--data-dir)`,
  )
}

async function close(file: fs.FileHandle): Promise<void> {
  try {
    await file.close()
  } catch {
    // Nothing in it that would matter.
  }
}
