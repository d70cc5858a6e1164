import type { MigrationResult } from './migration.ts'
import type { MigrationOutcome } from './migration-variants.ts'

/** Milliseconds, of the last 65,536 samples; `min`, `max` and `count` of all. */
export interface LatencySummary {
  readonly count: number
  readonly min: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const MAX_SAMPLES = 65_536

export class Latencies {
  #samples: number[] = []
  #count = 0
  #min = Number.POSITIVE_INFINITY
  #max = 0

  add(ms: number): void {
    this.#samples[this.#count % MAX_SAMPLES] = ms
    this.#count++
    this.#min = Math.min(this.#min, ms)
    this.#max = Math.max(this.#max, ms)
  }

  /** null without samples. */
  summary(): LatencySummary | null {
    if (this.#count === 0) return null
    const sorted = this.#samples.toSorted((a, b) => a - b)
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number
    return { count: this.#count, min: this.#min, p50: at(0.5), p99: at(0.99), max: this.#max }
  }
}

export type VmotionCounts = { readonly [outcome in MigrationOutcome]: number } & {
  readonly running: number
  /** Outcomes that a correct proxy does not lead to. */
  readonly unexpected: number
}

/** Counts migrations by outcome. */
export class VmotionStatistics {
  readonly goahead = new Latencies()
  readonly stunned = new Latencies()
  running = 0
  #unexpected = 0
  readonly #outcomes: Record<MigrationOutcome, number> = {
    completed: 0,
    refused: 0,
    timeout: 0,
    aborted: 0,
    resumed: 0,
    lost: 0,
    'not-connected': 0,
  }

  /** A migration that never began, because its VM had no link, is no fault of anybody's handshake. */
  add(result: MigrationResult): void {
    this.#outcomes[result.outcome]++
    if (!result.asExpected && result.outcome !== 'not-connected') this.#unexpected++
    if (result.goaheadMs !== null) this.goahead.add(result.goaheadMs)
    if (result.outcome === 'completed') this.stunned.add(result.stunnedMs)
  }

  counts(): VmotionCounts {
    return { ...this.#outcomes, running: this.running, unexpected: this.#unexpected }
  }
}
