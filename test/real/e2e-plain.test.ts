import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runVspc } from '../support/cli.ts'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, everyByte, numbersIn, oneTo, scanPort, serve, temporary, WsClient } from './support.ts'

// A real guest, the built server and the built client; nothing of VMware's in between.
describeWithPeers(GUEST_PEERS, 'a real guest on a plain serial port', () => {
  test('it dials a raw listener: prompt, command, piped attach, log and ports all agree', async () => {
    const server = await serve('--listen', 'tcp://127.0.0.1:0?protocol=raw&name=vm1')
    const events = await Events.of(server)
    await boot({ serial: [`tcp:127.0.0.1:${server.tcpPort()}`] })
    await events.until('vm1', ({ state }) => state === 'online')
    const console = await WsClient.attach(server, 'vm1')
    await console.output.until(GUEST_PROMPT)

    console.enter('counter 300 1000; echo e""nd')
    expect(numbersIn(await console.output.until('\r\nend\r\n'))).toEqual(oneTo(300))
    await console.output.until(GUEST_PROMPT)

    console.enter('stty raw -echo; echo r""eady; head -c 256; stty sane')
    await console.output.until('ready\n')
    console.write(everyByte)
    expect(await console.output.until(GUEST_PROMPT)).toContain(Buffer.from(everyByte).toString('latin1'))

    // Not every listener stands where only hosts can reach it.
    await scanPort(server.tcpPort(), 9)
    const piped = await runVspc(['attach', 'vm1'], { env: server.env, input: 'echo $((6 * 7)) $(tty)\n' })
    expect([piped.code, piped.stderr]).toEqual([0, expect.stringMatching(/^\[vspc\] attached to vm1 \(name:vm1\)\n/)])
    expect(piped.stdout.toString()).toMatch(/^echo \$\(\(6 \* 7\)\) \$\(tty\)\r\n42 \/dev\/ttyS0\r\n/)

    const log = await runVspc(['log', 'vm1'], { env: server.env })
    expect(log.stdout.toString('latin1')).toBe(console.output.text)
    const ports = await runVspc(['ports', '--json'], { env: server.env })
    expect(JSON.parse(ports.stdout.toString())).toMatchObject([
      {
        id: 'name:vm1',
        state: 'online',
        protocol: 'raw',
        transport: 'tcp',
        bytesFromVm: log.stdout.length,
        vmotions: 0,
      },
    ])
  })

  test('we dial it, and dial its successor on the same port; the console stays attached', async () => {
    const first = await boot({ serial: ['tcp:127.0.0.1:0,server=on,wait=off'] })
    const serial = `tcp:127.0.0.1:${await first.tcpPort(0)},server=on,wait=off`
    const server = await serve('--listen', 'tcp://127.0.0.1:0', '--dial', dialUri(serial))
    const events = await Events.of(server)
    await events.until('vm2', ({ state }) => state === 'online')
    const console = await WsClient.attach(server, 'vm2')
    console.enter('')
    await console.output.until(GUEST_PROMPT)
    console.enter('ME=first; echo i-am-$ME')
    await console.output.until(/i-am-first\r\n.*vm# /)

    await first.stop()
    await events.next('port-offline')
    await boot({ serial: [serial] })
    await events.next('port-online')
    console.enter('')
    await console.output.until(GUEST_PROMPT)
    console.enter('ME="$ME"second; echo i-am-$ME')
    await console.output.until('i-am-second\r\n')
    expect(console.messages.flatMap((message) => (message.type === 'state' ? [message.state] : []))).toEqual([
      'offline',
      'online',
    ])
    expect(await server.ports()).toHaveLength(1)
  })

  test('over Unix sockets: it dials our listener, we dial its second port and its successor', async () => {
    const folder = temporary()
    const [listened, dialled] = [join(folder, 'listened'), join(folder, 'dialled')]
    const server = await serve(
      ...['--listen', `unix://${listened}?protocol=raw&name=vm3&label=com1`],
      ...['--dial', `unix://${dialled}?protocol=raw&name=vm3&label=com2`],
    )
    const events = await Events.of(server)
    const serial = [`unix:${listened}`, `unix:${dialled},server=on,wait=off`]
    const first = await boot({ serial })
    await events.until('vm3', ({ label, state }) => label === 'com1' && state === 'online')
    const com1 = await WsClient.attach(server, 'vm3/com1')
    await com1.output.until(GUEST_PROMPT)
    await events.until('vm3', ({ label, state }) => label === 'com2' && state === 'online')
    const com2 = await WsClient.attach(server, 'vm3/com2')
    com2.enter('')
    await com2.output.until(GUEST_PROMPT)
    com1.enter('tty')
    com2.enter('tty')
    await com1.output.until(/ttyS0\r\n.*vm# /)
    await com2.output.until(/ttyS1\r\n.*vm# /)

    await first.stop()
    await events.until('vm3', ({ label, state }) => label === 'com2' && state === 'offline')
    await boot({ serial })
    await com1.output.until(GUEST_PROMPT)
    await events.until('vm3', ({ label, state }) => label === 'com2' && state === 'online')
    com2.enter('')
    await com2.output.until(GUEST_PROMPT)
    com2.enter('echo again-$(tty)')
    await com2.output.until('again-/dev/ttyS1\r\n')
  })
})

function dialUri(serial: string): string {
  return `tcp://${/^tcp:([\d.:]+)/.exec(serial)?.[1]}?protocol=raw&name=vm2`
}
