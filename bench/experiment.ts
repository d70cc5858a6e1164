/** What an experiment is, and the tools it gets. */

import { cpuMs, holdMemory, quiescence } from './os.ts'
import type { Contender, ServerProcess } from './server-process.ts'
import type { Generator } from './worker-process.ts'

/** Figures of one run of one contender, by name. */
export type Readings = { readonly [name: string]: number }

/** How big things are: full, and for a quick look. */
export interface Sizes {
  readonly handshakes: number
  readonly held: number
  readonly streamBytes: number
  readonly consoleBytes: number
  readonly roundTrips: number
  readonly vmotions: number
  readonly stuckBytes: number
  /** For the run that looks for lost bytes. */
  readonly lossSeconds: number
}

export const FULL: Sizes = {
  handshakes: 9_800,
  held: 19_500,
  streamBytes: 1_000_000_000,
  consoleBytes: 1_000_000_000,
  roundTrips: 10_000,
  vmotions: 20_000,
  stuckBytes: 200_000_000,
  lossSeconds: 20,
}

export const QUICK: Sizes = {
  handshakes: 2_000,
  held: 19_500,
  streamBytes: 200_000_000,
  consoleBytes: 200_000_000,
  roundTrips: 3_000,
  vmotions: 4_000,
  stuckBytes: 200_000_000,
  lossSeconds: 5,
}

export interface Bench {
  readonly contender: Contender
  readonly sizes: Sizes
  /** The `vspc.js` that is measured. */
  readonly program: string
  /** More arguments for `vspc serve`. */
  readonly serve: readonly string[]
  /** Starts this contender's server; it is stopped after the run. */
  server(options?: { pin?: boolean; fileLimit?: number }): Promise<ServerProcess>
  generator(options?: { pin?: boolean }): Generator
  /** A remark for the report: why a figure is not what it should be. */
  note(text: string): void
}

/** `of`: which readings are compared, of bare and of ours. */
export interface Row {
  readonly work: string
  readonly unit: string
  readonly reading: string
  /** Compared with this one of bare instead. */
  readonly bareReading?: string
  readonly digits: number
  readonly target: Target
}

/** `ratio`: ours to bare. `value`: ours alone. `none`: for information. */
export type Target =
  | { readonly of: 'ratio' | 'value'; readonly atMost: number }
  | { readonly of: 'ratio' | 'value'; readonly atLeast: number }
  | { readonly of: 'none' }

export interface Experiment {
  readonly name: string
  readonly contenders: readonly Contender[]
  /** Of the rounds asked for, at most these many: for what does not vary. */
  readonly maxRounds?: number
  run(bench: Bench): Promise<Readings>
  readonly rows: readonly Row[]
}

/** Beyond what the work writes to files: heaps, socket buffers. */
const SPARE_BYTES = 128_000_000

/**
 * CPU time a server spends on `work` and all that follows from it, in ms.
 * @param writtenBytes that end up in files on the way.
 */
export async function cpuOf<T>(
  server: ServerProcess,
  work: () => Promise<T>,
  writtenBytes = 0,
): Promise<{ cpu: number; result: T }> {
  const release = holdMemory(server.dir, writtenBytes * 1.2 + SPARE_BYTES)
  await quiescence(server.pid)
  release()
  const before = cpuMs(server.pid)
  const result = await work()
  await quiescence(server.pid)
  return { cpu: cpuMs(server.pid) - before, result }
}
