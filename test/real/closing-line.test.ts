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
function runVitest(files: Record<string, string>, { closingLineFile = '', retry = 0 } = {}) {
  folder = mkdtempSync(join(tmpdir(), 'vspc-closing-'))
  const config = `import { ClosingLineReporter } from ${JSON.stringify(reporter)}
    export default { test: { globals: true, retry: ${retry}, reporters: ['default', new ClosingLineReporter()] } }`
  writeFileSync(join(folder, 'vitest.config.mjs'), config)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const env = { ...process.env, VSPC_CLOSING_LINE_FILE: closingLineFile && join(folder, closingLineFile) }
  const { stdout, status } = spawnSync(process.execPath, [vitest, 'run', '--root', folder], { encoding: 'utf8', env })
  const lines = stdout.trimEnd().split('\n')
  return { status, last: lines.at(-1), lines }
}

test('the last line counts passed, failed and skipped tests; into the file, when there is one', () => {
  const files = { 'a.test.js': "test('a', () => {}); test('b', () => {}); test.skip('c', () => {}); test.todo('d')" }
  expect(runVitest(files)).toMatchObject({ status: 0, last: '2 passed, 0 failed, 2 skipped' })
  rmSync(folder, { recursive: true })
  expect(runVitest(files, { closingLineFile: 'line' }).last).not.toMatch(/failed/)
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

test('what failed, and what passed only when it was repeated, is listed by name before it', () => {
  const { status, lines } = runVitest(
    {
      'a.test.js':
        "let n = 0; test('odd', () => { if (n++ === 0) throw new Error('no') }); test('bad', () => { throw 1 })",
    },
    { retry: 1 },
  )
  expect(status).not.toBe(0)
  expect(lines.slice(-3)).toEqual([
    'UNSTEADY: passed at attempt 2: a.test.js > odd',
    'failed: a.test.js > bad',
    '1 passed, 1 failed, 0 skipped',
  ])
})
