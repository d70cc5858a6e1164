import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../vspc/loopback.ts'
import { alertOf, execHook, startHooks } from './support.ts'

const countersOf = (hooks: ReturnType<typeof startHooks>) => hooks.counters.get('test')

/** A program that runs in a directory of its own, and writes there. */
function program(script: string): { path: string; dir: string; read(name: string): string } {
  const dir = mkdtempSync(join(tmpdir(), 'vspc-exec-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'program')
  writeFileSync(path, `#!/bin/sh\ncd '${dir}' || exit 1\n${script}\n`)
  chmodSync(path, 0o755)
  return { path, dir, read: (name) => readFileSync(join(dir, name), 'utf8') }
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

test('a program gets the event on its input, its arguments as configured, and a clean environment', async () => {
  const { path, read } = program('cat > in; env > env; for a; do printf "%s\\n" "$a"; done > args')
  const hooks = startHooks([execHook(path, ['--from', '$HOME; `id`', '*'])])
  const hostile = '$(touch pwned)`touch pwned`;\n"\'\x1b[31m\u202eweb'
  hooks.take(alertOf(hostile))
  await eventually('it has ended', () => countersOf(hooks)?.delivered === 1)
  expect(JSON.parse(read('in'))).toMatchObject({ type: 'vspc.alert', data: { port: { vm: { name: hostile } } } })
  expect(read('args')).toBe('--from\n$HOME; `id`\n*\n')
  const env = read('env')
  expect(env).toContain('VSPC_EVENT_TYPE=alert\n')
  expect(env).toContain('VSPC_ALERT_RULE=kernel-panic\n')
  expect(env).toContain('VSPC_HOST=10.0.0.1\n')
  expect(env).toContain('VSPC_VM_NAME=$(touch pwned)`touch pwned`;"\'[31mweb\n')
  expect(env).not.toContain('VSPC_TOKEN')
  expect(existsSync(path.replace('program', 'pwned'))).toBe(false)
})

test('a program that does not read its input, or is not there, hurts nobody', async () => {
  const big = alertOf('x')
  const hooks = startHooks([execHook('/bin/true')])
  hooks.take({ ...big, filler: 'x'.repeat(200_000) })
  await eventually('it has ended', () => countersOf(hooks)?.delivered === 1)
  const others = startHooks([execHook('/nowhere/program')])
  others.take(big)
  await eventually('it has failed', () => countersOf(others)?.failed === 1)
})

test('a program that takes too long is killed, with all that it has started and that does not listen', async () => {
  const { path, read } = program(
    "trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$ > child; exec sleep 600\" & echo $$ > self; wait; wait",
  )
  const hooks = startHooks([execHook(path, [], { timeoutMs: 300 })])
  hooks.take(alertOf())
  await eventually('it has failed', () => countersOf(hooks)?.failed === 1)
  const pids = [Number(read('self')), Number(read('child'))]
  await eventually('they are gone', () => !pids.some(alive))
})

test('children that a program leaves behind neither hold it up nor stay', async () => {
  const { path, read } = program('sleep 600 & echo $! > child')
  const hooks = startHooks([execHook(path)])
  hooks.take(alertOf())
  await eventually('it has ended', () => countersOf(hooks)?.delivered === 1)
  await eventually('it is gone', () => !alive(Number(read('child'))))
})

test('a program that fails is not run again, unless it says that it may go better later', async () => {
  const failing = program('echo x >> runs; exit 3')
  const hooks = startHooks([execHook(failing.path)])
  hooks.take(alertOf())
  await eventually('it has failed', () => countersOf(hooks)?.failed === 1)
  expect(failing.read('runs')).toBe('x\n')
  const later = program('echo x >> runs; [ "$(wc -l < runs)" -gt 1 ] || exit 75')
  const others = startHooks([execHook(later.path)])
  others.take(alertOf())
  await eventually('it is run again', () => countersOf(others)?.delivered === 1)
  expect(later.read('runs')).toBe('x\nx\n')
})

test('a program that prints without end is not listened to without end', async () => {
  const { path } = program('head -c 20000000 /dev/zero | tr "\\0" x')
  const hooks = startHooks([execHook(path)])
  const before = process.memoryUsage().rss
  hooks.take(alertOf())
  await eventually('it has ended', () => countersOf(hooks)?.delivered === 1)
  expect(process.memoryUsage().rss - before).toBeLessThan(100 << 20)
})

test('no more programs run at once than are allowed, and the end ends them', async () => {
  const { path, dir } = program('echo > "run.$$"; sleep 600')
  const hooks = startHooks([execHook(path, [], { parallel: 3, timeoutMs: 600_000 })])
  for (let i = 0; i < 10; i++) hooks.take(alertOf())
  const runs = () => globRuns(dir)
  await eventually('three run', () => runs().length === 3)
  await hooks.stop(20)
  expect(runs()).toHaveLength(3)
  const pids = runs().map(Number)
  await eventually('they are gone', () => !pids.some(alive))
  expect(countersOf(hooks)).toMatchObject({ delivered: 0 })
})

function globRuns(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => name.startsWith('run.'))
    .map((name) => name.slice(4))
}
