/** The transport suite over hybrid vsock: our dial, through a VMM's double, to our listener. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { dial, listen, parseEndpoint } from '../../src/transport/index.ts'
import { VmmDouble } from './hvsock-double.ts'
import { SCENARIOS, type SuiteTransport } from './suite.ts'
import { LISTEN } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'vspc-hvsock-'))
const path = join(folder, 'v.sock')
let vmm: VmmDouble
let vsockPort = 1024

beforeAll(async () => {
  vmm = await VmmDouble.start(path)
  vmm.hairpin()
})
afterAll(async () => {
  await vmm.close()
  rmSync(folder, { recursive: true })
})

const hvsock: SuiteTransport = {
  name: 'hvsock',
  listen: (handlers) => listen(parseEndpoint(`hvsock://${path}:${++vsockPort}`, 'listen', 'plain'), handlers, LISTEN),
  dial: ({ endpoint }, options) => dial(endpoint, options),
  peers: { dialled: /^hvsock:\/.*v\.sock:\d+$/, accepted: /^hvsock:\/.*v\.sock:\d+$/ },
  nobody: { code: 'VSPC_TRANSPORT_DIAL', message: /the guest does not listen on port \d+, or is not there/ },
  inUse: /hvsock:.*: a program listens on this socket already/,
  readsAhead: true,
  crowd: 150,
}

describe('hvsock', () => {
  for (const { name, run } of SCENARIOS) test(name, () => run(hvsock))
})
