import { expect, test } from 'vitest'
import { configurationDocs, EXAMPLE } from '../../scripts/configuration-docs.ts'
import { readLayer } from '../../src/app/config-layer.ts'
import { loadConfig } from '../../src/app/index.ts'
import { buildProgram } from '../../src/cli/program.ts'
import { parseConfigText } from '../../src/config/file.ts'
import type { ConfigProblem } from '../../src/config/problems.ts'

test('docs/configuration.md says what the schema and the limits say', async () => {
  // Out of date? npx vitest run test/app/config-docs.test.ts -u
  await expect(configurationDocs()).toMatchFileSnapshot('../../docs/configuration.md')
})

test('it names no flag that vspc serve does not have', async () => {
  const serve = (await buildProgram(['serve'])).commands.find((command) => command.name() === 'serve')
  const flags = new Set(serve?.options.map(({ long }) => long))
  const named = configurationDocs().match(/(?<=`)--[a-z-]+(?=`)/g) ?? []
  expect(named.length).toBeGreaterThan(20)
  expect(named.filter((flag) => !flags.has(flag))).toEqual([])
})

test('its example is valid', () => {
  const problems: ConfigProblem[] = []
  readLayer(parseConfigText('example.yaml', EXAMPLE, '/etc/vspc'), problems)
  expect(problems).toEqual([])
})

test('nothing at all is a configuration', () => {
  expect(() => loadConfig({ env: {}, flags: {} })).not.toThrow()
})
