import { gunzipSync } from 'node:zlib'
import { ManualClock } from '../../src/base/index.ts'
import type { DiskHistory } from '../../src/history/disk-history.ts'
import type { History, HistoryOwner, Load, LoadResult } from '../../src/history/index.ts'
import { parseFileName } from '../../src/history/port-file.ts'
import { FakeDisk } from './fake-disk.ts'
import { bytesAt, FakeWorld, firstWrong, metaOf } from './support.ts'

/** What can happen, with how likely it is next to the others. */
export const ACTIONS = {
  append: 12,
  appendBig: 3,
  turn: 10,
  end: 14,
  endPart: 3,
  endFault: 3,
  time: 5,
  longTime: 1,
  attach: 4,
  detach: 2,
  readOn: 6,
  loadAnywhere: 3,
  cancel: 1,
  full: 1,
  roomy: 1,
  rename: 1,
  remove: 1,
  crash: 1,
  heal: 2,
} as const

export type ActionName = keyof typeof ACTIONS
export interface Action {
  readonly act: ActionName
  readonly n: number
}

const LIMITS = {
  historyVisibleMs: 20,
  historyGatherMs: 10,
  historyPendingBytes: 65_536,
  historyPendingTotalBytes: 100_000,
  historyTailBytes: 8_000,
  historyTailTotalBytes: 12_000,
  historyOpenFiles: 2,
  historyWritesPerSecond: 100,
  historyFileBytes: 4_000,
  historyFileMs: 700,
  historyPortBytes: 40_000,
  historyTotalBytes: 70_000,
  historyAgeMs: 200_000,
  historyCompressMs: 1_000,
}
const FAULTS = ['ENOSPC', 'EIO', 'EMFILE', 'EROFS', 'EACCES'] as const

/** Reads a port from where it attached, as a console does: from memory where it can, from the disk where it must. */
class Follower {
  readonly #port: ModelPort
  cursor: number
  load: Load | null = null

  constructor(port: ModelPort, cursor: number) {
    this.#port = port
    this.cursor = cursor
  }

  readOn(maxBytes: number): void {
    const { history, faults } = this.#port
    while (this.load === null && this.cursor < history.visible) {
      const piece = history.read(this.cursor, maxBytes)
      if (piece === null) {
        this.load = history.load(this.cursor, maxBytes, (result) => this.#loaded(result))
        return
      }
      if (piece.length === 0 || piece.length > maxBytes) faults.push(`read of ${maxBytes} gave ${piece.length}`)
      this.#took(piece)
    }
  }

  #took(piece: Uint8Array): void {
    const { history, faults, seed } = this.#port
    const wrong = firstWrong(seed, this.cursor, piece)
    if (wrong !== null) faults.push(`wrong byte at ${wrong}`)
    this.cursor += piece.length
    if (this.cursor > history.visible) faults.push(`shown ${this.cursor}, visible ${history.visible}`)
  }

  #loaded(result: LoadResult): void {
    this.load = null
    this.#port.world.check(this.#port, this.cursor, result)
    if (result.kind === 'bytes') this.#took(result.bytes)
    else if (result.kind === 'gap') this.cursor = result.to
  }
}

class ModelPort implements HistoryOwner {
  readonly world: World
  readonly seed: number
  readonly faults: string[]
  id: string
  /** All it ever had. */
  readonly ids: string[]
  history: History
  followers: Follower[] = []
  lastVisible = 0
  /** The source waits. */
  paused = false
  removed = false
  /** Of this run: what was there at its start. */
  base = { next: 0, held: 0 }

  constructor(world: World, seed: number, id: string) {
    this.world = world
    this.seed = seed
    this.id = id
    this.ids = [id]
    this.faults = world.faults
    this.history = world.fake.store.open(id, this)
    this.lastVisible = this.history.visible
    this.base = { next: this.history.next, held: world.held(id) }
  }

  describe() {
    return metaOf(this.id, { name: `vm${this.seed}` })
  }

  historyVisible(): void {
    if (this.removed) this.faults.push('a removed port shows something')
    const { visible, next } = this.history
    if (visible <= this.lastVisible) this.faults.push(`visible went from ${this.lastVisible} to ${visible}`)
    if (visible > next) this.faults.push(`visible ${visible} beyond ${next}`)
    this.lastVisible = visible
    this.world.shown(this)
    for (const follower of this.followers) follower.readOn(3000)
  }

  historyDrained(): void {
    if (!this.paused) this.faults.push('drained without having been paused')
    this.paused = false
  }
}

/** Some ports on a disk with every fault there is, beside a model that knows what every byte has to be. */
export class World {
  readonly faults: string[] = []
  readonly #disk = new FakeDisk()
  /** Of the process: what a crashed one had planned does not happen. */
  #clock = new ManualClock()
  fake!: FakeWorld
  #ports: ModelPort[] = []
  #names = 0
  #removedInRun = false
  /** What a crash left of a removed port belongs to nobody. */
  #everRemoved = false
  /** What crashes may have taken from what was shown: only what the disk was late with. */
  #excusable = 0

  static async start(): Promise<World> {
    const world = new World()
    await world.#open()
    return world
  }

  async #open(): Promise<void> {
    this.#clock = new ManualClock()
    this.fake = await FakeWorld.open(LIMITS, this.#disk, this.#clock)
    const known = this.#ports
    this.#removedInRun = false
    this.#ports = []
    for (let seed = 1; seed <= 3; seed++) {
      // A crash may have come before a new name was on the disk.
      const ids = known.find((port) => port.seed === seed)?.ids ?? [`port${seed}`]
      const id = ids.findLast((one) => this.#disk.folders.has(`/ports/${one}`)) ?? ids.at(-1)
      this.#ports.push(new ModelPort(this, seed, id as string))
    }
  }

  async do({ act, n }: Action): Promise<void> {
    const port = this.#ports[n % this.#ports.length] as ModelPort
    const { ops } = this.#disk
    const op = ops[n % Math.max(1, ops.length)]
    switch (act) {
      case 'append':
        this.#append(port, 1 + (n % 700))
        break
      case 'appendBig':
        this.#append(port, 2000 + n * 13)
        break
      case 'turn':
        this.fake.turn()
        break
      case 'end':
        op?.end()
        break
      case 'endPart':
        if (op?.kind === 'write' || op?.kind === 'read') op.end(undefined, 1 + (n % op.bytes))
        break
      case 'endFault':
        op?.end(FAULTS[n % FAULTS.length])
        break
      case 'time':
        this.#clock.advance(n % 60)
        break
      case 'longTime':
        this.#clock.advance(n * 20)
        break
      case 'attach':
        port.history.keepTail(true)
        port.followers.push(new Follower(port, n % 2 ? port.history.visible : n % (port.history.visible + 1)))
        break
      case 'detach':
        port.followers.shift()?.load?.cancel()
        if (port.followers.length === 0) port.history.keepTail(false)
        break
      case 'readOn':
        for (const follower of port.followers) follower.readOn(1 + n * 3)
        break
      case 'loadAnywhere': {
        const offset = n % (port.history.next + 2)
        port.history.load(offset, 1 + n, (result) => this.check(port, offset, result))
        break
      }
      case 'cancel': {
        const follower = port.followers.find((one) => one.load !== null)
        follower?.load?.cancel()
        if (follower) follower.load = null
        break
      }
      case 'full':
        this.#disk.capacity = n * 50
        break
      case 'roomy':
        this.#disk.capacity = Number.POSITIVE_INFINITY
        break
      case 'rename':
        this.#rename(port, n)
        break
      case 'remove':
        this.#remove(port)
        break
      case 'crash':
        await this.#crash(n)
        break
      case 'heal':
        this.#disk.capacity = Number.POSITIVE_INFINITY
        this.fake.settle()
        break
    }
    this.#watch()
  }

  #append(port: ModelPort, length: number): void {
    if (port.paused) return
    const { history } = port
    const start = history.next
    if (!history.append(bytesAt(port.seed, start, length))) port.paused = true
    if (history.next !== start + length) this.faults.push(`next is ${history.next}, not ${start + length}`)
  }

  #rename(port: ModelPort, n: number): void {
    const other = this.#ports[(n >> 2) % this.#ports.length] as ModelPort
    if (n % 4 === 0 && other !== port) {
      if (port.history.rename(other.id)) this.faults.push(`renamed to ${other.id}, which exists`)
      return
    }
    // Back to the name before, at times: that may still be on its way.
    const id = n % 3 === 0 && this.#names > 0 ? `name${this.#names}` : `name${++this.#names}`
    const taken = this.#ports.some((one) => one.id === id && one !== port)
    if (port.history.rename(id) === taken) this.faults.push(`renaming ${port.id} to ${id}: wrong answer`)
    if (taken) return
    port.id = id
    port.ids.push(id)
  }

  #remove(port: ModelPort): void {
    this.#removedInRun = true
    this.#everRemoved = true
    for (const follower of port.followers) follower.load?.cancel()
    port.history.remove()
    port.removed = true
    this.#ports[this.#ports.indexOf(port)] = new ModelPort(this, port.seed, port.id)
  }

  async #crash(n: number): Promise<void> {
    const shown = this.#ports.map((port) => [port, port.history.visible] as const)
    this.#excusable = this.fake.store.counters.undurableBytes
    this.#disk.crash((bytes) => (n * 7919) % (bytes + 1))
    this.#disk.capacity = Number.POSITIVE_INFINITY
    await this.#open()
    for (const [before, visible] of shown) {
      const after = this.#ports.find((port) => port.seed === before.seed) as ModelPort
      const lost = visible - after.history.next
      if (lost > 0 && this.#excusable === 0) this.faults.push(`port ${before.id}: ${lost} bytes shown are gone`)
    }
  }

  check(port: ModelPort, offset: number, result: LoadResult): void {
    if (!this.#ports.includes(port)) {
      if (result.kind !== 'failed') this.faults.push(`a removed port gave ${result.kind}`)
      return
    }
    const { visible } = port.history
    if (result.kind === 'bytes') {
      const wrong = firstWrong(port.seed, offset, result.bytes)
      if (wrong !== null) this.faults.push(`loaded a wrong byte at ${wrong}`)
      if (result.bytes.length === 0) this.faults.push('loaded nothing')
    } else if (result.kind === 'gap' || result.kind === 'failed') {
      if (result.to <= offset || result.to > visible) this.faults.push(`${result.kind} at ${offset} to ${result.to}`)
    }
  }

  /** Called whenever a port may show more. */
  shown(port: ModelPort): void {
    if (this.fake.store.counters.undurableBytes > 0) return
    const end = this.#end(port)
    if (port.history.visible > end) {
      this.faults.push(`port ${port.id} shows ${port.history.visible}, but only ${end} are with the system`)
    }
  }

  /** Where the port's files end, under whatever name. */
  #end(port: ModelPort): number {
    let end = 0
    for (const [start, size] of this.#segments(port.history as unknown as { dirName: string })) {
      end = Math.max(end, start + size)
    }
    return end
  }

  /** Where each begins, and how much output is in it. */
  #segments({ dirName }: { dirName: string }): [number, number][] {
    const found = new Map<number, number>()
    for (const [path, file] of this.#disk.files) {
      const name = path.slice(path.lastIndexOf('/') + 1)
      const { start, kind } = (path.startsWith(`/ports/${dirName}/`) ? parseFileName(name) : null) ?? { start: -1 }
      if (kind === 'plain') found.set(start, file.size)
      else if (kind === 'archive' && !found.has(start))
        found.set(start, gunzipSync(file.bytes.subarray(0, file.size)).length)
    }
    return [...found]
  }

  /** Bytes in the files of a port that was just opened. */
  held(id: string): number {
    return this.#segments({ dirName: id }).reduce((sum, [, size]) => sum + size, 0)
  }

  #watch(): void {
    const { pendingBytes, openFiles } = this.fake.store.gauges
    if (pendingBytes > 200_000) this.faults.push(`${pendingBytes} bytes pending`)
    // Those used and those being closed come on top.
    if (openFiles > LIMITS.historyOpenFiles + 18) this.faults.push(`${openFiles} files open`)
  }

  /** Everything is well again: then all must be in its place. */
  async rest(): Promise<void> {
    this.#disk.capacity = Number.POSITIVE_INFINITY
    for (let i = 0; i < 20; i++) {
      this.fake.settle()
      this.#clock.advance(6000)
    }
    this.fake.settle()
    const flushed = this.fake.store.flush(0)
    this.#clock.advance(1)
    if (!(await flushed)) this.faults.push('something is never written')
    let appended = 0
    let held = 0
    for (const port of this.#ports) {
      const { history } = port
      if (port.paused) this.faults.push(`port ${port.id} is never read again`)
      if (history.visible !== history.next) this.faults.push(`port ${port.id} never shows its end`)
      for (const follower of port.followers) {
        follower.readOn(5000)
        for (let i = 0; follower.cursor < history.visible && i < 10_000; i++) {
          this.fake.settle()
          follower.readOn(5000)
        }
        if (follower.cursor !== history.visible) this.faults.push(`a follower of ${port.id} is stuck`)
      }
      const found = this.fake.loadAll(history)
      for (const [i, piece] of found.bytes.entries()) {
        this.check(port, found.at[i] as number, { kind: 'bytes', bytes: piece })
        held += piece.length
      }
      held -= port.base.held
      appended += history.next - port.base.next
    }
    const { droppedBytes, expiredBytes, diskErrors } = this.fake.store.counters
    // A compressed file counts with what it took.
    const exact = !this.#removedInRun && this.#disk.deletedArchives === 0
    if (exact && appended - held !== droppedBytes + expiredBytes) {
      this.faults.push(`${appended} appended, ${held} held, but ${droppedBytes} dropped and ${expiredBytes} expired`)
    }
    const { openFiles, diskBytes } = this.fake.store.gauges
    let onDisk = 0
    for (const [path, file] of this.#disk.files) {
      // With both, a crash came before the plain one was deleted: it is the one that counts.
      const superfluous = path.endsWith('.gz') && this.#disk.files.has(path.slice(0, -3))
      if (/\.(log(\.gz)?|idx)$/.test(path) && !superfluous) onDisk += file.size
    }
    if (diskErrors === 0 && !this.#everRemoved && onDisk !== diskBytes)
      this.faults.push(`${onDisk} bytes on disk, ${diskBytes} known`)
    const closed = this.#ports.some(({ history }) => (history as DiskHistory).segments.closed.length > 0)
    if (closed && diskBytes > LIMITS.historyTotalBytes) this.faults.push(`${diskBytes} bytes are too many`)
    if (this.#disk.openFiles !== openFiles) this.faults.push(`${this.#disk.openFiles} files open, ${openFiles} known`)
    if (openFiles > LIMITS.historyOpenFiles) this.faults.push(`${openFiles} files stay open`)
    if (this.fake.store.gauges.pendingBytes !== 0) this.faults.push('memory is still charged for')
    if (this.fake.store.gauges.troubledPorts !== 0) this.faults.push('ports are still late')
  }
}
