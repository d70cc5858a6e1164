/**
 * There is no container engine and no base image here: what the Containerfile says is read and carried out in a clean copy,
 * so that it cannot rot. What stays untried is what the engine itself would do.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { parse } from 'yaml'

// A whole `npm ci` and a whole build, on two cores that others use, too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 600_000 })

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

interface Line {
  readonly does: string
  readonly what: string
}

/** The lines of each stage: continuation lines joined, comments left out. */
function stages(text: string): Line[][] {
  const found: Line[][] = []
  for (const line of text.replace(/\\\n/g, ' ').split('\n')) {
    const [, does = '', what = ''] = /^([A-Z]+) (.+)$/.exec(line) ?? []
    if (does === 'FROM') found.push([])
    if (does !== '') found.at(-1)?.push({ does, what })
  }
  return found
}

const [build = [], image = []] = stages(read('packaging/container/Containerfile'))
const all = (stage: readonly Line[], does: string) => stage.filter((line) => line.does === does).map(({ what }) => what)
const one = (does: string) => all(image, does)[0] ?? ''

const place = mkdtempSync(join(tmpdir(), 'vspc-container-'))
const inside = (path: string) => join(place, 'image', path)
afterAll(() => rmSync(place, { recursive: true, force: true }))

/** Where `.dockerignore` lets something through. */
function passes(path: string): boolean {
  const let_through = read('.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => new RegExp(`^${line.slice(1).replaceAll('.', '\\.').replaceAll('*', '[^/]*')}(?:/|$)`))
  return let_through.some((pattern) => pattern.test(path))
}

function copy(what: string, stage: string): void {
  const words = what.split(' ')
  const from = words[0]?.startsWith('--from=') ? words.shift() : undefined
  const to = words.pop() ?? ''
  for (const source of words) {
    if (!from) expect(passes(source), `${source} and .dockerignore`).toBe(true)
    const target = join(place, stage, to, to.endsWith('/') ? source : '')
    mkdirSync(dirname(target), { recursive: true })
    cpSync(from ? join(place, 'build', normalize(source).replace(/^\/build\//, '')) : join(root, source), target, {
      recursive: true,
    })
  }
}

/** Words that the image is started with: the entry point, looked for in our copy, and what the caller adds. */
function start(...words: string[]): ChildProcess {
  const [, program = ''] = JSON.parse(one('ENTRYPOINT')) as string[]
  const child = spawn(process.execPath, [inside(program), ...words], {
    cwd: place,
    env: { PATH: '/usr/bin:/bin', HOME: '/nonexistent', NODE_ENV: 'production' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

beforeAll(() => {
  for (const { does, what } of build) {
    if (does === 'COPY') copy(what, 'build')
    if (does !== 'RUN') continue
    const { status, stderr, stdout } = spawnSync('sh', ['-ec', what], {
      cwd: join(place, 'build'),
      encoding: 'utf8',
      env: { ...process.env, npm_config_prefer_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false' },
    })
    expect(status, `${what}: ${stdout}${stderr}`).toBe(0)
  }
  for (const { does, what } of image) if (does === 'COPY') copy(what, 'image')
})

test('the last stage has what runs, and neither sources, tests nor tools', () => {
  expect(readdirSync(inside('usr/lib/vspc')).sort()).toEqual(['LICENSE', 'bin', 'dist', 'node_modules', 'package.json'])
  for (const tool of ['typescript', 'vitest', 'esbuild', '@biomejs/biome', 'playwright-core', '@types/node']) {
    expect(existsSync(inside(`usr/lib/vspc/node_modules/${tool}`)), tool).toBe(false)
  }
  for (const used of Object.keys(JSON.parse(read('package.json')).dependencies)) {
    expect(existsSync(inside(`usr/lib/vspc/node_modules/${used}`)), used).toBe(true)
  }
})

test('it runs as nobody, keeps its data in a volume of its own, and tells VMs from people', () => {
  expect(one('USER')).toMatch(/^[1-9]\d*:[1-9]\d*$/)
  expect(one('VOLUME')).toBe('/var/lib/vspc')
  expect(one('STOPSIGNAL')).toBe('SIGTERM')
  // People are let in where access is configured, and only there.
  expect(JSON.parse(one('CMD'))).toEqual(['serve', '--listen', 'tcp://0.0.0.0:13370', '--data-dir', '/var/lib/vspc'])
  expect(
    [...all(build, 'RUN'), ...all(image, 'RUN')].filter(
      (what) => /npm (?:ci|i|install)/.test(what) && !what.includes('--ignore-scripts'),
    ),
  ).toEqual([])
  expect(all(build, 'FROM')[0]?.replace(' AS build', '')).toBe(one('FROM'))
})

test('vspc --version', async () => {
  const child = start('--version')
  const said = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  expect((await said.next()).value).toBe(JSON.parse(read('package.json')).version)
})

test('it serves, is found healthy, ends at SIGTERM with 0, and is not found healthy then', async () => {
  const child = start(
    'serve',
    '--json',
    '--listen',
    'tcp://127.0.0.1:0',
    '--http',
    '127.0.0.1:0',
    '--data-dir',
    join(place, 'data'),
  )
  const said = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  const { http } = JSON.parse((await said.next()).value as string) as { http: string }
  const [, command = ''] = / CMD (\[.*\])$/.exec(one('HEALTHCHECK')) ?? []
  const [, ...words] = JSON.parse(command) as string[]
  const healthy = async () => {
    const check = spawn(process.execPath, words, { env: { VSPC_SERVER: http }, stdio: 'ignore' })
    return (await once(check, 'exit'))[0]
  }
  expect(await healthy()).toBe(0)
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([0, null])
  expect(await healthy()).toBe(1)
})

test('compose and quadlet: the same configuration, which is in order, read-only roots, no capabilities', () => {
  const { services } = parse(read('packaging/container/compose.yaml'))
  expect(services.vspc).toMatchObject({
    command: ['serve', '--config', '/etc/vspc/vspc.yaml'],
    read_only: true,
    cap_drop: ['ALL'],
    network_mode: 'host',
    build: { dockerfile: 'packaging/container/Containerfile' },
  })
  const quadlet = read('packaging/container/vspc.container')
  for (const line of [
    'Exec=serve --config /etc/vspc/vspc.yaml',
    'ReadOnly=true',
    'DropCapability=all',
    'Network=host',
  ]) {
    expect(quadlet).toContain(`\n${line}\n`)
  }
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(root, 'bin/vspc.js'), 'config', 'check', 'packaging/container/vspc.yaml'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
  expect({ status, stderr }).toMatchObject({ status: 0 })
})
