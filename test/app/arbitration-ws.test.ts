import { describe, expect, test } from 'vitest'
import type { ConsoleMessage, ServerEvent } from '../../src/vspc/index.ts'
import { type AppUnderTest, RawVm, startApp, TestConsole, until } from './support.ts'

type Of<Type extends ConsoleMessage['type']> = Extract<ConsoleMessage, { type: Type }>

/** The next message of a type that `fits`, after those looked at before. */
async function next<Type extends ConsoleMessage['type']>(
  console: TestConsole,
  type: Type,
  fits: (message: Of<Type>) => boolean = () => true,
): Promise<Of<Type>> {
  const find = () => console.messages.findIndex((one) => one.type === type && fits(one as Of<Type>))
  await until(console, () => find() >= 0)
  return console.messages.splice(0, find() + 1).at(-1) as Of<Type>
}

async function numberOf(console: TestConsole): Promise<number> {
  return (await console.message('attached')).console
}

async function threeAt(app: AppUnderTest) {
  const vm = await RawVm.connect(app)
  const alice = await TestConsole.open(app, 'mode=write')
  const bob = await TestConsole.open(app, 'mode=read')
  const carol = await TestConsole.open(app, 'mode=read')
  return {
    vm,
    alice,
    bob,
    carol,
    ids: { alice: await numberOf(alice), bob: await numberOf(bob), carol: await numberOf(carol) },
  }
}

describe('three people at one port over WebSocket', () => {
  test('ask, hand over, force, kick: each step is told to all it concerns, and only who holds the keyboard is heard', async () => {
    const app = await startApp({ writers: 'single' })
    const { vm, alice, bob, carol, ids } = await threeAt(app)
    const events: ServerEvent[] = []
    app.server.subscribe((event) => events.push(event))

    bob.request({ type: 'mode', mode: 'write', wait: true })
    expect(await next(bob, 'queued')).toMatchObject({ position: 1, holders: [{ id: ids.alice }], idleTakeoverMs: null })
    expect(await next(alice, 'asked')).toMatchObject({
      by: { id: ids.bob, via: 'websocket', waiting: 1 },
      mode: 'write',
    })
    carol.request({ type: 'mode', mode: 'exclusive', wait: true })
    expect(await next(carol, 'queued')).toMatchObject({ position: 2 })
    bob.socket.send('nobody hears this')
    expect(await next(bob, 'error')).toMatchObject({ code: 'VSPC_CONSOLE_BAD_CONTROL' })
    bob.socket.send(Buffer.from('nor this'))
    expect(await next(bob, 'error')).toMatchObject({ code: 'VSPC_CONSOLE_READ_ONLY' })

    alice.request({ type: 'yield', to: ids.carol })
    expect(await next(carol, 'queued')).toMatchObject({ position: 0 })
    expect(await next(carol, 'writer')).toMatchObject({ mode: 'exclusive', by: { id: ids.alice } })
    expect(await next(carol, 'asked')).toMatchObject({ by: { id: ids.bob } })
    expect(await next(alice, 'writer')).toMatchObject({ mode: 'read', writers: [{ id: ids.carol }] })
    carol.socket.send(Buffer.from('carol'))
    await vm.hears('carol')

    alice.request({ type: 'mode', mode: 'write', force: true })
    expect(await next(carol, 'writer', ({ mode }) => mode === 'read')).toMatchObject({ by: { id: ids.alice } })
    expect(await next(alice, 'writer')).toMatchObject({ mode: 'write' })
    expect(await next(alice, 'asked')).toMatchObject({ by: { id: ids.bob } })
    alice.socket.send(Buffer.from(' alice'))
    await vm.hears('carol alice')

    carol.request({ type: 'kick', console: ids.alice, reason: 'go home' })
    expect(await alice.closed()).toEqual({ code: 4411, reason: expect.stringMatching(/^kicked by .*: go home$/) })
    expect(alice.messages.at(-1)).toMatchObject({ type: 'detached', code: 'VSPC_CONSOLE_KICKED' })
    expect(await next(bob, 'writer', ({ mode }) => mode === 'write')).toMatchObject({ by: { id: ids.carol } })
    bob.socket.send(Buffer.from(' bob'))
    await vm.hears('carol alice bob')

    bob.request({ type: 'say', text: 'rebooting\nin five minutes' })
    for (const one of [bob, carol]) {
      expect(await next(one, 'said')).toMatchObject({ from: { id: ids.bob }, text: 'rebooting in five minutes' })
    }
    const told = events.flatMap((event) => {
      if (event.type === 'console-mode') return [`${event.console.id} ${event.console.mode}`]
      return event.type === 'console-kicked' ? [`${event.console.id} kicked`] : []
    })
    expect(told).toEqual([
      `${ids.alice} read`,
      `${ids.carol} exclusive`,
      `${ids.alice} write`,
      `${ids.carol} read`,
      `${ids.alice} kicked`,
      `${ids.bob} write`,
    ])
  })

  test('idle take-over by the limit', async () => {
    const app = await startApp({ writers: 'single' }, { writerIdleMs: 50 })
    const { alice, bob, ids } = await threeAt(app)
    bob.request({ type: 'mode', mode: 'write', wait: true })
    expect(await next(alice, 'asked')).toMatchObject({ by: { id: ids.bob }, idleTakeoverMs: expect.any(Number) })
    expect(await next(alice, 'writer')).toMatchObject({
      mode: 'read',
      reason: expect.stringContaining('typed nothing'),
    })
    await next(bob, 'writer', ({ mode }) => mode === 'write')
  })

  test('attaching with wait=1 reads until it is its turn, and a connection that is cut makes room', async () => {
    const app = await startApp({ writers: 'single' })
    await RawVm.connect(app)
    const alice = await TestConsole.open(app, 'mode=write')
    const bob = await TestConsole.open(app, 'mode=write&wait=1')
    expect(await next(bob, 'attached')).toMatchObject({ mode: 'read' })
    expect(await next(bob, 'queued')).toMatchObject({ position: 1 })
    alice.socket.terminate()
    expect(await next(bob, 'writer', ({ mode }) => mode === 'write')).toMatchObject({
      reason: expect.stringMatching(/left$/),
    })
  })

  test('consoles that wait and read nothing cost their own buffers alone: the VM, the writer and the queue go on', async () => {
    const app = await startApp({ writers: 'single' })
    const { vm, alice, ids } = await threeAt(app)
    const stuck = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const console = await TestConsole.open(app, 'mode=write&wait=1')
        console.socket.pause()
        return console
      }),
    )
    const block = Buffer.alloc(65_536, 'x')
    for (let i = 0; i < 64; i++) await vm.print(app, block)
    await alice.hasBytes(64 * block.length)
    const last = await TestConsole.open(app, 'mode=write&wait=1')
    expect(await next(last, 'queued')).toMatchObject({ position: 9 })
    const said = async () => (await next(alice, 'said')).text
    for (let i = 0; i < 20; i++) alice.request({ type: 'say', text: `${i}` })
    for (let i = 0; i < 20; i++) expect(await said()).toBe(`${i}`)
    const heir = app.server.table.resolve('vm1').consoles.at(-1)?.id ?? 0
    alice.request({ type: 'yield', to: heir })
    await next(last, 'writer', ({ mode }) => mode === 'write')
    last.socket.send(Buffer.from('through'))
    await vm.hears('through')
    expect(app.server.table.resolve('vm1').consoles.map(({ id }) => id)).toContain(ids.alice)
    expect(stuck).toHaveLength(8)
  })
})

describe('over HTTP', () => {
  test('a console is kicked: told by whom and why, closed, its place taken', async () => {
    const app = await startApp({ writers: 'single' })
    const { alice, bob, ids } = await threeAt(app)
    bob.request({ type: 'mode', mode: 'write', wait: true })
    await next(bob, 'queued')
    const kick = (id: number | string, query = '') =>
      fetch(`${app.url}/api/v1/ports/vm1/consoles/${id}${query}`, { method: 'DELETE' })
    expect((await kick(ids.alice, '?reason=maintenance')).status).toBe(204)
    expect(await alice.closed()).toEqual({ code: 4411, reason: 'kicked by 127.0.0.1: maintenance' })
    expect(await next(bob, 'writer', ({ mode }) => mode === 'write')).not.toHaveProperty('by')
    const again = await kick(ids.alice)
    expect([again.status, await again.json()]).toMatchObject([404, { code: 'VSPC_CONSOLE_NOT_FOUND' }])
    expect((await kick('x')).status).toBe(400)
    expect((await kick(ids.bob, '?raeson=x')).status).toBe(400)
  })

  test('words reach the consoles of one port, or of all', async () => {
    const app = await startApp({
      listen: ['tcp://127.0.0.1:0?protocol=raw&name=vm1', 'tcp://127.0.0.1:0?protocol=raw&name=vm2'],
    })
    await RawVm.connect(app, 0)
    await RawVm.connect(app, 1)
    const one = await TestConsole.open(app, '', 'vm1')
    const two = await TestConsole.open(app, '', 'vm2')
    const post = async (path: string, body: unknown) => {
      const response = await fetch(`${app.url}/api/v1/${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      return [response.status, await response.json()]
    }
    expect(await post('ports/vm1/messages', { text: 'only you' })).toEqual([200, { consoles: 1 }])
    expect(await post('messages', { text: 'all \u001b[31mof you' })).toEqual([200, { consoles: 2 }])
    expect(await next(one, 'said')).toMatchObject({ from: null, text: '127.0.0.1: only you' })
    expect(await next(one, 'said')).toMatchObject({ text: '127.0.0.1: all [31mof you' })
    expect(await next(two, 'said')).toMatchObject({ text: '127.0.0.1: all [31mof you' })
    expect(await post('messages', {})).toMatchObject([400, { code: 'VSPC_REQUEST_INVALID' }])
    expect(await post('messages', { text: ' ' })).toMatchObject([400, { code: 'VSPC_REQUEST_INVALID' }])
    expect(await post('ports/vm9/messages', { text: 'x' })).toMatchObject([404, { code: 'VSPC_PORT_NOT_FOUND' }])
  })
})

test('a page of another site may neither kick nor speak', async () => {
  const app = await startApp()
  await RawVm.connect(app)
  const headers = { origin: 'http://evil.example', 'content-type': 'application/json' }
  const body = JSON.stringify({ text: 'buy' })
  expect((await fetch(`${app.url}/api/v1/messages`, { method: 'POST', headers, body })).status).toBe(403)
  expect((await fetch(`${app.url}/api/v1/ports/vm1/consoles/1`, { method: 'DELETE', headers })).status).toBe(403)
})

test('each way of asking wrongly is told what is accepted', async () => {
  const app = await startApp()
  await RawVm.connect(app)
  const console = await TestConsole.open(app)
  for (const [frame, fault] of [
    ['{"type":"kick"}', 'console must be the number of a console'],
    ['{"type":"kick","console":1.5}', 'console must be'],
    ['{"type":"kick","console":1,"reason":7}', 'reason must be text'],
    ['{"type":"yield","to":"bob"}', 'to must be'],
    ['{"type":"say"}', 'text must be text'],
    ['{"type":"mode","mode":"write","wait":"yes"}', 'wait must be true or false'],
    ['{"type":"constructor"}', 'there is no type "constructor"'],
  ] as const) {
    console.socket.send(frame)
    const { code, message } = await next(console, 'error')
    expect(code).toBe('VSPC_CONSOLE_BAD_CONTROL')
    expect(message).toContain(fault)
    expect(message).toContain('{"type":"cancel"}')
  }
})
