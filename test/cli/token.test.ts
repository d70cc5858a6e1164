import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { digestOf, loadTokens, newSecret, secretFault, TOKEN_PREFIX } from '../../src/access/index.ts'
import { loadConfig } from '../../src/app/index.ts'
import { parseExpiry } from '../../src/cli/token-change.ts'
import { runVspc } from '../support/cli.ts'

function tokensFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-token-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'tokens.yaml')
}

test('a token is printed once, alone on standard output, and only its SHA-256 is kept', async () => {
  const file = tokensFile()
  const added = await runVspc(['token', 'add', 'ci', '--role', 'viewer', '--ports', 'ci-*', '--tokens', file])
  expect([added.code, added.stderr]).toEqual([0, ''])
  const token = added.stdout.toString().trimEnd()
  expect(secretFault(TOKEN_PREFIX, token)).toBeNull()
  expect(readFileSync(file, 'utf8')).not.toContain(token.slice(6, 30))
  expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(await loadTokens(file)).toMatchObject([
    { name: 'ci', sha256: digestOf(token), roles: ['viewer'], ports: ['ci-*'], groups: [], expires: null },
  ])

  const hashed = await runVspc(['token', 'hash'], { input: `${token}\r\n` })
  expect(hashed.stdout.toString()).toBe(`${digestOf(token)}\n`)

  const listed = await runVspc(['token', 'list'], { env: { VSPC_TOKENS: file } })
  expect(listed.stdout.toString()).toMatch(
    /^NAME +ROLES +PORTS +GROUPS +CREATED +EXPIRES\nci +viewer +ci-\* +- +\d{4}-\d\d-\d\d +never\n$/,
  )
  expect(listed.stdout.toString() + listed.stderr).not.toContain(token.slice(6, 30))

  const removed = await runVspc(['token', 'remove', 'ci', '--tokens', file])
  expect([removed.code, removed.stdout.length, await loadTokens(file)]).toEqual([0, 0, []])
})

test('several commands at a time lose no token', async () => {
  const file = tokensFile()
  const all = ['a', 'b', 'c', 'd']
  const runs = await Promise.all(all.map((name) => runVspc(['token', 'add', name, '--group', 'ops', '--tokens', file])))
  expect(runs.map(({ code, stderr }) => [code, stderr])).toEqual(all.map(() => [0, '']))
  expect((await loadTokens(file))?.map(({ name }) => name).sort()).toEqual(all)
})

test('what cannot be done is said, changes nothing, and prints no token', async () => {
  const file = tokensFile()
  await runVspc(['token', 'add', 'ci', '--group', 'ops', '--tokens', file])
  const before = readFileSync(file, 'utf8')
  const at = ['--tokens', file]
  const cases: [string[], number, string][] = [
    [['add', 'ci', ...at], 2, 'there is a token ci already'],
    [['add', 'no name', ...at], 2, 'is no name'],
    [['add', 'x', '--group', 'a,b', ...at], 2, 'is no name of a group'],
    [['add', 'x', '--role', 'viewer', '--ports', 'hosts:1', ...at], 2, 'selects no ports'],
    [['add', 'x', '--ports', 'web*', ...at], 2, 'give --role, too'],
    [['add', 'x', '--expires', 'soon', ...at], 2, 'write 12h, 90d'],
    [['remove', 'ci', 'cd', ...at], 3, 'there is no token cd'],
    [['list', '--tokens', `${file}.no`], 1, 'vspc token add'],
  ]
  const runs = await Promise.all(cases.map(([args]) => runVspc(['token', ...args])))
  for (const [index, [args, code, text]] of cases.entries()) {
    const { stdout, stderr, ...run } = runs[index]!
    expect([args, run.code, stdout.toString()]).toEqual([args, code, ''])
    expect(stderr).toContain(text)
  }
  expect(readFileSync(file, 'utf8')).toBe(before)
})

test('a token that may do nothing yet, or has a role that nobody knows, is warned about', async () => {
  const file = tokensFile()
  const bare = await runVspc(['token', 'add', 'bare', '--tokens', file])
  expect(bare.stderr).toContain('token:bare')
  const strange = await runVspc(['token', 'add', 'strange', '--role', 'nightwatch', '--json', '--tokens', file])
  expect(strange.stderr).toContain('nightwatch is no built-in role')
  const shown = JSON.parse(strange.stdout.toString())
  expect(digestOf(shown.token)).toBe(shown.sha256)
})

test('a file with a mistake is told with its place, and a mistyped token before it is hashed', async () => {
  const file = tokensFile()
  writeFileSync(file, 'version: 1\ntokens:\n  - name: ci\n    role: [x]\n', { mode: 0o600 })
  const listed = await runVspc(['token', 'list', '--tokens', file])
  expect([listed.code, listed.stderr]).toEqual([
    2,
    expect.stringContaining(`${file}:4:5: "tokens[0].role" is not a setting`),
  ])
  const hashed = await runVspc(['token', 'hash'], { input: 'hunter2\n' })
  expect([hashed.code, hashed.stdout.length]).toEqual([2, 0])
  expect(hashed.stderr).toContain('it does not begin with vspct_')
  expect(hashed.stderr).not.toContain('hunter2')
})

describe('--expires', () => {
  const now = Date.UTC(2026, 0, 15, 12)
  test.each([
    ['12h', Date.UTC(2026, 0, 16)],
    ['90d', now + 90 * 86_400_000],
    ['2w', now + 14 * 86_400_000],
    // That whole day is still good.
    ['2026-01-31', Date.UTC(2026, 1, 1)],
    ['2026-01-15', Date.UTC(2026, 0, 16)],
    ['2026-01-31T12:30Z', Date.UTC(2026, 0, 31, 12, 30)],
  ])('%s', (text, at) => {
    expect(parseExpiry(text, now)).toBe(at)
  })

  test.each([
    '',
    '90',
    '0d',
    '1y',
    '2026-02-30',
    '2026-01-14',
    '31.01.2026',
    '2026-01-31T25:00Z',
    '2026-01-31T12:30',
    '9999d',
    '999999w',
    '2099-01-01',
  ])('"%s" is refused', (text) => {
    expect(() => parseExpiry(text, now)).toThrow(expect.objectContaining({ code: 'VSPC_USAGE' }))
  })
})

describe('token check', () => {
  async function withToken(config: string): Promise<{ folder: string; token: string; config: string }> {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-token-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const file = join(folder, 'vspc.yaml')
    writeFileSync(file, `dataDir: ${folder}\n${config}`)
    const added = await runVspc(['token', 'add', 'ci', '--role', 'viewer', '--ports', 'ci-*', '--config', file])
    expect(added.code).toBe(0)
    return { folder, token: added.stdout.toString().trim(), config: file }
  }

  test('says who it is and what it may, by the rules of the configuration, too; without repeating it', async () => {
    const { token, config } = await withToken(
      'access:\n  rules:\n    - { who: [token:ci], can: [write], ports: [web1] }\n',
    )
    const args = ['token', 'check', '--config', config]
    const plain = await runVspc(args, { env: { VSPC_TOKEN: token } })
    expect([plain.code, plain.stdout.toString()]).toEqual([
      0,
      'token ci, never expires\ngroups: none\non all ports: nothing\n' +
        '  write on name:web1 (access.rules[0])\n  read on name:ci-* (token ci)\n',
    ])
    const one = await runVspc([...args, '--vm', 'web1'], { input: token })
    expect(one.stdout.toString()).toContain('on web1: list, read, write\n')
    expect(one.stdout.toString()).toContain('allowed by access.rules[0]')
    expect(plain.stdout + one.stdout.toString() + plain.stderr + one.stderr).not.toContain(token.slice(6, 30))
    const json = await runVspc([...args, '--vm', 'ci-7', '--json'], { input: token })
    expect(JSON.parse(json.stdout.toString())).toMatchObject({ who: 'ci', everywhere: [], here: ['list', 'read'] })
  })

  test('one that is unknown or broken ends with exit code 4', async () => {
    const { token, config } = await withToken('')
    const other = newSecret(TOKEN_PREFIX)
    for (const [input, why] of [
      [other, 'does not have it'],
      [token.slice(0, -3), 'a part is missing'],
    ] as const) {
      const { code, stdout, stderr } = await runVspc(['token', 'check', '--config', config], { input })
      expect([code, stdout.length]).toEqual([4, 0])
      expect(stderr).toContain(why)
      expect(stderr).not.toContain(input.slice(6, 30))
    }
  })

  test('without any file named, commands and server agree on one in the data directory', async () => {
    const home = mkdtempSync(join(tmpdir(), 'vspc-home-'))
    onTestFinished(() => rmSync(home, { recursive: true, force: true }))
    const env = { HOME: home }
    const added = await runVspc(['token', 'add', 'ci', '--role', 'viewer'], { env })
    const path = join(home, '.local/state/vspc/tokens.json')
    expect(added.stderr).toContain(`vspc serve --tokens ${path}`)
    expect(loadConfig({ env, flags: { access: { rules: [] } } }).access?.tokens).toBe(path)
    expect((await runVspc(['token', 'list'], { env })).stdout.toString()).toContain('viewer')
    // Nothing else of an existing file: who has one need not be asked.
    expect(loadConfig({ env, flags: {} }).access).toBeNull()
  })
})
