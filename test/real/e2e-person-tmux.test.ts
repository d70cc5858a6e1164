import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { VSPC_BIN } from '../support/cli.ts'
import { describeWithPeers, GUEST_PEERS, peerPath } from '../support/peers.ts'
import { Tmux } from '../support/tmux.ts'
import type { ServeProcess } from './support.ts'
import { guestOf, serveTelnet } from './support-person.ts'

interface Way {
  readonly name: string
  command(server: ServeProcess): Promise<string>
  leave(tmux: Tmux): Promise<void>
}

const WAYS: readonly Way[] = [
  {
    name: 'vspc attach',
    command: async () => `${process.execPath} ${VSPC_BIN} attach vm1`,
    leave: async (tmux) => {
      await tmux.press('C-]')
      await tmux.type('.')
    },
  },
  {
    name: 'telnet',
    command: async (server) => `${peerPath('telnet')} 127.0.0.1 ${(await server.port('vm1')).telnetPort}`,
    leave: async (tmux) => {
      await tmux.press('C-]')
      await tmux.sees('telnet>')
      await tmux.enter('quit')
    },
  },
]

// A terminal emulator makes bytes of keys and a picture of bytes: neither is ours.
describeWithPeers([...GUEST_PEERS, 'telnet', 'tmux'], 'a person in tmux, and a real guest', () => {
  test.each(WAYS)(
    '$name: keys in a shell and in vi, what they draw, another window size, and the way back',
    async (way) => {
      const server = await serveTelnet()
      await guestOf(server)
      const tmux = await Tmux.start(server.env)
      onTestFinished(() => tmux.stop())
      const [before, after] = [join(tmux.folder, 'before'), join(tmux.folder, 'after')]
      await tmux.enter(`clear; stty -g >${before}; ${await way.command(server)}; stty -g >${after}; echo is ba""ck`)
      await tmux.sees('[vspc] ')
      await tmux.press('Enter')
      await tmux.shows((rows) => rows.filter((row) => row !== '').at(-1) === 'vm#')

      await tmux.enter('clear; echo one-$((20 + 3))')
      await tmux.sees('one-23')
      await tmux.press('Up', 'Left', 'Left', '4', 'Enter')
      await tmux.sees('one-54')
      await tmux.enter('clear; counter 1000000000 10000')
      await tmux.shows((rows) => rows.includes('10'))
      await tmux.press('C-c')
      await tmux.shows(
        (rows) =>
          rows
            .filter((row) => row !== '')
            .at(-1)
            ?.endsWith('vm#') === true,
      )
      await tmux.enter('clear; stty -echo; cat')
      await tmux.enter('grüße, 日本語 ”')
      await tmux.sees('grüße, 日本語 ”')
      await tmux.press('C-d')
      await tmux.enter('stty echo rows 24 columns 80; vi /tmp/file')
      await tmux.shows((rows) => rows[1] === '~' && rows[23]?.includes('/tmp/file') === true)

      await tmux.enter('ifirst')
      await tmux.enter('second')
      await tmux.type('third')
      await tmux.press('Escape')
      await tmux.shows((rows) => rows[2] === 'third' && rows[23]?.startsWith('- ') === true)
      await tmux.press('Up', 'Up', 'Down', 'Home')
      await tmux.type('ithe ')
      await tmux.press('Escape')
      const drawn = await tmux.shows((rows) => rows[1] === 'the second' && rows[23]?.startsWith('- ') === true)
      expect(drawn.slice(0, 4)).toEqual(['first', 'the second', 'third', '~'])
      // The guest does not hear of it; what it draws is still in its place.
      await tmux.resize(30, 100)
      await tmux.press('C-l')
      const larger = await tmux.shows((rows) => rows.length === 30 && rows[23]?.startsWith('- ') === true)
      expect(larger.slice(0, 4)).toEqual(drawn.slice(0, 4))
      await tmux.type(':wq')
      await tmux.press('Enter')
      await tmux.enter('clear; xxd -p /tmp/file')
      await tmux.sees(Buffer.from('first\nthe second\nthird\n').toString('hex'))

      await tmux.enter('clear; seq 1000 | less -M')
      await tmux.shows((rows) => rows[0] === '1' && rows[22] === '23')
      await tmux.press('Down')
      await tmux.shows((rows) => rows[0] === '2' && rows[22] === '24')
      await tmux.press('NPage')
      await tmux.shows((rows) => rows[0] === '25')
      await tmux.type('q')
      await tmux.enter('clear; echo d""one')
      await tmux.sees('done')
      await way.leave(tmux)
      await tmux.sees('is back')
      expect(readFileSync(after, 'utf8')).toBe(readFileSync(before, 'utf8'))
    },
  )
})
