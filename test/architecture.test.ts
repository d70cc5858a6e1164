import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { expect, test } from 'vitest'

/**
 * Who may import whom, folder by folder (docs/architecture.md says why). A folder that is not there yet is no fault;
 * one that is not in the table is.
 */
const ARROWS = {
  base: [],
  telnet: ['base'],
  vmotion: ['base'],
  link: ['base'],
  transport: ['base', 'link'],
  config: ['base'],
  access: ['base', 'config'],
  capture: ['base', 'telnet'],
  history: ['base'],
  pattern: ['base'],
  search: ['base', 'history', 'pattern'],
  alerts: ['base', 'config', 'access', 'pattern'],
  hooks: ['base', 'config', 'access'],
  relay: ['base', 'transport', 'config'],
  vspc: ['base', 'telnet', 'vmotion', 'transport', 'history'],
  vsphere: ['base', 'transport', 'vmotion'],
  guestinfo: ['base', 'vsphere'],
  appliance: ['base', 'transport', 'config', 'relay', 'vmotion', 'vsphere', 'guestinfo'],
  // Types alone of vspc: a program that speaks to a server does not load one (test/client/surface.test.ts).
  client: ['base', 'vspc'],
  sim: ['base', 'transport'],
  app: [
    'base',
    'telnet',
    'vmotion',
    'transport',
    'config',
    'access',
    'capture',
    'history',
    'pattern',
    'search',
    'alerts',
    'hooks',
    'vspc',
    'vsphere',
    'guestinfo',
    'appliance',
    'sim',
  ],
  cli: [
    'base',
    'client',
    'vmotion',
    'transport',
    'config',
    'access',
    'capture',
    'relay',
    'vsphere',
    'guestinfo',
    'appliance',
    'sim',
    'app',
  ],
  // src/index.ts itself.
  '.': ['base', 'telnet', 'vmotion', 'transport', 'capture', 'relay', 'vspc', 'vsphere', 'guestinfo', 'sim', 'app'],
} as const satisfies Record<string, readonly string[]>

/** Which folders may use a package; one that is not here may be used nowhere. */
const PACKAGES: Record<string, readonly string[]> = {
  '@fastify/swagger': ['app'],
  '@fastify/websocket': ['app'],
  '@xterm/addon-serialize': ['app'],
  '@xterm/headless': ['app'],
  commander: ['cli'],
  koffi: ['transport'],
  fastify: ['app'],
  pino: ['app'],
  'prom-client': ['app'],
  re2js: ['pattern'],
  saxes: ['vsphere'],
  typebox: ['app'],
  ws: ['app', 'client'],
  yaml: ['config', 'sim'],
}

/**
 * The page runs in a browser: of the server it knows types alone, and the one file that both sides need. Its packages are
 * bundled into it, so nobody installs them.
 */
const WEB = 'app/web/'
const WEB_AND_SERVER = ['app/terminal-guard.ts']
const WEB_PACKAGES = ['xterm', 'addon-fit', 'addon-search', 'addon-unicode11', 'addon-web-links'].map(
  (one) => `@xterm/${one}`,
)
const NODE_NAMES = /(?<![.\w$])(?:Buffer|process|require|setImmediate)\b(?!\s*:)/g

/** Folders and files that only compute: no I/O, no clock, no chance, no Buffer. Time and secrets are handed to them. */
const PURE = [
  'base/',
  'telnet/',
  'vmotion/',
  'link/',
  'transport/crc32c.ts',
  'transport/endpoint.ts',
  'transport/endpoint-parser.ts',
  'transport/endpoint-pattern.ts',
  'transport/endpoint-query.ts',
  'transport/endpoint-text.ts',
  'transport/ip-address.ts',
  'transport/crc32c.ts',
  'transport/ip-address.ts',
  'transport/proxy-v2.ts',
  'access/access-config.ts',
  'access/certificate.ts',
  'access/failures.ts',
  'access/glob.ts',
  'access/identity.ts',
  'access/policy.ts',
  'access/secret.ts',
  'access/selector.ts',
  'access/subject.ts',
  'access/tickets.ts',
  'access/tokens.ts',
  'vspc/identity.ts',
  'vspc/arbitration.ts',
  'capture/format.ts',
  'alerts/batch.ts',
  'alerts/built-in.ts',
  'alerts/literal-set.ts',
  'alerts/rate.ts',
  'alerts/rule.ts',
  'appliance/troubles.ts',
  'guestinfo/limits.ts',
  'guestinfo/keys.ts',
  'guestinfo/values.ts',
  'guestinfo/ip.ts',
  'guestinfo/records.ts',
  'guestinfo/vic.ts',
  'guestinfo/diff.ts',
  'guestinfo/ledger.ts',
  'guestinfo/result-line.ts',
  'guestinfo/collected.ts',
  'guestinfo/tool-answer.ts',
]
const NOT_PURE = ['base/clock.ts', 'base/index.ts']
const IMPURE_NAMES =
  /(?<![.\w$])(?:systemClock|Date|Buffer|setTimeout|setInterval|setImmediate|queueMicrotask|fetch)\b(?!\s*:)/g
const IMPURE_MEMBERS = /(?<![.\w$])(?:Math\.random|(?:process|performance|crypto|globalThis)\s*\??\.)/g

const MAX_LINES = 400

/** Paths below src/, with the text of each file. */
type Tree = ReadonlyMap<string, string>
type Import = { specifier: string; typeOnly: boolean }

/** The source with the contents of comments and literals blanked out: what is left can be searched for names. */
function codeOnly(source: string): string {
  // A slash begins a regular expression where a value is expected, and divides elsewhere.
  const literal =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|(?<=(?:^|[=(,:[!&|?{};>]|\breturn)\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])*\/[a-z]*|`(?:\\.|[^`\\$]|\$(?!\{))*`/g
  return source.replace(literal, (text) => text.replace(/[^\n]/g, ' '))
}

/** Statements begin at the left margin (the formatter sees to that), so prose in comments is not taken for one. */
function imports(source: string): Import[] {
  const found: Import[] = []
  const statement = /^(?:import|export)\s+(type\s+)?(?:[\w$*{][^'"`;]*?\bfrom\s*)['"]([^'"]+)['"]/gm
  for (const [, type, specifier] of source.matchAll(statement)) {
    found.push({ specifier: specifier as string, typeOnly: Boolean(type) })
  }
  for (const [, specifier] of source.matchAll(/^import\s*['"]([^'"]+)['"]/gm)) {
    found.push({ specifier: specifier as string, typeOnly: false })
  }
  for (const [, specifier] of source.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)) {
    found.push({ specifier: specifier as string, typeOnly: false })
  }
  return found
}

const folderOf = (file: string) => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '.')
const isIndex = (file: string) => posix.basename(file) === 'index.ts'
const isPure = (file: string) => !NOT_PURE.includes(file) && PURE.some((path) => file === path || file.startsWith(path))
const packageOf = (specifier: string) => (/^(@[^/]+\/[^/]+|[^/]+)/.exec(specifier) as RegExpExecArray)[0]

/** Faults of one import; `target` is the file below src/ for a relative one. */
function importFaults(file: string, { specifier, typeOnly }: Import, target: string | null): string[] {
  const from = folderOf(file)
  if (file.startsWith(WEB)) {
    const known = target === null ? WEB_PACKAGES.includes(specifier) : target.startsWith(WEB)
    if (known || (target !== null && WEB_AND_SERVER.includes(target))) return []
    if (target === null || !typeOnly) return [`${file}: the page imports ${target ?? specifier}`]
  } else if (target?.startsWith(WEB)) return [`${file}: the server imports a part of the page (${target})`]
  if (target === null) {
    if (isPure(file)) return [`${file}: pure code imports ${specifier}`]
    if (specifier.startsWith('node:')) return []
    const allowed = PACKAGES[packageOf(specifier)] ?? []
    return allowed.includes(from)
      ? []
      : [`${file}: package ${specifier} may be used in: ${allowed.join(', ') || 'none'}`]
  }
  const to = folderOf(target)
  const faults: string[] = []
  if (to === from) {
    const own = isIndex(target) && file.startsWith(`${posix.dirname(target)}/`)
    if (own) faults.push(`${file}: imports the index of its own folder, ${target}`)
    if (isPure(file) && !typeOnly && !isPure(target)) faults.push(`${file}: pure code imports ${target}`)
    return faults
  }
  const allowed: readonly string[] = ARROWS[from as keyof typeof ARROWS] ?? []
  if (!allowed.includes(to)) faults.push(`${file}: ${from} may not import ${to} (${target})`)
  if (target !== `${to}/index.ts`) faults.push(`${file}: reaches past ${to}/index.ts (${target})`)
  // Base's index names the system clock too: whoever takes that must be told, by IMPURE_NAMES.
  if (isPure(file) && !typeOnly && !PURE.includes(`${to}/`)) faults.push(`${file}: pure code imports ${target}`)
  return faults
}

function fileFaults(file: string, source: string): string[] {
  const faults: string[] = []
  const code = codeOnly(source)
  const folder = folderOf(file)
  if (!(folder in ARROWS)) faults.push(`${file}: folder ${folder} is not in the import table`)
  if (folder === '.' && file !== 'index.ts') faults.push(`${file}: belongs into a folder`)
  const lines = source.split('\n').length - 1
  if (lines > MAX_LINES) faults.push(`${file}: ${lines} lines, more than ${MAX_LINES}`)
  if (/^export\s+default\b|\bas\s+default\b/m.test(code)) faults.push(`${file}: default export`)
  if (isIndex(file)) {
    const reExport = /^export\s+(?:type\s+)?(?:\{[^}]*\}|\*(?:\s+as\s+\w+)?)\s*from\s*;?/gm
    if (code.replace(reExport, '').trim() !== '') faults.push(`${file}: an index only re-exports`)
  }
  if (file.startsWith(WEB)) {
    for (const [name] of new Set(code.matchAll(NODE_NAMES))) faults.push(`${file}: the page uses ${name}`)
  }
  if (isPure(file)) {
    const names = [...code.matchAll(IMPURE_NAMES), ...code.matchAll(IMPURE_MEMBERS)].map(([name]) => name)
    for (const name of new Set(names)) faults.push(`${file}: pure code uses ${name}`)
  }
  return faults
}

/** Every circle once, from its alphabetically first file. */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found = new Set<string>()
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string) => {
    const at = path.indexOf(file)
    if (at >= 0) {
      const circle = path.slice(at)
      const first = circle.indexOf([...circle].sort()[0] as string)
      const turned = [...circle.slice(first), ...circle.slice(0, first)]
      found.add(`circle: ${[...turned, turned[0]].join(' -> ')}`)
      return
    }
    if (done.has(file)) return
    path.push(file)
    for (const next of graph.get(file) ?? []) visit(next)
    path.pop()
    done.add(file)
  }
  for (const file of [...graph.keys()].sort()) visit(file)
  return [...found]
}

function faultsOf(tree: Tree): string[] {
  const faults: string[] = []
  const graph = new Map<string, string[]>()
  for (const [file, source] of tree) {
    faults.push(...fileFaults(file, source))
    const targets: string[] = []
    for (const one of imports(source)) {
      const relative = one.specifier.startsWith('.')
      const target = relative ? posix.join(posix.dirname(file), one.specifier) : null
      if (target?.startsWith('../')) faults.push(`${file}: reaches out of src (${one.specifier})`)
      else faults.push(...importFaults(file, one, target))
      // Type imports are erased: inside a folder two files may name each other's types.
      if (target !== null && !one.typeOnly) targets.push(target)
    }
    graph.set(file, targets)
  }
  return [...faults, ...circles(graph)]
}

function readTree(root: string): Tree {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))
  return new Map(files.sort().map((path) => [path.replaceAll('\\', '/'), readFileSync(join(root, path), 'utf8')]))
}

const root = join(import.meta.dirname, '..')
const src = readTree(join(root, 'src'))

test('src keeps to the import table, and to the rules for pure code, indexes, exports and length', () => {
  expect(src.size).toBeGreaterThan(10)
  expect(faultsOf(src)).toEqual([])
})

test('what is listed as pure exists, so that a rename does not take it off the list', () => {
  const folders = new Set([...src.keys()].map(folderOf))
  const gone = PURE.filter((path) => folders.has(folderOf(path)) && ![...src.keys()].some((f) => f.startsWith(path)))
  expect(gone).toEqual([])
})

test('every package of the table is a dependency, and the other way round', () => {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  expect(Object.keys(PACKAGES).sort()).toEqual(Object.keys({ ...dependencies, ...optionalDependencies }).sort())
})

test('bin/vspc.js imports the command line and does nothing else', () => {
  const lines = readFileSync(join(root, 'bin/vspc.js'), 'utf8').trim().split('\n')
  expect(lines).toEqual(['#!/usr/bin/env node', "import '../dist/cli/main.js'"])
})

// From here on: does it fail when it should? Each row is a made-up tree and all the faults it must have.
const made: [string, Record<string, string>, string[]][] = [
  [
    'a tidy tree has no faults',
    {
      'base/index.ts': "// why\nexport { a } from './a.ts'\nexport type { B } from './a.ts'\nexport * from './b.ts'\n",
      'base/a.ts': "/** Not a Date. */\nexport const a = 'new Date() // setTimeout(' + `Buffer`\nexport type B = 1\n",
      'base/b.ts':
        'export const b = /["\'`]/ // Math.random()\nexport const now = (clock: { Date: number }) => clock.Date\n',
      'base/clock.ts': 'export const now = () => Date.now()\n',
      'telnet/decoder.ts':
        "import { a } from '../base/index.ts'\nimport type { B } from '../base/index.ts'\nexport const c: B = a\n",
      'app/http.ts':
        "import fastify from 'fastify'\nimport { join } from 'node:path'\nexport const x = [fastify, join]\n",
      'telnet/index.ts': "export { m } from './vmware/index.ts'\n",
      'telnet/vmware/index.ts': "export { m } from './m.ts'\n",
      'telnet/vmware/m.ts': 'export const m = 1\n',
    },
    [],
  ],
  [
    'an arrow that is not in the table, even for a type alone',
    { 'telnet/a.ts': "import type {\n  B,\n} from '../vspc/index.ts'\nexport type A = B\n" },
    ['telnet/a.ts: telnet may not import vspc (vspc/index.ts)'],
  ],
  [
    're-exports and dynamic imports are arrows too',
    {
      'cli/a.ts': "export { x } from '../vspc/index.ts'\nconst y = () => import('../telnet/index.ts')\nexport { y }\n",
    },
    ['cli/a.ts: cli may not import vspc (vspc/index.ts)', 'cli/a.ts: cli may not import telnet (telnet/index.ts)'],
  ],
  [
    "reaching past another folder's index, and importing one's own",
    {
      'vspc/port.ts': "import '../base/log.ts'\nimport { z } from './index.ts'\nexport const y = z\n",
      'vspc/deep/x.ts': "export { q } from '../../telnet/vmware/index.ts'\n",
    },
    [
      'vspc/port.ts: imports the index of its own folder, vspc/index.ts',
      'vspc/port.ts: reaches past base/index.ts (base/log.ts)',
      'vspc/deep/x.ts: reaches past telnet/index.ts (telnet/vmware/index.ts)',
    ],
  ],
  [
    'a circle, named once',
    {
      'vspc/b.ts': "import './c.ts'\n",
      'vspc/c.ts': "import { A } from './a.ts'\n",
      'vspc/d.ts': "import type { E } from './e.ts'\n",
      'vspc/e.ts': "import './d.ts'\n",
      'vspc/a.ts': "import './b.ts'\n",
    },
    ['circle: vspc/a.ts -> vspc/b.ts -> vspc/c.ts -> vspc/a.ts'],
  ],
  [
    'pure code that touches sockets, time, chance, Buffer or impure files',
    {
      'telnet/a.ts': "import { connect } from 'node:net'\nexport const a = [connect, Date.now(), Math.random()]\n",
      'vmotion/states.ts': 'export const t = setTimeout(() => process.exit(), 1)\n',
      'transport/endpoint.ts': "import { s } from './tcp.ts'\nexport const b = [Buffer.from('x'), s]\n",
      'vspc/identity.ts': "import { dial } from '../transport/index.ts'\nexport const i = dial\n",
      'vspc/arbitration.ts': "import { systemClock } from '../base/index.ts'\nexport const c = systemClock\n",
    },
    [
      'telnet/a.ts: pure code uses Date',
      'telnet/a.ts: pure code uses Math.random',
      'telnet/a.ts: pure code imports node:net',
      'vmotion/states.ts: pure code uses setTimeout',
      'vmotion/states.ts: pure code uses process.',
      'transport/endpoint.ts: pure code uses Buffer',
      'transport/endpoint.ts: pure code imports transport/tcp.ts',
      'vspc/identity.ts: pure code imports transport/index.ts',
      'vspc/arbitration.ts: pure code uses systemClock',
    ],
  ],
  [
    'packages outside their folder, and unknown ones',
    { 'vspc/a.ts': "import { pino } from 'pino'\nimport x from 'left-pad'\nexport const y = [pino, x]\n" },
    ['vspc/a.ts: package pino may be used in: app', 'vspc/a.ts: package left-pad may be used in: none'],
  ],
  [
    'a page that reaches into the server, or the other way round',
    {
      'app/web/main.ts':
        "import { Terminal } from '@xterm/xterm'\nimport type { P } from '../../vspc/index.ts'\nimport { g } from '../terminal-guard.ts'\nexport const m = [Terminal, g] as unknown as P\n",
      'app/web/bad.ts':
        "import { start } from '../wire.ts'\nimport { readFileSync } from 'node:fs'\nimport type { L } from '../../cli/index.ts'\nexport const b = [start, readFileSync, Buffer.from('')] as unknown as L\n",
      'app/http.ts':
        "import { m } from './web/main.ts'\nimport { Terminal } from '@xterm/xterm'\nexport const h = [m, Terminal]\n",
    },
    [
      'app/web/bad.ts: the page uses Buffer',
      'app/web/bad.ts: the page imports app/wire.ts',
      'app/web/bad.ts: the page imports node:fs',
      'app/web/bad.ts: app may not import cli (cli/index.ts)',
      'app/http.ts: the server imports a part of the page (app/web/main.ts)',
      'app/http.ts: package @xterm/xterm may be used in: none',
    ],
  ],
  [
    'default exports, logic in an index, long files, stray files, unknown folders, ways out of src',
    {
      'vspc/a.ts': 'export default 1\n',
      'vspc/b.ts': 'const b = 1\nexport { b as default }\n',
      'relay/index.ts': "export { a } from './a.ts'\nexport const limit = 3\n",
      'relay/long.ts': '\n'.repeat(401),
      'stray.ts': 'export const s = 1\n',
      'utils/u.ts': "import { x } from '../../test/x.ts'\nexport const u = x\n",
    },
    [
      'vspc/a.ts: default export',
      'vspc/b.ts: default export',
      'relay/index.ts: an index only re-exports',
      'relay/long.ts: 401 lines, more than 400',
      'stray.ts: belongs into a folder',
      'utils/u.ts: folder utils is not in the import table',
      'utils/u.ts: reaches out of src (../../test/x.ts)',
    ],
  ],
]

test.each(made)('the check itself: %s', (_name, files, faults) => {
  expect(faultsOf(new Map(Object.entries(files))).sort()).toEqual([...faults].sort())
})
