/** The writer of log lines in a process of its own: what a reader that is slow, stuck or gone does to it. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { VSPC_BIN } from '../support/cli.ts'

const MODULE = pathToFileURL(join(VSPC_BIN, '../../dist/app/log-writer.js')).href
const BEGIN = `
const { LogWriter } = await import(process.argv[1])
const writer = new LogWriter({ fd: 2, maxBytes: 1_000_000, batchBytes: 16_000, batchMs: 20, missing: (n) => 'missing ' + n + '\\n' })
const lines = (from, to) => { for (let n = from; n < to; n++) writer.write('line ' + n + ' ' + 'x'.repeat(80) + '\\n') }
`

async function start(script: string): Promise<ChildProcessByStdio<null, Readable, Readable>> {
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', `${BEGIN}${script}\nprocess.stdout.write('ready\\n')`, MODULE],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}

const numbers = (text: string) => [...text.matchAll(/^line (\d+) x{80}$/gm)].map(([, n]) => Number(n))

test.each([
  ['by itself', ''],
  ['by process.exit in the middle of a write', 'process.exit(0)'],
])('what was logged before a process ends %s is there, in order', async (_how, exit) => {
  const child = await start(`lines(0, 3_000); setImmediate(() => { lines(3_000, 3_010); ${exit} })`)
  let text = ''
  child.stderr.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  const [code] = await once(child, 'close')
  expect([code, numbers(text)]).toEqual([0, Array.from({ length: 3_010 }, (_, n) => n)])
})

test('a reader that is gone keeps no process from its end, whenever it notices', async () => {
  for (const script of [
    "process.on('SIGTERM', () => { lines(0, 10) })",
    "process.on('SIGTERM', () => { lines(0, 10); process.exit(0) })",
    "process.on('SIGTERM', () => { lines(0, 5_000); setImmediate(() => process.exit(0)) })",
  ]) {
    const child = await start(`const alive = setInterval(() => {}, 1000); ${script}
      process.on('SIGTERM', () => clearInterval(alive))`)
    child.stderr.destroy()
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    expect(code).toBe(0)
  }
})

test('a reader that never reads costs a bounded backlog, and holds nothing up while the process runs', async () => {
  const child = await start(`for (let round = 0; round < 20; round++) {
      lines(0, 5_000)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    if (process.memoryUsage.rss() > 200e6) process.exit(1)`)
  // It has come to the end of that; 10 MB were logged.
  expect(child.exitCode).toBeNull()
})

test('lines that a slow reader missed are counted in a line of their own', async () => {
  const child = await start('lines(0, 50_000); setTimeout(() => lines(50_000, 50_001), 300)')
  let text = ''
  child.stderr.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  await once(child, 'close')
  const missing = [...text.matchAll(/^missing (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0)
  expect(missing).toBeGreaterThan(10_000)
  expect(numbers(text).length + missing).toBe(50_001)
})
