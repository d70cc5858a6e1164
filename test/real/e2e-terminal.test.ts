import { expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { serve } from './support.ts'
import { attach, ESCAPE, guestOf, LISTEN } from './support-person.ts'

// What a person does with `vspc attach`: a real terminal, the built client, the built server, a real guest. What is the
// same for whatever people come with is in e2e-person-ways.
describeWithPeers([...GUEST_PEERS, 'python3'], 'a person at a terminal, with a real guest', () => {
  test('escapes: help, who, break, spy, and back to writing by force', async () => {
    const server = await serve(...LISTEN)
    await guestOf(server)
    const pty = await attach(server)
    pty.write(`${ESCAPE}?`)
    await pty.expect('[vspc]   ^] .  leave\r\n')
    pty.write(`${ESCAPE}w`)
    await pty.expect(/\[vspc\] 1 attached to vm1:\r\n\[vspc\] {3}\d+ {2}127\.0\.0\.1:\d+, write, since .* \(you\)\r\n/)
    pty.write(`${ESCAPE}l`)
    await pty.expect('a raw byte stream cannot carry a break; use protocol=telnet or vmware\r\n')
    pty.write(`${ESCAPE}s`)
    await pty.expect('[vspc] you read only now\r\n')
    pty.write('x')
    await pty.expect('[vspc] reading only, keys are not sent; ^] f takes over\r\n')
    pty.write(`${ESCAPE}f`)
    await pty.expect('[vspc] you can write now\r\n')
    pty.write('echo two-$((20 + 3))\r')
    await pty.expect('two-23\r\n')
    pty.write(`${ESCAPE}.`)
    await pty.expect('[vspc] left vm1\r\n')
    expect(await pty.exited()).toMatchObject({ code: 0, settings: pty.settingsBefore })
  })

  test('the window is closed: the guest works on, nobody is attached, and another terminal goes on', async () => {
    const server = await serve(...LISTEN)
    const events = await guestOf(server)
    const pty = await attach(server)
    pty.write('KEPT=yes; counter 30 50000\r')
    await pty.expect('\r\n3\r\n')
    pty.closeWindow()
    await pty.exited()
    await events.next('console-detached')
    expect(await server.port('vm1')).toMatchObject({ state: 'online', consoles: 0 })

    const again = await attach(server, '--from', '0')
    await again.expect(/\r\n30\r\nvm# /)
    expect(again.text).not.toContain('^C')
    again.write('echo kept-$KEPT\r')
    await again.expect('kept-yes')
  })

  test('the server is restarted: attach waits for it and for the VM, and goes on', async () => {
    const first = await serve(...LISTEN)
    await guestOf(first)
    const pty = await attach(first)
    pty.write('KEPT=yes; echo before-$((6 * 7))\r')
    await pty.expect(/before-42\r\nvm# /)

    const second = await first.restart()
    await pty.expect(/\[vspc\] [^\r]*; reconnecting; \^\] \. leaves\r\n/)
    await pty.expect('[vspc] attached to vm1 again\r\n')
    pty.write('echo kept-$KEPT\r')
    await pty.expect('kept-yes\r\n')
    // And by the other way servers end.
    const third = await second.crash()
    await pty.expect('reconnecting')
    await pty.expect('[vspc] attached to vm1 again\r\n')
    pty.write('echo still-$KEPT\r')
    await pty.expect('still-yes\r\n')
    pty.write(`${ESCAPE}.`)
    expect((await pty.exited()).code).toBe(0)
    expect(await third.port('vm1')).toMatchObject({ state: 'online' })
  })
})
