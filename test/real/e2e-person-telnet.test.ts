import { expect, test } from 'vitest'
import type { ConsoleInfo } from '../../src/vspc/index.ts'
import { describeWithPeers, GUEST_PEERS, peerPath } from '../support/peers.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, oneTo, WsClient } from './support.ts'
import { movingGuest } from './support-moving.ts'
import {
  attach,
  ESCAPE,
  guestOf,
  LISTEN,
  quitTelnet,
  serveTelnet,
  telnet,
  telnetAttached,
  telnetCommand,
} from './support-person.ts'

// What only a Telnet program does, in a real terminal, with the built server and a real guest. What is the same for
// whatever people come with is in e2e-person-ways.
describeWithPeers([...GUEST_PEERS, 'python3', 'telnet'], 'a person with telnet, and a real guest', () => {
  test('send escape, ayt, nop and ip: a key, an answer, nothing, Ctrl-C', async () => {
    const server = await serveTelnet()
    await guestOf(server)
    const pty = await telnetAttached(server, [peerPath('telnet')])
    pty.write('stty -echo; echo re""ady; cat | xxd -p\r')
    await pty.expect('ready\r\n')
    pty.write('a')
    await telnetCommand(pty, 'send escape nop')
    pty.write('b\r\x04')
    await pty.expect(`${Buffer.from(`a${ESCAPE}b\n`).toString('hex')}\r\n`)
    await telnetCommand(pty, 'send ayt')
    await pty.expect('[vspc] yes; vm1 is online on 127.0.0.1\r\n')
    pty.write('\rcounter 1000000000 10000\r')
    await pty.expect('\r\n10\r\n')
    await telnetCommand(pty, 'send ip')
    await pty.expect(GUEST_PROMPT)
    await quitTelnet(pty)
    expect((await pty.exited()).settings).toEqual(pty.settingsBefore)
  })

  test("send brk is a break that the guest's kernel obeys", async () => {
    // As a Telnet client QEMU does not hear a BREAK; as a server it does.
    const guest = await boot({ serial: ['telnet:127.0.0.1:0,server=on,wait=off'] })
    const uri = `tcp://127.0.0.1:${await guest.tcpPort(0)}?protocol=telnet&name=vm1`
    const server = await serveTelnet([...LISTEN, '--dial', uri])
    const events = await Events.of(server)
    await events.until('vm1', ({ state, telnetPort }) => state === 'online' && telnetPort !== undefined)
    const console = await WsClient.attach(server, 'vm1')
    console.enter('')
    await console.output.until(GUEST_PROMPT)
    console.close()
    const pty = await telnetAttached(server, [peerPath('telnet')])
    pty.write('dmesg -n 8; echo 1 >/proc/sys/kernel/sysrq; echo ready-$((6 * 7))\r')
    await pty.expect(/ready-42\r\nvm# /)
    await telnetCommand(pty, 'send brk')
    pty.write('h')
    await pty.expect('sysrq: HELP')
    pty.write('echo still-$((6 * 7))\r')
    await pty.expect('still-42')
  })

  test('the menu leads to the same console; after a crash of the server the number is still the same', async () => {
    const server = await serveTelnet()
    await guestOf(server)
    const menu = await telnet([peerPath('telnet')], Number(/\d+$/.exec(server.telnetMenu)?.[0]))
    await menu.expect('\r\n 1  vm1  online     127.0.0.1\r\n')
    menu.write('vn\x7fm\r')
    await menu.expect('^Ec ? for help, ^Ec . leaves\r\n')
    menu.write('KEPT=yes; echo menu-$((6 * 7))\r')
    await menu.expect('menu-42\r\n')
    const { telnetPort } = await server.port('vm1')

    const next = await server.crash()
    await menu.expect('Connection closed by foreign host')
    const events = await Events.of(next)
    expect((await events.until('vm1', ({ state }) => state === 'online')).telnetPort).toBe(telnetPort)
    const pty = await telnetAttached(next, [peerPath('telnet')])
    pty.write('echo kept-$KEPT\r')
    await pty.expect('kept-yes')
  })

  test('two people: told by the other one, then thrown out in the midst of vi; the terminal is given back', async () => {
    const server = await serveTelnet()
    await guestOf(server)
    const alice = await attach(server)
    const [console] = (await server.json('/api/v1/ports/vm1/consoles')) as [ConsoleInfo]
    alice.write('stty rows 24 columns 80; vi /tmp/file\r')
    await alice.expect('\x1b[H\x1b[J')
    const bob = await telnet([peerPath('telnet')], Number(/\d+$/.exec(server.telnetMenu)?.[0]))
    await bob.expect('1 here, 127.0.0.1:')
    bob.write('vm1\r')
    await bob.expect('^Ec ? for help, ^Ec . leaves\r\n')
    bob.write('\x05cw')
    await bob.expect(`${console.id}  127.0.0.1:`)
    bob.write(`\x05ck${console.id} my turn\r`)
    await bob.expect(': my turn\r\n')
    await alice.expect(/kicked by telnet:127\.0\.0\.1:\d+: my turn/)
    expect(await alice.exited()).toMatchObject({ code: 4, settings: alice.settingsBefore })
    bob.write(':q!\r')
    await bob.expect(GUEST_PROMPT)
    bob.write('\x05c.')
    await bob.expect('[vspc] left vm1\r\n')
    expect((await bob.exited()).settings).toEqual(bob.settingsBefore)
  })

  test('the guest is moved by simulated hosts: nothing is lost or doubled, and each move is told', async () => {
    const server = await serveTelnet(['--listen', 'tcp://127.0.0.1:0'])
    const { name, events, end } = await movingGuest(server)
    const { telnetPort } = await server.port(name)
    const pty = await telnet([peerPath('telnet')], telnetPort as number)
    await pty.expect('to leave: ^] then "quit"\r\n')
    // The shell echoes what it reads; that of the terminal would come between the digits of the numbers.
    pty.write('stty -echo; clear; counter 300 10000; echo e""nd\r')
    await pty.expect('\x1b[J')
    const from = pty.text.lastIndexOf('\x1b[J') + 3
    for (let move = 0; move < 2; move++) {
      await events.next('vmotion-complete')
      await pty.expect(/\[vspc\] now on 127\.0\.1\.\d+\r\n/)
      // Typed in the middle: it is for after the counter.
      pty.write(`echo typed-$((${move} + 41))\r`)
    }
    await pty.expect('\r\nend\r\n')
    await pty.expect('typed-41\r\n')
    await pty.expect('typed-42\r\n')
    // Notices stand in the midst of it, on lines of their own or not: so without line ends.
    const numbers = pty.text
      .slice(from)
      .replaceAll(/\[vspc\] [^\r]*\r\n/g, '')
      .replaceAll(/\s/g, '')
    expect(numbers.slice(0, numbers.indexOf('end'))).toBe(oneTo(300).join(''))
    await end()
  })
})
