import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const here = import.meta.dirname
const page = readFileSync(join(here, '../../../docs/conformance.md'), 'utf8')

interface Row {
  readonly id: string
  readonly file: string
  readonly title: string
}

/** Titles as written in the source: `%s` and `${...}` stand for the cases of a table. */
function titlesIn(file: string): Row[] {
  const source = readFileSync(join(here, file), 'utf8')
  const titles = source.matchAll(/(['"`])(C\d+): ((?:\\.|(?!\1)[^\\])*)\1/g)
  return [...titles].map(([, , id = '', title = '']) => ({ id, file, title: title.replaceAll(/\\(.)/g, '$1') }))
}

/** Rows of the page; the section above them names the file, the meaning is written in the first row of each id. */
function documented(): (Row & { status: string })[] {
  const rows: (Row & { status: string })[] = []
  let file = ''
  for (const line of page.split('\n')) {
    const heading = /^## .*`(\w[\w-]*\.test\.ts)`/.exec(line)
    if (heading) file = heading[1] ?? ''
    const [, id = '', , title = '', status = ''] = line.split('|').map((cell) => cell.trim())
    if (/^C\d+$/.test(id)) rows.push({ id, file, title, status })
  }
  return rows
}

const files = readdirSync(here).filter((name) => name.endsWith('.test.ts') && name !== 'table.test.ts')
const tests = files.flatMap(titlesIn)

test('docs/conformance.md lists every conformance test under its id, in the order of the files, and no others', () => {
  const key = ({ id, file, title }: Row): string => `${file} ${id}: ${title}`
  for (const file of files) {
    const listed = documented().filter((row) => row.file === file)
    expect(listed.map(key)).toEqual(tests.filter((row) => row.file === file).map(key))
  }
  expect(documented().filter((row) => !files.includes(row.file))).toEqual([])
})

test('every test of the conformance files carries an id', () => {
  for (const file of files) {
    const source = readFileSync(join(here, file), 'utf8')
    const calls = [...source.matchAll(/^ *test(?:\.\w+)?(?:<[^>]*(?:=> [^>]*)?>)?\(/gm)].length
    expect(titlesIn(file), file).toHaveLength(calls)
  }
})

test('every statement C1 to C55 has a test, a meaning, and a status that is one of two', () => {
  const ids = Array.from({ length: 55 }, (_, i) => `C${i + 1}`)
  expect([...new Set(tests.map((row) => row.id))].sort()).toEqual([...ids].sort())
  const meanings = [...page.matchAll(/^\| (C\d+) \| ([^|]{12,}) \|/gm)].map((match) => match[1])
  expect(meanings).toEqual(ids)
  for (const row of documented()) expect(row.status, row.title).toMatch(/^holds(, see note)?$/)
})
