import { execFile } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import {
  changeTokens,
  digestOf,
  loadTokens,
  newSecret,
  TOKEN_PREFIX,
  type TokenRecord,
  TokenStore,
} from '../../src/access/index.ts'
import { ManualClock, systemClock } from '../../src/base/index.ts'
import { accessOf, type LoggedLine, loggerInto, temporaryFolder } from './support.ts'

const record = (name: string, secret = name): TokenRecord => ({
  name,
  sha256: digestOf(secret),
  groups: [],
  roles: [],
  ports: ['*'],
  created: '2026-01-01T00:00:00.000Z',
  expires: null,
})
const add = (path: string, ...names: string[]) =>
  changeTokens(path, systemClock, (records) => [...records, ...names.map((name) => record(name))])
const names = async (path: string) => (await loadTokens(path))?.map(({ name }) => name)
const refused = (part: string) =>
  expect.objectContaining({ code: 'VSPC_ACCESS_FILE', message: expect.stringContaining(part) })

test('a file that is not there is made for its owner alone, and holds no token', async () => {
  const path = join(temporaryFolder(), 'tokens.yaml')
  expect(await loadTokens(path)).toBeNull()
  await add(path, 'one')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(await names(path)).toEqual(['one'])
})

test('ten at a time: none overwrites what another one added', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'tokens.yaml')
  const all = Array.from({ length: 10 }, (_, i) => `t${i}`)
  await Promise.all(all.map((name) => add(path, name)))
  expect((await names(path))?.sort()).toEqual(all)
  expect(readdirSync(folder)).toEqual(['tokens.yaml'])
})

test('what fails in the middle leaves the file as it was, and no lock', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'tokens.yaml')
  await add(path, 'one')
  const before = readFileSync(path, 'utf8')
  const failing = changeTokens(path, systemClock, () => {
    throw new RangeError('no')
  })
  await expect(failing).rejects.toThrow(RangeError)
  expect(readFileSync(path, 'utf8')).toBe(before)
  expect(readdirSync(folder)).toEqual(['tokens.yaml'])
})

test('a broken file is not overwritten', async () => {
  const path = join(temporaryFolder(), 'tokens.yaml')
  writeFileSync(path, 'version: 1\ntokens: [\n', { mode: 0o600 })
  await expect(add(path, 'one')).rejects.toMatchObject({ code: 'VSPC_CONFIG_SYNTAX' })
  expect(readFileSync(path, 'utf8')).toBe('version: 1\ntokens: [\n')
})

test('a lock that a killed command left is named, and not taken away', async () => {
  const path = join(temporaryFolder(), 'tokens.yaml')
  writeFileSync(`${path}.lock`, '')
  const clock = new ManualClock()
  const waiting = changeTokens(path, clock, (records) => records)
  const failure = expect(waiting).rejects.toEqual(refused(`remove ${path}.lock`))
  let done = false
  void failure.then(() => {
    done = true
  })
  while (!done) {
    clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(existsSync(`${path}.lock`)).toBe(true)
})

test('one that others may write is refused, before anything in it is believed', async () => {
  const path = join(temporaryFolder(), 'tokens.yaml')
  await add(path, 'one')
  for (const mode of [0o620, 0o602, 0o666]) {
    chmodSync(path, mode)
    await expect(loadTokens(path)).rejects.toEqual(refused('chmod go-w'))
  }
  chmodSync(path, 0o640)
  expect(await names(path)).toEqual(['one'])
  await add(path, 'two')
  // A server of that group still has to read it.
  expect(statSync(path).mode & 0o777).toBe(0o640)
})

test('a folder, a named pipe, a huge file, and one that is no text end at once', async () => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'dir'))
  await expect(loadTokens(join(folder, 'dir'))).rejects.toEqual(refused('is no file'))
  await promisify(execFile)('mkfifo', ['-m', '600', join(folder, 'pipe')])
  await expect(loadTokens(join(folder, 'pipe'))).rejects.toEqual(refused('is no file'))
  writeFileSync(join(folder, 'huge'), Buffer.alloc((1 << 20) + 1), { mode: 0o600 })
  await expect(loadTokens(join(folder, 'huge'))).rejects.toEqual(refused('at most'))
  writeFileSync(join(folder, 'latin1'), Buffer.from([0xff, 0xfe]), { mode: 0o600 })
  await expect(loadTokens(join(folder, 'latin1'))).rejects.toMatchObject({ code: 'VSPC_CONFIG_SYNTAX' })
  await expect(add(join(folder, 'none', 'tokens.yaml'), 'x')).rejects.toEqual(refused('make it first'))
})

test('behind a symbolic link the file changes, not the link', async () => {
  const folder = temporaryFolder()
  await add(join(folder, 'real.yaml'), 'one')
  symlinkSync('real.yaml', join(folder, 'link.yaml'))
  await add(join(folder, 'link.yaml'), 'two')
  expect(lstatSync(join(folder, 'link.yaml')).isSymbolicLink()).toBe(true)
  expect(await names(join(folder, 'real.yaml'))).toEqual(['one', 'two'])
})

interface Opened {
  readonly store: TokenStore
  readonly path: string
  readonly clock: ManualClock
  readonly lines: LoggedLine[]
  readonly changes: () => number
}

const TOKEN = newSecret(TOKEN_PREFIX)

async function opened(records: TokenRecord[] | null): Promise<Opened> {
  const path = join(temporaryFolder(), 'tokens.yaml')
  if (records !== null) await changeTokens(path, systemClock, () => records)
  const clock = new ManualClock()
  const lines: LoggedLine[] = []
  let changes = 0
  const changed = () => {
    changes++
  }
  const { roles } = accessOf('access: {}')
  const store = await TokenStore.open({ path, roles, clock, log: loggerInto(lines), changed })
  onTestFinished(() => store.close())
  return { store, path, clock, lines, changes: () => changes }
}

const errors = (lines: readonly LoggedLine[]) => lines.filter(({ level }) => level === 'error').length

test('a token that is added works without a restart, one that is removed stops, and who listens is told', async () => {
  const { store, path, changes } = await opened([])
  expect(store.find(TOKEN).kind).toBe('unknown')
  await changeTokens(path, systemClock, (records) => [...records, record('ci', TOKEN)])
  await store.refresh()
  const match = store.find(TOKEN)
  expect(match).toMatchObject({ kind: 'valid', subject: { user: 'ci' } })
  const before = changes()
  await store.refresh()
  expect(changes()).toBe(before)
  await changeTokens(path, systemClock, () => [])
  await store.refresh()
  expect(store.find(TOKEN).kind).toBe('unknown')
  expect(match.kind === 'valid' && store.current(match.subject)).toBeNull()
  expect(changes()).toBe(before + 1)
})

test('it looks at the file by itself', async () => {
  const { store, path, clock } = await opened([])
  await changeTokens(path, systemClock, () => [record('ci', TOKEN)])
  clock.advance(2_000)
  await store.refresh()
  expect(store.find(TOKEN).kind).toBe('valid')
  expect(clock.pending).toBe(1)
  await store.close()
  expect(clock.pending).toBe(0)
})

test('a file that breaks is told once, and the tokens of before stay in force', async () => {
  const { store, path, lines } = await opened([record('ci', TOKEN)])
  writeFileSync(path, 'version: 1\ntokens: 7\n')
  await store.refresh()
  await store.refresh()
  expect(store.find(TOKEN).kind).toBe('valid')
  expect(errors(lines)).toBe(1)
  chmodSync(path, 0o666)
  await store.refresh()
  expect(errors(lines)).toBe(2)
})

test('a folder that is gone the wrong way is told once, not every two seconds', async () => {
  const { store, path, lines } = await opened([record('ci', TOKEN)])
  renameSync(dirname(path), `${dirname(path)}.moved`)
  writeFileSync(dirname(path), '')
  onTestFinished(() => rmSync(`${dirname(path)}.moved`, { recursive: true }))
  for (let i = 0; i < 3; i++) await store.refresh()
  expect(errors(lines)).toBe(1)
  expect(store.find(TOKEN).kind).toBe('valid')
})

test('a file that is gone lets nobody in', async () => {
  const { store, path, lines } = await opened([record('ci', TOKEN)])
  rmSync(path)
  await store.refresh()
  expect(store.find(TOKEN).kind).toBe('unknown')
  expect(lines.some(({ level }) => level === 'warn')).toBe(true)
})

test('at start a missing file is told, a broken one is an error', async () => {
  const { store, lines } = await opened(null)
  expect(store.size).toBe(0)
  expect(lines[0]?.level).toBe('warn')
  const path = join(temporaryFolder(), 'tokens.yaml')
  writeFileSync(path, 'tokens: 7\n', { mode: 0o600 })
  const options = { path, roles: accessOf('access: {}').roles, clock: new ManualClock(), log: loggerInto([]) }
  await expect(TokenStore.open(options)).rejects.toMatchObject({ code: 'VSPC_CONFIG_INVALID' })
})

test('no token is ever in the log', async () => {
  const { store, path, lines } = await opened([record('ci', TOKEN)])
  store.find(TOKEN)
  writeFileSync(path, `version: 1\ntokens: [{ name: x, sha256: ${TOKEN}, created: 2026-01-01T00:00:00Z }]\n`)
  await store.refresh()
  expect(errors(lines)).toBe(1)
  expect(JSON.stringify(lines)).not.toContain(TOKEN.slice(6, 30))
})
