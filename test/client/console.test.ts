import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { connect, ExpectError } from '../../src/client/index.ts'
import { eventually, RawVm, startApp } from '../app/support.ts'
import { clientOf, open, RestartableApp, take } from './support.ts'

// The library against whole servers, over real sockets.

async function withVm() {
  const app = await startApp()
  const vm = await RawVm.connect(app)
  return { app, vm, client: clientOf(app) }
}

describe('ports', () => {
  test('lists them, finds one, and says which is not there', async () => {
    const { client } = await withVm()
    expect((await client.ports()).map(({ id }) => id)).toEqual(['name:vm1'])
    expect(await client.port('vm1')).toMatchObject({ id: 'name:vm1', state: 'online' })
    await expect(client.port('vm2')).rejects.toMatchObject({ code: 'VSPC_PORT_NOT_FOUND' })
    await expect(client.console('vm2')).rejects.toMatchObject({ code: 'VSPC_PORT_NOT_FOUND' })
    await expect(client.waitForPort('vm2', { timeoutMs: 1 })).rejects.toMatchObject({ code: 'VSPC_WAIT_TIMEOUT' })
  })

  test('no server: a code, at once', async () => {
    const listener = createServer().listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const { port } = listener.address() as AddressInfo
    listener.close()
    await once(listener, 'close')
    const client = connect({ server: `http://127.0.0.1:${port}` })
    for (const call of [client.ports(), client.console('vm1'), client.log('vm1'), client.events()]) {
      await expect(call).rejects.toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
    }
  })

  test('an aborted call rejects with the reason of the signal', async () => {
    const { client } = await withVm()
    const stop = new AbortController()
    stop.abort(new Error('enough'))
    const options = { signal: stop.signal }
    for (const call of [client.ports(options), client.console('vm1', options), client.events(options)]) {
      await expect(call).rejects.toThrow('enough')
    }
  })

  test.each(['ftp://x', 'http://', 'http://a/?b'])('%s is no address', (server) => {
    expect(() => connect({ server })).toThrow(expect.objectContaining({ code: 'VSPC_USAGE' }))
  })

  test('a token with a line end is refused, and not shown', () => {
    expect(() => connect({ token: 'secret\nx' })).toThrow(expect.objectContaining({ code: 'VSPC_USAGE' }))
    expect(() => connect({ token: 'secret\nx' })).not.toThrow(/secret/)
  })
})

describe('expect', () => {
  test('send, wait for the answer, take its groups; the next one goes on behind the match', async () => {
    const { app, vm, client } = await withVm()
    const { console } = await open(client, { mode: 'write' })
    await console.send('echo $?\r')
    await vm.hears('echo $?\r')
    await vm.print(app, 'echo $?\r\nexit 1')
    await vm.print(app, '27\r\nexit 3\r\n# ')
    const first = await console.expect(/exit (\d+)/)
    expect(first).toMatchObject({ index: 0, text: 'exit 127', groups: ['127'], startOffset: 9, endOffset: 17 })
    expect(console.offset).toBe(17)
    expect(await console.expect(['never', /exit (?<code>\d)/])).toMatchObject({ index: 1, named: { code: '3' } })
    // A prompt has no line end: it counts once the output pauses.
    expect((await console.expect(/# $/)).text).toBe('# ')
  })

  test('output that came before it was attached does not count, unless asked for', async () => {
    const { app, vm, client } = await withVm()
    await vm.print(app, 'login: ')
    const live = await open(client)
    await expect(live.console.expect('login: ', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'VSPC_WAIT_TIMEOUT',
    })
    const all = await open(client, { from: 0 })
    expect(await all.console.expect('login: ')).toMatchObject({ startOffset: 0, endOffset: 7 })
    const tail = await open(client, { from: -2 })
    await expect(tail.console.expect('login: ', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'VSPC_WAIT_TIMEOUT',
    })
  })

  test('what makes it fail comes first, with what was seen', async () => {
    const { app, vm, client } = await withVm()
    const { console } = await open(client)
    const waiting = console.expect('login:', { failOn: [/panic.*/] }).catch((thrown: unknown) => thrown)
    await vm.print(app, 'booting\r\nKernel panic - not syncing\r\n')
    const error = await waiting
    expect(error).toBeInstanceOf(ExpectError)
    expect(error).toMatchObject({ code: 'VSPC_EXPECT_FAILED', match: { text: 'panic - not syncing' } })
    expect(Buffer.from((error as ExpectError).seen).toString()).toBe('booting\r\nKernel panic - not syncing\r\n')
  })

  test('after a time-out the output is still there for the next one', async () => {
    const { app, vm, client } = await withVm()
    const { console } = await open(client)
    await vm.print(app, 'one two')
    await expect(console.expect('three', { timeoutMs: 20 })).rejects.toMatchObject({
      code: 'VSPC_WAIT_TIMEOUT',
      message: 'nothing matched "three" in time',
    })
    expect((await console.expect('two')).startOffset).toBe(4)
  })

  test('one reader at a time; what it left is for the next', async () => {
    const { app, vm, client } = await withVm()
    const { console } = await open(client)
    const running = console.expect('b')
    await expect(console.expect('x')).rejects.toMatchObject({ code: 'VSPC_USAGE' })
    await expect(take(console, 1)).rejects.toMatchObject({ code: 'VSPC_USAGE' })
    await vm.print(app, 'abcd\n')
    await running
    expect(await take(console, 3)).toBe('cd\n')
  })

  test('a signal ends it, and so does closing the console', async () => {
    const { client } = await withVm()
    const { console } = await open(client)
    const stop = new AbortController()
    const first = console.expect('x', { signal: stop.signal })
    stop.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    const second = console.expect('x')
    const closing = console.close()
    await expect(second).rejects.toMatchObject({ code: 'VSPC_USAGE', message: 'this console is closed' })
    await closing
    await expect(console.expect('x')).rejects.toThrow('this console is closed')
    await expect(console.send('x')).rejects.toThrow('this console is closed')
    await expect(console.flush()).rejects.toThrow('this console is closed')
  })

  test('a VM that goes offline is waited for, or not, as told', async () => {
    const { app, vm, client } = await withVm()
    const { console, notices } = await open(client)
    const strict = await open(client)
    const fails = strict.console.expect('login:', { failOffline: true })
    const waits = console.expect('login:')
    vm.socket.destroy()
    await expect(fails).rejects.toMatchObject({ code: 'VSPC_PORT_OFFLINE', message: 'vm1 is offline' })
    await expect(strict.console.expect('x', { failOffline: true })).rejects.toMatchObject({ code: 'VSPC_PORT_OFFLINE' })
    const next = await RawVm.connect(app)
    await next.print(app, 'login: ')
    await waits
    expect(notices.flatMap((notice) => (notice.type === 'state' ? [notice.state] : []))).toEqual(['offline', 'online'])
  })

  test.each<[string | string[], object?]>([
    [[]],
    ['x', { timeoutMs: -1 }],
    ['x', { windowChars: 0 }],
    ['x', { quietMs: Number.NaN }],
  ])('nonsense is refused: %j %j', async (patterns, options = {}) => {
    const { client } = await withVm()
    const { console } = await open(client)
    await expect(console.expect(patterns, options)).rejects.toMatchObject({ code: 'VSPC_USAGE' })
    // And leaves the console as it was.
    await expect(console.expect('x', { timeoutMs: 0 })).rejects.toMatchObject({ code: 'VSPC_WAIT_TIMEOUT' })
  })
})

describe('a restart of the server', () => {
  test('in the middle of an expect: the match spans it, offsets go on, no byte is lost or doubled', async () => {
    const server = await RestartableApp.start()
    const vm = await RawVm.connect(server.app)
    const { console, notices } = await open(clientOf(server.app), { mode: 'write' })
    await vm.print(server.app, 'BEGIN 1\r\n')
    const waiting = console.expect(/BEGIN[\s\S]*END/, { timeoutMs: 15_000 })
    await server.stop()
    await eventually(() => notices.some(({ type }) => type === 'lost'))
    await expect(console.send('x')).rejects.toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
    await expect(console.flush()).rejects.toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
    const app = await server.again()
    const vmAgain = await RawVm.connect(app)
    await vmAgain.print(app, '2\r\n')
    await eventually(() => console.attached)
    await vmAgain.print(app, 'END\r\n')
    expect(await waiting).toMatchObject({ text: 'BEGIN 1\r\n2\r\nEND', startOffset: 0, endOffset: 15 })
    expect(await take(console, 2)).toBe('\r\n')
    expect(notices.map(({ type }) => type)).toContain('attached-again')
    await console.send('and on\r')
    await vmAgain.hears('and on\r')
    await console.flush()
  })
})

describe('sending', () => {
  test('every byte, larger than any buffer, arrives once and in order, and flush says when the server has it', async () => {
    const { vm, client } = await withVm()
    const { console } = await open(client, { mode: 'write', unread: 'drop' })
    const input = Buffer.from(Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 255))
    await console.send(input)
    await console.flush()
    await eventually(() => vm.received.length >= input.length)
    expect(vm.received.equals(input)).toBe(true)
  })

  test('flush waits for a VM that does not read; what was accepted before a close is not lost', async () => {
    const { vm, client } = await withVm()
    const { console } = await open(client, { mode: 'write', unread: 'drop' })
    vm.socket.pause()
    const input = Buffer.alloc(12 << 20, 'typed ahead ')
    let sent = false
    const sending = console
      .send(input)
      .then(() => console.flush())
      .then(() => {
        sent = true
      })
    await eventually(() => client.port('vm1').then(({ bytesToVm }) => bytesToVm > 0))
    expect(sent).toBe(false)
    vm.socket.resume()
    await sending
    await console.close()
    await eventually(() => vm.received.length >= input.length)
    expect(vm.received.equals(input)).toBe(true)
  }, 30_000)

  test('pauses between characters and lines', async () => {
    const { vm, client } = await withVm()
    const { console } = await open(client, { mode: 'write' })
    const began = performance.now()
    await console.send('ab\r\ncd\n', { charDelayMs: 5, lineDelayMs: 40 })
    expect(performance.now() - began).toBeGreaterThanOrEqual(5 * 5 + 2 * 40 - 10)
    await vm.hears('ab\r\ncd\n')
  })

  test('a reader may not, and someone who was turned out of the way is told', async () => {
    const { client } = await withVm()
    const { console: reader } = await open(client)
    await expect(reader.send('x')).rejects.toMatchObject({ code: 'VSPC_CONSOLE_READ_ONLY' })
    const { console: first } = await open(client, { mode: 'exclusive' })
    await expect(client.console('vm1', { mode: 'exclusive' })).rejects.toMatchObject({ code: 'VSPC_CONSOLE_BUSY' })
    await open(client, { mode: 'exclusive', force: true })
    await eventually(() => first.mode === 'read')
    await expect(first.send('x')).rejects.toMatchObject({ code: 'VSPC_CONSOLE_BUSY' })
  })

  test('a break that the stream cannot carry is an error, not silence', async () => {
    const { client } = await withVm()
    const { console } = await open(client, { mode: 'write' })
    await expect(console.break()).rejects.toMatchObject({ code: 'VSPC_BREAK_UNSUPPORTED' })
    await console.flush()
  })
})

describe('reading', () => {
  test('nobody takes 40 MB of output: memory stays bounded, and then every byte is there', async () => {
    const { app, vm, client } = await withVm()
    const { console } = await open(client, { from: 0 })
    const piece = Buffer.from(Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 31 + (i >> 10)) & 255))
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 40; i++) await vm.print(app, piece)
    // The server of this process has its own buffers too.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(24 << 20)
    let length = 0
    for await (const chunk of console) {
      for (let at = 0; at < chunk.length; at += 4_099) {
        if (chunk[at] !== piece[(length + at) % piece.length]) throw new Error(`wrong byte at ${length + at}`)
      }
      length += chunk.length
      if (length >= 40 * piece.length) break
    }
    expect(length).toBe(40 * piece.length)
  }, 30_000)

  test('the log, whole and in part', async () => {
    const { app, vm, client } = await withVm()
    await vm.print(app, '0123456789')
    const read = async (options: object) => {
      const log = await client.log('vm1', options)
      const chunks: Uint8Array[] = []
      for await (const chunk of log) chunks.push(chunk)
      return [log.start, log.next, Buffer.concat(chunks).toString()]
    }
    expect(await read({})).toEqual([0, 10, '0123456789'])
    expect(await read({ from: -3 })).toEqual([7, 10, '789'])
    expect(await read({ from: 2, to: 5 })).toEqual([2, 5, '234'])
  })

  test('events, from the moment they are opened', async () => {
    const app = await startApp()
    const events = await clientOf(app).events()
    onTestFinished(() => events.close())
    await RawVm.connect(app)
    const seen: string[] = []
    for await (const event of events) {
      seen.push(event.type)
      if (event.type === 'port-online') break
    }
    expect(seen).toContain('port-added')
    const lost = await clientOf(app).events()
    await app.stop()
    const readOn = async () => {
      for await (const event of lost) seen.push(event.type)
    }
    await expect(readOn()).rejects.toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
    expect(seen.at(-1)).toBe('port-offline')
    const closed = await startApp().then((other) => clientOf(other).events())
    closed.close()
    expect(await closed[Symbol.asyncIterator]().next()).toEqual({ done: true, value: undefined })
  })
})
