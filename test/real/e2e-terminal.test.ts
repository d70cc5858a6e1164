import { expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import type { Pty } from '../support/pty.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, type ServeProcess, serve, terminal, WsClient } from './support.ts'

const ESCAPE = '\x1d'
const UP = '\x1b[A'
const LEFT = '\x1b[D'
const LISTEN = ['--listen', 'tcp://127.0.0.1:0?protocol=raw&name=vm1']

// What a person does: a real terminal, the built client, the built server, a real guest.
describeWithPeers([...GUEST_PEERS, 'python3'], 'a person at a terminal, with a real guest', () => {
  /** A guest at its prompt, which dials again when the server is gone. */
  async function guestOf(server: ServeProcess): Promise<Events> {
    const events = await Events.of(server)
    await boot({ serial: [`tcp:127.0.0.1:${server.tcpPort()},reconnect=1`] })
    await events.until('vm1', ({ state }) => state === 'online')
    const console = await WsClient.attach(server, 'vm1', 'mode=read&from=0')
    await console.output.until(GUEST_PROMPT)
    console.close()
    await events.next('console-detached')
    return events
  }

  async function attach(server: ServeProcess, ...args: string[]): Promise<Pty> {
    const pty = await terminal(['attach', ...args, 'vm1'], { env: server.env })
    await pty.expect(/\[vspc\] attached to vm1 \(name:vm1\)[^\r]*\r\n/)
    return pty
  }

  test('arrow keys, Ctrl-C, Ctrl-Z, UTF-8, escapes: all of it works as on the machine itself', async () => {
    const server = await serve(...LISTEN)
    await guestOf(server)
    const pty = await attach(server)

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

    pty.write(`${ESCAPE}?`)
    await pty.expect('[vspc]   ^] .  leave\r\n')
    pty.write(`${ESCAPE}w`)
    await pty.expect(/\[vspc\] 1 attached to vm1:\r\n\[vspc\] {3}127\.0\.0\.1:\d+, write, since .* \(you\)\r\n/)
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
