import { expect, test } from 'vitest'
import { freeRange } from '../app/telnet-support.ts'
import { describeWithPeers, GUEST_PEERS, peerPath } from '../support/peers.ts'
import { Pty } from '../support/pty.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, oneTo, own, type ServeProcess, serve, temporary, WsClient } from './support.ts'
import { movingGuest } from './support-moving.ts'
import { screenOf } from './support-screen.ts'

const ESCAPE = '\x1d'
const UP = '\x1b[A'
const LEFT = '\x1b[D'
const DOWN = '\x1b[B'

// What a person does: the telnet program in a real terminal, the built server, a real guest.
describeWithPeers([...GUEST_PEERS, 'python3', 'telnet'], 'a person with telnet, and a real guest', () => {
  async function guestOf(server: ServeProcess): Promise<void> {
    const events = await Events.of(server)
    await boot({ serial: [`tcp:127.0.0.1:${server.tcpPort()},reconnect=1`] })
    await events.until('vm1', ({ state }) => state === 'online')
    const console = await WsClient.attach(server, 'vm1', 'mode=read&from=0')
    await console.output.until(GUEST_PROMPT)
    console.close()
    await events.next('console-detached')
  }

  async function serveTelnet(...more: string[]): Promise<ServeProcess> {
    return serve(
      ...['--listen', 'tcp://127.0.0.1:0?protocol=raw&name=vm1', ...more],
      ...['--telnet', await freeRange(), '--telnet-menu', '127.0.0.1:0', '--data-dir', temporary()],
    )
  }

  async function telnet(tcpPort: number, ...options: string[]): Promise<Pty> {
    return own(await Pty.start([peerPath('telnet'), ...options, '127.0.0.1', String(tcpPort)]))
  }

  /** At the guest's prompt. */
  async function attached(server: ServeProcess, ...options: string[]): Promise<Pty> {
    const { telnetPort } = await server.port('vm1')
    const pty = await telnet(telnetPort as number, ...options)
    await pty.expect(/\[vspc\] vm1 \(name:vm1\), online on 127\.0\.0\.1; to leave: \^\] then "quit"\r\n/)
    pty.write('\r')
    await pty.expect(GUEST_PROMPT)
    return pty
  }

  test('arrow keys, Ctrl-C, Ctrl-Z, UTF-8 with -8; leaving gives the terminal back', async () => {
    const server = await serveTelnet()
    await guestOf(server)
    const pty = await attached(server, '-8')

    pty.write('echo one-$((20 + 3))\r')
    await pty.expect('one-23\r\n')
    await pty.expect(GUEST_PROMPT)
    pty.write(`${UP}${LEFT}${LEFT}4\r`)
    await pty.expect('one-54\r\n')
    await pty.expect(GUEST_PROMPT)
    pty.write('counter 1000000000 10000\r')
    await pty.expect('\r\n10\r\n')
    pty.write('\x03')
    await pty.expect(GUEST_PROMPT)
    pty.write('sleep 1000\r')
    await pty.expect('1000\r\n')
    pty.write('\x1a')
    await pty.expect('Stopped')
    pty.write('kill %1; stty -echo; cat\r')
    await pty.expect('cat\r\n')
    const text = 'grüße, 日本語, 🙂'
    pty.write(`${text}\r`)
    await pty.expect(`${Buffer.from(text).toString('latin1')}\r\n`)
    pty.write('\x04stty echo\r')
    await pty.expect(GUEST_PROMPT)

    pty.write(ESCAPE)
    await pty.expect('telnet> ')
    pty.write('send ayt\r')
    await pty.expect('[vspc] yes; vm1 is online on 127.0.0.1\r\n')
    pty.write(ESCAPE)
    await pty.expect('telnet> ')
    pty.write('quit\r')
    await pty.expect('Connection closed')
    expect(await pty.exited()).toMatchObject({ code: 0, settings: pty.settingsBefore })
  })

  test.each([
    ['NVT', [] as string[]],
    ['BINARY', ['-8']],
  ])('vi: a file is written and read back (%s)', async (_mode, options) => {
    const server = await serveTelnet()
    await guestOf(server)
    const pty = await attached(server, ...options)
    pty.write('stty rows 24 columns 80; vi /tmp/file\r')
    await pty.expect('\x1b[H\x1b[J')
    const screen = () => screenOf(pty.text.slice(pty.text.lastIndexOf('\x1b[H\x1b[J')))
    const drawn = async (text: string) => {
      while (!screen().some((row) => row.includes(text))) await pty.expect(/[\s\S]+/)
    }
    pty.write('ifirst line\rsecond line\rthird')
    await drawn('third')
    // An ESC of its own, not the beginning of a key.
    pty.write('\x1b')
    await drawn('- /tmp/file')
    pty.write(`${UP}${UP}`)
    pty.write(DOWN)
    pty.write('0ione ')
    await drawn('one second line')
    expect(screen().slice(0, 4)).toEqual(['first line', 'one second line', 'third', '~'])
    pty.write('\x1b')
    await drawn('- /tmp/file')
    pty.write(':wq\r')
    await pty.expect(GUEST_PROMPT)
    pty.write('wc -c </tmp/file\r')
    await pty.expect('\r\n33\r\n')
  })

  test("send brk is a break that the guest's kernel obeys", async () => {
    // As a Telnet client QEMU does not hear a BREAK; as a server it does.
    const guest = await boot({ serial: ['telnet:127.0.0.1:0,server=on,wait=off'] })
    const uri = `tcp://127.0.0.1:${await guest.tcpPort(0)}?protocol=telnet&name=vm1`
    const server = await serveTelnet('--dial', uri)
    const events = await Events.of(server)
    await events.until('vm1', ({ state, telnetPort }) => state === 'online' && telnetPort !== undefined)
    const console = await WsClient.attach(server, 'vm1')
    console.enter('')
    await console.output.until(GUEST_PROMPT)
    console.close()
    const pty = await attached(server)
    pty.write('dmesg -n 8; echo 1 >/proc/sys/kernel/sysrq; echo ready-$((6 * 7))\r')
    await pty.expect(/ready-42\r\nvm# /)
    pty.write(ESCAPE)
    await pty.expect('telnet> ')
    pty.write('send brk\r')
    await pty.expect('\r\n')
    pty.write('h')
    await pty.expect('sysrq: HELP')
    pty.write('echo still-$((6 * 7))\r')
    await pty.expect('still-42')
  })

  test('the menu leads to the same console; after a crash of the server the number is still the same', async () => {
    const server = await serveTelnet()
    await guestOf(server)
    const menu = await telnet(Number(/\d+$/.exec(server.telnetMenu)?.[0]))
    await menu.expect('\r\n 1  vm1  online     127.0.0.1\r\n')
    menu.write('vn\x7fm\r')
    await menu.expect('to leave: ^] then "quit"\r\n')
    menu.write('KEPT=yes; echo menu-$((6 * 7))\r')
    await menu.expect('menu-42\r\n')
    const { telnetPort } = await server.port('vm1')

    const next = await server.crash()
    await menu.expect('Connection closed by foreign host')
    const events = await Events.of(next)
    expect((await events.until('vm1', ({ state }) => state === 'online')).telnetPort).toBe(telnetPort)
    const pty = await attached(next)
    pty.write('echo kept-$KEPT\r')
    await pty.expect('kept-yes')
  })

  test('the guest is moved by simulated hosts: nothing is lost or doubled, and each move is told', async () => {
    const server = await serve(
      ...['--listen', 'tcp://127.0.0.1:0', '--telnet', await freeRange(), '--data-dir', temporary()],
    )
    const { name, events, end } = await movingGuest(server)
    const { telnetPort } = await server.port(name)
    const pty = await telnet(telnetPort as number)
    await pty.expect('to leave: ^] then "quit"\r\n')
    pty.write('clear; counter 300 10000; echo e""nd\r')
    await pty.expect('\x1b[J')
    const from = pty.text.length
    for (let move = 0; move < 2; move++) {
      await events.next('vmotion-complete')
      await pty.expect(/\[vspc\] now on 127\.0\.1\.\d+\r\n/)
      // Typed in the middle: it is for after the counter.
      pty.write(`echo typed-$((${move} + 41))\r`)
    }
    await pty.expect('\r\nend\r\n')
    await pty.expect('typed-41\r\n')
    await pty.expect('typed-42\r\n')
    // Notices and what was typed stand in the midst of it, on lines of their own or not: so without line ends.
    const output = pty.text
      .slice(from)
      .replaceAll(/\[vspc\] [^\r]*\r\n/g, '')
      .replaceAll(/\s/g, '')
    const numbers = output.replaceAll(/echotyped-\$\(\([01]\+41\)\)/g, '')
    expect(numbers.slice(0, numbers.indexOf('end'))).toBe(oneTo(300).join(''))
    await end()
  })
})
