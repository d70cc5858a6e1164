import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type Limits, limitsWith, ManualClock } from '../../src/base/index.ts'
import { DiskStore } from '../../src/history/disk-store.ts'
import {
  type History,
  type HistoryOptions,
  type HistoryOwner,
  type HistoryProblem,
  type HistoryStore,
  type LoadResult,
  openHistoryStore,
  type PortMeta,
} from '../../src/history/index.ts'
import { scanPorts } from '../../src/history/scan.ts'
import { FakeDisk } from './fake-disk.ts'

export const UUID = '00112233-4455-6677-8899-aabbccddeeff'

export function metaOf(vmKey: string, more: Partial<PortMeta> = {}): PortMeta {
  return {
    vmKey,
    label: null,
    epoch: null,
    name: 'vm1',
    vcUuid: null,
    biosUuid: null,
    serviceURI: null,
    direction: null,
    ...more,
  }
}

/** Counts what it is told. */
export class TestOwner implements HistoryOwner {
  meta: PortMeta
  shown = 0
  drained = 0
  onVisible: (() => void) | null = null

  constructor(meta: PortMeta = metaOf('k')) {
    this.meta = meta
  }

  describe(): PortMeta {
    return this.meta
  }

  historyVisible(): void {
    this.shown++
    this.onVisible?.()
  }

  historyDrained(): void {
    this.drained++
  }
}

/** The byte at an offset of a port: known without keeping it, and unlike its neighbours. */
export function byteAt(seed: number, offset: number): number {
  let x = (offset + seed * 0x9e3779b1) | 0
  x = Math.imul(x ^ (x >>> 16), 0x45d9f3b)
  x = Math.imul(x ^ (x >>> 16), 0x45d9f3b)
  return (x ^ (x >>> 16)) & 0xff
}

export function bytesAt(seed: number, offset: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => byteAt(seed, offset + i))
}

/** Offset of the first byte that is not what it should be; null when all are right. */
export function firstWrong(seed: number, offset: number, bytes: Uint8Array): number | null {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== byteAt(seed, offset + i)) return offset + i
  return null
}

export const text = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString('latin1'))
export const bytes = (content: string) => new Uint8Array(Buffer.from(content, 'latin1'))

/** A store on a disk in memory: nothing happens, not even by time, unless the test makes it. */
export class FakeWorld {
  readonly disk: FakeDisk
  readonly clock: ManualClock
  readonly problems: HistoryProblem[] = []
  readonly limits: Limits
  readonly #deferred: (() => void)[] = []
  readonly store: DiskStore

  private constructor(disk: FakeDisk, clock: ManualClock, limits: Limits, scan: Awaited<ReturnType<typeof scanPorts>>) {
    this.disk = disk
    this.clock = clock
    this.limits = limits
    this.store = new DiskStore({
      portsDir: '/ports',
      limits,
      clock,
      fs: disk,
      defer: (run) => this.#deferred.push(run),
      onProblem: (problem) => this.problems.push(problem),
      scan,
      lock: null,
    })
  }

  static async open(
    limits: Partial<Limits> = {},
    disk = new FakeDisk(),
    clock = new ManualClock(),
  ): Promise<FakeWorld> {
    return new FakeWorld(disk, clock, limitsWith({ historyGatherMs: 0, ...limits }), await scanPorts('/ports', disk))
  }

  /** One turn of the event loop: what was put off is done. */
  turn(): void {
    for (const run of this.#deferred.splice(0)) run()
  }

  get deferred(): number {
    return this.#deferred.length
  }

  /** Until there is nothing left to do without time going by. */
  settle(): void {
    while (this.#deferred.length > 0 || this.disk.ops.length > 0) {
      this.turn()
      this.disk.settle()
    }
  }

  /** Everything held of a port, piece by piece, by loads. */
  loadAll(history: History, maxBytes = 1000): { bytes: Uint8Array[]; at: number[]; gaps: [number, number][] } {
    const found = { bytes: [] as Uint8Array[], at: [] as number[], gaps: [] as [number, number][] }
    for (let offset = 0; ; ) {
      const result = this.load(history, offset, maxBytes)
      if (result.kind === 'end') return found
      if (result.kind === 'failed') throw result.error
      if (result.kind === 'gap') {
        found.gaps.push([offset, result.to])
        offset = result.to
      } else {
        found.bytes.push(result.bytes)
        found.at.push(offset)
        offset += result.bytes.length
      }
    }
  }

  load(history: History, offset: number, maxBytes: number): LoadResult {
    let result: LoadResult | null = null
    history.load(offset, maxBytes, (found) => {
      result = found
    })
    this.settle()
    if (result === null) throw new Error('the load did not end')
    return result
  }

  told(kind: string): string[] {
    return this.problems.filter((one) => one.kind === kind).map((one) => `${one.state} ${one.code ?? '-'}`)
  }
}

/** A folder that goes when the test is over. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'vspc-history-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A store on a real folder, closed when the test is over. */
export async function realStore(dir: string, options: Partial<HistoryOptions> = {}): Promise<HistoryStore> {
  const store = await openHistoryStore({ dir, limits: limitsWith(), onProblem: () => {}, ...options })
  onTestFinished(async () => {
    await store.close(1000)
  })
  return store
}

export function loaded(history: History, offset: number, maxBytes: number): Promise<LoadResult> {
  return new Promise((resolve) => {
    history.load(offset, maxBytes, resolve)
  })
}

/** Everything below `visible`, by loads; a gap is an error. */
export async function everything(history: History, from = history.start): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for (let offset = from; ; ) {
    const result = await loaded(history, offset, 65_536)
    if (result.kind === 'end') return Buffer.concat(pieces)
    if (result.kind !== 'bytes') throw new Error(`at ${offset}: ${JSON.stringify(result)}`)
    pieces.push(result.bytes)
    offset += result.bytes.length
  }
}
