import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { runVspc, VSPC_BIN } from '../support/cli.ts'
import { temporaryHome } from '../support/home.ts'

const VM = 'tcp://127.0.0.1:0?protocol=raw&name=vm1'

class Serve {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  readonly ended: Promise<{ code: number | null; signal: string | null }>

  private constructor(args: readonly string[]) {
    this.child = spawn(process.execPath, [VSPC_BIN, 'serve', ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: temporaryHome() },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    onTestFinished(() => void this.child.kill('SIGKILL'))
    this.child.stdout?.on('data', (chunk) => {
      this.stdout += chunk
    })
    this.child.stderr?.on('data', (chunk) => {
      this.stderr += chunk
    })
    this.ended = new Promise((resolve) => this.child.on('close', (code, signal) => resolve({ code, signal })))
  }

  static async ready(args: readonly string[], lines = 2): Promise<Serve> {
    const serve = new Serve(args)
    await serve.says('stdout', () => serve.stdout.split('\n').length > lines)
    return serve
  }

  async says(stream: 'stdout' | 'stderr', happened: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(10_000)
    while (!happened()) await once(this.child[stream] as NodeJS.ReadableStream, 'data', { signal })
  }

  get url(): string {
    return /http on (\S+)/.exec(this.stdout)?.[1] ?? ''
  }

  get vmPort(): number {
    return Number(/listening on tcp:\/\/127\.0\.0\.1:(\d+)/.exec(this.stdout)?.[1])
  }
}

test('prints where it listens, one line each, once it is ready; and nothing else on stdout', async () => {
  const serve = await Serve.ready(['--listen', VM, '--listen', 'tcp://127.0.0.1:0', '--http', '127.0.0.1:0'], 3)
  expect(serve.stdout).toMatch(
    /^listening on tcp:\/\/127\.0\.0\.1:\d+\?protocol=raw&name=vm1\nlistening on tcp:\/\/127\.0\.0\.1:\d+\nhttp on http:\/\/127\.0\.0\.1:\d+\n$/,
  )
  expect((await fetch(`${serve.url}/readyz`)).status).toBe(200)
  serve.child.kill('SIGTERM')
  expect(await serve.ended).toEqual({ code: 0, signal: null })
  expect(serve.stdout.split('\n')).toHaveLength(4)
  // Not on a terminal, the log is JSON.
  for (const line of serve.stderr.trim().split('\n')) expect(JSON.parse(line)).toMatchObject({ level: 'info' })
})

test('with --json the same is one line of JSON; --http off is null', async () => {
  const serve = await Serve.ready(['--listen', VM, '--http', 'off', '--json', '--log-level', 'silent'], 1)
  expect(JSON.parse(serve.stdout)).toEqual({
    listening: [expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:\d+\?protocol=raw&name=vm1$/)],
    http: null,
  })
  serve.child.kill('SIGINT')
  expect(await serve.ended).toEqual({ code: 0, signal: null })
  expect(serve.stderr).toBe('')
})

test('SIGTERM drains: the console is told, the VM gets a FIN, the exit code is 0', async () => {
  const serve = await Serve.ready(['--listen', VM, '--http', '127.0.0.1:0'])
  const vm = connect(serve.vmPort, '127.0.0.1')
  const vmClosed = once(vm, 'close')
  vm.resume()
  await serve.says('stderr', () => serve.stderr.includes('port online'))
  const console = new WebSocket(`${serve.url.replace('http', 'ws')}/api/v1/ports/vm1/console`, 'vspc.v1')
  await once(console, 'message')
  const closed = once(console, 'close')
  serve.child.kill('SIGTERM')
  expect((await closed)[0]).toBe(1001)
  expect(await vmClosed).toEqual([false])
  expect(await serve.ended).toEqual({ code: 0, signal: null })
})

test('a second SIGINT ends it at once, with the exit code of an interrupt', async () => {
  const serve = await Serve.ready(['--listen', VM, '--http', 'off'], 1)
  // A VM that does not close its side: draining would take seconds.
  const vm = connect({ port: serve.vmPort, host: '127.0.0.1', allowHalfOpen: true })
  onTestFinished(() => void vm.destroy())
  vm.on('error', () => {})
  vm.resume()
  await serve.says('stderr', () => serve.stderr.includes('port online'))
  serve.child.kill('SIGINT')
  await once(vm, 'end')
  serve.child.kill('SIGINT')
  expect(await serve.ended).toEqual({ code: 130, signal: null })
})

test('SIGHUP reads the configuration again; a bad one, or one that needs a restart, changes nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-serve-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'vspc.yaml')
  const configure = (text: string) => writeFileSync(file, `http: 127.0.0.1:0\nlisten: ["${VM}"]\n${text}\n`)
  configure('writers: shared')
  const serve = await Serve.ready(['--config', file])
  const reload = async (text: string, answer: RegExp) => {
    configure(text)
    serve.stderr = ''
    serve.child.kill('SIGHUP')
    await serve.says('stderr', () => serve.stderr.includes('reloaded'))
    expect(serve.stderr).toMatch(answer)
  }
  await reload('writers: single', /"changed":\["writers"\].*"configuration reloaded"/)
  await reload('writers: sinlge', /"level":"error".*vspc\.yaml:3:10.*did you mean single.*has mistakes/)
  await reload('dial: ["tcp://127.0.0.1:9"]', /"level":"error".*"needRestart":\["dial"\].*needs a restart/)
  expect((await fetch(`${serve.url}/readyz`)).status).toBe(200)
  serve.child.kill('SIGTERM')
  expect((await serve.ended).code).toBe(0)
})

test.each([
  [['--listen', 'tpc://x:1', '--writers', 'none'], 2, /shared.*tpc/s],
  [['--http', '0.0.0.0:13371'], 2, /nothing says who may use it.*ssh -L/s],
  [['--config', '/nonexistent.yaml'], 1, /nonexistent\.yaml.*no such file/s],
  [['--nonsense'], 2, /--nonsense/],
])('%j is refused with exit code %i and words that help', async (args, code, words) => {
  const run = await runVspc(['serve', ...args])
  expect(run).toMatchObject({ code, stderr: expect.stringMatching(words) })
  expect(run.stdout.toString()).toBe('')
})

test('an address in use: exit code 1, and the message says what to do', async () => {
  const first = await Serve.ready(['--listen', VM, '--http', '127.0.0.1:0'])
  const vm = await runVspc(['serve', '--listen', `tcp://127.0.0.1:${first.vmPort}`, '--http', 'off'])
  expect(vm).toMatchObject({ code: 1, stderr: expect.stringMatching(new RegExp(`:${first.vmPort}.*in use`)) })
  const http = await runVspc(['serve', '--listen', VM, '--http', first.url.slice('http://'.length)])
  expect(http).toMatchObject({ code: 1, stderr: expect.stringContaining('--http off') })
})

test('--help has examples', async () => {
  const run = await runVspc(['serve', '--help'])
  expect(run.code).toBe(0)
  for (const word of ['--listen', '--capture', 'Examples:', 'SIGHUP']) expect(run.stdout.toString()).toContain(word)
})
