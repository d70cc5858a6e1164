import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { consoleUrl, eventually, RawVm, refusedUpgrade, sharedApp, startApp, TestConsole } from './support.ts'

async function serverWithVm(...args: Parameters<typeof startApp>) {
  const app = await startApp(...args)
  const vm = await RawVm.connect(app)
  return { app, vm, port: app.server.table.resolve('vm1') }
}

const BLOCK = Buffer.alloc(65_536, 'x')

describe('attaching', () => {
  test('binary frames carry the bytes both ways, all 256 of them, verbatim', async () => {
    const { app, vm } = await serverWithVm()
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    const console = await TestConsole.open(app, 'mode=write')
    console.socket.send(all)
    await vm.hears('\xff')
    expect(vm.received).toEqual(all)
    await vm.print(app, all)
    await console.hasBytes(256)
    expect(console.output).toEqual(all)
  })

  test('the first message says what was granted', async () => {
    const { app, vm } = await serverWithVm()
    await vm.print(app, 'before')
    const console = await TestConsole.open(app, 'mode=exclusive')
    expect(console.messages[0]).toEqual({
      type: 'attached',
      epoch: expect.stringMatching(/^[0-9a-f]{12}-\d+$/),
      port: 'name:vm1',
      name: 'vm1',
      mode: 'exclusive',
      offset: 6,
      start: 0,
      next: 6,
      state: 'online',
      console: expect.any(Number),
      may: ['read', 'who', 'write', 'exclusive', 'request', 'say', 'break', 'force', 'kick'],
    })
    expect(console.socket.protocol).toBe('vspc.v1')
  })

  test('without a mode it is for reading: input is refused and does not reach the VM', async () => {
    const { app, vm } = await serverWithVm()
    const reader = await TestConsole.open(app)
    reader.socket.send(Buffer.from('rm -rf /\r'))
    expect(await reader.message('error')).toMatchObject({ code: 'VSPC_CONSOLE_READ_ONLY' })
    const writer = await TestConsole.open(app, 'mode=write')
    writer.socket.send(Buffer.from('ok'))
    await vm.hears('ok')
    expect(vm.received.toString()).toBe('ok')
  })

  test('a client that offers no subprotocol is served, and gets none named', async () => {
    const { app, vm } = await serverWithVm()
    const console = await TestConsole.open(app, '', 'vm1', [])
    expect(console.socket.protocol).toBe('')
    await vm.print(app, 'hello')
    await console.hears('hello')
  })

  test('of several subprotocols ours is chosen', async () => {
    const { app } = await serverWithVm()
    const console = await TestConsole.open(app, '', 'vm1', ['other', 'vspc.v1'])
    expect(console.socket.protocol).toBe('vspc.v1')
  })

  test('a name with every awkward character finds its port', async () => {
    const name = 'a/b:c?d#e&f%g é €'
    const app = await startApp({ listen: [`tcp://127.0.0.1:0?protocol=raw&name=${encodeURIComponent(name)}`] })
    await RawVm.connect(app)
    expect((await TestConsole.open(app, '', name)).messages[0]).toMatchObject({ type: 'attached', name })
  })
})

describe('what is refused before the upgrade, as a problem', () => {
  const shared = sharedApp(async (app) => void (await RawVm.connect(app)))

  test.each([
    ['an unknown port', '', 'vm9', {}, 404, 'VSPC_PORT_NOT_FOUND'],
    ['an unknown mode', 'mode=admin', 'vm1', {}, 400, 'VSPC_REQUEST_INVALID'],
    ['an offset that is none', 'from=yesterday', 'vm1', {}, 400, 'VSPC_REQUEST_INVALID'],
    ['an unknown parameter', 'form=0', 'vm1', {}, 400, 'VSPC_REQUEST_INVALID'],
    ['only foreign subprotocols', '', 'vm1', { protocols: ['mqtt', 'vspc.v2'] }, 400, 'VSPC_REQUEST_INVALID'],
    ['a page of another site', '', 'vm1', { headers: { origin: 'http://evil.example' } }, 403, 'VSPC_NOT_ALLOWED'],
    ['a page without origin', '', 'vm1', { headers: { origin: 'null' } }, 403, 'VSPC_NOT_ALLOWED'],
    ['a name rebound to loopback', '', 'vm1', { headers: { host: 'evil.example' } }, 421, 'VSPC_NOT_ALLOWED'],
  ])('%s', async (_what, query, port, options, status, code) => {
    const app = shared()
    const refused = await refusedUpgrade(consoleUrl(app, query, port), options)
    expect(refused).toMatchObject({ status, contentType: 'application/problem+json', body: { status, code } })
    expect(app.server.table.resolve('vm1').consoles).toHaveLength(0)
  })

  test('a page of ours is no other site, whatever name of loopback it uses', async () => {
    const app = shared()
    const tcpPort = app.http?.tcpPort
    for (const host of [`127.0.0.1:${tcpPort}`, `localhost:${tcpPort}`, 'localhost:9999', '[::1]:13371']) {
      const socket = new WebSocket(consoleUrl(app), ['vspc.v1'], { headers: { host, origin: `http://${host}` } })
      await once(socket, 'open')
      socket.terminate()
    }
  })

  test('an upgrade of another route, or to something else, is not granted', async () => {
    const app = shared()
    const refused = await refusedUpgrade(`${app.url.replace('http', 'ws')}/livez`)
    expect(refused).toMatchObject({ status: 400, contentType: 'application/problem+json' })
    expect(await refusedUpgrade(`${app.url.replace('http', 'ws')}/nope`)).toMatchObject({ status: 404 })
  })

  test('an upgrade that is refused leaves no socket behind', async () => {
    const { app } = await serverWithVm()
    const evil = { headers: { origin: 'http://evil.example' } }
    await refusedUpgrade(consoleUrl(app), evil)
    await refusedUpgrade(consoleUrl(app, '', 'vm9'))
    await refusedUpgrade(`${app.url.replace('http', 'ws')}/%zz`)
    // A socket without owner would hold this up until it is cut.
    const started = performance.now()
    await app.stop()
    expect(performance.now() - started).toBeLessThan(900)
  })

  test('a plain GET is told to upgrade', async () => {
    const app = shared()
    const answer = await fetch(consoleUrl(app).replace('ws', 'http'))
    expect([answer.status, answer.headers.get('upgrade')]).toEqual([426, 'websocket'])
    expect(await answer.json()).toMatchObject({ code: 'VSPC_REQUEST_INVALID' })
  })

  test.each([
    ['a wrong version', 'Sec-WebSocket-Version: 7', 426],
    ['no key', 'Sec-WebSocket-Version: 13', 400],
  ])('a handshake with %s', async (_what, header, status) => {
    const app = shared()
    const socket = connect(app.http?.tcpPort ?? 0, '127.0.0.1')
    socket.end(
      `GET /api/v1/ports/vm1/console HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${header}\r\n\r\n`,
    )
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    await once(socket, 'close')
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*application/problem\\+json[^]*VSPC_REQUEST_INVALID`))
  })
})

describe('history and live output', () => {
  test('without "from" only what comes after attaching is sent', async () => {
    const { app, vm } = await serverWithVm()
    await vm.print(app, 'old ')
    const console = await TestConsole.open(app)
    await vm.print(app, 'new')
    await console.hears('new')
    expect(console.output.toString()).toBe('new')
  })

  test('resuming at the offset reached gives every byte once, also what came meanwhile', async () => {
    const { app, vm } = await serverWithVm()
    const first = await TestConsole.open(app, 'from=0')
    await vm.print(app, '0123456789')
    await first.hasBytes(10)
    first.socket.close()
    await first.closed()
    await vm.print(app, 'abcdef')
    const second = await TestConsole.open(app, 'from=10')
    expect(second.messages[0]).toMatchObject({ offset: 10, next: 16 })
    await vm.print(app, 'XYZ')
    await second.hasBytes(9)
    expect(second.output.toString()).toBe('abcdefXYZ')
  })

  test('a negative "from" counts from the end, and stops at the beginning', async () => {
    const { app, vm } = await serverWithVm()
    await vm.print(app, '0123456789')
    const last = await TestConsole.open(app, 'from=-4')
    await last.hasBytes(4)
    expect(last.output.toString()).toBe('6789')
    const all = await TestConsole.open(app, 'from=-4000')
    await all.hasBytes(10)
    expect(all.messages[0]).toMatchObject({ type: 'attached', offset: 0 })
  })

  test('a "from" past the end goes on live', async () => {
    const { app, vm } = await serverWithVm()
    await vm.print(app, '0123')
    const console = await TestConsole.open(app, 'from=99999')
    expect(console.messages[0]).toMatchObject({ offset: 4 })
    await vm.print(app, 'live')
    await console.hasBytes(4)
    expect(console.output.toString()).toBe('live')
  })

  test('what history no longer holds is told as a gap, with the exact count', async () => {
    const { app, vm } = await serverWithVm({ history: 'memory' }, { historyBytes: 4_096 })
    for (let i = 0; i < 4; i++) await vm.print(app, Buffer.alloc(4_096, 'abcd'[i]))
    const { start } = app.server.table.resolve('vm1').history
    expect(start).toBeGreaterThan(0)
    const console = await TestConsole.open(app, 'from=0')
    expect(await console.message('gap')).toEqual({ type: 'gap', bytes: start, offset: start })
    await console.hasBytes(16_384 - start)
    expect(console.output.toString()).toBe('aaaabbbbccccdddd'.replace(/./g, (one) => one.repeat(1024)).slice(start))
  })

  test('a long history is fed in pieces: other work gets its turn in between', async () => {
    const { app, vm, port } = await serverWithVm({}, { historyBytes: 8 << 20, consoleBufferBytes: 65_536 })
    for (let i = 0; i < 64; i++) await vm.print(app, BLOCK)
    const sent: number[] = []
    let turns = 0
    const watch = setInterval(() => turns++, 0)
    const console = await TestConsole.open(app, 'from=0')
    console.on('change', () => sent.push(turns))
    await console.hasBytes(64 * BLOCK.length)
    clearInterval(watch)
    expect(console.output.length).toBe(port.history.next)
    // 4 MiB with 64 KiB a turn: were it one go, there would have been none.
    expect(turns).toBeGreaterThan(8)
  })
})

describe('a console that does not read', () => {
  test('delays neither another console nor the VM, and costs a bounded buffer', async () => {
    const { app, vm, port } = await serverWithVm(
      { history: 'memory' },
      { consoleBufferBytes: 65_536, historyBytes: 8 << 20 },
    )
    const stuck = await TestConsole.open(app, 'mode=read')
    stuck.socket.pause()
    const reader = await TestConsole.open(app, 'mode=read')
    const total = 24 << 20
    const buffers = watchBuffers()
    // Only the count matters here.
    reader.on('change', () => reader.discard())
    for (let sent = 0; sent < total; sent += BLOCK.length) {
      if (!vm.socket.write(BLOCK)) await once(vm.socket, 'drain')
      // In memory, history is no longer than that: who keeps up has to get the chance to.
      await reader.hasBytes(sent - (2 << 20))
    }
    await reader.hasBytes(total)
    expect(port.history.next).toBe(total)
    expect(buffers.most).toBeGreaterThan(65_536)
    expect(buffers.most).toBeLessThan(65_536 + 2 * BLOCK.length)
    // It reads again: what history holds, after a gap for the rest.
    stuck.socket.resume()
    const gap = await stuck.message('gap')
    await stuck.hasBytes(total - gap.bytes)
    expect(stuck.length).toBe(total - gap.bytes)
    expect(stuck.end).toBeNull()
  })

  test.each([
    ['in memory', { history: 'memory' }, { historyBytes: 64 << 20 }],
    ['on disk', {}, { historyTailBytes: 1 << 20 }],
  ] as const)('loses nothing as long as history reaches back, %s', async (_where, settings, limits) => {
    const { app, vm } = await serverWithVm(settings, { consoleBufferBytes: 65_536, ...limits })
    const slow = await TestConsole.open(app, 'mode=read')
    slow.socket.pause()
    const total = 16 << 20
    const pattern = Buffer.from(Uint32Array.from({ length: total / 4 }, (_, i) => i).buffer)
    for (let at = 0; at < total; at += 262_144) {
      if (!vm.socket.write(pattern.subarray(at, at + 262_144))) await once(vm.socket, 'drain')
    }
    await eventually(() => app.server.table.resolve('vm1').history.next === total)
    slow.socket.resume()
    await slow.hasBytes(total)
    expect(slow.output.equals(pattern)).toBe(true)
  })

  test('cannot make the server keep answers for it', async () => {
    const { app } = await serverWithVm({}, { consoleBufferBytes: 4_096 })
    // So that the answer to "who" is a long one.
    await Promise.all(Array.from({ length: 50 }, () => TestConsole.open(app, 'mode=read')))
    const rude = await TestConsole.open(app, 'mode=read')
    rude.socket.pause()
    const buffers = watchBuffers()
    const ask = async () => {
      const answered = buffers.asked + 100
      for (let i = 0; i < 100; i++) rude.socket.send(i % 2 === 0 ? '{"type":"who"}' : 'nonsense')
      await eventually(() => buffers.asked >= answered)
    }
    // Until the kernel takes no more of the answers, and then some.
    while (buffers.most < 4_096) await ask()
    for (let round = 0; round < 20; round++) await ask()
    expect(buffers.most).toBeGreaterThan(4_096)
    expect(buffers.most).toBeLessThan(200_000)
  })
})

/** Notes how much any WebSocket has buffered, whenever it is asked: the server asks after everything it sends. */
function watchBuffers(): { most: number; asked: number } {
  const seen = { most: 0, asked: 0 }
  const property = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'bufferedAmount')
  if (property?.get === undefined) throw new Error('ws has changed')
  const { get } = property
  Object.defineProperty(WebSocket.prototype, 'bufferedAmount', {
    ...property,
    get() {
      const bytes = get.call(this) as number
      seen.asked++
      seen.most = Math.max(seen.most, bytes)
      return bytes
    },
  })
  onTestFinished(() => void Object.defineProperty(WebSocket.prototype, 'bufferedAmount', property))
  return seen
}

describe('who may write', () => {
  test('by default writers share the port, and are told of each other', async () => {
    const { app, vm } = await serverWithVm()
    const one = await TestConsole.open(app, 'mode=write')
    const two = await TestConsole.open(app, 'mode=write')
    expect(await one.message('writer')).toMatchObject({
      mode: 'write',
      writers: [{ mode: 'write' }, { mode: 'write' }],
    })
    one.socket.send(Buffer.from('1'))
    await vm.hears('1')
    two.socket.send(Buffer.from('2'))
    await vm.hears('12')
  })

  test('someone exclusive keeps others out: error, detached, close code 4409', async () => {
    const { app } = await serverWithVm()
    await TestConsole.open(app, 'mode=exclusive')
    const late = await TestConsole.open(app, 'mode=write')
    expect(await late.closed()).toMatchObject({ code: 4409 })
    expect(late.messages).toEqual([
      { type: 'error', code: 'VSPC_CONSOLE_BUSY', message: expect.stringContaining('vm1 is held by 127.0.0.1:') },
      { type: 'detached', code: 'VSPC_CONSOLE_BUSY', reason: expect.stringContaining('attach for reading') },
    ])
  })

  test('readers are not kept out by it', async () => {
    const { app } = await serverWithVm()
    await TestConsole.open(app, 'mode=exclusive')
    expect((await TestConsole.open(app, 'mode=read')).messages[0]).toMatchObject({ type: 'attached' })
  })

  test('with force it is taken over, and the other becomes a reader', async () => {
    const { app, vm } = await serverWithVm()
    const first = await TestConsole.open(app, 'mode=exclusive')
    const second = await TestConsole.open(app, 'mode=exclusive&force=1')
    expect(second.messages[0]).toMatchObject({ type: 'attached', mode: 'exclusive' })
    expect(await first.message('writer')).toMatchObject({ mode: 'read', reason: expect.stringContaining('took over') })
    first.socket.send(Buffer.from('mine'))
    expect(await first.message('error')).toMatchObject({ code: 'VSPC_CONSOLE_READ_ONLY' })
    second.socket.send(Buffer.from('yours'))
    await vm.hears('yours')
    expect(vm.received.toString()).toBe('yours')
  })

  test('with policy "single" a second writer is refused', async () => {
    const { app } = await serverWithVm({ writers: 'single' })
    await TestConsole.open(app, 'mode=write')
    expect(await (await TestConsole.open(app, 'mode=write')).closed()).toMatchObject({ code: 4409 })
  })

  test('too many consoles on one port: refused with a code of its own', async () => {
    const { app } = await serverWithVm({}, { maxConsolesPerPort: 1 })
    await TestConsole.open(app)
    const second = await TestConsole.open(app)
    expect(await second.closed()).toMatchObject({ code: 4429 })
    expect(second.messages[0]).toMatchObject({ type: 'error', code: 'VSPC_CONSOLE_TOO_MANY' })
  })
})

describe('control messages', () => {
  const shared = sharedApp(async (app) => void (await RawVm.connect(app)))

  test('"mode" changes what the console may do', async () => {
    const { app, vm } = await serverWithVm()
    const console = await TestConsole.open(app, 'mode=read')
    console.request({ type: 'mode', mode: 'write' })
    expect(await console.message('writer')).toMatchObject({ mode: 'write' })
    console.socket.send(Buffer.from('now'))
    await vm.hears('now')
  })

  test('"mode" that is not granted is an error, and the console stays as it was', async () => {
    const { app } = await serverWithVm()
    await TestConsole.open(app, 'mode=exclusive')
    const console = await TestConsole.open(app, 'mode=read')
    console.request({ type: 'mode', mode: 'write' })
    expect(await console.message('error')).toMatchObject({ code: 'VSPC_CONSOLE_BUSY' })
    expect(console.end).toBeNull()
  })

  test('"who" lists the consoles', async () => {
    const { app } = await serverWithVm()
    await TestConsole.open(app, 'mode=write')
    const console = await TestConsole.open(app, 'mode=read')
    console.request({ type: 'who' })
    const { consoles } = await console.message('consoles')
    expect(consoles.map(({ mode }) => mode)).toEqual(['write', 'read'])
  })

  test('"break" where the stream cannot carry one is an error, not silence', async () => {
    const { app } = await serverWithVm()
    const console = await TestConsole.open(app, 'mode=write')
    console.request({ type: 'break' })
    expect(await console.message('error')).toMatchObject({ code: 'VSPC_BREAK_UNSUPPORTED' })
  })

  test.each([
    ['no JSON', 'ls -l', /binary frames/],
    ['no object', '[1]', /no JSON object/],
    ['no type', '{}', /no type/],
    ['an unknown type', '{"type":"reboot"}', /no type "reboot"/],
    ['an unknown mode', '{"type":"mode","mode":"root"}', /read, write, exclusive/],
    ['force that is no boolean', '{"type":"mode","mode":"write","force":"yes"}', /force/],
    ['one that is far too long', `{"type":"who","x":"${'x'.repeat(5_000)}"}`, /bytes/],
  ])('%s is an error, and the connection stays', async (_what, text, fault) => {
    const console = await TestConsole.open(shared(), 'mode=write')
    console.socket.send(text)
    expect(await console.message('error')).toMatchObject({
      code: 'VSPC_CONSOLE_BAD_CONTROL',
      message: expect.stringMatching(fault),
    })
    console.request({ type: 'who' })
    expect((await console.message('consoles')).consoles).toHaveLength(1)
  })
})

describe('frames', () => {
  test('a fragmented message is one input', async () => {
    const { app, vm } = await serverWithVm()
    const console = await TestConsole.open(app, 'mode=write')
    console.socket.send(Buffer.from('one '), { fin: false })
    console.socket.send(Buffer.from('two '), { fin: false })
    console.socket.send(Buffer.from('three'), { fin: true })
    await vm.hears('three')
    expect(vm.received.toString()).toBe('one two three')
  })

  test('one longer than the limit closes with 1009, and the port goes on', async () => {
    const { app, port } = await serverWithVm({}, { maxConsoleMessageBytes: 1_024 })
    const console = await TestConsole.open(app, 'mode=write')
    console.socket.send(Buffer.alloc(1_025))
    expect(await console.closed()).toMatchObject({ code: 1009 })
    await eventually(() => port.consoles.length === 0)
    expect(await TestConsole.open(app, 'mode=exclusive')).toMatchObject({ end: null })
  })

  test('text that is not UTF-8 closes with 1007', async () => {
    const { app } = await serverWithVm()
    const console = await TestConsole.open(app)
    console.socket.send(Buffer.from([0xff, 0xfe]), { binary: false })
    expect(await console.closed()).toMatchObject({ code: 1007 })
  })

  test('input larger than the VM takes is held back, not dropped', async () => {
    const { app, vm } = await serverWithVm({}, { inputBytes: 65_536, vmSocketBytes: 16_384 })
    vm.socket.pause()
    const console = await TestConsole.open(app, 'mode=write')
    const total = 16 << 20
    for (let sent = 0; sent < total; sent += BLOCK.length) console.socket.send(BLOCK)
    // Kernel buffers hold some of it; the rest has to wait on the client's side.
    await eventually(() => app.server.counters.bytesToVm > 0)
    const held = app.server.counters.bytesToVm
    expect(held).toBeLessThan(total)
    let count = 0
    vm.socket.removeAllListeners('data')
    vm.socket.on('data', (chunk: Buffer) => {
      count += chunk.length
    })
    vm.socket.resume()
    await eventually(() => count >= total)
    expect(count).toBe(total)
  })
})

describe('the end', () => {
  test('the client leaves: the port knows', async () => {
    const { app, port } = await serverWithVm()
    const console = await TestConsole.open(app)
    expect(port.consoles).toHaveLength(1)
    console.socket.close()
    await eventually(() => port.consoles.length === 0)
  })

  test('the client vanishes without a word: the port knows', async () => {
    const { app, port } = await serverWithVm()
    const console = await TestConsole.open(app, 'mode=exclusive')
    console.socket.terminate()
    await eventually(() => port.consoles.length === 0)
  })

  test('the VM disconnects: the console stays and is told', async () => {
    const { app, vm } = await serverWithVm()
    const console = await TestConsole.open(app)
    vm.socket.destroy()
    expect(await console.message('state')).toMatchObject({ state: 'offline' })
    const again = await RawVm.connect(app)
    await again.print(app, 'back')
    await console.hears('back')
    expect(console.end).toBeNull()
  })

  test('the port is forgotten: 4410', async () => {
    const { app, vm, port } = await serverWithVm()
    const console = await TestConsole.open(app)
    vm.socket.destroy()
    await eventually(() => port.state === 'offline')
    expect((await fetch(`${app.url}/api/v1/ports/vm1`, { method: 'DELETE' })).status).toBe(204)
    expect(await console.closed()).toMatchObject({ code: 4410 })
    expect(console.messages.at(-1)).toMatchObject({ type: 'detached', code: 'VSPC_PORT_REMOVED' })
  })

  test('the server stops: 1001, after what was still to be sent', async () => {
    const { app, vm } = await serverWithVm()
    const console = await TestConsole.open(app)
    vm.socket.write('last words')
    await console.hears('last words')
    vm.socket.end()
    await app.stop()
    expect(await console.closed()).toMatchObject({ code: 1001 })
    expect(console.messages.at(-1)).toMatchObject({ type: 'detached', code: 'VSPC_SERVER_STOPPING' })
  })

  test('a console that never reads does not keep the server from stopping', async () => {
    const { app, vm } = await serverWithVm({}, { consoleBufferBytes: 65_536, closeMs: 50, drainMs: 100 })
    const stuck = await TestConsole.open(app)
    stuck.socket.pause()
    for (let i = 0; i < 200; i++) {
      if (!vm.socket.write(BLOCK)) await once(vm.socket, 'drain')
    }
    vm.socket.end()
    await app.stop()
    expect(app.server.table.resolve('vm1').consoles).toHaveLength(0)
  })
})

describe('signs of life', () => {
  test('pings come, and answers keep the console', async () => {
    const { app } = await serverWithVm({}, { pingMs: 32 })
    const console = await TestConsole.open(app)
    for (let i = 0; i < 5; i++) await once(console.socket, 'ping')
    expect(console.end).toBeNull()
  })

  test('a peer that answers none is closed, and frees the port', async () => {
    const { app, port } = await serverWithVm({}, { pingMs: 32, closeMs: 32 })
    const dead = new WebSocket(consoleUrl(app, 'mode=exclusive'), ['vspc.v1'], { autoPong: false })
    await once(dead, 'open')
    await eventually(() => port.consoles.length === 1)
    const [code] = (await once(dead, 'close')) as [number]
    expect(code).toBe(4408)
    expect(port.consoles).toHaveLength(0)
  })

  test('a VM that does not read is no fault of the console: it is not closed for silence we imposed', async () => {
    const { app, vm, port } = await serverWithVm({}, { pingMs: 32, inputBytes: 1_024, vmSocketBytes: 1_024 })
    vm.socket.pause()
    const console = await TestConsole.open(app, 'mode=write')
    let pings = 0
    console.socket.on('ping', () => pings++)
    // Fills the VM's socket, then the queue: from here on nothing is read from the console, pongs included.
    for (let i = 0; i < 256; i++) console.socket.send(BLOCK)
    await eventually(() => app.server.counters.bytesToVm > 65_536)
    pings = 0
    await eventually(() => pings >= 6)
    expect(port.consoles).toHaveLength(1)
    expect(console.end).toBeNull()
  })
})
