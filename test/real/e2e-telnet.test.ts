import { expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, everyByte, serve, terminal, WsClient } from './support.ts'

describeWithPeers([...GUEST_PEERS, 'python3'], 'a real guest on a Telnet line', () => {
  test('QEMU negotiates, we dial: commands work both ways and ^] l is a break that the kernel obeys', async () => {
    const guest = await boot({ serial: ['telnet:127.0.0.1:0,server=on,wait=off'] })
    const uri = `tcp://127.0.0.1:${await guest.tcpPort(0)}?protocol=telnet&name=vm1`
    const server = await serve('--listen', 'tcp://127.0.0.1:0', '--dial', uri)
    const events = await Events.of(server)
    await events.until('vm1', ({ state, protocol }) => state === 'online' && protocol === 'telnet')
    const console = await WsClient.attach(server, 'vm1')
    console.enter('')
    await console.output.until(GUEST_PROMPT)
    // What Telnet would say of itself is no output of the VM.
    expect(console.output.text).not.toMatch(/[\xf0-\xff]/)

    const pty = await terminal(['attach', 'vm1'], { env: server.env })
    await pty.expect('attached to vm1')
    pty.write('dmesg -n 8; echo 1 >/proc/sys/kernel/sysrq; echo ready-$((6 * 7))\r')
    await pty.expect(/ready-42\r\nvm# /)
    pty.write('\x1dl')
    await pty.expect('[vspc] sending a break')
    pty.write('h')
    await pty.expect('sysrq: HELP')
    // The h went to the kernel, not to the shell.
    pty.write('echo still-$((6 * 7))\r')
    await pty.expect('still-42')
    pty.write('\x1d.')
    expect((await pty.exited()).code).toBe(0)
  })

  test('bytes that mean something to Telnet arrive as they were typed', async () => {
    const guest = await boot({ serial: ['telnet:127.0.0.1:0,server=on,wait=off'] })
    const uri = `tcp://127.0.0.1:${await guest.tcpPort(0)}?protocol=telnet&name=vm1`
    const server = await serve('--listen', 'tcp://127.0.0.1:0', '--dial', uri)
    const events = await Events.of(server)
    await events.until('vm1', ({ state }) => state === 'online')
    const console = await WsClient.attach(server, 'vm1')
    console.enter('')
    await console.output.until(GUEST_PROMPT)
    console.enter('stty raw -echo; echo r""eady; head -c 256 >/tmp/all; stty sane; od -An -v -tx1 /tmp/all; echo e""nd')
    await console.output.until('ready\n')
    console.write(everyByte)
    const dump = await console.output.until('\nend')
    expect(dump.match(/\b[0-9a-f]{2}\b/g)?.join('')).toBe(Buffer.from(everyByte).toString('hex'))
  })
})
