import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'

const reporter = join(import.meta.dirname, '../support/closing-line.ts')
const vitest = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs')

let folder = ''
afterEach(() => rmSync(folder, { recursive: true }))

/** Runs vitest itself, with our reporter, on test files made up here. */
function runVitest(files: Record<string, string>, closingLineFile = '') {
  folder = mkdtempSync(join(tmpdir(), 'vspc-closing-'))
  const config = `import { ClosingLineReporter } from ${JSON.stringify(reporter)}
    export default { test: { globals: true, reporters: ['default', new ClosingLineReporter()] } }`
  writeFileSync(join(folder, 'vitest.config.mjs'), config)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const env = { ...process.env, VSPC_CLOSING_LINE_FILE: closingLineFile && join(folder, closingLineFile) }
  const { stdout, status } = spawnSync(process.execPath, [vitest, 'run', '--root', folder], { encoding: 'utf8', env })
  return { status, last: stdout.trimEnd().split('\n').at(-1) }
}

test('the last line counts passed, failed and skipped tests; into the file, when there is one', () => {
  const files = { 'a.test.js': "test('a', () => {}); test('b', () => {}); test.skip('c', () => {}); test.todo('d')" }
  expect(runVitest(files)).toEqual({ status: 0, last: '2 passed, 0 failed, 2 skipped' })
  rmSync(folder, { recursive: true })
  expect(runVitest(files, 'line').last).not.toMatch(/failed/)
  expect(readFileSync(join(folder, 'line'), 'utf8')).toBe('2 passed, 0 failed, 2 skipped\n')
})

test('a file that cannot be loaded, a failed hook and a stray error are failures, not silence', () => {
  const { status, last } = runVitest({
    'broken.test.js': "import './nowhere.js'",
    'failed.test.js': "test('a', () => { throw new Error('no') }); test('b', () => {})",
    'hook.test.js': "afterAll(() => { throw new Error('no') }); test('a', () => {})",
    'stray.test.js': "test('a', async () => { void Promise.reject(new Error('stray')); await null })",
  })
  expect(status).not.toBe(0)
  expect(last).toBe('3 passed, 4 failed, 0 skipped')
})
