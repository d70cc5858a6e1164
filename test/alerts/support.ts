import { compileRule } from '../../src/alerts/compile.ts'
import type { AlertRule } from '../../src/alerts/index.ts'
import { type Hit, type LineRule, LineWatch } from '../../src/alerts/line-watch.ts'

/** A rule for tests; all matches are told unless `everyMs` says otherwise. */
export function ruleOf(pattern: string, more: Partial<AlertRule> = {}): AlertRule {
  return { name: 'test', pattern, ignoreCase: false, severity: 'warning', ports: null, everyMs: 0, ...more }
}

/** Compiling takes most of the time. */
const compiled = new Map<AlertRule, LineRule>()

function compiledOf(rule: AlertRule): LineRule {
  const known = compiled.get(rule) ?? compileRule(rule)
  compiled.set(rule, known)
  return known
}

export interface TestWatch {
  readonly hits: Hit[]
  readonly watch: LineWatch
  /** What comes next from a port. Characters are bytes. */
  take(text: string, serial?: number, now?: number): void
}

export function watchOf(rules: readonly AlertRule[]): TestWatch {
  const hits: Hit[] = []
  const watch = new LineWatch(rules.map(compiledOf), (hit) => hits.push(hit))
  const offsets = new Map<number, number>()
  return {
    hits,
    watch,
    take(text, serial = 1, now = 0) {
      // In the middle of something else, and gone after the call.
      const bytes = Buffer.from(`\x1b${text}\x1b`, 'latin1')
      const offset = offsets.get(serial) ?? 0
      watch.take(serial, offset, bytes, 1, bytes.length - 1, now)
      offsets.set(serial, offset + bytes.length - 2)
      bytes.fill(0x5a)
    },
  }
}

/** Names of the rules that match, in order. */
export function rulesFound(rules: readonly AlertRule[], pieces: readonly string[]): string[] {
  const { hits, take } = watchOf(rules)
  for (const piece of pieces) take(piece)
  return hits.map(({ rule }) => rules[rule]?.name ?? '?')
}

/** A text in two pieces, cut at every place, and byte by byte. */
export function cutEverywhere(text: string): string[][] {
  const cuts = Array.from({ length: text.length - 1 }, (_, at) => [text.slice(0, at + 1), text.slice(at + 1)])
  return [...cuts, [...text]]
}
