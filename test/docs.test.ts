import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { CODES, LIMITS } from '../src/base/index.ts'
import { SUBOPTION, suboptionName } from '../src/telnet/index.ts'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

/** The sections of a page by heading of level two. */
function sections(page: string): Map<string, string> {
  const [, ...parts] = `\n${page}`.split('\n## ')
  return new Map(parts.map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1)]))
}

test('docs/errors.md has a section for every code, with its fault and retry, and no others', () => {
  const documented = [...sections(read('docs/errors.md'))].map(([code, text]) => {
    const [, fault, retry] = /^\nFault: (\w+)\. Retry: (yes|no)\.\n\n\S[^#]*\n\n\*\*Do:\*\* \S/.exec(text) ?? []
    return [code, { fault, retryable: retry === 'yes' }]
  })
  expect(Object.fromEntries(documented)).toEqual(CODES)
})

test('docs/dependencies.md has a reason for every dependency and override, and no others', () => {
  const manifest = JSON.parse(read('package.json'))
  const page = sections(read('docs/dependencies.md'))
  const reasoned = (heading: string) =>
    [...(page.get(heading) ?? '').matchAll(/^- `([^`]+)`: \S.{20,}/gm)].map((m) => m[1])
  expect(reasoned('Runtime').sort()).toEqual(Object.keys(manifest.dependencies).sort())
  expect(reasoned('Development').sort()).toEqual(Object.keys(manifest.devDependencies).sort())
  expect(reasoned('Overrides').sort()).toEqual(Object.keys(manifest.overrides ?? {}).sort())
})

test('docs/protocol.md lists every suboption by its number and name', () => {
  const listed = new Map<number, string>()
  for (const [, codes = '', names = ''] of read('docs/protocol.md').matchAll(/^\| ([\d, ]+) \| ([A-Z0-9, -]+) \|/gm)) {
    const each = names.split(', ')
    for (const [i, code] of codes.split(', ').entries()) listed.set(Number(code), each[i] ?? '')
  }
  const ours = Object.values(SUBOPTION).map((code) => [code, suboptionName(code)] as const)
  expect([...listed].sort()).toEqual([...ours].sort())
})

test('limits that the docs name exist', () => {
  const unknown: string[] = []
  for (const page of pages) {
    for (const [, name = ''] of read(page).matchAll(/`([a-z]+[A-Z]\w*(?:Ms|Bytes|Pieces)|max[A-Z]\w*)`/g)) {
      if (!(name in LIMITS)) unknown.push(`${page}: ${name}`)
    }
  }
  expect(unknown).toEqual([])
})

test('links between pages lead somewhere', () => {
  const broken: string[] = []
  let links = 0
  for (const page of pages) {
    for (const [, target = ''] of read(page).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      links++
      const path = join(root, dirname(page), target)
      if (relative(root, path).startsWith('..') || !existsSync(path)) broken.push(`${page}: ${target}`)
    }
  }
  expect(links).toBeGreaterThan(5)
  expect(broken).toEqual([])
})

test('every page is in a list of docs/index.md, which is the navigation of the site', () => {
  const listed = new Set(
    [...read('docs/index.md').matchAll(/^- \[[^\]]+\]\(([^)]+)\)/gm)].map((m) => join('docs', m[1] ?? '')),
  )
  expect(pages.filter((page) => page !== 'docs/index.md' && !listed.has(page))).toEqual([])
})

test('every open question of the protocol is answered for, U1 to U11', () => {
  const rows = [...read('docs/untested.md').matchAll(/^\| (U\d+) \|[^|]+\|[^|]+\|$/gm)].map((m) => m[1])
  expect(rows).toEqual(Array.from({ length: 11 }, (_, i) => `U${i + 1}`))
})

test('LICENSE is the whole Apache License 2.0', () => {
  const text = read('LICENSE')
  expect(text).toContain('Apache License\n                           Version 2.0, January 2004')
  for (let section = 1; section <= 9; section++) expect(text).toMatch(new RegExp(`^   ${section}\\. [A-Z]`, 'm'))
  expect(text).toContain('END OF TERMS AND CONDITIONS')
  expect(JSON.parse(read('package.json')).license).toBe('Apache-2.0')
})
