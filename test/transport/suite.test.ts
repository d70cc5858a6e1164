/** The transport suite, for what needs no kernel of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { dial, listen, parseEndpoint, parseTrustedSources } from '../../src/transport/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { SCENARIOS, type SuiteTransport } from './suite.ts'
import { LISTEN } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'vspc-suite-'))
afterAll(() => rmSync(folder, { recursive: true }))
let sockets = 0

const tcp: SuiteTransport = {
  name: 'tcp',
  listen: (handlers) => listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'plain'), handlers, LISTEN),
  dial: ({ endpoint }, options) => dial(endpoint, options),
  peers: { dialled: /^127\.0\.0\.1:\d+$/, accepted: /^127\.0\.0\.1:\d+$/ },
  nobody: { code: 'VSPC_TRANSPORT_DIAL', message: /refused; nothing listens there/ },
  inUse: /the address is in use/,
  readsAhead: true,
  crowd: 150,
}

const unix: SuiteTransport = {
  ...tcp,
  name: 'unix',
  listen: (handlers) =>
    listen(parseEndpoint(`unix://${join(folder, `${++sockets}.sock`)}`, 'listen', 'plain'), handlers, LISTEN),
  peers: { dialled: /^unix:\/.*\.sock$/, accepted: /^unix:\/.*\.sock$/ },
  nobody: { code: 'VSPC_TRANSPORT_DIAL', message: /there is no such socket/ },
  inUse: /a program listens on this socket already/,
}

/** Both ends of a URI's parameters, over TCP. */
function layered(name: string, parameters: string): SuiteTransport {
  const trusted = parseTrustedSources(['127.0.0.0/8'])
  return {
    ...tcp,
    name,
    readsAhead: !parameters.includes('resume'),
    listen: (handlers) =>
      listen(parseEndpoint(`tcp://127.0.0.1:0?${parameters}`, 'listen', 'relay'), handlers, { ...LISTEN, trusted }),
    listenAgain: ({ endpoint }, handlers) => listen(endpoint, handlers, { ...LISTEN, trusted }),
    dial: ({ endpoint }, options) => dial(endpoint, options),
  }
}

const withHeader = layered('tcp with a PROXY header', 'proxy=v2')
const resumable = layered('tcp, resumable', 'resume=on')
const both = layered('tcp with a PROXY header, resumable', 'proxy=v2&resume=on')

for (const transport of [tcp, unix, withHeader, resumable, both]) {
  describe(transport.name, () => {
    for (const { name, run } of SCENARIOS) test(name, () => run(transport))
  })
}

describe('tls', () => {
  let certificates: TestCertificates
  let files: CertificateFiles
  beforeAll(async () => {
    certificates = await TestCertificates.create()
    files = await certificates.selfSigned('suite')
  })
  afterAll(() => certificates.remove())
  const own = () => `cert=${files.cert}&key=${files.key}&pin=sha256:${files.sha256}`
  const tls: SuiteTransport = {
    ...tcp,
    name: 'tls',
    listen: (handlers) => listen(parseEndpoint(`tls://127.0.0.1:0?${own()}`, 'listen', 'plain'), handlers, LISTEN),
    dial: ({ endpoint }, options) =>
      dial(
        parseEndpoint(`tls://127.0.0.1:${'tcpPort' in endpoint ? endpoint.tcpPort : 0}?${own()}`, 'dial', 'plain'),
        options,
      ),
  }
  for (const { name, run } of SCENARIOS) test(name, () => run(tls))
})
