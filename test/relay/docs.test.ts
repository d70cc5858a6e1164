/** What docs/relay.md and `vspc relay --help` show is what works. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { RELAY_HELP } from '../../src/cli/relay-help.ts'
import { parseConfigText } from '../../src/config/index.ts'
import { readRelayLayer } from '../../src/relay/config-layer.ts'
import { loadRelayConfig, RELAY_LIMITS } from '../../src/relay/index.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/relay.md'), 'utf8')

test('docs/relay.md has every limit of the relay with its default and range', () => {
  const rows = [...page.matchAll(/^\| `limits\.(\w+)` \| (\d+) \| (\d+) to (\d+) \|/gm)].map(([, ...row]) => row)
  expect(rows).toEqual(
    Object.entries(RELAY_LIMITS).map(([name, { default: standard, min, max }]) => [
      name,
      ...[standard, min, max].map(String),
    ]),
  )
})

const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => text)

test('there is an example for each channel', () => {
  expect(examples.length).toBeGreaterThanOrEqual(7)
})

test.each(examples)('example %# is a configuration without mistakes', (text) => {
  const problems: unknown[] = []
  const { routes } = readRelayLayer(parseConfigText('example.yaml', text, '/etc'), problems as never)
  expect(problems).toEqual([])
  expect(routes.length).toBeGreaterThan(0)
})

/** Command lines of the relay itself, lines with a backslash joined. */
function commandLines(text: string): string[] {
  return text
    .replaceAll(/ *\\\n */g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /^vspc relay --(listen|dial)/.test(line))
}

test.each([...commandLines(page), ...commandLines(RELAY_HELP)])('%s', (line) => {
  const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '').slice(2)
  const values = (flag: string) => words.flatMap((word, index) => (word === flag ? [words[index + 1] ?? ''] : []))
  const hops = values('--next-hop').map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)])
  const [control] = values('--control')
  const plan = loadRelayConfig({
    env: {},
    flags: {
      routes: [{ listen: values('--listen'), dial: values('--dial') }],
      nextHops: Object.fromEntries(hops),
      ...(control === undefined ? {} : { control }),
    },
  })
  expect(plan.routes).toHaveLength(1)
})
