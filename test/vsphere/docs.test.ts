/** docs/vsphere.md says of each trap which test minds it: there has to be such a test. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

test('every trap of docs/vsphere.md has its test', () => {
  const [, traps = ''] = /\n## Traps\n([\s\S]*?)\n## /.exec(read('docs/vsphere.md')) ?? []
  const rows = [...traps.matchAll(/^\| .+ \| (.+) \| `(test\/\S+)` \|$/gm)]
  expect(rows.length).toBeGreaterThan(25)
  const missing = rows.filter(([, title = '', file = '']) => {
    const titles = [...read(file).matchAll(/'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"/g)].map(
      ([, a, b]) => a ?? b ?? '',
    )
    return !titles.some((one) => one.includes(title))
  })
  expect(missing.map(([, title, file]) => `${file}: ${title}`)).toEqual([])
})
