import { expect, test } from 'vitest'
import { GrepPrinter } from '../../src/cli/grep-print.ts'
import { type AppUnderTest, RawVm, startApp } from '../app/support.ts'
import { runVspc } from '../support/cli.ts'

const listener = (name: string) => `tcp://127.0.0.1:0?protocol=raw&name=${name}`

async function appWith(outputs: { readonly [name: string]: string }): Promise<AppUnderTest> {
  const names = Object.keys(outputs)
  const app = await startApp({ listen: names.map(listener) })
  for (const [i, name] of names.entries()) {
    const vm = await RawVm.connect(app, i)
    await vm.print(app, outputs[name] as string, name)
  }
  return app
}

async function grep(app: AppUnderTest, ...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const { code, stdout, stderr } = await runVspc(['grep', ...args], { env: { VSPC_SERVER: app.url } })
  return { code, out: stdout.toString(), err: stderr.toString() }
}

test('vspc grep prints as grep does: names, offsets, context, names alone, numbers', async () => {
  const app = await appWith({
    web1: 'boot\r\none\r\n\x1b[31mKernel\x1b[0m panic\r\ntwo\r\nthree\r\nkernel panic again\r\n',
    db1: 'quiet\n',
  })
  expect(await grep(app, 'Kernel panic')).toEqual({ code: 0, out: 'web1:Kernel panic\n', err: '' })
  expect((await grep(app, 'Kernel panic', 'web1')).out).toBe('Kernel panic\n')
  expect((await grep(app, '-i', '-n', 'KERNEL PANIC', 'web*')).out).toBe(
    'web1:11:Kernel panic\nweb1:46:kernel panic again\n',
  )
  expect((await grep(app, '-C', '1', 'panic', 'web1')).out).toBe('one\nKernel panic\ntwo\nthree\nkernel panic again\n')
  expect((await grep(app, '-C1', 'one|again')).out).toBe(
    'web1-boot\nweb1:one\nweb1-Kernel panic\n--\nweb1-three\nweb1:kernel panic again\n',
  )
  expect((await grep(app, '-l', 'panic')).out).toBe('web1\n')
  expect((await grep(app, '-ci', 'kernel')).out).toBe('db1:0\nweb1:2\n')
  expect((await grep(app, '-m', '1', 'o', 'web1')).out).toBe('boot\n')
  expect((await grep(app, '-t', 'boot', 'web1')).out).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z boot\n$/)
  expect((await grep(app, '-F', '-c', '.', 'web1')).out).toBe('0\n')
  expect((await grep(app, '--color', 'always', 'panic', 'web1')).out).toContain('Kernel \x1b[1;31mpanic\x1b[m\n')
  const records = (await grep(app, '--json', 'panic')).out.trimEnd().split('\n')
  expect(records.map((one) => JSON.parse(one) as unknown)).toMatchObject([
    { type: 'line', name: 'web1', offset: 11, text: 'Kernel panic', matches: [[7, 12]] },
    { type: 'line', offset: 46 },
  ])
}, 60_000)

test('exit codes: nothing found, a bad pattern, no such port, a wrong option', async () => {
  const app = await appWith({ web1: 'fine\n' })
  expect(await grep(app, 'oops')).toEqual({ code: 1, out: '', err: '' })
  expect(await grep(app, '-c', 'oops')).toEqual({ code: 1, out: 'web1:0\n', err: '' })
  const bad = await grep(app, '(oops')
  expect(bad).toMatchObject({ code: 2, out: '' })
  expect(bad.err).toBe(
    'vspc: the pattern cannot be used: missing closing ): `(oops`. RE2 syntax is used (no look-around, no back-references)\n',
  )
  expect(await grep(app, 'x', 'nobody')).toMatchObject({ code: 3, out: '' })
  expect(await grep(app, 'x', 'no*')).toMatchObject({ code: 3, err: expect.stringContaining('no port fits "no*"') })
  expect(await grep(app, '-c', '-l', 'x')).toMatchObject({ code: 2 })
  expect(await grep(app, '-C', '51', 'x')).toMatchObject({ code: 2 })
  expect(await grep(app, 'fine', '--until', '1h')).toMatchObject({ code: 1 })
}, 60_000)

test('an empty pattern is told in words, not as a rule of a schema', async () => {
  const { code, stderr } = await runVspc(['grep', ''], { env: { VSPC_SERVER: 'http://127.0.0.1:9' } })
  expect([code, stderr]).toEqual([2, "vspc: the pattern is empty: '.' finds every line\n"])
})

test('whatever a VM or a server says, a terminal obeys none of it', async () => {
  const app = await appWith({ web1: 'oops \x1b]0;title\x07 \x1b[6n \u202e \x9b5n \x07 end\n' })
  for (const args of [['oops'], ['--json', 'oops'], ['--color=always', 'oops']]) {
    const { out } = await grep(app, ...args)
    expect(out).toContain('end')
    expect(out.replace(/\x1b\[[\d;]*m/g, '')).not.toMatch(/[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]/)
  }
  const style = { names: true, offsets: true, times: true, colour: true, context: true }
  const hostile = {
    port: 'p',
    name: 'a\x1b[2J',
    offset: 1,
    end: 2,
    time: '\x1b[5n',
    text: '\x9b2Jx',
    matches: [
      [0, 2],
      [1, 9],
      [-5, 1],
    ],
  }
  const line = new GrepPrinter(style).format({ type: 'line', ...hostile } as never)
  expect(line.replace(/\x1b\[[\d;]*m/g, '')).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f]/)
})
