import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { registerConfig } from '../../src/cli/config.ts'
import { exitCodeOf } from '../../src/cli/exit-codes.ts'
import { TestCertificates } from '../support/certificates.ts'

let certificates: TestCertificates
let file = ''
beforeAll(async () => {
  certificates = await TestCertificates.create()
  file = join(mkdtempSync(join(tmpdir(), 'vspc-config-')), 'vspc.yaml')
})
afterAll(async () => {
  await certificates.remove()
  rmSync(join(file, '..'), { recursive: true, force: true })
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
})

async function config(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string; error: string }> {
  const out = { exitCode: 0, stdout: '', stderr: '', error: '' }
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out.stdout += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    out.stderr += text
    return true
  })
  const program = new Command('vspc').exitOverride()
  registerConfig(program)
  try {
    await program.parseAsync(['config', ...args], { from: 'user' })
  } catch (error) {
    out.exitCode = exitCodeOf(error)
    out.error = (error as Error).message
  }
  return out
}

test('a good file is ok', async () => {
  writeFileSync(file, 'writers: single\n')
  expect(await config('check', file)).toMatchObject({ exitCode: 0, stdout: `${file}: ok\n`, stderr: '' })
})

test('--json prints what would be in force', async () => {
  writeFileSync(file, 'writers: single\n')
  const { stdout } = await config('check', '--json', file)
  expect(JSON.parse(stdout)).toMatchObject({ writers: 'single', listen: ['tcp://127.0.0.1:13370'], logLevel: 'info' })
})

test('a bad file ends with 2 and all its problems', async () => {
  writeFileSync(file, 'writers: x\nhttp: 0.0.0.0:1\n')
  const { exitCode, stdout, error } = await config('check', file)
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
  expect(error.split('\n')).toEqual([
    expect.stringContaining(`${file}:1:10: writers`),
    expect.stringContaining(`${file}:2:7: http`),
  ])
})

test('certificates of listeners are tried', async () => {
  const { cert, key } = await certificates.selfSigned('old', { expired: true })
  writeFileSync(file, `listen: ["tls://127.0.0.1:1?cert=${cert}&key=${key}"]\n`)
  const worn = await config('check', file)
  expect(worn).toMatchObject({ exitCode: 0, stdout: `${file}: ok\n` })
  expect(worn.stderr).toMatch(/^vspc: warning: .*listen\[0\]: the certificate .*old\.crt expired/)
  writeFileSync(file, `listen: ["tls://127.0.0.1:1?cert=missing.crt&key=${key}"]\n`)
  expect(await config('check', file)).toMatchObject({
    exitCode: 2,
    error: expect.stringContaining('missing.crt: there is no such file'),
  })
})

test('VSPC_CONFIG is checked when no file is named; without both it is a usage error', async () => {
  writeFileSync(file, '')
  vi.stubEnv('VSPC_CONFIG', file)
  expect(await config('check')).toMatchObject({ exitCode: 0, stdout: `${file}: ok\n` })
  vi.stubEnv('VSPC_CONFIG', '')
  expect(await config('check')).toMatchObject({ exitCode: 2, error: expect.stringContaining('name a file') })
})

test('the schema is JSON', async () => {
  const { stdout } = await config('schema')
  expect(JSON.parse(stdout)).toMatchObject({ type: 'object', properties: { listen: { type: 'array' } } })
})
