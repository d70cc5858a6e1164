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

/**
 * A vitest reporter that ends the output with `N passed, N failed, N skipped`, plain, for scripts to read. With
 * VSPC_CLOSING_LINE_FILE set it goes into that file instead: `.ci/run` adds its own failures and prints it once.
 */
export class ClosingLineReporter implements Reporter {
  #line = ''

  onInit(): void {
    // At exit, behind what the other reporters and vitest itself still have to say.
    process.once('exit', () => {
      if (this.#line) process.stdout.write(`${this.#line}\n`)
    })
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const line = closingLine(tally(modules, errors.length))
    const file = process.env['VSPC_CLOSING_LINE_FILE']
    if (file) writeFileSync(file, `${line}\n`)
    else this.#line = line
  }
}
