import { writeFileSync } from 'node:fs'
import type { Reporter, TestModule } from 'vitest/node'

/** How a run went, as in the closing line. */
export interface Tally {
  passed: number
  failed: number
  skipped: number
}

/** What of a vitest module the tally needs. */
export type Countable = Pick<TestModule, 'state'> & {
  readonly children: { allTests(): Iterable<{ result(): { state: string } }> }
}

/**
 * Counts test by test. A file that failed without a failed test (it could not be loaded, or a hook around its suites
 * failed) and every error outside of tests count as one failure each, so that a red run never closes with "0 failed".
 */
export function tally(modules: readonly Countable[], strayErrors: number): Tally {
  const sum = { passed: 0, failed: strayErrors, skipped: 0 }
  for (const module of modules) {
    let failed = 0
    for (const test of module.children.allTests()) {
      const { state } = test.result()
      if (state === 'passed') sum.passed++
      else if (state === 'failed') failed++
      // Pending: the run ended before it, which is no pass either.
      else sum.skipped++
    }
    sum.failed += failed === 0 && module.state() === 'failed' ? 1 : failed
  }
  return sum
}

export function closingLine({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}

/** What of a vitest test the lists need. */
export type Nameable = {
  readonly fullName: string
  readonly module: { readonly relativeModuleId: string }
  result(): { readonly state: string }
  diagnostic(): { readonly retryCount: number } | undefined
}

/**
 * Which tests failed, and which passed only when they were repeated: at the end, where they are found. A repeated one
 * is no failure, and no success to be silent about.
 */
export function notes(tests: Iterable<Nameable>): string[] {
  const failed: string[] = []
  const unsteady: string[] = []
  for (const test of tests) {
    const name = `${test.module.relativeModuleId} > ${test.fullName}`
    const { state } = test.result()
    const retries = test.diagnostic()?.retryCount ?? 0
    if (state === 'failed') failed.push(`failed: ${name}`)
    else if (state === 'passed' && retries > 0) unsteady.push(`UNSTEADY: passed at attempt ${retries + 1}: ${name}`)
  }
  return [...unsteady, ...failed]
}

/**
 * A vitest reporter that ends the output with `N passed, N failed, N skipped`, plain, for scripts to read. With
 * VSPC_CLOSING_LINE_FILE set that line goes into that file instead: `.ci/run` adds its own failures and prints it once.
 */
export class ClosingLineReporter implements Reporter {
  #lines: string[] = []

  onInit(): void {
    // At exit, behind what the other reporters and vitest itself still have to say.
    process.once('exit', () => {
      for (const line of this.#lines) process.stdout.write(`${line}\n`)
    })
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const line = closingLine(tally(modules, errors.length))
    this.#lines = notes(modules.flatMap((module) => [...module.children.allTests()]))
    const file = process.env['VSPC_CLOSING_LINE_FILE']
    if (file) writeFileSync(file, `${line}\n`)
    else this.#lines.push(line)
  }
}
