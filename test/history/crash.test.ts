import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import type { Limits } from '../../src/base/index.ts'
import { VSPC_BIN } from '../support/cli.ts'
import { everything, realStore, TestOwner, temporaryFolder, text } from './support.ts'

const DIST = join(VSPC_BIN, '../../dist')

/** Appends numbered lines to three ports, one of them followed, and says of each how far it was told it may show. */
const CHILD = `
const { openHistoryStore } = await import(process.argv[1])
const { limitsWith } = await import(process.argv[2])
const { writeSync } = await import('node:fs')
const limits = limitsWith({ historyVisibleMs: 10_000, ...JSON.parse(process.argv[4] ?? '{}') })
const store = await openHistoryStore({ dir: process.argv[3], limits, onProblem: (p) => writeSync(1, 'P ' + p.message + '\\n') })
const meta = { label: null, name: '', vcUuid: null, biosUuid: null, serviceURI: null, direction: null }
const ports = ['a', 'b', 'c'].map((id) => {
  const owner = {
    describe: () => ({ vmKey: id, ...meta }),
    historyVisible: () => writeSync(1, id + ' ' + history.visible + '\\n'),
    historyDrained: () => {},
  }
  const history = store.open(id, owner)
  if (id === 'a') history.keepTail(true)
  return { id, history }
})
let n = 0
const turn = () => {
  for (let i = 0; i < 20; i++) {
    const { id, history } = ports[n % 3]
    const line = id + ' ' + history.next + ' ' + 'x'.repeat(n * 7 % 90) + '\\n'
    history.append(new TextEncoder().encode(line))
    n++
  }
  setImmediate(turn)
}
turn()
`

/** Appends to a port whose folder cannot be made, and closes. */
const CLOSING_CHILD = `
const { openHistoryStore } = await import(process.argv[1])
const { limitsWith } = await import(process.argv[2])
const store = await openHistoryStore({ dir: process.argv[3], limits: limitsWith(), onProblem: () => {} })
const owner = { describe: () => ({ vmKey: 'vm' }), historyVisible: () => {}, historyDrained: () => {} }
store.open('vm', owner).append(new Uint8Array(10))
console.log('closed', await store.close(500))
`

function start(script: string, dir: string, limits: Partial<Limits> = {}): ChildProcessByStdio<null, Readable, null> {
  const parts = ['history/index.js', 'base/index.js'].map((path) => pathToFileURL(join(DIST, path)).href)
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, ...parts, dir, JSON.stringify(limits)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  return child
}

/** Runs it until it has shown enough, then kills it. @returns what each port was told it may show. */
async function killed(dir: string, limits: Partial<Limits>): Promise<Map<string, number>> {
  const child = start(CHILD, dir, limits)
  let output = ''
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', () => resolve())
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString('latin1')
      // In the middle of things, as far as that can be arranged.
      if (output.length > 3000) child.kill('SIGKILL')
    })
  })
  const visible = new Map<string, number>()
  for (const [, id, offset] of output.matchAll(/^([abc]) (\d+)\n/gm)) visible.set(id as string, Number(offset))
  expect(output).not.toMatch(/^P /m)
  return visible
}

test.each([
  ['one file', {}],
  ['many files that are compressed at once', { historyFileBytes: 5_000, historyCompressMs: 1 }],
])(
  'after kill -9 nothing that was shown is missing, and offsets go on exactly: %s',
  async (_name, limits) => {
    const dir = temporaryFolder()
    for (let round = 0; round < 3; round++) {
      const visible = await killed(dir, limits)
      expect(visible.get('a')).toBeGreaterThan(0)
      // The lock of the dead one is in nobody's way.
      const store = await realStore(dir)
      for (const [id, shown] of visible) {
        const history = store.open(id, new TestOwner())
        expect(history.next).toBeGreaterThanOrEqual(shown)
        // Each line says at which offset it begins. The kill may have come in the middle of one: the next run goes on there.
        const content = text(await everything(history)) as string
        expect(content.length).toBe(history.next)
        for (const match of content.matchAll(/([abc]) (\d+) x*\n/g)) {
          expect([match[1], Number(match[2])]).toEqual([id, match.index])
        }
      }
      expect(await store.close(5000)).toBe(true)
    }
    const names = readdirSync(join(dir, 'ports', 'a'))
    expect(names.some((name) => name.endsWith('.gz'))).toBe('historyCompressMs' in limits)
  },
  60_000,
)

test('a process that stops on a disk that fails waits as long as it was told to, and lets go of the lock', async () => {
  const dir = temporaryFolder()
  await (await realStore(dir)).close(0)
  writeFileSync(join(dir, 'ports', 'vm'), 'in the way')
  const child = start(CLOSING_CHILD, dir)
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1')
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  expect([output, code, readdirSync(dir)]).toEqual(['closed false\n', 0, ['ports']])
})
