/** The transport suite, for what needs no kernel of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import { dial, listen, parseEndpoint } from '../../src/transport/index.ts'
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

for (const transport of [tcp, unix]) {
  describe(transport.name, () => {
    for (const { name, run } of SCENARIOS) test(name, () => run(transport))
  })
}
