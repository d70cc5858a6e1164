import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { VSPC_BIN } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { Pty } from '../support/pty.ts'
import { FakePort, FakeServer } from './fake-server.ts'

const SIGTERM = 15
const SIGHUP = 1
const SIGUSR2 = 12
const SIGCONT = 18
const ESCAPE = '\x1d'

// The built program on a real pseudo terminal, against the double.
describeWithPeers(['python3'], 'attach in a real terminal', () => {
  const cleanups: (() => unknown)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  async function open(port = new FakePort('web1'), args: string[] = [], env: Record<string, string> = {}) {
    const server = await FakeServer.start(port)
    cleanups.push(() => server.stop())
    const pty = await Pty.start([process.execPath, VSPC_BIN, 'attach', ...args, 'web1'], {
      env: { VSPC_SERVER: server.url, ...env },
    })
    cleanups.push(() => pty.stop())
    return { server, port, pty }
  }

  async function attach(...args: Parameters<typeof open>) {
    const parts = await open(...args)
    await parts.pty.expect(/\[vspc\] attached to web1 \([^)]*\)[^\r]*\r\n/)
    return parts
  }

  async function typed(server: FakeServer, port: FakePort, text: string) {
    await server.until(() => port.input.length >= Buffer.byteLength(text, 'latin1'), `${JSON.stringify(text)} typed`)
    expect(port.input.toString('latin1')).toBe(text)
  }

  test('Enter, arrow keys, Ctrl-C, Ctrl-Z, Ctrl-S, Ctrl-D and Ctrl-\\ go to the VM and do nothing here', async () => {
    const { server, port, pty } = await attach()
    const keys = 'ls\r\x1b[A\x1b[B\x1bOP\x03\x1a\x13\x11\x04\x1c\x16\x15\x7f\t'
    pty.write(keys)
    await typed(server, port, keys)
    port.output('still here')
    await pty.expect('still here')
    pty.write(`${ESCAPE}.`)
    const { code, settings } = await pty.exited()
    expect(code).toBe(0)
    expect(settings).toEqual(pty.settingsBefore)
  })

  test('every byte from 0 to 255 passes both ways, unchanged', async () => {
    const { server, port, pty } = await attach()
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    pty.write(Buffer.from([...all].flatMap((byte) => (byte === 0x1d ? [byte, byte] : [byte]))))
    await typed(server, port, all.toString('latin1'))
    const before = pty.output.length
    port.output(all)
    await pty.expect('\xff')
    // Above all: LF does not become CR LF, which would break programs that use it to move down.
    expect(pty.output.subarray(before).equals(all)).toBe(true)
  })

  test('UTF-8 typed and printed, split between packets', async () => {
    const { server, port, pty } = await attach()
    const text = Buffer.from('grüße 日本 🙂')
    for (const byte of text) {
      pty.write(Uint8Array.of(byte))
      port.output(Uint8Array.of(byte))
    }
    await typed(server, port, text.toString('latin1'))
    await pty.expect(text.toString('latin1'))
  })

  test('escapes: help, a literal one, spy, break, who, an unknown one; none of it is typed', async () => {
    const port = new FakePort('web1')
    port.answer = (request, say) => {
      if (request.type === 'mode') say({ type: 'writer', mode: request.mode, writers: [], reason: 'as you wish' })
    }
    const { server, pty } = await attach(port)
    pty.write(`${ESCAPE}?`)
    await pty.expect('[vspc]   ^] .  leave\r\n')
    pty.write(`${ESCAPE}j`)
    await pty.expect('[vspc] ^] j is no command, nothing was sent; ^] ? lists them\r\n')
    pty.write(`${ESCAPE}s`)
    await pty.expect('[vspc] you read only now\r\n')
    pty.write('unsent')
    await pty.expect('[vspc] reading only, keys are not sent; ^] f takes over\r\n')
    pty.write(`${ESCAPE}f`)
    await pty.expect('[vspc] you can write now\r\n')
    pty.write(`${ESCAPE}l${ESCAPE}w`)
    await pty.expect('[vspc] sending a break\r\n')
    await server.until(() => port.controls.length === 5)
    expect(port.controls.slice(1)).toEqual([
      { type: 'mode', mode: 'read' },
      { type: 'mode', mode: 'write', force: true },
      { type: 'break' },
      { type: 'who' },
    ])
    pty.write(`a${ESCAPE}${ESCAPE}b`)
    await typed(server, port, `a${ESCAPE}b`)
  })

  test('the escape character split from its key by any time is still an escape', async () => {
    const { server, port, pty } = await attach()
    pty.write('a')
    pty.write(ESCAPE)
    await typed(server, port, 'a')
    pty.write('.')
    expect((await pty.exited()).code).toBe(0)
    expect(port.input.toString()).toBe('a')
  })

  test.each([
    [['-e', '^A'], {}, '\x01', '^A'],
    [[], { VSPC_ESCAPE: '~' }, '~', '~'],
    [['-e', '^B'], { VSPC_ESCAPE: '~' }, '\x02', '^B'],
  ])('another escape character: %j %j', async (args, env, key, shown) => {
    const { server, port, pty } = await open(new FakePort('web1'), args, env)
    await pty.expect(`escape is ${shown} then ? for help`)
    pty.write(ESCAPE)
    await typed(server, port, ESCAPE)
    pty.write(`${key}.`)
    expect((await pty.exited()).code).toBe(0)
  })

  test('leaving says so, restores the terminal and detaches', async () => {
    const { server, port, pty } = await attach()
    expect(await pty.settings()).not.toEqual(pty.settingsBefore)
    pty.write(`${ESCAPE}.`)
    await pty.expect('[vspc] left web1\r\n')
    const { code, settings } = await pty.exited()
    expect([code, settings]).toEqual([0, pty.settingsBefore])
    await server.until(() => port.consoles.length === 0)
  })

  test('leaving a full-screen program puts screen, mouse and cursor back', async () => {
    const { port, pty } = await attach()
    port.output('\x1b[?1049h\x1b[?1002h\x1b[?25lvi')
    await pty.expect('vi')
    pty.write(`${ESCAPE}.`)
    await pty.expect('\x1b[?1049l\x1b[?1002l\x1b[?25h')
    expect((await pty.exited()).code).toBe(0)
  })

  test('SIGTERM restores the terminal and ends with 143', async () => {
    const { server, port, pty } = await attach()
    pty.signal(SIGTERM)
    const { code, settings } = await pty.exited()
    expect([code, settings]).toEqual([143, pty.settingsBefore])
    await server.until(() => port.consoles.length === 0)
  })

  test('SIGHUP restores the terminal and ends with 129', async () => {
    const { pty } = await attach()
    pty.signal(SIGHUP)
    const { code, settings } = await pty.exited()
    expect([code, settings]).toEqual([129, pty.settingsBefore])
  })

  test('the window is closed: the process ends and detaches, nothing is left spinning', async () => {
    const { server, port, pty } = await attach()
    pty.closeWindow()
    expect(await pty.exited()).toMatchObject({ code: null, signal: SIGHUP })
    await server.until(() => port.consoles.length === 0)
  })

  test('the window is closed while the connection is lost: the process ends too', async () => {
    const { server, pty } = await attach()
    await server.stop()
    await pty.expect('reconnecting')
    pty.closeWindow()
    expect(await pty.exited()).toMatchObject({ code: null, signal: SIGHUP })
  })

  test('an exception restores the terminal as well', async () => {
    const fault = "process.on('SIGUSR2', () => { throw new Error('a bug') })"
    const { pty } = await attach(new FakePort('web1'), [], {
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(fault)}`,
    })
    pty.signal(SIGUSR2)
    await pty.expect('a bug')
    const { code, settings } = await pty.exited()
    expect(code).toBeGreaterThan(0)
    expect(settings).toEqual(pty.settingsBefore)
  })

  test('a stalled terminal: input and signals still work, the server keeps the rest, nothing is lost', async () => {
    const { server, port, pty } = await attach()
    pty.setReading(false)
    const console = port.consoles[0]!
    const block = Buffer.alloc(1 << 20, 'x')
    for (let megabytes = 0; megabytes < 12; megabytes++) console.send(block)
    // Each key makes the whole way round; once five of them saw no more output taken, none will be.
    let steady = 0
    let waiting = -1
    for (let keys = 1; steady < 5; keys++) {
      pty.write('k')
      await server.until(() => port.input.length === keys, 'a key through a stalled terminal')
      steady = console.bufferedAmount === waiting ? steady + 1 : 0
      waiting = console.bufferedAmount
    }
    // What is in between has room in kernel buffers, not in the process.
    expect(waiting).toBeGreaterThan(4 << 20)
    pty.setReading(true)
    console.send('{"type":"renamed","name":"end","port":"id"}')
    await pty.expect('x\r\n[vspc] the VM is now called end')
    expect(pty.text.split('x').length - 1).toBe(12 << 20)
  })

  test('SIGTERM in front of a stalled terminal restores it', async () => {
    const { server, port, pty } = await attach()
    pty.setReading(false)
    port.consoles[0]!.send(Buffer.alloc(8 << 20, 'x'))
    pty.write('k')
    await server.until(() => port.input.length === 1)
    pty.signal(SIGTERM)
    const { code, settings } = await pty.exited()
    expect([code, settings]).toEqual([143, pty.settingsBefore])
  })

  test('the server is restarted: resumes at its offset, no byte lost or doubled, keys typed meanwhile discarded', async () => {
    const { server, port, pty } = await attach()
    port.output('one;')
    await pty.expect('one;')
    await server.stop()
    await pty.expect(/\r\n\[vspc\] .*reconnecting; \^\] \. leaves\r\n/)
    pty.write('rm -rf /\r')
    await pty.expect('\x07')
    await pty.expect('[vspc] not connected: what you type is discarded\r\n')
    port.output('two;')
    await server.listen()
    await pty.expect('[vspc] attached to web1 again\r\n')
    await pty.expect('two;')
    port.output('three;')
    await pty.expect('three;')
    pty.write('id\r')
    await typed(server, port, 'id\r')
    expect(pty.text.replace(/\r\n\[vspc\][^\r]*\r\n|\[vspc\][^\r]*\r\n|\x07/g, '')).toBe('one;two;three;')
    expect(server.requests.at(-1)?.url).toContain(`/${port.info.id}/console?mode=write&from=4`)
  })

  test('cut off again and again in the middle of output: the text is whole', async () => {
    const { server, port, pty } = await open(new FakePort('web1'), ['-q'])
    await server.until(() => port.consoles.length === 1)
    let expected = ''
    for (let round = 0; round < 3; round++) {
      for (let line = 0; line < 50; line++) {
        const text = `${round}.${line};`
        expected += text
        port.output(text)
      }
      port.cut()
      expected += `cut ${round};`
      await server.until(() => port.consoles.length === 0)
      port.output(`cut ${round};`)
      await server.until(() => port.consoles.length === 1)
    }
    await pty.expect('cut 2;')
    expect(pty.text).toBe(expected)
  })

  test('a server that lost its history says so, and all it has since is shown', async () => {
    const { server, port, pty } = await attach()
    port.output('a long history;')
    await pty.expect('history;')
    await server.stop()
    await pty.expect('reconnecting')
    port.forget()
    port.output('fresh;')
    await server.listen()
    await pty.expect('[vspc] the server has restarted without its history: what follows is all it holds now\r\n')
    await pty.expect('fresh;')
    port.output('more;')
    await pty.expect('more;')
    expect(pty.text.match(/fresh;/g)).toHaveLength(1)
  })

  test('history that has gone on without us is counted as lost', async () => {
    const { server, port, pty } = await attach()
    port.output('0123456789')
    await pty.expect('9')
    await server.stop()
    await pty.expect('reconnecting')
    port.output('abcdefghij')
    port.trim(15)
    await server.listen()
    await pty.expect("[vspc] 5 bytes of output are lost: the server's history no longer holds them\r\n")
    await pty.expect('fghij')
  })

  test('a resized window changes nothing for the VM', async () => {
    const { server, port, pty } = await attach()
    pty.resize(50, 132)
    pty.write('x')
    await typed(server, port, 'x')
    port.output('y')
    await pty.expect('y')
  })

  test('refused: the terminal is never left raw, the message comes on a line of its own', async () => {
    const server = await FakeServer.start(new FakePort('web1'))
    cleanups.push(() => server.stop())
    server.refuse = () => ({ status: 409, code: 'VSPC_CONSOLE_BUSY', detail: 'bob@10.0.0.5 holds web1' })
    const pty = await Pty.start([process.execPath, VSPC_BIN, 'attach', 'web1'], { env: { VSPC_SERVER: server.url } })
    cleanups.push(() => pty.stop())
    await pty.expect('vspc: bob@10.0.0.5 holds web1; --queue waits, -f takes it over, -s only watches\r\n')
    const { code, settings } = await pty.exited()
    expect([code, settings]).toEqual([5, pty.settingsBefore])
  })

  test('suspended with ^] z and continued: normal modes in between, raw ones again', async () => {
    const { server, port, pty } = await attach()
    const raw = await pty.settings()
    // A session leader without a shell above it is not stopped by SIGTSTP, but all the rest happens.
    pty.write(`a${ESCAPE}z`)
    await typed(server, port, 'a')
    // The key may come in a read of its own: continued before it was suspended, nothing would be shown here.
    while (isDeepStrictEqual(await pty.settings(), raw)) await setImmediate()
    pty.signal(SIGCONT)
    pty.write('b')
    await typed(server, port, 'ab')
    expect(await pty.settings()).toEqual(raw)
  })
})
