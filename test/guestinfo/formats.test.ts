import { isIP } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AddressRecord,
  checkGuestKey,
  checkKey,
  checkWritableKey,
  decodeValue,
  emptyRecord,
  encodeValue,
  formatRecord,
  formatVicKey,
  formatVicRecord,
  type GuestRecord,
  isSecret,
  NIL,
  type ProcessRecord,
  parseRecord,
  parseVicKey,
  parseVicRecords,
} from '../../src/guestinfo/index.ts'
import { cleanIp, formatIp, maskOfPrefix, parseIp, prefixOfMask } from '../../src/guestinfo/ip.ts'
import { setMessage, utf8Length } from '../../src/guestinfo/values.ts'

const code = (name: string) => expect.objectContaining({ code: `VSPC_GUESTINFO_${name}` })

describe('keys', () => {
  test.each([
    'guestinfo.ip',
    'guestinfo.vice..sessions|docker-personality.status',
    'guestinfo.vice./init/sessions|vicadmin/cmd/Args~',
    'guestinfo.vice..execs|1.status@non-persistent',
    'guestinfo.a#b',
  ])('%s is one that a guest sees', (key) => {
    expect(() => checkGuestKey(key)).not.toThrow()
  })

  test.each([
    '',
    'guestinfo.a b',
    'guestinfo.a\tb',
    'guestinfo.a\nb',
    'guestinfo.a\0',
    'guestinfo.a=b',
    'guestinfo."',
    'guestinfo.é',
    'guestinfo.\\',
    `guestinfo.${'a'.repeat(300)}`,
  ])('%j would break a message or a .vmx file, and is refused', (key) => {
    expect(() => checkKey(key)).toThrow(code('KEY'))
  })

  test('one without its prefix is refused with the one that was meant', () => {
    expect(() => checkGuestKey('ip')).toThrow('did you mean guestinfo.ip?')
    expect(() => checkGuestKey('guestinfo.')).toThrow('did you mean guestinfo.NAME?')
  })

  test('one with a slash can be read and not written by a guest', () => {
    expect(() => checkGuestKey('guestinfo.vice./repo')).not.toThrow()
    expect(() => checkWritableKey('guestinfo.vice./repo')).toThrow(code('READ_ONLY'))
  })

  test('secrets are known by their suffix', () => {
    expect(['a@secret', 'a@secret@non-persistent', 'a@non-persistent', 'secret', 'a.secret'].map(isSecret)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ])
  })

  // As in a dump of a VCH's keys: vmware/vic, its migration tests.
  test.each([
    ['guestinfo.vice./init/sessions|vicadmin/cmd/Args~', 'read-only', 'init sessions|vicadmin cmd Args~'],
    ['guestinfo.vice..init.sessions|vicadmin.detail.stoptime', 'read-write', 'init sessions|vicadmin detail stoptime'],
    ['guestinfo.vice./storage/image_stores|0/Host', 'read-only', 'storage image_stores|0 Host'],
    ['guestinfo.vice./init/networks', 'read-only', 'init networks'],
    ['init/common/name', 'hidden', 'init common name'],
  ])('%s is %s: %s', (key, access, steps) => {
    const parsed = parseVicKey(key)
    const shown = parsed?.steps.map(
      ({ name, entry, list }) => `${name}${entry === null ? '' : `|${entry}`}${list ? '~' : ''}`,
    )
    expect([parsed?.access, shown?.join(' ')]).toEqual([access, steps])
    expect(parsed && formatVicKey(parsed)).toBe(key)
  })

  test.each([
    'guestinfo.ip',
    'guestinfo.vice.x',
    'numa.autosize',
    'guestinfo.vice..',
    'guestinfo.vice..a@b',
    'guestinfo.vice..a@secret@secret',
    'guestinfo.vice./a//b',
  ])('%s is none of VIC', (key) => {
    expect(parseVicKey(key)).toBeNull()
  })

  test('VIC keys: parse(format(x)) = x', () => {
    const word = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/)
    const step = fc.record({ name: word, entry: fc.option(word), list: fc.boolean() })
    const key = fc.record({
      access: fc.constantFrom('read-write' as const, 'read-only' as const),
      steps: fc.array(step, { minLength: 1, maxLength: 5 }),
      secret: fc.boolean(),
      nonPersistent: fc.boolean(),
    })
    fc.assert(fc.property(key, (made) => void expect(parseVicKey(formatVicKey(made))).toEqual(made)))
  })
})

describe('values', () => {
  test('any text comes back as it was, and nothing of it can be lost under way', () => {
    const text = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: 'binary' }),
      fc.constantFrom(NIL, 'vspc-base64:', 'vspc-base64:YQ==', '', ' ', '\n', 'a\nb', '\ufeffa', '\ud800'),
    )
    fc.assert(
      fc.property(text, (given) => {
        const wire = encodeValue(given)
        expect(decodeValue(wire)).toBe(
          new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(given)),
        )
        // Not empty (that deletes), nothing for a tool to trim, nothing that XML or argv cannot carry.
        expect(wire).toBe(wire.trim())
        expect(wire).toMatch(/^[^\0-\u0008\u000b-\u001f\u007f\ufffe\uffff]+$/)
      }),
      { numRuns: 500 },
    )
  })

  test('words stay readable', () => {
    expect(encodeValue('10.0.0.7/24 gateway=10.0.0.1')).toBe('10.0.0.7/24 gateway=10.0.0.1')
    expect(encodeValue('Grüße\nzwei Zeilen')).toBe('Grüße\nzwei Zeilen')
    expect(encodeValue('')).toBe('<nil>')
    expect(encodeValue(' a')).toBe('vspc-base64:IGE=')
  })

  test.each(['vspc-base64:', 'vspc-base64:!', 'vspc-base64:YQ', 'vspc-base64:/w==', 'vspc-base64:YR=='])(
    '%s of another making is shown as it is, or as nothing',
    (value) => {
      expect(decodeValue(value)).toBe(value === 'vspc-base64:' ? '' : value)
    },
  )

  test('lengths are those of UTF-8', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(fc.constantFrom('\ud83d', '\ude00', 'a', 'é', '€')).map((all) => all.join('')),
    )
    fc.assert(fc.property(text, (given) => void expect(utf8Length(given)).toBe(new TextEncoder().encode(given).length)))
  })

  test('a message of 64 KiB with its last byte is the longest', () => {
    const room = 65_536 - 1 - 'info-set guestinfo.k '.length
    expect(setMessage('guestinfo.k', 'x'.repeat(room))).toHaveLength(65_535)
    expect(() => setMessage('guestinfo.k', 'x'.repeat(room + 1))).toThrow(code('TOO_LONG'))
    expect(() => setMessage('guestinfo.k', 'é'.repeat(room / 2 + 1))).toThrow(`has room for ${room}`)
    expect(() => setMessage('guestinfo.k', 'secret'.repeat(20_000))).not.toThrow(/secretsecret/)
  })
})

describe('addresses', () => {
  test('parse(format(bytes)) = bytes, and Node agrees on what is one', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.array(fc.constantFrom(0, 0, 0, 1), { minLength: 16, maxLength: 16 }).map((all) => Uint8Array.from(all)),
    )
    fc.assert(
      fc.property(bytes, (ip) => {
        const text = formatIp(ip) ?? ''
        expect(isIP(text)).toBe(text.includes(':') ? 6 : 4)
        expect([...(parseIp(text) ?? [])]).toEqual([...(text.includes(':') ? ip : ip.slice(-4))])
        if (text.includes(':')) expect(text).toBe(new URL(`http://[${text}]/`).hostname.slice(1, -1))
      }),
    )
  })

  test('what Node takes for an address we take, and nothing else', () => {
    const text = fc.oneof(fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f:.]{1,20}$/))
    fc.assert(
      fc.property(text, (given) => void expect(parseIp(given) !== null, given).toBe(isIP(given) !== 0)),
      { numRuns: 2_000 },
    )
  })

  test.each([
    ['FE80:0:0::1', 'fe80::1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['0.0.0.0', null],
    ['::', null],
    ['fe80::1%eth0', null],
    ['10.0.0.01', null],
    ['1:2:3:4:5:6:7:8:9', null],
  ])('%s is shown as %s', (text, clean) => {
    expect(cleanIp(text)).toBe(clean)
  })

  test('masks and prefixes', () => {
    for (let bits = 0; bits <= 128; bits++) {
      expect(prefixOfMask(maskOfPrefix(16, bits))).toBe(bits)
      if (bits <= 32) expect(prefixOfMask(maskOfPrefix(4, bits))).toBe(bits)
    }
    expect(prefixOfMask(Uint8Array.of(255, 0, 255, 0))).toBeNull()
    expect(prefixOfMask(Uint8Array.of(255))).toBeNull()
  })
})

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,20}$/)
const ip = fc
  .oneof(fc.ipV4(), fc.ipV6())
  .map(cleanIp)
  .filter((text) => text !== null)
const line = fc
  .string({ unit: 'grapheme', minLength: 1 })
  .map((text) =>
    text
      .replaceAll(/[^\p{L}\p{N}\p{P} =]/gu, '')
      .replaceAll(/\s+/g, ' ')
      .trim(),
  )
  .filter((text) => text !== '')
const seconds = fc.option(fc.integer({ min: 1, max: 4_000_000_000 }))
const exitCode = fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 })
const address = fc
  .record({
    kind: fc.constant('address' as const),
    name,
    address: ip,
    prefix: fc.option(fc.integer({ min: 0, max: 128 })),
    gateway: fc.option(ip),
    dns: fc.array(ip, { maxLength: 8 }),
  })
  .map(
    (record): AddressRecord => ({
      ...record,
      prefix: record.prefix !== null && !record.address.includes(':') ? record.prefix % 33 : record.prefix,
    }),
  )
const process = fc.oneof(
  fc.record({
    kind: fc.constant('process' as const),
    name,
    state: fc.constant('running' as const),
    exitCode: fc.constant(null),
    startedSeconds: seconds,
    stoppedSeconds: fc.constant(null),
    error: fc.constant(null),
  }),
  fc.record({
    kind: fc.constant('process' as const),
    name,
    state: fc.constant('exited' as const),
    exitCode: fc.option(exitCode),
    startedSeconds: seconds,
    stoppedSeconds: seconds,
    error: fc.constant(null),
  }),
  fc.record({
    kind: fc.constant('process' as const),
    name,
    state: fc.constant('failed' as const),
    exitCode: fc.option(exitCode),
    startedSeconds: seconds,
    stoppedSeconds: seconds,
    error: fc.option(line),
  }),
)
const error = fc.record({ kind: fc.constant('error' as const), name, text: line })

describe('records', () => {
  test('parse(format(x)) = x, by keys that a guest may write', () => {
    fc.assert(
      fc.property(fc.oneof(address, process, error), (record: GuestRecord) => {
        const [key, value] = formatRecord(record)
        checkWritableKey(key)
        expect(parseRecord(key, value)).toEqual(record)
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['address.eth0', '10.0.0.7/24 gateway=10.0.0.1 dns=10.0.0.2,10.0.0.3'],
    ['address.eth0', 'fe80::1'],
    ['error.dhcp', 'no lease after 30 s'],
    ['process.main', 'running started=1795385613'],
    ['process.main', 'exited code=3 started=1795385613 stopped=1795385700'],
    ['process.main', 'failed code=127 error=no such file: /bin/x code=1'],
  ])('%s: %s is how it looks', (key, value) => {
    const record = parseRecord(`guestinfo.vspc.${key}`, value)
    expect(record).toMatchObject({ kind: key.split('.')[0], name: key.split('.')[1] })
    expect(formatRecord(record as GuestRecord)).toEqual([`guestinfo.vspc.${key}`, value])
  })

  test.each([
    ['address.eth0', 'localhost'],
    ['address.eth0', '0.0.0.0'],
    ['address.eth0', '10.0.0.7/33'],
    ['address.eth0', '10.0.0.7/24/24'],
    ['address.eth0', '10.0.0.7/'],
    ['process.main', '3'],
    ['process.main', 'exited code=99999999999'],
    ['process.main', 'exited code=three'],
  ])('%s: %s is strange, not half a record', (key, value) => {
    expect(parseRecord(`guestinfo.vspc.${key}`, value)).toBe('strange')
  })

  test.each([
    'guestinfo.ip',
    'guestinfo.vspc.address',
    'guestinfo.vspc.address.',
    'guestinfo.vspc.other.a',
    'guestinfo.vspc.address.a/b',
    'guestinfo.vspc.address.<b>',
  ])('%s is no key of a record', (key) => {
    expect(parseRecord(key, '10.0.0.1')).toBeNull()
  })

  test('a key made in advance says nothing yet', () => {
    const [key, value] = emptyRecord({ kind: 'process', name: 'main' })
    expect([key, value, parseRecord(key, value)]).toEqual(['guestinfo.vspc.process.main', NIL, null])
  })

  test('whatever a VM writes, texts are one clean line of bounded length', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 3_000 }), (text) => {
        for (const key of ['guestinfo.vspc.error.a', 'guestinfo.vspc.process.a', 'guestinfo.vspc.address.a']) {
          const record = parseRecord(key, key.includes('process') ? `failed error=${text}` : text)
          if (record === null || record === 'strange') continue
          const shown = record.kind === 'error' ? record.text : record.kind === 'process' ? (record.error ?? '') : ''
          expect(shown.length).toBeLessThanOrEqual(1_000)
          expect(shown).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
        }
      }),
    )
    const escaped = parseRecord('guestinfo.vspc.error.a', encodeValue('\u001b]0;title\u0007\n\u202eevil'))
    expect(escaped).toEqual({ kind: 'error', name: 'a', text: ']0;title evil' })
  })
})

describe("VIC's records", () => {
  const only = (record: GuestRecord) => parseVicRecords(new Map(formatVicRecord(record)), 10)

  test('parse(format(x)) = x, but for what VIC has no word for', () => {
    const known = fc.oneof(
      address,
      process.map((record): ProcessRecord => {
        const exit = record.state === 'running' ? null : (record.exitCode ?? 0)
        const stopped =
          record.state === 'exited'
            ? Math.max(record.stoppedSeconds ?? 1, record.startedSeconds ?? 1)
            : record.stoppedSeconds
        const why =
          record.state === 'failed' && !['true', 'false'].includes(record.error ?? 'true')
            ? record.error
            : record.state === 'failed'
              ? 'why'
              : null
        return { ...record, exitCode: exit, stoppedSeconds: stopped, error: why }
      }),
    )
    fc.assert(
      fc.property(known, (record) => void expect(only(record)).toEqual([record])),
      { numRuns: 500 },
    )
  })

  test('a mask that is none, or of another length than its address, is left out', () => {
    for (const mask of ['/wD/AA==', '////////////////////AA==', 'x', NIL]) {
      const base = 'guestinfo.vice..networks|a.assigned.'
      const values = new Map([
        [`${base}IP`, 'CgAAAQ=='],
        [`${base}Mask`, mask],
      ])
      expect(parseVicRecords(values, 1)).toMatchObject([{ address: '10.0.0.1', prefix: null }])
    }
  })

  // Keys and values of a real VCH: a fixture of vmware/vic's migration tests.
  test("a real appliance's keys: bytes as base64, status 0 that is none yet", () => {
    const values = new Map([
      ['guestinfo.vice..init.networks|client.assigned.IP', 'CsCoOQ=='],
      ['guestinfo.vice..init.networks|client.assigned.Mask', '///gAA=='],
      ['guestinfo.vice..init.networks|client.network.assigned.gateway.IP', 'CsC//Q=='],
      ['guestinfo.vice..init.networks|client.network.assigned.gateway.Mask', '///gAA=='],
      ['guestinfo.vice..init.networks|client.network.assigned.dns', '1'],
      ['guestinfo.vice..init.networks|client.network.assigned.dns|0', 'CqLMAQ=='],
      ['guestinfo.vice..init.networks|client.network.assigned.dns|1', 'CqYBAQ=='],
      ['guestinfo.vice..init.networks|bridge.network.type', 'bridge'],
      ['guestinfo.vice./network/container_networks|vnet/gateway/IP', 'AAAAAAAAAAAAAP//CgoKAQ=='],
      ['guestinfo.vice..init.sessions|docker-personality.started', 'true'],
      ['guestinfo.vice..init.sessions|docker-personality.status', '0'],
      ['guestinfo.vice..init.sessions|docker-personality.detail.starttime', '0'],
      ['guestinfo.vice..init.sessions|docker-personality.detail.stoptime', '0'],
    ])
    expect(parseVicRecords(values, 10)).toEqual([
      {
        kind: 'address',
        name: 'init.client',
        address: '10.192.168.57',
        prefix: 19,
        gateway: '10.192.191.253',
        dns: ['10.162.204.1', '10.166.1.1'],
      },
      {
        kind: 'process',
        name: 'init.docker-personality',
        state: 'running',
        exitCode: null,
        startedSeconds: null,
        stoppedSeconds: null,
        error: null,
      },
    ])
  })

  test.each([
    ['<nil>', '0', '0', '0', null],
    ['false', '0', '0', '0', null],
    ['true', '0', '100', '0', { state: 'running', exitCode: null }],
    ['true', '3', '100', '200', { state: 'exited', exitCode: 3 }],
    ['true', '3', '300', '200', { state: 'running', exitCode: null }],
    ['no such file', '127', '0', '0', { state: 'failed', exitCode: 127, error: 'no such file' }],
  ])('started %s, status %s, from %s to %s', (started, status, starttime, stoptime, expected) => {
    const base = 'guestinfo.vice..execs|ab.cd.'
    const values = new Map(
      Object.entries({ started, status, 'detail.starttime': starttime, 'detail.stoptime': stoptime }).map(
        ([field, value]) => [`${base}${field}@non-persistent`, value],
      ),
    )
    const records = parseVicRecords(values, 10)
    if (expected === null) expect(records).toEqual([])
    else expect(records).toMatchObject([{ name: 'exec.ab.cd', ...expected }])
  })
})
