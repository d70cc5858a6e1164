/**
 * Keeps what VMs publish, and says it once it is kept.
 *
 * `seen` is what was observed, `kept` what is on the disk: only that is told, and given out. Between them is a queue that
 * one writer empties, everything that has gathered in one write. What is on the disk but was perhaps not told, because
 * the process ended in between, is told again after the next start.
 */
import { Backoff, type Clock, type Logger, silentLogger, systemClock, type Timer, VspcError } from '../base/index.ts'
import type { GuestReport } from './diff.ts'
import {
  applyLine,
  halve,
  linesOf,
  noRecords,
  type Observed,
  observe,
  type ResultLine,
  type VmRecords,
} from './ledger.ts'
import { type GuestinfoLimits, guestinfoLimits } from './limits.ts'
import { ResultFile, type ResultFs } from './result-file.ts'
import { formatLine, formatTold } from './result-line.ts'

export interface ResultStoreOptions {
  /** The store is its only user; it is made if it is not there. */
  readonly directory: string
  /** Called with what is on the disk now, in order. `again`: it may have been told before the last restart. */
  readonly onTold: (lines: readonly ResultLine[], again: boolean) => void
  /** Something had to be left out because the disk did not keep up; it is well now: look at all VMs anew. */
  readonly onCaughtUp?: () => void
  /** Is this VM (by UUID) in the inventory? Of those that are not, records are dropped first. */
  readonly isPresent?: (vm: string) => boolean
  readonly clock?: Clock
  /** From 0 to 1. */
  readonly random?: () => number
  readonly limits?: Partial<GuestinfoLimits>
  readonly log?: Logger
  readonly fs?: ResultFs
}

export interface ResultStoreStatus {
  readonly path: string
  readonly fileBytes: number
  readonly keptVms: number
  readonly keptBytes: number
  /** Lines that wait for the disk. */
  readonly pending: number
  /** Lines that were left out, since the start, because too many waited. */
  readonly leftOut: number
  /** VMs whose records were dropped, in part or all, since the start, because there were too many. */
  readonly dropped: number
  /** Why nothing can be written just now. */
  readonly trouble: VspcError | null
}

interface Pending {
  readonly lines: readonly ResultLine[]
  readonly text: string
  readonly after: VmRecords
}

/** Of what is pending, this part is for exits alone. */
const EXIT_SHARE = 0.5
/** How far below its limit a store is brought, so that this is seldom. */
const ROOM = 0.9
const WRITE_CHARACTERS = 1 << 20
/** More lines than one write has. */
const MAX_UNTOLD = 10_000

export class ResultStore {
  readonly #options: ResultStoreOptions
  readonly #limits: GuestinfoLimits
  readonly #clock: Clock
  readonly #log: Logger
  readonly #backoff: Backoff
  readonly #seen = new Map<string, VmRecords>()
  readonly #kept = new Map<string, VmRecords>()
  /** Loaded, and not known to have been told. */
  #untold: ResultLine[] = []
  #file: ResultFile | null = null
  #queue: Pending[] = []
  #pendingBytes = 0
  #seenBytes = 0
  #seq = 0
  /** The last line that was told, and that the file says was told. */
  #told = 0
  #markedTold = 0
  #writing: Promise<void> | null = null
  #wake: (() => void) | null = null
  #closed = false
  #behind = false
  #leftOut = 0
  #dropped = 0
  #compactAt = 0
  #trouble: VspcError | null = null

  private constructor(options: ResultStoreOptions) {
    this.#options = options
    this.#limits = guestinfoLimits(options.limits)
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLogger
    const { storeRetryMinMs, storeRetryMaxMs } = this.#limits
    this.#backoff = new Backoff(
      { redialMinMs: storeRetryMinMs, redialMaxMs: storeRetryMaxMs },
      options.random ?? Math.random,
    )
  }

  /** @throws VspcError VSPC_GUESTINFO_STORE. */
  static async open(options: ResultStoreOptions): Promise<ResultStore> {
    const store = new ResultStore(options)
    await store.#load()
    return store
  }

  /** Tells what may not have been told before the last restart. Once, when whoever is told is ready. */
  tellAgain(): void {
    const untold = this.#untold
    this.#untold = []
    if (untold.length > 0) this.#options.onTold(untold, true)
    this.#told = Math.max(this.#told, untold.at(-1)?.seq ?? 0)
  }

  /**
   * Takes what a VM says now; what of it is new is kept and then told. Never throws.
   * @param report of at most half of `maxKeptProcesses` records of each kind.
   */
  observe(vm: Observed, report: GuestReport): void {
    if (this.#closed) return
    const known = this.#seen.get(vm.vm)
    const found = observe(known ?? noRecords(vm.vm, vm.vmName), vm, report, this.#clock.wall(), this.#limits)
    if (found.length === 0) return
    const lines: ResultLine[] = []
    let after = known ?? noRecords(vm.vm, vm.vmName)
    let text = ''
    for (const one of found) {
      const line = { ...one, seq: this.#seq + 1 }
      const formatted = formatLine(line)
      if (!this.#hasRoom(this.#pendingBytes + text.length + formatted.length, line)) {
        this.#leftOut++
        this.#behind = true
        continue
      }
      this.#seq++
      lines.push(line)
      text += formatted
      after = applyLine(after, line, this.#limits)
    }
    if (lines.length === 0) return
    this.#remember(after)
    this.#queue.push({ lines, text, after })
    this.#pendingBytes += text.length
    if (this.#seenBytes > this.#limits.maxKeptBytes || this.#seen.size > this.#limits.maxKeptVms) this.#makeRoom()
    this.#write()
  }

  /** What is kept of a VM, by canonical instance UUID; null for nothing. */
  latest(vm: string): VmRecords | null {
    return this.#kept.get(vm) ?? null
  }

  /** Of which something is kept. */
  vms(): string[] {
    return [...this.#kept.keys()]
  }

  get status(): ResultStoreStatus {
    return {
      path: this.#file?.path ?? '',
      fileBytes: this.#file?.bytes ?? 0,
      keptVms: this.#kept.size,
      keptBytes: this.#seenBytes,
      pending: this.#queue.reduce((sum, { lines }) => sum + lines.length, 0),
      leftOut: this.#leftOut,
      dropped: this.#dropped,
      trouble: this.#trouble,
    }
  }

  /** Resolves when nothing waits for the disk. */
  async whenKept(): Promise<void> {
    while (this.#writing !== null) await this.#writing
  }

  /** Tries once more to write what waits. Never rejects; what cannot be written is read again after the next start. */
  async close(): Promise<void> {
    this.#closed = true
    this.#wake?.()
    await this.whenKept()
    const file = this.#file
    if (file === null) return
    this.#file = null
    try {
      if (this.#told > this.#markedTold) await file.append(formatTold(this.#told))
    } catch {
      // Then some of it is told again after the next start.
    }
    await file.close()
  }

  async #load(): Promise<void> {
    const { directory, fs } = this.#options
    const last: ResultLine[] = []
    const { file, loaded } = await ResultFile.open(
      directory,
      (line) => {
        if ('told' in line) {
          this.#told = Math.max(this.#told, line.told)
          return
        }
        this.#seq = Math.max(this.#seq, line.seq)
        this.#remember(applyLine(this.#seen.get(line.vm) ?? noRecords(line.vm, line.vmName), line, this.#limits))
        last.push(line)
        if (last.length > 2 * MAX_UNTOLD) last.splice(0, MAX_UNTOLD)
      },
      fs,
    )
    this.#file = file
    this.#markedTold = this.#told
    this.#untold = last.filter(({ seq }) => seq > this.#told)
    for (const [vm, records] of this.#seen) this.#kept.set(vm, records)
    this.#makeRoom()
    this.#planCompaction()
    const { strange, torn } = loaded
    const fields = { path: file.path, strange, torn }
    if (strange > 0) this.#log.warn(fields, 'results of guestinfo: lines that are none of ours were skipped')
    if (torn > 0) this.#log.info(fields, 'results of guestinfo: a last line without its end was cut off')
  }

  #hasRoom(bytes: number, { type }: ResultLine): boolean {
    const most = this.#limits.maxPendingBytes
    return bytes <= (type === 'exit' ? most : most * EXIT_SHARE)
  }

  #remember(records: VmRecords): void {
    this.#seenBytes += records.bytes - (this.#seen.get(records.vm)?.bytes ?? 0)
    // At the end: the order is that of the last news.
    this.#seen.delete(records.vm)
    this.#seen.set(records.vm, records)
  }

  #write(): void {
    if (this.#writing !== null) return
    this.#writing = this.#writeAll().finally(() => {
      this.#writing = null
      if (this.#queue.length > 0 && !this.#closed) this.#write()
    })
  }

  async #writeAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const isLast = this.#closed
      const batch = this.#nextBatch()
      try {
        await this.#keep(batch)
      } catch (error) {
        this.#say(error)
        // Closed meanwhile: one attempt more, for what waited in a pause.
        if (isLast) return
        await this.#pause(this.#backoff.next())
        continue
      }
      if (this.#trouble !== null) this.#log.info({ path: this.#file?.path }, 'results of guestinfo can be kept again')
      this.#trouble = null
      this.#backoff.reset()
      this.#queue.splice(0, batch.length)
      for (const { lines, text, after } of batch) {
        this.#pendingBytes -= text.length
        // Unless it was dropped meanwhile.
        if (this.#seen.has(after.vm)) this.#kept.set(after.vm, after)
        else this.#kept.delete(after.vm)
        this.#tell(lines)
      }
      await this.#compact()
    }
    if (!this.#behind || this.#closed) return
    this.#behind = false
    this.#options.onCaughtUp?.()
  }

  #nextBatch(): Pending[] {
    let characters = 0
    const end = this.#queue.findIndex(({ text }) => {
      characters += text.length
      return characters > WRITE_CHARACTERS
    })
    return this.#queue.slice(0, end < 0 ? this.#queue.length : Math.max(1, end))
  }

  async #keep(batch: readonly Pending[]): Promise<void> {
    const file = this.#file
    if (file === null) return
    // Somebody may have deleted it: what is in memory makes it anew.
    if (!(await file.isInPlace())) await this.#rewrite(file)
    const mark = this.#told > this.#markedTold ? formatTold(this.#told) : ''
    const marked = this.#told
    await file.append(mark + batch.map(({ text }) => text).join(''))
    this.#markedTold = marked
  }

  #tell(lines: readonly ResultLine[]): void {
    this.#options.onTold(lines, false)
    this.#told = lines.at(-1)?.seq ?? this.#told
  }

  async #compact(): Promise<void> {
    const file = this.#file
    if (file === null || file.bytes <= this.#compactAt) return
    try {
      await this.#rewrite(file)
    } catch (error) {
      // The old one goes on; it is tried again when it has grown further.
      this.#compactAt = file.bytes + this.#limits.compactMinBytes
      const reason = error instanceof Error ? error.message : String(error)
      this.#log.warn({ path: file.path, reason }, 'results of guestinfo: the file could not be made smaller')
    }
  }

  async #rewrite(file: ResultFile): Promise<void> {
    const told = this.#told
    await file.rewrite(allLines(this.#kept.values()), told)
    this.#markedTold = told
    this.#planCompaction()
  }

  #planCompaction(): void {
    this.#compactAt = Math.max(this.#limits.compactMinBytes, 2 * this.#seenBytes)
  }

  /** VMs that are gone first, longest silent ones first; then the most talkative ones lose half of their processes. */
  #makeRoom(): void {
    const { isPresent = () => true } = this.#options
    const bytes = ROOM * this.#limits.maxKeptBytes
    const tooMuch = (): boolean =>
      this.#seenBytes > this.#limits.maxKeptBytes || this.#seen.size > this.#limits.maxKeptVms
    if (!tooMuch()) return
    const enough = (): boolean => this.#seenBytes <= bytes && this.#seen.size <= this.#limits.maxKeptVms
    for (const vm of [...this.#seen.keys()]) {
      if (enough()) return
      if (!isPresent(vm)) this.#shrink(vm, null)
    }
    for (const vm of this.#seen.keys()) {
      if (this.#seen.size <= this.#limits.maxKeptVms) break
      this.#shrink(vm, null)
    }
    const byBytes = [...this.#seen.values()].sort((a, b) => b.bytes - a.bytes)
    for (const records of byBytes) {
      if (enough()) return
      this.#shrink(records.vm, halve(records))
    }
    for (const vm of [...this.#seen.keys()]) {
      if (enough()) return
      this.#shrink(vm, null)
    }
  }

  #shrink(vm: string, to: VmRecords | null): void {
    const known = this.#seen.get(vm)
    this.#dropped++
    this.#seenBytes += (to?.bytes ?? 0) - (known?.bytes ?? 0)
    if (to === null) this.#seen.delete(vm)
    else this.#seen.set(vm, to)
    // What still waits for the disk must neither be given out nor written twice: it comes with its own records.
    if (this.#kept.get(vm) !== known) return
    if (to === null) this.#kept.delete(vm)
    else this.#kept.set(vm, to)
  }

  #say(error: unknown): void {
    const told = this.#trouble
    this.#trouble = error instanceof VspcError ? error : new VspcError('VSPC_GUESTINFO_STORE', String(error))
    if (told?.message === this.#trouble.message) return
    this.#log.error({ code: this.#trouble.code, reason: this.#trouble.message }, 'results of guestinfo cannot be kept')
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed) {
        resolve()
        return
      }
      let timer: Timer | null = null
      this.#wake = () => {
        timer?.cancel()
        this.#wake = null
        resolve()
      }
      timer = this.#clock.after(ms, () => this.#wake?.())
    })
  }
}

function* allLines(kept: Iterable<VmRecords>): Generator<ResultLine, void, undefined> {
  for (const records of kept) yield* linesOf(records)
}
