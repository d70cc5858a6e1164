import { expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS, peerPath } from '../support/peers.ts'
import type { Pty } from '../support/pty.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { everyByte, type ServeProcess } from './support.ts'
import {
  arriving,
  attach,
  ESCAPE,
  editInVi,
  everyByteShown,
  guestOf,
  LISTEN,
  pageThrough,
  quitTelnet,
  serveTelnet,
  telnetAttached,
  workInShell,
} from './support-person.ts'

const ESCAPE_BYTE = 0x1d

interface Way {
  readonly name: string
  /** Of the server's section `telnet`. */
  readonly settings?: object
  open(server: ServeProcess): Promise<Pty>
  /** What typing a byte sends, if not the byte; null: it cannot be typed. */
  readonly odd: { readonly [byte: number]: { readonly typed: number[]; readonly arrives: number[] } | null }
  leave(pty: Pty): Promise<void>
}

const WAYS: readonly Way[] = [
  {
    name: 'vspc attach',
    open: async (server) => {
      const pty = await attach(server)
      pty.write('\r')
      await pty.expect(GUEST_PROMPT)
      return pty
    },
    odd: { [ESCAPE_BYTE]: { typed: [ESCAPE_BYTE, ESCAPE_BYTE], arrives: [ESCAPE_BYTE] } },
    leave: async (pty) => {
      pty.write(`${ESCAPE}.`)
      await pty.expect('[vspc] left vm1\r\n')
    },
  },
  {
    name: 'GNU telnet',
    open: (server) => telnetAttached(server, [peerPath('telnet')]),
    odd: { [ESCAPE_BYTE]: null },
    leave: quitTelnet,
  },
  {
    name: 'GNU telnet without BINARY',
    settings: { binary: false },
    open: (server) => telnetAttached(server, [peerPath('telnet')]),
    // Half of a letter, and the client leaves its console: hence BINARY.
    odd: { [ESCAPE_BYTE]: null, 157: null },
    leave: quitTelnet,
  },
  {
    name: 'busybox telnet, which refuses BINARY',
    open: (server) => telnetAttached(server, [peerPath('busybox'), 'telnet']),
    // LF is Enter to it.
    odd: { [ESCAPE_BYTE]: null, 10: { typed: [0x0a], arrives: [0x0d] } },
    leave: async (pty) => {
      pty.write(ESCAPE)
      await pty.expect('Console escape')
      pty.write('e')
    },
  },
]

// The same work, whatever people come with: the program in a real terminal, the built server, a real guest.
describeWithPeers([...GUEST_PEERS, 'python3', 'telnet'], 'a person at a real guest', () => {
  test.each(WAYS)('$name: shell, every byte both ways, vi, less and top; the terminal is given back', async (way) => {
    const server = await serveTelnet(LISTEN, way.settings)
    await guestOf(server)
    const pty = await way.open(server)
    await workInShell(pty)
    const keys = [...everyByte].map((byte) => {
      const odd = way.odd[byte]
      return odd === undefined ? { typed: [byte], arrives: [byte] } : (odd ?? { typed: [], arrives: [] })
    })
    const typed = Uint8Array.from(keys.flatMap((key) => key.typed))
    const arrives = Buffer.from(keys.flatMap((key) => key.arrives))
    expect(await arriving(pty, typed, arrives.length)).toBe(arrives.toString('hex'))
    expect((await everyByteShown(pty)).toString('hex')).toBe(Buffer.from(everyByte).toString('hex'))
    await editInVi(pty, 'ä')
    await pageThrough(pty)
    await way.leave(pty)
    expect((await pty.exited()).settings).toEqual(pty.settingsBefore)
  })
})
