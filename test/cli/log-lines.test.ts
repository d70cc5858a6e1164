import { spawn } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import { parseTime } from '../../src/cli/log-query.ts'
import { RawVm, startApp } from '../app/support.ts'
import { runVspc, VSPC_BIN } from '../support/cli.ts'

test('a time is so long ago, by the clock of the server, or a date', () => {
  expect(parseTime('10m', '--since')).toBe('-600000')
  expect(parseTime('90d', '--since')).toBe(String(-90 * 86_400_000))
  expect(parseTime('2026-11-23T10:00:00Z', '--since')).toBe(String(Date.UTC(2026, 10, 23, 10)))
  expect(parseTime('2026-11-23', '--since')).toBe(String(Date.UTC(2026, 10, 23)))
  for (const text of ['', 'now', '10', '10x', '2026-13-45'])
    expect(() => parseTime(text, '--since')).toThrow(/is no time/)
})

test('vspc log by lines: with times, searched, as text, JSON and asciicast', async () => {
  const app = await startApp()
  const vm = await RawVm.connect(app)
  await vm.print(app, '\x1b[31mred\x1b[0m alert\r\nplain line\r\nlogin: ')
  const log = async (...args: string[]) => {
    const { code, stdout, stderr } = await runVspc(['log', ...args, 'vm1'], { env: { VSPC_SERVER: app.url } })
    expect([code, stderr]).toEqual([0, ''])
    return stdout.toString()
  }
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /gm
  const stamped = await log('-t')
  expect(stamped.match(time)?.length).toBe(3)
  expect(stamped.replace(time, '')).toBe('\x1b[31mred\x1b[0m alert\nplain line\nlogin: ')
  expect((await log('-t', '--format', 'text')).replace(time, '')).toBe('red alert\nplain line\nlogin:')
  expect(await log('--grep', '^red alert$')).toBe('\x1b[31mred\x1b[0m alert\n')
  expect(await log('--grep', 'nothing')).toBe('')
  expect((await log('-t', '-n', '2')).replace(time, '')).toBe('plain line\nlogin: ')
  const records = (await log('--format', 'ndjson', '--grep', 'line')).trimEnd().split('\n')
  expect(records.map((one) => JSON.parse(one) as unknown)).toMatchObject([{ offset: 20, text: 'plain line' }])
  expect(await log('--since', '1h')).toContain('plain line')
  expect(await log('--until', '1h')).toBe('')
  const [header, event] = (await log('--format', 'asciicast')).split('\n')
  expect(JSON.parse(header as string)).toMatchObject({ version: 2 })
  expect(JSON.parse(event as string)).toEqual([0, 'o', '\x1b[31mred\x1b[0m alert\r\nplain line\r\nlogin: '])
})

test('vspc log -f -t goes on with whole lines, each once', async () => {
  const app = await startApp()
  const vm = await RawVm.connect(app)
  await vm.print(app, 'one\nhalf')
  const child = spawn(process.execPath, [VSPC_BIN, 'log', '-f', '-t', 'vm1'], {
    env: { PATH: process.env['PATH'] ?? '', VSPC_SERVER: app.url },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let output = ''
  const until = (text: string) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!output.includes(text)) return
        child.stdout.off('data', look)
        resolve()
      }
      child.stdout.on('data', look)
      look()
    })
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  await until('one\n')
  await vm.print(app, ' a line\nthree\n')
  await until('three\n')
  expect(output.replace(/^\S+Z /gm, '')).toBe('one\nhalf a line\nthree\n')
})
