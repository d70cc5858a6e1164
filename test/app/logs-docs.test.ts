/** The messages that docs/logs.md tells people to look for are those that are logged. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')

test('every message of the page stands in the source', () => {
  const page = readFileSync(join(root, 'docs/logs.md'), 'utf8')
  const [, table = ''] = /## Messages to look for\n([\s\S]*?)\n## /.exec(page) ?? []
  const messages = table
    .split('\n')
    .filter((line) => line.startsWith('| `') && !line.startsWith('| `msg`'))
    .flatMap((line) => [...(line.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, text = '']) => text))
  expect(messages.length).toBeGreaterThan(15)
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((one) =>
    one.endsWith('.ts'),
  )
  const source = files.map((file) => readFileSync(join(root, 'src', file), 'utf8')).join('\n')
  // Of a listener's problems the kind is put in.
  const kinds = /'accept' \| 'handshake' \| 'certificate' \| 'proxy' \| 'resume'/.test(source)
  const missing = messages.filter(
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as it stands in the source
    (text) => !source.includes(text.replace(/^listener: \w+$/, '`listener: ${problem.kind}`')),
  )
  expect([kinds, missing]).toEqual([true, []])
})
