import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import {
  type Endpoint,
  type EndpointRole,
  type EndpointUse,
  formatEndpoint,
  type Layers,
  NO_LAYERS,
  TLS_VERSIONS,
  type TlsParameters,
  VM_PROTOCOLS,
  type VmParameters,
} from '../../src/transport/endpoint.ts'
import { parseEndpoint } from '../../src/transport/endpoint-parser.ts'

const VM: VmParameters = { protocol: 'vmware', name: null, label: null }
const TLS: TlsParameters = { cert: null, key: null, ca: null, pin: null, servername: null, tlsMin: '1.2' }
const HASH = '0123456789abcdef'.repeat(4)

function refused(text: string, role: EndpointRole, use: EndpointUse): VspcError {
  try {
    parseEndpoint(text, role, use)
  } catch (error) {
    if (error instanceof VspcError) return error
    throw error
  }
  throw new Error(`${text} was accepted`)
}

/** Without the layers, where there are none. */
type Bare = { [E in Endpoint as E['scheme']]: Omit<E, 'layers'> & { layers?: Layers } }[Endpoint['scheme']]

describe('accepted', () => {
  const cases: [text: string, role: EndpointRole, use: EndpointUse, endpoint: Bare][] = [
    ['tcp://0.0.0.0:13370', 'listen', 'vm', { scheme: 'tcp', host: '0.0.0.0', tcpPort: 13370, tls: null, vm: VM }],
    ['tcp://127.0.0.1:0', 'listen', 'plain', { scheme: 'tcp', host: '127.0.0.1', tcpPort: 0, tls: null, vm: null }],
    [
      'TCP://ESX1.Example.Org:23/',
      'dial',
      'plain',
      { scheme: 'tcp', host: 'esx1.example.org', tcpPort: 23, tls: null, vm: null },
    ],
    ['tcp://[::1]:13370', 'listen', 'plain', { scheme: 'tcp', host: '::1', tcpPort: 13370, tls: null, vm: null }],
    [
      'tcp://[fe80::1%25eth0]:1',
      'dial',
      'plain',
      { scheme: 'tcp', host: 'fe80::1%eth0', tcpPort: 1, tls: null, vm: null },
    ],
    [
      'tcp://[::ffff:10.0.0.7]:1',
      'dial',
      'plain',
      { scheme: 'tcp', host: '::ffff:10.0.0.7', tcpPort: 1, tls: null, vm: null },
    ],
    [
      'tcp://esx1:2001?protocol=raw&name=vm1&label=com2',
      'dial',
      'vm',
      { scheme: 'tcp', host: 'esx1', tcpPort: 2001, tls: null, vm: { protocol: 'raw', name: 'vm1', label: 'com2' } },
    ],
    [
      'tcp://127.0.0.1:1?name=My%20VM%20%26%20co%2B%3D%23',
      'listen',
      'vm',
      { scheme: 'tcp', host: '127.0.0.1', tcpPort: 1, tls: null, vm: { ...VM, name: 'My VM & co+=#' } },
    ],
    [
      'tcp://127.0.0.1:1?cert=/a.crt&key=b.key&tlsMin=1.0',
      'listen',
      'vm',
      {
        scheme: 'tcp',
        host: '127.0.0.1',
        tcpPort: 1,
        tls: { ...TLS, cert: '/a.crt', key: 'b.key', tlsMin: '1.0' },
        vm: VM,
      },
    ],
    [
      'tls://0.0.0.0:1?cert=/a&key=/b',
      'listen',
      'plain',
      { scheme: 'tls', host: '0.0.0.0', tcpPort: 1, tls: { ...TLS, cert: '/a', key: '/b' }, vm: null },
    ],
    ['tls://h:1', 'dial', 'plain', { scheme: 'tls', host: 'h', tcpPort: 1, tls: TLS, vm: null }],
    [
      `tls://h:1?ca=/ca&pin=SHA256:${HASH.toUpperCase()}&servername=Vc.Example`,
      'dial',
      'vm',
      { scheme: 'tls', host: 'h', tcpPort: 1, tls: { ...TLS, ca: '/ca', pin: HASH, servername: 'vc.example' }, vm: VM },
    ],
    [
      `tls://h:1?pin=sha256:${HASH.replace(/..(?!$)/g, '$&:')}`,
      'dial',
      'plain',
      { scheme: 'tls', host: 'h', tcpPort: 1, tls: { ...TLS, pin: HASH }, vm: null },
    ],
    [
      'unix:///run/vspc/a%20b.sock',
      'dial',
      'plain',
      { scheme: 'unix', path: '/run/vspc/a b.sock', tls: null, vm: null },
    ],
    ['fifo:///run/vm1', 'dial', 'vm', { scheme: 'fifo', path: '/run/vm1', vm: VM }],
    ['fifo:///run/vm1?mode=0660', 'listen', 'plain', { scheme: 'fifo', path: '/run/vm1', vm: null, mode: 0o660 }],
    ['vsock://any:13370', 'listen', 'vm', { scheme: 'vsock', cid: 'any', vsockPort: 13370, vm: VM }],
    [
      'vsock://4294967294:4294967294',
      'dial',
      'plain',
      { scheme: 'vsock', cid: 4294967294, vsockPort: 4294967294, vm: null },
    ],
    [
      'hvsock:///run/ch:1.sock:52',
      'dial',
      'plain',
      { scheme: 'hvsock', path: '/run/ch:1.sock', vsockPort: 52, vm: null },
    ],
  ]
  test.each(cases)('%s (%s, %s)', (text, role, use, endpoint) => {
    const layers = endpoint.scheme === 'fifo' ? {} : { layers: NO_LAYERS }
    expect(parseEndpoint(text, role, use)).toEqual({ ...layers, ...endpoint })
  })
})

describe('refused, and the message says why and what to do', () => {
  const cases: [text: string, role: EndpointRole, use: EndpointUse, code: string, wrong: RegExp][] = [
    ['', 'listen', 'vm', 'SYNTAX', /is empty; write one of tcp:\/\/HOST:PORT/],
    ['127.0.0.1:13370', 'listen', 'vm', 'SYNTAX', /no scheme; did you mean tcp:\/\/127.0.0.1:13370\?/],
    ['/run/x.sock', 'listen', 'vm', 'SYNTAX', /no scheme; did you mean unix:\/\/\/run\/x.sock\?/],
    ['tcp:127.0.0.1:1', 'listen', 'vm', 'SYNTAX', /"tcp:" is followed by two slashes/],
    ['somewhere', 'dial', 'vm', 'SYNTAX', /no scheme; write one of/],
    ['://h:1', 'dial', 'vm', 'SCHEME', /nothing stands before/],
    ['tcpp://h:1', 'dial', 'vm', 'SCHEME', /"tcpp" is not known; accepted are .*did you mean tcp:\/\/\?/],
    ['telnet://h:1', 'listen', 'vm', 'SCHEME', /use tcp:\/\/ .*protocol=telnet/],
    ['telnets://h:1', 'listen', 'vm', 'SCHEME', /use tls:\/\//],
    ['gopher://h:1', 'dial', 'vm', 'SCHEME', /"gopher" is not known; accepted are/],
    ['tcp://h', 'dial', 'vm', 'PORT', /port is missing; write it after the host, as in tcp:\/\/h:13370/],
    ['tcp://h:', 'dial', 'vm', 'PORT', /port is missing/],
    ['tcp://h:telnet', 'dial', 'vm', 'PORT', /port "telnet" is not a number; accepted is 1 to 65535/],
    ['tcp://h:65536', 'dial', 'vm', 'PORT', /port 65536 is out of range; accepted is 1 to 65535/],
    ['tcp://h:99999999999999999999', 'dial', 'vm', 'PORT', /out of range/],
    ['tcp://h:-1', 'dial', 'vm', 'PORT', /"-1" is not a number/],
    ['tcp://h:0', 'dial', 'vm', 'PORT', /port 0 means "any free one", which cannot be dialled/],
    ['tcp://:1', 'listen', 'vm', 'SYNTAX', /host is missing; .*0\.0\.0\.0 or \[::\]/],
    ['tcp://*:1', 'listen', 'vm', 'SYNTAX', /"\*" is not a host; every address is 0\.0\.0\.0/],
    ['tcp://:1', 'dial', 'vm', 'SYNTAX', /host is missing; write a name or address/],
    ['tcp://::1:13370', 'listen', 'vm', 'SYNTAX', /too many colons.*\[::1\]/],
    ['tcp://[::1:13370', 'listen', 'vm', 'SYNTAX', /bracket .* is not closed/],
    ['tcp://[localhost]:1', 'listen', 'vm', 'SYNTAX', /is not an IPv6 address/],
    ['tcp://[1.2.3.4]:1', 'listen', 'vm', 'SYNTAX', /is not an IPv6 address/],
    ['tcp://256.0.0.1:1', 'listen', 'vm', 'SYNTAX', /"256.0.0.1" is neither a host name nor an address/],
    ['tcp://10.1:1', 'dial', 'vm', 'SYNTAX', /"10.1" is neither/],
    ['tcp://-h-:1', 'dial', 'vm', 'SYNTAX', /neither a host name/],
    ['tcp://h:1/path', 'dial', 'vm', 'SYNTAX', /a path follows the port/],
    ['tcp://h:1#verify', 'dial', 'vm', 'SYNTAX', /fragment/],
    ['tcp://me@h:1', 'dial', 'vm', 'SYNTAX', /user information/],
    ['tcp://h:1 ', 'dial', 'vm', 'SYNTAX', /space or control character; write a space as %20/],
    ['tcp://h:1?\ud800', 'dial', 'vm', 'SYNTAX', /control character/],
    [
      'tcp://h:1?protcol=raw',
      'dial',
      'vm',
      'PARAMETER',
      /"protcol" is not known; accepted here: protocol, name, label, resume; did you mean protocol\?/,
    ],
    ['tcp://h:1?x=1', 'dial', 'plain', 'PARAMETER', /"x" is not known; none are accepted here/],
    [
      'tcp://h:1?protocol=telnets',
      'dial',
      'vm',
      'PARAMETER',
      /protocol "telnets" is not known; accepted are vmware, telnet, raw; did you mean telnet\?/,
    ],
    ['tcp://h:1?name=a&name=b', 'dial', 'vm', 'PARAMETER', /name is given twice/],
    ['tcp://h:1?name=', 'dial', 'vm', 'PARAMETER', /name has no value/],
    ['tcp://h:1?name', 'dial', 'vm', 'PARAMETER', /name has no value/],
    ['tcp://h:1?name=a&', 'dial', 'vm', 'PARAMETER', /a parameter has no name/],
    ['tcp://h:1?name=%zz', 'dial', 'vm', 'SYNTAX', /broken percent escape/],
    ['tcp://h:1?name=%ff', 'dial', 'vm', 'SYNTAX', /broken percent escape/],
    ['tcp://h:1?name=a%0ab', 'dial', 'vm', 'PARAMETER', /control character/],
    ['tcp://h:1?name=%20a', 'dial', 'vm', 'PARAMETER', /not a usable VM name/],
    [`tcp://h:1?name=${'a'.repeat(256)}`, 'dial', 'vm', 'PARAMETER', /1 to 255 visible characters/],
    ['tcp://h:1?label=a/b', 'dial', 'vm', 'PARAMETER', /label "a\/b" is not usable; accepted are 1 to 64/],
    [`tcp://h:1?label=${'a'.repeat(65)}`, 'dial', 'vm', 'PARAMETER', /1 to 64/],
    ['tcp://h:1?name=vm1', 'listen', 'plain', 'ROLE', /name makes no sense here: it describes a virtual serial port/],
    ['tcp://h:1?cert=/a&key=/b', 'dial', 'vm', 'ROLE', /TLS has its own scheme, tls:\/\//],
    ['tcp://h:1?cert=/a&key=/b', 'listen', 'plain', 'ROLE', /TLS has its own scheme, tls:\/\//],
    ['tcp://h:1?pin=sha256:00', 'listen', 'vm', 'ROLE', /pin makes no sense here/],
    [
      'tls://h:1?cert=/a&key=/b&servername=x',
      'listen',
      'vm',
      'ROLE',
      /servername makes no sense here: it is for dialling/,
    ],
    ['unix:///s?mode=rw', 'listen', 'relay', 'PARAMETER', /mode "rw" is not usable; accepted are .* such as 660/],
    ['unix:///s?mode=660', 'dial', 'relay', 'ROLE', /mode makes no sense here: it is for what a listener creates/],
    ['tcp://h:1?proxy=v2', 'dial', 'vm', 'ROLE', /proxy makes no sense here: only relays send it/],
    ['tcp://h:1?resume=on', 'dial', 'plain', 'ROLE', /resume makes no sense here/],
    ['fifo:///run/vm1?proxy=v2', 'listen', 'relay', 'ROLE', /proxy makes no sense here: pipes have no connections/],
    ['tcp://h:1?resume=yes', 'dial', 'relay', 'PARAMETER', /resume "yes" is not known; accepted are off, on/],
    ['tcp://h:1?protocol=raw', 'dial', 'relay', 'ROLE', /protocol makes no sense here: a relay does not look/],
    ['vsock://any:1?cert=/a', 'listen', 'vm', 'ROLE', /vsock:\/\/ has no TLS/],
    ['tcp://h:1?cert=/a', 'listen', 'vm', 'PARAMETER', /key is missing; cert=FILE and key=FILE go together/],
    ['tcp://h:1?key=/a', 'listen', 'vm', 'PARAMETER', /cert is missing/],
    ['tcp://h:1?tlsMin=1.2', 'listen', 'vm', 'PARAMETER', /needs a certificate and its key/],
    [
      'tls://h:1',
      'listen',
      'vm',
      'PARAMETER',
      /a TLS listener needs a certificate and its key; add cert=FILE&key=FILE/,
    ],
    ['tls://h:1?tlsMin=1.4', 'dial', 'vm', 'PARAMETER', /tlsMin "1.4" is not known; accepted are 1.0, 1.1, 1.2, 1.3/],
    ['tls://h:1?pin=00', 'dial', 'vm', 'PARAMETER', /pin "00" is not a fingerprint; accepted is sha256:/],
    ['tls://h:1?servername=1.2.3.4', 'dial', 'vm', 'PARAMETER', /servername "1.2.3.4" is not a host name/],
    ['unix://', 'listen', 'vm', 'SYNTAX', /path is missing/],
    [
      'unix://run/x.sock',
      'listen',
      'vm',
      'SYNTAX',
      /"run\/x.sock" is not an absolute path; write three slashes .* unix:\/\/\/run\/x.sock/,
    ],
    ['unix://./x.sock', 'listen', 'vm', 'SYNTAX', /not an absolute path/],
    ['unix:///run/', 'listen', 'vm', 'SYNTAX', /names a directory/],
    ['unix:///a%00b', 'listen', 'vm', 'SYNTAX', /NUL/],
    [`unix:///${'a'.repeat(107)}`, 'listen', 'vm', 'SYNTAX', /the path has 108 bytes; the system takes at most 107/],
    [`unix:///${'%C3%A4'.repeat(54)}`, 'listen', 'vm', 'SYNTAX', /the path has 109 bytes/],
    ['fifo://x', 'dial', 'vm', 'SYNTAX', /not an absolute path/],
    ['vsock://:1', 'dial', 'vm', 'SYNTAX', /CID is missing/],
    ['vsock://3', 'dial', 'vm', 'PORT', /port is missing/],
    ['vsock://hostt:1', 'dial', 'vm', 'SYNTAX', /"hostt" is not a CID; .*did you mean host\?/],
    ['vsock://4294967295:1', 'dial', 'vm', 'SYNTAX', /not a CID/],
    ['vsock://any:1', 'dial', 'vm', 'ROLE', /CID "any" cannot be dialled/],
    ['hvsock:///run/x', 'dial', 'vm', 'PORT', /port is missing; write hvsock:\/\/\/PATH:PORT/],
  ]
  test.each(cases)('%j (%s, %s): %s', (text, role, use, code, wrong) => {
    const error = refused(text, role, use)
    expect(error.code).toBe(`VSPC_ENDPOINT_${code}`)
    expect(error.message).toMatch(wrong)
  })

  test('the longest path a socket takes is accepted', () => {
    const path = `/${'a'.repeat(106)}`
    expect(parseEndpoint(`unix://${path}`, 'listen', 'vm')).toMatchObject({ path })
  })

  test('a password in the URI is not repeated', () => {
    const { message } = refused('tcp://admin:hunter2@h:1', 'dial', 'vm')
    expect(message).toContain('tcp://...@h:1')
    expect(message).not.toContain('hunter2')
  })

  test('control characters are not repeated either', () => {
    expect(refused('tcp://h\u001b[31m:1', 'dial', 'vm').message).not.toContain('\u001b')
  })
})

describe('properties', () => {
  const label = fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/)
  const name = fc.stringMatching(/^[!-~äöü€]{1,20}( [!-~äöü€]{1,20})?$/)
  const file = fc.stringMatching(/^[ -~äöü€]{1,40}$/)
  const host = fc.oneof(
    fc.ipV4(),
    fc.constantFrom('localhost', 'esx-1.example.org', '::1', 'fe80::1%eth0', '2001:db8::7', '::ffff:10.0.0.7'),
  )
  const path = fc.stringMatching(/^\/[ -~äöü€]{0,20}[!-.0-~]$/)
  const vm = fc.record({
    protocol: fc.constantFrom(...VM_PROTOCOLS),
    name: fc.option(name),
    label: fc.option(label),
  })
  const named = fc
    .record({ protocol: fc.constant(null), name: fc.option(name), label: fc.option(label) })
    .filter((who) => who.name !== null || who.label !== null)
  const tlsMin = fc.constantFrom(...TLS_VERSIONS)
  const besideTls = fc.record({ cert: file, key: file, tlsMin }).map((tls) => ({ ...TLS, ...tls }))
  const pin = fc.option(fc.stringMatching(/^[0-9a-f]{64}$/))
  const serverTls = fc
    .record({ cert: file, key: file, ca: fc.option(file), pin, tlsMin })
    .map((tls) => ({ ...TLS, ...tls }))
  const clientTls = fc
    .record({
      pair: fc.option(fc.record({ cert: file, key: file })),
      ca: fc.option(file),
      pin,
      servername: fc.option(fc.constantFrom('vcenter', 'a.b')),
      tlsMin,
    })
    .map(({ pair, ...tls }) => ({ ...TLS, ...pair, ...tls }))
  const anyEndpoint = fc
    .tuple(fc.constantFrom<EndpointRole>('listen', 'dial'), fc.constantFrom<EndpointUse>('vm', 'relay', 'plain'))
    .chain(([role, use]) => {
      const vmHere = use === 'vm' ? vm : use === 'relay' ? fc.option(named) : fc.constant(null)
      const header = use === 'relay' || (use === 'vm' && role === 'listen')
      const layers = fc.record({
        proxy: header ? fc.constantFrom('off', 'v2') : fc.constant('off'),
        resume: use === 'plain' ? fc.constant('off') : fc.constantFrom('off', 'on'),
      })
      const lowest = role === 'listen' ? 0 : 1
      const tcpPort = fc.integer({ min: lowest, max: 65_535 })
      const vsockPort = fc.integer({ min: lowest, max: 0xffff_fffe })
      const mode =
        role === 'listen'
          ? fc.option(fc.record({ mode: fc.integer({ min: 0, max: 0o777 }) }), { nil: {} })
          : fc.constant({})
      const beside = role === 'listen' && use === 'vm' ? fc.option(besideTls) : fc.constant(null)
      const cid = fc.oneof(
        fc.integer({ min: 0, max: 0xffff_fffe }),
        role === 'listen' ? fc.constantFrom('any', 'host', 'local') : fc.constantFrom('host', 'local'),
      )
      const endpoint = fc.oneof(
        fc.record({ scheme: fc.constant('tcp'), host, tcpPort, tls: beside, vm: vmHere, layers }),
        fc.record({
          scheme: fc.constant('tls'),
          host,
          tcpPort,
          tls: role === 'listen' ? serverTls : clientTls,
          vm: vmHere,
          layers,
        }),
        fc
          .record({ scheme: fc.constant('unix'), path, tls: beside, vm: vmHere, layers, mode })
          .map(({ mode, ...rest }) => ({ ...rest, ...mode })),
        fc.record({ scheme: fc.constant('fifo'), path, vm: vmHere }),
        fc.record({ scheme: fc.constant('vsock'), cid, vsockPort, vm: vmHere, layers }),
        fc.record({ scheme: fc.constant('hvsock'), path, vsockPort, vm: vmHere, layers }),
      )
      return fc.record({ role: fc.constant(role), use: fc.constant(use), endpoint: endpoint as fc.Arbitrary<Endpoint> })
    })

  test('parse of format gives the same endpoint', () => {
    fc.assert(
      fc.property(anyEndpoint, ({ role, use, endpoint }) => {
        expect(parseEndpoint(formatEndpoint(endpoint), role, use)).toEqual(endpoint)
      }),
    )
  })

  test('any text is an endpoint or a coded error', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc
        .array(
          fc.constantFrom(
            'tcp',
            'tls',
            'unix',
            '://',
            ':',
            '/',
            '?',
            '&',
            '=',
            'name',
            '[',
            ']',
            '%',
            '1',
            'h',
            '@',
            '#',
            '*',
          ),
        )
        .map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(
        text,
        fc.constantFrom<EndpointRole>('listen', 'dial'),
        fc.constantFrom<EndpointUse>('vm', 'plain'),
        (uri, role, use) => {
          try {
            parseEndpoint(uri, role, use)
          } catch (error) {
            expect(error).toBeInstanceOf(VspcError)
            expect((error as VspcError).code).toMatch(/^VSPC_ENDPOINT_/)
          }
        },
      ),
    )
  })
})
