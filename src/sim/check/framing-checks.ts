/** Framing and escaping: any cut, any byte, any stray command. */
import { findBytes } from '../byte-log.ts'
import { IAC, OPTION, SB, SE, SUB } from '../codes.ts'
import type { SimConnectionOptions } from '../sim-connection.ts'
import { toBytes } from '../wire.ts'
import type { Check } from './check.ts'
import { dataLength, judgeEscaping, subs } from './judge-wire.ts'
import { firstLine, verdict } from './verdict.ts'

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte)

const allBytes: Check = {
  id: 'C14',
  name: 'no-echo',
  title: 'output of all 256 byte values is taken, and not echoed back to the VM',
  async run(stage) {
    const connection = await stage.attach()
    await stage.settle(connection)
    const text = toBytes('no echo please: ')
    for (let n = 0; n < 4; n++) {
      connection.data(text)
      connection.data(ALL_BYTES)
    }
    const faults = await stage.usable(connection)
    if (findBytes(connection.recorded.received.bytes, text) >= 0) faults.push("the VM's output comes back as its input")
    return verdict(faults, '1,088 bytes printed, none came back')
  },
}

/** Long enough for every frame of the handshake, the longest of which is VM-VC-UUID with 53 bytes. */
const LONGEST_FRAME = 56

const splits: Check = {
  id: 'C1',
  name: 'split-writes',
  title: 'handshake and BEGIN work with every write cut in two at every offset, and byte by byte',
  async run(stage) {
    const faults: string[] = []
    const cuts: SimConnectionOptions['split'][] = ['bytes', 'glue']
    for (let at = 1; at < LONGEST_FRAME; at++) cuts.push({ at })
    const waiting = cuts.values()
    const workers = Array.from({ length: 8 }, async () => {
      for (const split of waiting) {
        const where = typeof split === 'object' && 'at' in split ? `cut after ${split.at} bytes` : String(split)
        try {
          const connection = await stage.attach({ split })
          faults.push(...(await stage.usable(connection)).map((fault) => `${where}: ${fault}`))
        } catch (error) {
          faults.push(`${where}: ${firstLine(error)}`)
        }
      }
    })
    await Promise.all(workers)
    return verdict(faults, `${cuts.length} connections`, { connections: cuts.length })
  },
}

const STRAYS: readonly [string, readonly number[]][] = [
  ['a stray SE', [IAC, SE]],
  ['NOP', [IAC, 241]],
  ['GA', [IAC, 249]],
  ['undefined commands', [IAC, 0, IAC, 100, IAC, 239]],
  ['an empty suboption', [IAC, SB, IAC, SE]],
  ['a suboption of a foreign option', [IAC, SB, 24, 1, IAC, SE]],
  ['IAC NOP inside a suboption', [IAC, SB, OPTION.VMWARE, 99, 1, IAC, 241, 2]],
  ['an empty suboption of 232', [IAC, SB, OPTION.VMWARE, IAC, SE]],
]

const strays: Check = {
  id: 'C4',
  name: 'stray-commands',
  title: 'stray and undefined commands, empty and foreign suboptions, IAC x inside SB: the connection survives',
  async run(stage) {
    const faults: string[] = []
    for (const [what, bytes] of STRAYS) {
      const connection = await stage.attach()
      connection.data('before ')
      connection.sendRaw(Uint8Array.from(bytes))
      connection.data(' behind')
      faults.push(...(await stage.usable(connection)).map((fault) => `${what}: ${fault}`))
    }
    return verdict(faults, `${STRAYS.length} kinds`)
  },
}

const MIB = 1 << 20

const oversize: Check = {
  id: 'C5',
  name: 'suboption-1-mib',
  title: 'a suboption of 1 MiB is survived',
  async run(stage) {
    const connection = await stage.attach()
    const began = stage.settings.clock.now()
    connection.sendRaw(Uint8Array.of(IAC, SB, OPTION.VMWARE, SUB.VM_NAME))
    const part = new Uint8Array(1 << 16).fill(0x41)
    for (let sent = 0; sent < MIB; sent += part.length) connection.sendRaw(part)
    connection.sendRaw(Uint8Array.of(IAC, SE))
    const faults = await stage.usable(connection)
    const ms = stage.settings.clock.now() - began
    return verdict(faults, `in use again after ${ms.toFixed(0)} ms`, { recoveredMs: ms })
  },
}

const early: Check = {
  id: 'C21',
  name: 'early-data-survived',
  title: 'serial data before the port is announced do not end the connection',
  async run(stage) {
    const connection = await stage.attach({ handler: { opened: (each) => void each.data('early \xff output\r\n') } })
    return verdict(await stage.usable(connection), 'survived')
  },
}

const escaping: Check = {
  id: 'C2',
  name: 'escaping',
  title: 'sequences of 1, 4 and 16 bytes with 0xFF, 0xF0 and 0x00 come back unharmed in GOAHEAD and PEER-OK',
  async run(stage) {
    const faults: string[] = []
    for (const sequence of AWKWARD_SEQUENCES) {
      const length = `${sequence.length}-byte sequence`
      const { identity } = stage.someone()
      const source = await stage.attach({ identity })
      const { faults: begun, secret, items: said } = await stage.begin(source, sequence)
      faults.push(...[...judgeEscaping(said), ...begun].map((fault) => `${length}: ${fault}`))
      if (secret === null) continue
      const { items } = await stage.peer(stage.cookie(sequence, secret), { identity })
      const [answer] = subs(items, SUB.VMOTION_PEER_OK)
      const echoed = answer && Buffer.compare(answer.payload.subarray(0, sequence.length), sequence) === 0
      if (!echoed) faults.push(`${length}: ${answer ? 'PEER-OK does not echo it' : 'no PEER-OK'}`)
      faults.push(...judgeEscaping(items).map((fault) => `${length}: ${fault}`))
      if (dataLength(items) > 0) faults.push(`${length}: ${dataLength(items)} bytes of a suboption arrive as input`)
    }
    const { escapingFaults, made } = await stage.migrations()
    return verdict([...faults, ...escapingFaults], `and the secrets of ${made} migrations`, {
      migrations: made,
    })
  },
}

const AWKWARD_SEQUENCES: readonly Uint8Array[] = [
  Uint8Array.of(0xff),
  Uint8Array.of(0x76, 0x19, 0xff, 0xe9),
  Uint8Array.of(0xff, 0xf0, 0x00, 0xff),
  Uint8Array.of(0xff, 0xff, 0xf0, 0x00, 0xff, 0xfa, 0xe8, 0x29, 0x00, 0x00, 0xf0, 0xff, 0x0d, 0x0a, 0x11, 0xff),
]

export const FRAMING_CHECKS: readonly Check[] = [splits, escaping, allBytes, strays, oversize, early]
