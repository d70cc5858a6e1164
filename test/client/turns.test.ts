import { describe, expect, test } from 'vitest'
import { type ConsoleNotice, connect, VspcError } from '../../src/client/index.ts'
import { eventually, RawVm, startApp } from '../app/support.ts'
import { clientOf, open, RestartableApp } from './support.ts'

// Several consoles of the library at one port of a whole server.

async function single() {
  const app = await startApp({ writers: 'single' })
  const vm = await RawVm.connect(app)
  return { app, vm, client: clientOf(app), waiting: () => waiting(app) }
}

function waiting(app: Awaited<ReturnType<typeof startApp>>): (number | null)[] {
  return app.server.table.resolve('vm1').consoles.map(({ info }) => info.waiting)
}

describe('a mode', () => {
  test('is had at once, refused with the name of who is in the way, or taken by force; both are told', async () => {
    const { client } = await single()
    const alice = await open(client, { mode: 'write' })
    const bob = await open(client)
    await expect(bob.console.request('write')).rejects.toMatchObject({ code: 'VSPC_CONSOLE_BUSY' })
    expect(bob.console.mode).toBe('read')
    await bob.console.request('write', { force: true })
    expect(bob.console.mode).toBe('write')
    await eventually(() => alice.console.mode === 'read')
    expect(alice.notices).toContainEqual(expect.objectContaining({ type: 'writer', mode: 'read' }))
    await expect(alice.console.send('x')).rejects.toMatchObject({ code: 'VSPC_CONSOLE_BUSY' })
    await bob.console.request('read')
    await alice.console.request('exclusive')
    expect(alice.console.mode).toBe('exclusive')
  })

  test('is waited for until it is handed over, and then typed with', async () => {
    const { vm, client, waiting } = await single()
    const alice = await open(client, { mode: 'write' })
    const bob = await open(client)
    const granted = bob.console.request('write', { waitMs: Number.POSITIVE_INFINITY })
    await eventually(() => waiting().includes(1))
    await eventually(() => alice.notices.some(({ type }) => type === 'asked'))
    await expect(alice.console.yield(bob.console.id + 100)).rejects.toMatchObject({ code: 'VSPC_CONSOLE_NOT_FOUND' })
    await alice.console.yield(bob.console.id)
    await granted
    await bob.console.send('bob')
    await vm.hears('bob')
    await expect(bob.console.yield(alice.console.id)).rejects.toMatchObject({ code: 'VSPC_CONSOLE_NOT_WAITING' })
    expect(bob.console.mode).toBe('write')
  })

  test('that is not to be had in time leaves the queue, and says who holds the port', async () => {
    const { client, waiting } = await single()
    await open(client, { mode: 'write' })
    const bob = await open(client)
    await expect(bob.console.request('write', { waitMs: 30 })).rejects.toMatchObject({
      code: 'VSPC_WAIT_TIMEOUT',
      message: expect.stringMatching(/^vm1 is still held by 127\.0\.0\.1:\d+ after 0\.03 s/),
    })
    await eventually(() => waiting().every((place) => place === null))
    const stop = new AbortController()
    const aborted = bob.console.request('write', { waitMs: 60_000, signal: stop.signal })
    await eventually(() => waiting().includes(1))
    stop.abort(new Error('enough'))
    await expect(aborted).rejects.toThrow('enough')
    await eventually(() => waiting().every((place) => place === null))
  })

  test('is given up where the place in the queue is lost for another reason', async () => {
    const { app, client, waiting } = await single()
    await open(client, { mode: 'write' })
    const bob = await open(client)
    const refused = bob.console.request('write', { waitMs: 60_000 })
    await eventually(() => waiting().includes(1))
    app.server.table.resolve('vm1').consoles[1]?.demote('the token was removed')
    await expect(refused).rejects.toMatchObject({
      code: 'VSPC_CONSOLE_BUSY',
      message: expect.stringContaining('the token was removed'),
    })
    const closed = expect(bob.console.request('write', { waitMs: 60_000 })).rejects.toBeInstanceOf(VspcError)
    await eventually(() => waiting().includes(1))
    await bob.console.close()
    await closed
  })

  test('is waited for while attaching; in vain, nothing stays attached', async () => {
    const { app, client, waiting } = await single()
    const alice = await open(client, { mode: 'write' })
    await expect(client.console('vm1', { mode: 'write', waitMs: 30 })).rejects.toMatchObject({
      code: 'VSPC_WAIT_TIMEOUT',
    })
    await eventually(() => app.server.table.resolve('vm1').consoles.length === 1)
    const later = open(client, { mode: 'write', waitMs: Number.POSITIVE_INFINITY })
    await eventually(() => waiting().includes(1))
    await alice.console.close()
    expect((await later).console.mode).toBe('write')
    expect((await open(client, { mode: 'read', waitMs: 1 })).console.mode).toBe('read')
  })

  test('is waited for across a restart of the server', async () => {
    const running = await RestartableApp.start()
    await RawVm.connect(running.app)
    const client = connect({ server: running.app.url })
    const alice = await open(client, { mode: 'exclusive' })
    const notices: ConsoleNotice[] = []
    const bob = await client.console('vm1', { onNotice: (notice) => notices.push(notice) })
    const granted = bob.request('exclusive', { waitMs: Number.POSITIVE_INFINITY })
    await eventually(() => waiting(running.app).includes(1))
    await alice.console.close()
    await granted
    const again = await open(client)
    const later = again.console.request('write', { waitMs: Number.POSITIVE_INFINITY })
    await again.console.consoles()
    expect(waiting(running.app)).toContain(1)
    await running.stop()
    const app = await running.again()
    await RawVm.connect(app)
    // Whoever is back first holds it; the other waits as before.
    await eventually(() => app.server.table.get('name:vm1')?.consoles.length === 2)
    await eventually(() => waiting(app).includes(1) || again.console.mode === 'write')
    if (again.console.mode !== 'write') await bob.close()
    await later
    expect(again.console.mode).toBe('write')
    await bob.close()
  })
})

test('words reach all consoles as notices; who is attached is told; a kick ends the other for good', async () => {
  const { client } = await single()
  const alice = await open(client, { mode: 'write' })
  const bob = await open(client)
  await bob.console.say('reboot in 5 min')
  await eventually(() => alice.notices.some((notice) => notice.type === 'said' && notice.text === 'reboot in 5 min'))
  await expect(bob.console.say(' ')).rejects.toMatchObject({ code: 'VSPC_REQUEST_INVALID' })
  expect((await bob.console.consoles()).map(({ id, mode }) => [id, mode])).toEqual([
    [alice.console.id, 'write'],
    [bob.console.id, 'read'],
  ])
  expect(bob.console.may).toContain('kick')
  const ended = alice.console.expect('never')
  await bob.console.kick(alice.console.id, 'lunch')
  await expect(ended).rejects.toMatchObject({ code: 'VSPC_CONSOLE_KICKED', message: expect.stringContaining('lunch') })
  await expect(bob.console.kick(alice.console.id)).rejects.toMatchObject({ code: 'VSPC_CONSOLE_NOT_FOUND' })
  await expect(alice.console.request('write')).rejects.toBeInstanceOf(VspcError)
})
