import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import * as client from '../../src/client/index.ts'

const folder = join(import.meta.dirname, '../../src/client')

test('a program that speaks to a server does not load one: of vspc there are types alone', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.ts'))
  expect(files.length).toBeGreaterThan(10)
  for (const name of files) {
    const source = readFileSync(join(folder, name), 'utf8')
    for (const [statement] of source.matchAll(/^(?:import|export)\s[^;'\x22]*from '\.\.\/vspc\/index\.ts'/gm)) {
      expect(statement, name).toMatch(/^(?:import|export) type \{/)
    }
  }
})

test('the names that programs rely on are there', () => {
  const relied = ['connect', 'VspcClient', 'RemoteConsole', 'EventStream', 'ExpectError', 'VspcError', 'CODES']
  expect(Object.keys(client)).toEqual(expect.arrayContaining(relied))
})
