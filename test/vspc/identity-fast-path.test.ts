import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cleanText } from '../../src/base/index.ts'
import { canonicalUuid, nameText, parseServiceUri } from '../../src/vspc/identity.ts'

const ENCODER = new TextEncoder()

/** Text that is nearly a UUID: hex digits with what may, and may not, stand between them. */
const nearlyUuid = fc
  .array(fc.constantFrom(...'0123456789abcdefABCDEF', ' ', '-', '{', '}', '\t', '\0', 'g'), { maxLength: 80 })
  .map((characters) => characters.join(''))
const spelledUuid = fc
  .array(fc.tuple(fc.constantFrom(...'0123456789abcdefABCDEF'), fc.constantFrom('', '', ' ', '-', ' - ', '\t')), {
    minLength: 31,
    maxLength: 33,
  })
  .map((digits) => digits.flat().join(''))

test('C23 a UUID is the same whether it came from the wire or was typed, however it is spelled', () => {
  fc.assert(
    fc.property(fc.oneof(nearlyUuid, spelledUuid), (text) => {
      expect(canonicalUuid(ENCODER.encode(text))).toBe(canonicalUuid(text))
    }),
  )
})

test('C23 the UUID of the capture', () => {
  const spelled = '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00'
  expect(canonicalUuid(ENCODER.encode(spelled))).toBe('01234567-89ab-cdef-fedc-ba9800000000')
  expect(canonicalUuid(ENCODER.encode(`${spelled}\0`))).toBe('01234567-89ab-cdef-fedc-ba9800000000')
  expect(canonicalUuid(ENCODER.encode(`${spelled}0`))).toBeNull()
})

test('C25 a name from the wire is cleaned, plain or not', () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string({ maxLength: 300 })), (raw) => {
      const bytes = typeof raw === 'string' ? ENCODER.encode(raw) : raw
      expect(nameText(bytes)).toBe(cleanText(bytes))
    }),
  )
})

test('a serviceURI is read anew when the next VM names another one', () => {
  const read = (text: string) => parseServiceUri(ENCODER.encode(text))
  expect(read('vSPC.py?port=a').label).toBe('a')
  expect(read('vSPC.py?port=b').label).toBe('b')
  expect(read('vSPC.py?port=a')).toMatchObject({ name: 'vSPC.py', label: 'a', display: 'vSPC.py?port=a' })
  expect(read('')).toMatchObject({ name: '', label: null })
})

test('what a serviceURI was read from may change afterwards: it is a view of a read buffer', () => {
  const raw = ENCODER.encode('first')
  expect(parseServiceUri(raw).name).toBe('first')
  raw.set(ENCODER.encode('other'))
  expect(parseServiceUri(raw).name).toBe('other')
  expect(parseServiceUri(ENCODER.encode('first')).name).toBe('first')
})
