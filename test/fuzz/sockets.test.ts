/** The same scripts as in memory, over real sockets: what the system cuts, glues, reorders and delays as it likes. */
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/base/index.ts'
import { VmSession } from '../../src/vspc/vm-session.ts'
import { testServer } from '../vspc/support.ts'
import { MemorySocket, PLAIN_ENTRY, turn } from '../vspc/vm-peer.ts'
import { campaign } from './campaign.ts'
import { heldBytesAfter } from './held-bytes.ts'
import { HELLO, introduction, suboption } from './hostile.ts'
import { formatAct, generateScript } from './session-script.ts'
import { SessionWorld } from './session-world.ts'
import { socketGround } from './socket-ground.ts'

campaign('over sockets: hostile hosts cost a healthy VM nothing, and leave nothing behind', 6, async (random) => {
  const acts = generateScript(random)
  const ground = await socketGround()
  try {
    const faults = await new SessionWorld(ground).run(acts)
    const { counters, connections } = ground.server
    expect(counters.connectionsAccepted - counters.connectionsClosed).toBe(connections)
    if (faults.length === 0) return
    // What depends on the moment cannot be shrunk by running it again: the whole of it.
    const page = acts.map(formatAct).map((line) => line.slice(0, 2_000))
    throw new Error([...faults.map((fault) => fault.slice(0, 500)), 'as a page:', ...page].join('\n'))
  } finally {
    await ground.stop()
  }
})

/** What one hostile connection may say that is kept. */
const GREEDY: readonly (readonly [what: string, bytes: readonly number[], maxBytes: number])[] = [
  ['a subnegotiation that never ends', [...HELLO, 0xff, 0xfa, 232, ...new Array<number>(1 << 18).fill(7)], 8_192],
  ['data before the port is known', [...HELLO, ...new Array<number>(1 << 18).fill(7)], 2 * 65_536 + 16_384],
  ['single bytes before the port is known', [...HELLO, ...sprinkled(70_000)], 2 * 65_536 + 16_384],
  ['the longest names and lists', [...HELLO, ...long()], 24_576],
  [
    'a port with a long name',
    introduction('fa 11 ed 00 00 00 00 00-00 00 00 00 00 00 00 01', 'vSPC.py', 'n'.repeat(4_000)),
    24_576,
  ],
]

/** Data in runs of one byte, as a decoder sees it: NOPs between them. */
function sprinkled(count: number): number[] {
  return Array.from({ length: count }, () => [0x41, 0xff, 0xf1]).flat()
}

function long(): number[] {
  const codes = [0, 80, 82, 84, 86]
  return Array.from({ length: 20 }, () => codes.flatMap((code) => suboption(code, new Array(4_000).fill(0x61)))).flat()
}

test.each(GREEDY)('%s: what a connection may hold is bounded', { timeout: 60_000 }, async (_, bytes, maxBytes) => {
  // Many: what the engine itself keeps meanwhile is a few hundred KiB.
  const count = 80
  // Log lines are somebody else's to keep.
  const { server } = testServer({}, { log: silentLogger })
  const all = Uint8Array.from(bytes)
  const connections = Array.from({ length: count }, (_, i) => {
    const socket = new MemorySocket(() => {})
    const peer = { address: `10.1.0.${i}`, display: `10.1.0.${i}:1`, transport: 'tcp' as const }
    const session = new VmSession(server, PLAIN_ENTRY, { socket, peer })
    session.start()
    return { socket, session }
  })
  await turn()
  const held = await heldBytesAfter(async () => {
    for (let at = 0; at < all.length; at += 8_192) {
      // A copy for each: the decoder overwrites what it is given.
      for (const { socket } of connections) socket.push(Buffer.from(all.subarray(at, at + 8_192)))
      await turn()
    }
    return connections
  })
  expect(held / count).toBeLessThan(maxBytes)
})
