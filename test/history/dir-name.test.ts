import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeDirName, encodeDirName, isHashedDirName } from '../../src/history/dir-name.ts'
import {
  formatPortFile,
  metaOfId,
  namesOf,
  parseFileName,
  parsePortFile,
  segmentName,
} from '../../src/history/port-file.ts'
import { metaOf, UUID } from './support.ts'

test.each([
  [UUID, UUID],
  [`${UUID}:com1`, `${UUID}+com1`],
  [`${UUID}:#2`, `${UUID}+=232`],
  ['name:VM 1', 'name+=56=4d=201'],
  ['addr:10.0.0.1', 'addr+10.0.0.1'],
  ['..', '=2e.'],
  ['../../etc/passwd', '=2e.=2f..=2fetc=2fpasswd'],
  ['name:ü', 'name+=c3=bc'],
])('%s is in %s', (id, name) => {
  expect(encodeDirName(id)).toBe(name)
  expect(decodeDirName(name)).toBe(id)
})

test('no id, however hostile, leaves its folder, is hidden, is too long, or shares a name where case does not count', () => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.string({ unit: fc.constantFrom('.', '/', '\\', '\0', 'a', 'A', ':', '=', '+', '\ud800', 'é', '-') }),
  )
  fc.assert(
    fc.property(hostile, hostile, (a, b) => {
      const name = encodeDirName(a)
      expect(name).toMatch(/^[a-z0-9+=-][a-z0-9+=.-]*$/)
      expect(name.length).toBeLessThanOrEqual(120)
      if (!isHashedDirName(name)) expect(decodeDirName(name)).toBe(a)
      if (a !== b) expect(encodeDirName(b).toLowerCase()).not.toBe(name.toLowerCase())
    }),
  )
})

test('names that are not ours are no ports', () => {
  for (const name of ['', '.', '..', 'ABC', '=4', '=zz', '=61', 'a b', '.hidden', 'lost+found.', '==abc', 'a=5C']) {
    expect([name, decodeDirName(name), isHashedDirName(name)]).toEqual([
      name,
      name === 'lost+found.' ? 'lost:found.' : null,
      false,
    ])
  }
})

test('a port file says what it was given, and a broken or foreign one says nothing', () => {
  const meta = metaOf('name:"x"\n', {
    label: 'com1',
    name: '\u2028',
    vcUuid: UUID,
    direction: 'client',
    serviceURI: 'a',
  })
  const text = formatPortFile('id', meta)
  expect(parsePortFile(text)).toEqual({ id: 'id', meta })
  for (let cut = 0; cut < text.length - 2; cut++) expect(parsePortFile(text.slice(0, cut))).toBeNull()
  for (const foreign of ['null', '[]', '7', '{}', '{"vspc-port":2,"id":"a","vmKey":"a"}', '{"vspc-port":1,"id":7}']) {
    expect(parsePortFile(foreign)).toBeNull()
  }
  expect(parsePortFile('{"vspc-port":1,"id":"a","vmKey":"a","direction":"up","label":7}')?.meta).toEqual({
    ...metaOf('a'),
    name: '',
  })
})

test('a port without its file is known by its id as far as that goes', () => {
  expect(metaOfId(`${UUID}:com1`)).toMatchObject({ vmKey: UUID, label: 'com1' })
  expect(metaOfId(UUID)).toMatchObject({ vmKey: UUID, label: null })
  expect(metaOfId('name:a:b')).toMatchObject({ vmKey: 'name:a:b', label: null })
})

test('segments are named by their first offset, and nothing else is one', () => {
  expect(segmentName(0)).toBe('00000000000000000000.log')
  for (const start of [0, 1, 2 ** 31, 2 ** 40]) {
    const names = namesOf(start).map((name) => parseFileName(name))
    expect(names).toEqual(['plain', 'archive', 'draft'].map((kind) => ({ start, kind })))
  }
  for (const name of ['0.log', '00000000000000000000.log.xz', 'a0000000000000000000.log', '99999999999999999999.log']) {
    expect(parseFileName(name)).toBeNull()
  }
})
