import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  canonicalUuid,
  matchesService,
  parseServiceUri,
  portId,
  type VmIdentity,
  validLabel,
  vmKey,
} from '../../src/vspc/identity.ts'

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0))
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const uri = (text: string) => parseServiceUri(utf8(text))

describe('UUID', () => {
  const CANONICAL = '01234567-89ab-cdef-fedc-ba9800000000'

  test.each([
    ["VMware's own, from its capture", '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00'],
    ['upper case', '01 23 45 67 89 AB CD EF-FE DC BA 98 00 00 00 00'],
    ['canonical', CANONICAL],
    ['32 digits', '0123456789abcdeffedcba9800000000'],
    ['32 digits in upper case', '0123456789ABCDEFFEDCBA9800000000'],
    ['one dash in the middle', '0123456789abcdef-fedcba9800000000'],
    ['in braces', `{${CANONICAL}}`],
    ['with blanks around', `  ${CANONICAL}\n`],
    ['with a terminator', `${CANONICAL}\0`],
    ['with tabs', CANONICAL.replaceAll('-', '\t')],
  ])('%s is the same key, as text and as bytes [C23]', (_, text) => {
    expect(canonicalUuid(text)).toBe(CANONICAL)
    expect(canonicalUuid(latin1(text))).toBe(CANONICAL)
  })

  test('the bytes keep their order: nothing is swapped as in a guest that reads SMBIOS [C23]', () => {
    expect(canonicalUuid('68 4c 91 6c 5f 6c 4c 2f-aa 50 df d6 61 a2 2e 0d')).toBe(
      '684c916c-5f6c-4c2f-aa50-dfd661a22e0d',
    )
  })

  test.each([
    ['empty', ''],
    ['a name', 'vm-00000'],
    ['31 digits', CANONICAL.slice(1)],
    ['33 digits', `${CANONICAL}0`],
    ['a letter that is no digit', CANONICAL.replace('a', 'g')],
    ['a path', `../../${CANONICAL}`],
    ['a terminator inside', CANONICAL.replace('-', '\0')],
    ['32 digits among 1000 blanks', `${CANONICAL}${' '.repeat(1000)}`],
    ['terminators only', '\0'.repeat(32)],
    ['digits of another alphabet', '٠'.repeat(32)],
  ])('%s is none [C24]', (_, text) => {
    expect(canonicalUuid(text)).toBeNull()
    expect(canonicalUuid(utf8(text))).toBeNull()
  })

  test('any bytes give null or the canonical form, never an error', () => {
    const digitish = fc.constantFrom(...latin1('0123456789abcdefABCDEF -{}\0'), 0xff)
    fc.assert(
      fc.property(fc.array(digitish, { maxLength: 60 }), (bytes) => {
        const uuid = canonicalUuid(Uint8Array.from(bytes))
        if (uuid !== null) expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)
      }),
      { numRuns: 500 },
    )
  })
})

describe('serviceURI', () => {
  test.each([
    'vSPC.py',
    'vSPC.py?port=com1',
    'vSPC.py?x=1&port=com1',
    'telnet://vSPC.py',
    'telnet://vSPC.py:13370',
    'telnet://vSPC.py:13370/',
    'telnet://vSPC.py:13370?port=com1',
    'telnet://vSPC.py:13370/?port=com1',
    'telnets://vSPC.py/com1',
    'x-y.z+1://vSPC.py:1/a/b',
    'vSPC.py/com1',
  ])('%s names the service vSPC.py [C18]', (text) => {
    expect(uri(text).name).toBe('vSPC.py')
    expect(matchesService(uri(text), ['vSPC.py'])).toBe(true)
  })

  test.each([
    ['vspc.py', 'case counts'],
    ['vSPC.pyx', 'longer'],
    ['vSPC.p', 'shorter'],
    ['', 'empty'],
    [' vSPC.py', 'blank before'],
    ['telnet:vSPC.py', 'no scheme without slashes'],
    ['other?port=vSPC.py', 'only an argument'],
    ['telnet://evil/vSPC.py', 'only a path'],
    ['vSPC.py:13370', 'a port without scheme is part of the name'],
  ])('%s is another service: %s [C17]', (text) => {
    expect(matchesService(uri(text), ['vSPC.py'])).toBe(false)
  })

  test('configured as a URI it matches every form of the same name', () => {
    for (const accepted of ['telnet://vSPC.py:13370', 'vSPC.py', 'telnets://vSPC.py']) {
      expect(matchesService(uri('vSPC.py?port=a'), ['other', accepted])).toBe(true)
    }
  })

  test('with nothing configured everything matches, even nothing', () => {
    expect(matchesService(uri(''), [])).toBe(true)
    expect(matchesService(uri('anything'), [])).toBe(true)
  })

  test('bytes that are no UTF-8 are compared as they are [C18]', () => {
    const raw = Uint8Array.of(0xff, 0xfe, 0x41)
    // As Latin-1, byte by byte: a configured name can be written for them.
    expect(matchesService(parseServiceUri(raw), ['ÿþA'])).toBe(true)
    expect(matchesService(parseServiceUri(raw), ['\ufffd\ufffdA'])).toBe(false)
    expect(parseServiceUri(raw)).toEqual({ display: '\ufffd\ufffdA', name: 'ÿþA', label: null })
    expect(parseServiceUri(raw).name).not.toBe(parseServiceUri(Uint8Array.of(0xfe, 0xff, 0x41)).name)
  })

  test.each([
    ['vSPC.py?port=com1', 'com1'],
    ['vSPC.py?port=com1&port=com2', 'com1'],
    ['vSPC.py?a=b&port=com1', 'com1'],
    ['vSPC.py?port=c%6Fm%31', 'com1'],
    ['vSPC.py?port=A.b_c-9', 'A.b_c-9'],
    [`vSPC.py?port=${'x'.repeat(64)}`, 'x'.repeat(64)],
    ['vSPC.py/com1', 'com1'],
    ['telnet://vSPC.py:13370/com1', 'com1'],
    ['telnet://vSPC.py:13370/com1?port=com2', 'com2'],
  ])('%s is the port labelled %s [C27]', (text, label) => {
    expect(uri(text).label).toBe(label)
  })

  test.each([
    'vSPC.py',
    'vSPC.py?',
    'vSPC.py?port',
    'vSPC.py?port=',
    'vSPC.py?PORT=a',
    `vSPC.py?port=${'x'.repeat(65)}`,
    'vSPC.py?port=a/b',
    'vSPC.py?port=..%2F..%2Fetc',
    'vSPC.py?port=a%00b',
    'vSPC.py?port=a b',
    'vSPC.py?port=%zz',
    'vSPC.py?port=%',
    'vSPC.py?port=a:b',
    'vSPC.py?port=%23%32',
    'vSPC.py?port=ü',
    'telnet://vSPC.py/a/b',
    'telnet://vSPC.py/',
  ])('%s has no label [C25]', (text) => {
    expect(uri(text).label).toBeNull()
  })

  test('a label that cannot be read does not let a later argument of that name through', () => {
    expect(uri('vSPC.py?port=a/b&port=com1').label).toBeNull()
  })

  test('what is shown has no control characters, no overrides, and an end [C25]', () => {
    const { display } = uri(`vSPC\x1b[2J\u202e.py${'x'.repeat(2000)}`)
    expect(display.startsWith('vSPC[2J.py')).toBe(true)
    expect(display.length).toBe(512)
  })

  test('any bytes are read without error, in time that grows with their number only', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const read = parseServiceUri(bytes)
        expect(read.label === null || validLabel(read.label) !== null).toBe(true)
      }),
      { numRuns: 500 },
    )
    expect(uri('a://'.repeat(50_000)).label).toBeNull()
    expect(uri(`v?${'&'.repeat(200_000)}`).label).toBeNull()
  })
})

describe('key and id', () => {
  const nobody: VmIdentity = { vcUuid: null, biosUuid: null, locationUuid: null, name: '' }

  test('the best identity there is becomes the key; the location UUID never does [C24]', () => {
    const all = { vcUuid: 'vc', biosUuid: 'bios', locationUuid: 'location', name: 'vm1' }
    expect(vmKey(all, 'host')).toBe('vc')
    expect(vmKey({ ...all, vcUuid: null }, 'host')).toBe('bios')
    expect(vmKey({ ...all, vcUuid: null, biosUuid: null }, 'host')).toBe('name:vm1')
    expect(vmKey({ ...nobody, locationUuid: 'location' }, 'host')).toBe('addr:host')
    expect(vmKey(nobody, 'fe80::1')).toBe('addr:fe80::1')
  })

  test('a label makes another port [C27]', () => {
    expect(portId('vc', null)).toBe('vc')
    expect(portId('vc', 'com1')).toBe('vc:com1')
  })

  test.each(['', 'a b', 'a/b', '#2', 'a:b', 'ä', 'x'.repeat(65), 'a\n'])('%j is no label', (label) => {
    expect(validLabel(label)).toBeNull()
  })
})
