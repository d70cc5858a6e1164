import type { Experiment, Readings, Row } from './experiment.ts'
import type { Machine } from './os.ts'
import type { Contender } from './server-process.ts'
import { median } from './statistics.ts'

/** All runs of an experiment, by contender. */
export type Runs = { readonly [contender in Contender]: readonly Readings[] }

export interface Result {
  readonly experiment: string
  readonly work: string
  readonly unit: string
  readonly bare: number | null
  readonly ours: number
  readonly ratio: number | null
  /** In words; empty: for information only. */
  readonly target: string
  readonly met: boolean | null
  /** Of every round, in order. */
  readonly rounds: { readonly bare: readonly number[]; readonly ours: readonly number[] }
  readonly digits: number
}

export interface Report {
  readonly when: string
  readonly machine: Machine
  readonly commandLine: readonly string[]
  readonly seconds: number
  readonly notes: readonly string[]
  readonly results: readonly Result[]
}

export function resultsOf({ name, rows }: Experiment, runs: Runs): Result[] {
  return rows.map((row) => resultOf(name, row, runs))
}

function resultOf(experiment: string, row: Row, runs: Runs): Result {
  const ours = runs.ours.map((readings) => readings[row.reading] ?? Number.NaN)
  const bare = runs.bare.map((readings) => readings[row.bareReading ?? row.reading] ?? Number.NaN)
  const mine = median(ours)
  const base = bare.length > 0 ? median(bare) : null
  const ratio = base === null || base === 0 ? null : mine / base
  const { target } = row
  const judged = target.of === 'ratio' ? ratio : mine
  const met =
    target.of === 'none' || judged === null
      ? null
      : 'atMost' in target
        ? judged <= target.atMost
        : judged >= target.atLeast
  const { work, unit, digits } = row
  return {
    experiment,
    work,
    unit,
    bare: base,
    ours: mine,
    ratio,
    target: targetText(row),
    met,
    rounds: { bare, ours },
    digits,
  }
}

function targetText({ target, unit }: Row): string {
  if (target.of === 'none') return ''
  const bound = 'atMost' in target ? `<= ${target.atMost}` : `>= ${target.atLeast}`
  return target.of === 'ratio' ? `${bound} x bare` : `${bound} ${unit}`.trim()
}

const COLUMNS = ['work', 'unit', 'bare', 'ours', 'ratio', 'target', 'met'] as const

/** A table for people: Markdown, aligned. */
export function formatTable(results: readonly Result[]): string {
  const cells = results.map((result) => [
    result.work,
    result.unit,
    result.bare === null ? '-' : result.bare.toFixed(result.digits),
    result.ours.toFixed(result.digits),
    result.ratio === null ? '-' : result.ratio.toFixed(2),
    result.target,
    result.met === null ? '' : result.met ? 'yes' : 'NO',
  ])
  const widths = COLUMNS.map((name, column) => Math.max(name.length, ...cells.map((row) => (row[column] ?? '').length)))
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => (column >= 2 && column <= 4 ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0))).join(' | ')} |`
  const rule = widths.map((width, column) =>
    column >= 2 && column <= 4 ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  )
  return `${[line(COLUMNS), line(rule), ...cells.map(line)].join('\n')}\n`
}

export function formatConditions({ machine, when, seconds, notes }: Report): string {
  const { cpu, cores, memoryGb, kernel, node, loadAverage } = machine
  const lines = [
    `${when}; ${cores} x ${cpu}, ${memoryGb} GiB, Linux ${kernel}, Node ${node}; ${seconds.toFixed(0)} s; load before: ${loadAverage}`,
    ...(loadAverage > 0.5 ? ['The machine was busy with other things: these figures are indications only.'] : []),
    ...notes.map((note) => `note: ${note}`),
  ]
  return `${lines.join('\n')}\n`
}
