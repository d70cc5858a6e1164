import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import { formatEndpoint } from '../../src/transport/index.ts'
import {
  type ForwardNames,
  formatForward,
  forwardEndpoint,
  matchesForward,
  matchesGlob,
  parseForward,
} from '../../src/vspc/forward-rule.ts'
import { portId } from '../../src/vspc/identity.ts'

const UUID = '564d1a2b-3c4d-5e6f-7081-92a3b4c5d6e7'
const none = () => false

function port(name: string, label: string | null = null, vmKey = UUID): ForwardNames {
  return { id: portId(vmKey, label), vmKey, biosUuid: null, name, label }
}

function pathFor(rule: string, names: ForwardNames, taken: (place: string) => boolean = none): string | null {
  const found = forwardEndpoint(parseForward(rule), names, (endpoint) => taken(formatEndpoint(endpoint)))
  return found === null || !('path' in found.endpoint) ? null : found.endpoint.path
}

describe('what a rule says', () => {
  test.each([
    ['*=unix:///run/vspc/{uuid}.sock', 'listen', '*=unix:///run/vspc/{uuid}.sock'],
    ['*=listen:unix:///run/{name}-{label}.sock', 'listen', '*=unix:///run/{name}-{label}.sock'],
    ['web*/com2=tcp://127.0.0.1:2379', 'dial', 'web*/com2=tcp://127.0.0.1:2379'],
    ['*=dial:unix:///run/agents.sock', 'dial', '*=dial:unix:///run/agents.sock'],
    ['*=DIAL:UNIX:///run/{id}.sock', 'dial', '*=dial:unix:///run/{id}.sock'],
    ['*=listen:tcp://127.0.0.1:0', 'listen', '*=listen:tcp://127.0.0.1:0'],
    ['web=listen:tcp://[::1]:4001', 'listen', 'web=listen:tcp://[::1]:4001'],
    ['web=listen:tls://0.0.0.0:4001?cert=a&key=b&ca=c', 'listen', 'web=listen:tls://0.0.0.0:4001?cert=a&key=b&ca=c'],
    ['a=b=tcp://h:1', 'dial', 'a=b=tcp://h:1'],
    ['*=tls://h:1?ca=ca.pem', 'dial', '*=tls://h:1?ca=ca.pem'],
    ['web 01=unix:///run/%20x.sock', 'listen', 'web 01=unix:///run/%20x.sock'],
  ])('%s', (text, role, canonical) => {
    const rule = parseForward(text)
    expect([rule.role, formatForward(rule)]).toEqual([role, canonical])
    expect(parseForward(formatForward(rule))).toEqual(rule)
  })

  test.each([
    ['', 'CONFIG_INVALID', /it is not PATTERN=URI; write 'PATTERN=URI', such as/],
    ['tcp://h:1', 'CONFIG_INVALID', /it is not PATTERN=URI/],
    ['=tcp://h:1', 'CONFIG_INVALID', /the pattern is empty/],
    ['a\nb=tcp://h:1', 'CONFIG_INVALID', /control character/],
    ['*=/run/x.sock', 'ENDPOINT_SYNTAX', /did you mean unix:\/\/\/run\/x\.sock\?/],
    ['*=tcp://h', 'ENDPOINT_PORT', /forward "\*=tcp:\/\/h": endpoint "tcp:\/\/h": the port is missing/],
    ['*=http://h:1', 'ENDPOINT_SCHEME', /use tcp:\/\//],
    ['*=tcp://h:1?name=x', 'ENDPOINT_ROLE', /name makes no sense here/],
    ['*=lisen:tcp://h:1', 'CONFIG_INVALID', /neither listen: nor dial:.*did you mean listen:\?/],
    ['*=unix:///run/{uid}.sock', 'CONFIG_INVALID', /"\{uid\}" in the path is no placeholder.*did you mean \{uuid\}\?/],
    ['*=unix:///run/{uuid.sock', 'CONFIG_INVALID', /"\{" in the path is no placeholder/],
    ['*=tcp://{name}:1', 'CONFIG_INVALID', /only paths have placeholders/],
    ['*=tls://h:1?cert={uuid}&key=k', 'CONFIG_INVALID', /only paths have placeholders/],
    ['*=unix:///run/x.sock', 'CONFIG_INVALID', /every port that matches needs a path of its own; put \{uuid\}/],
    ['*=fifo:///run/x', 'CONFIG_INVALID', /a path of its own/],
    [`*=unix:///${'d'.repeat(90)}/{uuid}.sock`, 'ENDPOINT_SYNTAX', /leaves no room.*at most 107 bytes/],
    ['*=listen:tcp://127.0.0.1:4001', 'CONFIG_INVALID', /a TCP port of its own; write port 0/],
    ['web=listen:tcp://0.0.0.0:4001', 'CONFIG_INVALID', /can be reached from other machines, and whoever connects may/],
    ['web=listen:tcp://vspc.example:4001', 'CONFIG_INVALID', /can be reached from other machines/],
    ['web=listen:tls://0.0.0.0:4001?cert=a&key=b', 'CONFIG_INVALID', /with ca= or pin= for the programs' certificates/],
    ['web=listen:vsock://any:4001', 'CONFIG_INVALID', /other VMs can reach it/],
  ])('%j is refused, with what is accepted', (text, code, message) => {
    let error: unknown
    try {
      parseForward(text)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(VspcError)
    expect(error).toMatchObject({ code: `VSPC_${code}`, message: expect.stringMatching(message) })
  })

  test('any text is a rule or a coded mistake', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `*=unix:///run/${text}`),
        ),
        (text) => {
          try {
            const rule = parseForward(text)
            expect(parseForward(formatForward(rule))).toEqual(rule)
          } catch (error) {
            if (!(error instanceof VspcError)) throw error
          }
        },
      ),
    )
  })
})

describe('which ports a rule means', () => {
  const web = port('web01', 'com2')
  test.each([
    ['*', true],
    ['web01', true],
    ['web0?', true],
    ['web01/com2', true],
    ['*/com2', true],
    ['/com2', true],
    ['web01/com?', true],
    [UUID, true],
    ['56 4D 1A 2B 3C 4D 5E 6F-70 81 92 A3 B4 C5 D6 E7', true],
    [`${UUID.toUpperCase()}/com2`, true],
    [`${UUID}:com2`, true],
    ['564d1a2b-*', true],
    ['web02', false],
    ['web', false],
    ['WEB01', false],
    ['web01/com1', false],
    ['*/com1', false],
    [`${UUID}/com1`, false],
    ['', false],
    ['?', false],
  ])('%s: %s', (pattern, expected) => {
    expect(matchesForward(pattern, web)).toBe(expected)
  })

  test('a label is matched also while the VM has no name', () => {
    expect(matchesForward('*/com2', port('', 'com2'))).toBe(true)
    expect(matchesForward('*/com2', port('', null))).toBe(false)
  })

  test('a VM that only has a name or address', () => {
    expect(matchesForward('vm1', port('vm1', null, 'name:vm1'))).toBe(true)
    expect(matchesForward('addr:10.0.0.*', port('', null, 'addr:10.0.0.7'))).toBe(true)
  })

  test('a crafted name does not make matching slow', () => {
    const pattern = `${'*a'.repeat(100)}b`
    const start = performance.now()
    expect(matchesGlob(pattern, 'a'.repeat(20_000))).toBe(false)
    expect(performance.now() - start).toBeLessThan(1_000)
  })

  test('globs are what a regular expression would say', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 8 })
    fc.assert(
      fc.property(letters, letters, (pattern, text) => {
        const regex = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`)
        // In the text, * and ? are letters.
        expect(matchesGlob(pattern, text)).toBe(regex.test(text))
      }),
    )
  })
})

describe('where a port is joined', () => {
  test.each([
    ['*=unix:///run/{uuid}.sock', port('a'), `/run/${UUID}.sock`],
    ['*=unix:///run/{name}.sock', port('web 01'), '/run/web%2001.sock'],
    ['*=unix:///run/{name}.{label}', port('a', 'com1'), '/run/a.com1'],
    ['*=unix:///run/{name}.{label}', port('a'), '/run/a.default'],
    ['*=unix:///run/{id}', port('a', 'com1'), `/run/${UUID}:com1`],
    ['*=unix:///run/{uuid}', port('vm1', null, 'name:vm1'), '/run/name:vm1'],
    // Two ports of one VM do not fight for a path, whoever comes first.
    ['*=unix:///run/{uuid}.sock', port('a', 'com2'), `/run/${UUID}-com2.sock`],
    ['*=unix:///run/{name}.sock', port('a', 'com2'), '/run/a-com2.sock'],
    ['*/com2=unix:///run/{name}.sock', port('a', 'com2'), '/run/a.sock'],
    ['*=dial:unix:///run/one.sock', port('a', 'com2'), '/run/one.sock'],
    // Without a name the UUID stands for it.
    ['*=unix:///run/{name}.sock', port(''), `/run/${UUID}.sock`],
  ])('%s: %j', (rule, names, path) => {
    expect(pathFor(rule, names)).toBe(path)
  })

  test.each([
    '../../etc/passwd',
    '..',
    '.',
    '.hidden',
    '/etc/x',
    'a/b',
    'a\0b',
    'a%2fb',
    '{uuid}',
    'a?cert=/x&key=/y',
    'a#b',
    '\u202egnp',
    '\ud800',
    'ünï',
    ' ',
    '~',
    '-rf',
  ])('a VM called %j stays in the directory, and changes nothing else', (name) => {
    const found = forwardEndpoint(parseForward('*=unix:///run/vspc/{name}.sock'), port(name), none)
    const { endpoint } = found ?? {}
    expect(endpoint).toEqual({ ...parseForward('*=unix:///run/vspc/{name}.sock').template, path: expect.any(String) })
    const path = endpoint !== undefined && 'path' in endpoint ? endpoint.path : ''
    expect(path).toMatch(/^\/run\/vspc\/[A-Za-z0-9_:%'!()*~-][A-Za-z0-9._:%'!()*~-]*\.sock$/)
  })

  test('any name, any label: one file in the directory, of at most 107 bytes, different for different VMs', () => {
    const rule = parseForward('*=unix:///run/vspc/{name}')
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 80 }), (name, label) => {
        const found = forwardEndpoint(rule, port(name, label === '' ? null : label), none)
        const path = found !== null && 'path' in found.endpoint ? found.endpoint.path : ''
        expect(path).toMatch(/^\/run\/vspc\/[^/\0]+$/)
        expect(path).not.toMatch(/\/\.\.?$/)
        expect(Buffer.byteLength(path)).toBeLessThanOrEqual(107)
      }),
    )
  })

  test('too long a name: the UUID stands for it, and it is told; too long for that as well: a hash', () => {
    const rule = parseForward('*=unix:///run/vspc/{name}.sock')
    expect(forwardEndpoint(rule, port('n'.repeat(100)), none)).toMatchObject({
      endpoint: { path: `/run/vspc/${UUID}.sock` },
      plain: false,
    })
    const deep = `/run/${'d'.repeat(70)}`
    const found = forwardEndpoint(parseForward(`*=unix://${deep}/{name}.sock`), port('n'.repeat(60)), none)
    expect(found).toMatchObject({ endpoint: { path: expect.stringMatching(/\/[0-9a-f]{16}\.sock$/) }, plain: false })
  })

  test('a name that another VM has already: the UUID stands for it; a place that is taken for good is none', () => {
    const taken = (place: string) => place === 'unix:///run/a.sock'
    expect(pathFor('*=unix:///run/{name}.sock', port('a'), taken)).toBe(`/run/${UUID}.sock`)
    expect(pathFor('a=unix:///run/a.sock', port('a'), taken)).toBeNull()
  })
})
