import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT, type Guest, type GuestOptions, startGuest, Transcript } from '../support/qemu.ts'

// The guest itself, without any code of ours in between: when these fail, the other real-guest tests tell nothing.
describeWithPeers(GUEST_PEERS, 'a real guest on bare sockets', () => {
  const cleanups: (() => unknown)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  async function boot(options: GuestOptions): Promise<Guest> {
    const guest = await startGuest(options)
    cleanups.push(() => guest.stop())
    return guest
  }

  /** A guest whose serial port dials a bare server of ours. */
  async function dialling(): Promise<{ guest: Guest; socket: Socket; console: Transcript }> {
    const server = createServer()
    cleanups.push(() => server.close())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    // QEMU connects before it answers: listen for that first.
    const connection = once(server, 'connection', { signal: AbortSignal.timeout(10_000) })
    const guest = await boot({ serial: [`tcp:127.0.0.1:${(server.address() as AddressInfo).port}`] })
    const [socket] = (await connection) as [Socket]
    const console = new Transcript(own(socket))
    await console.until(GUEST_PROMPT)
    return { guest, socket, console }
  }

  function own(socket: Socket): Socket {
    socket.on('error', () => {})
    cleanups.push(() => socket.destroy())
    return socket
  }

  async function dialled(socket: Socket): Promise<Transcript> {
    own(socket)
    await once(socket, 'connect')
    const console = new Transcript(socket)
    // What it printed before we dialled is lost, perhaps the prompt with it: Enter draws a new one. An Enter that came
    // too early is lost, but then the first prompt is still to come.
    console.enter('')
    await console.until(GUEST_PROMPT)
    return console
  }

  test('it dials us, shows a prompt, answers a command and counts without a gap', async () => {
    const { guest, console } = await dialling()
    console.enter('echo $((6 * 7)) $(tty)')
    await console.until('42 /dev/ttyS0\r\n')
    await console.until(GUEST_PROMPT)

    console.enter('counter 300 1000; echo done')
    await console.until('done\r\n')
    const counted = await console.until('done\r\n')
    const numbers = counted.match(/^\d+(?=\r$)/gm)?.map(Number)
    expect(numbers).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
    expect(guest.errors()).toBe('')
  })

  test('Ctrl-C ends a running program, and full-screen programs are there', async () => {
    const { socket, console } = await dialling()
    console.enter('counter 1000000000')
    await console.until('\r\n10\r\n')
    socket.write('\x03')
    await console.until(GUEST_PROMPT)

    console.enter('vi /bin/counter')
    await console.until('/bin/counter 1/')
    socket.write(':q!\r')
    await console.until(GUEST_PROMPT)
    console.enter('for p in less top stty vi; do [ -x /bin/$p ] && echo has-$p; done')
    for (const program of ['less', 'top', 'stty', 'vi']) await console.until(`has-${program}\r\n`)
  })

  test('we dial it: server=on on a free TCP port of its choice, and again after hanging up', async () => {
    const guest = await boot({ serial: ['tcp:127.0.0.1:0,server=on,wait=off'] })
    const port = await guest.tcpPort(0)
    const first = connect(port, '127.0.0.1')
    const console = await dialled(first)
    console.enter('KEEP=$((40 + 2))')
    await console.until(GUEST_PROMPT)
    first.destroy()

    const again = await dialled(connect(port, '127.0.0.1'))
    again.enter('echo kept-$KEEP')
    await again.until('kept-42\r\n')
  })

  test('two serial ports are two consoles; a Unix socket carries one as well', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-guest-'))
    cleanups.push(() => rmSync(folder, { recursive: true }))
    const paths = ['a', 'b'].map((name) => join(folder, name))
    const guest = await boot({ serial: paths.map((path) => `unix:${path},server=on,wait=off`) })
    const [first, second] = await Promise.all(paths.map((path) => dialled(connect(path))))
    first!.enter('tty')
    second!.enter('tty')
    await first!.until('/dev/ttyS0\r\n')
    await second!.until('/dev/ttyS1\r\n')
    await expect(guest.tcpPort(0)).rejects.toThrow(/serial0 does not listen on TCP: unix:/)
  })

  test('a guest that cannot start says why, and one that is stopped is gone', async () => {
    await expect(startGuest({ serial: ['tcp:127.0.0.1:nonsense'] })).rejects.toThrow(/QEMU has ended.*nonsense/s)
    const guest = await startGuest({ serial: ['null'] })
    await guest.stop()
    expect(() => process.kill(guest.pid, 0)).toThrow(/ESRCH/)
  })
})
