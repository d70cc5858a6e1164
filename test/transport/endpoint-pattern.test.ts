import { describe, expect, test } from 'vitest'
import { parseEndpoint } from '../../src/transport/endpoint-parser.ts'
import { matchesEndpoint, parseEndpointPattern } from '../../src/transport/endpoint-pattern.ts'

function allows(pattern: string, uri: string): boolean {
  return matchesEndpoint(parseEndpointPattern(pattern), parseEndpoint(uri, 'dial', 'plain'))
}

describe('what a pattern allows', () => {
  const cases: [pattern: string, uri: string, allowed: boolean][] = [
    ['tcp://10.0.0.5:2379', 'tcp://10.0.0.5:2379', true],
    ['tcp://10.0.0.5:2379', 'tcp://10.0.0.5:2380', false],
    ['tcp://10.0.0.5:2379', 'tls://10.0.0.5:2379', false],
    ['tcp://10.0.0.*:2379', 'tcp://10.0.0.77:2379', true],
    ['tcp://10.*:2379', 'tcp://10.1.2.3:2379', true],
    ['tcp://10.0.0.*:*', 'tcp://10.0.0.1:1', true],
    ['tcp://10.0.0.5:23*', 'tcp://10.0.0.5:2399', true],
    ['tcp://*:2379', 'tcp://anything.example:2379', true],
    ['tcp://*:2379', 'tcp://[::1]:2379', true],
    ['tcp://[fd00::*]:1', 'tcp://[fd00::7]:1', true],
    ['tcp://[fd00::*]:1', 'tcp://[fe80::7]:1', false],
    ['tcp://ETCD.example:1', 'tcp://etcd.Example:1', true],
    ['tcp://*.example.org:1', 'tcp://a.example.org:1', true],
    ['unix:///run/vspc/*.sock', 'unix:///run/vspc/a.sock', true],
    ['unix:///run/vspc/*.sock', 'unix:///run/vspc/a/b.sock', false],
    ['unix:///run/vspc/a.sock', 'tcp://10.0.0.1:1', false],
  ]
  test.each(cases)('%s, %s: %s', (pattern, uri, allowed) => {
    expect(allows(pattern, uri)).toBe(allowed)
  })

  test('an address range is no name that begins like it', () => {
    expect(allows('tcp://10.0.0.*:1', 'tcp://10.0.0.evil.example:1')).toBe(false)
  })

  test('a dot in a pattern is a dot', () => {
    expect(allows('tcp://a.b:1', 'tcp://axb:1')).toBe(false)
  })

  test('a star in a name stays within its label', () => {
    expect(allows('tcp://db*:1', 'tcp://db.evil.example:1')).toBe(false)
    expect(allows('tcp://*.example.org:1', 'tcp://a.evil.example.org:1')).toBe(false)
  })

  test('a star does not climb out of its directory', () => {
    expect(allows('unix:///run/vspc/*/s', 'unix:///run/vspc/../s')).toBe(false)
  })

  test('a VM that names files of ours is refused', () => {
    expect(allows('tls://*:1', 'tls://h:1?ca=/etc/shadow')).toBe(false)
    expect(allows('tls://*:1', 'tls://h:1?cert=/a&key=/b')).toBe(false)
    expect(allows('tls://*:1', `tls://h:1?pin=sha256:${'0'.repeat(64)}`)).toBe(true)
  })
})

describe('refused patterns', () => {
  const cases: [pattern: string, code: string, message: RegExp][] = [
    ['10.0.0.1:1', 'SYNTAX', /it has no scheme/],
    ['tcpp://h:1', 'SCHEME', /did you mean tcp:\/\//],
    ['vsock://3:1', 'SCHEME', /cannot be allowed/],
    ['tcp://h', 'PORT', /port is missing/],
    ['tcp://h:0', 'PORT', /port "0" is not usable/],
    ['tcp://h:x', 'PORT', /port "x" is not usable/],
    ['tcp://h:1?name=x', 'SYNTAX', /parameters/],
    ['tcp://::1:1', 'SYNTAX', /not HOST:PORT/],
    ['unix://x', 'SYNTAX', /not absolute/],
  ]
  test.each(cases)('%s', (pattern, code, message) => {
    expect(() => parseEndpointPattern(pattern)).toThrow(
      expect.objectContaining({ code: `VSPC_ENDPOINT_${code}`, message: expect.stringMatching(message) }),
    )
  })
})
