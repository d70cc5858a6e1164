import { once } from 'node:events'
import { expect, test } from 'vitest'
import { EventReader } from './event-reader.ts'
import { eventually, RawVm, startApp, TestConsole, until } from './support.ts'

test('the stream begins with hello and a retry time, and has the right type', async () => {
  const app = await startApp()
  const reader = await EventReader.open(app)
  expect(reader.answer.headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
  })
  expect(reader.head).toMatch(/^retry: \d+\n/)
  expect(reader.events).toEqual([{ event: 'hello', id: '0', data: { version: expect.stringMatching(/^\d/) } }])
})

test('what happens is told in order, each event named by its type and numbered', async () => {
  const app = await startApp()
  const reader = await EventReader.open(app)
  const vm = await RawVm.connect(app)
  await reader.has('port-online')
  const console = await TestConsole.open(app, 'mode=write')
  await reader.has('console-attached')
  console.socket.close()
  await reader.has('console-detached')
  vm.socket.destroy()
  await reader.has('port-offline')
  await fetch(`${app.url}/api/v1/ports/vm1`, { method: 'DELETE' })
  await reader.has('port-removed')
  const [, ...events] = reader.events
  expect(events.map(({ event }) => event)).toEqual([
    'port-added',
    'port-online',
    'console-attached',
    'console-detached',
    'port-offline',
    'port-removed',
  ])
  expect(events.map(({ id }) => id)).toEqual(['1', '2', '3', '4', '5', '6'])
  for (const { event, data } of events) {
    expect(data).toMatchObject({ type: event, at: expect.stringMatching(/Z$/), port: { id: 'name:vm1' } })
  }
  expect(events[2]?.data).toMatchObject({ console: { mode: 'write', who: expect.stringContaining('127.0.0.1:') } })
})

test('every reader gets every event', async () => {
  const app = await startApp()
  const readers = await Promise.all([EventReader.open(app), EventReader.open(app)])
  await RawVm.connect(app)
  for (const reader of readers) await reader.has('port-online')
})

test('a name with line ends and "data:" cannot forge an event', async () => {
  const name = 'x\n\nevent: port-removed\ndata: {}\n\n'
  const app = await startApp()
  const reader = await EventReader.open(app)
  await RawVm.connect(app)
  // As if cleaning had failed: the stream must not rely on it.
  const port = app.server.table.resolve('vm1')
  port.name = name
  port.emitPort('port-renamed')
  expect((await reader.has('port-renamed')).data).toMatchObject({ port: { vm: { name } } })
  expect(reader.events.some(({ event }) => event === 'port-removed')).toBe(false)
})

test('a reader that does not read is disconnected, another one goes on', async () => {
  const app = await startApp({}, { maxEventBacklogBytes: 65_536 })
  await RawVm.connect(app)
  const stuck = await EventReader.open(app)
  stuck.answer.pause()
  const reader = await EventReader.open(app)
  const port = app.server.table.resolve('vm1')
  port.name = 'x'.repeat(10_000)
  const gone = once(stuck.answer.socket, 'close')
  // Some 10 MB: more than the kernel takes for it. The other one is never far behind.
  for (let round = 0; round < 200; round++) {
    const read = reader.length
    for (let i = 0; i < 5; i++) port.emitPort('port-renamed')
    await until(reader, () => reader.length >= read + 50_000 || reader.ended)
  }
  stuck.answer.resume()
  await gone
  expect(stuck.length).toBeLessThan(reader.length)
  expect(reader.ended).toBe(false)
})

test('a reader that leaves is forgotten; with the last one no events are made', async () => {
  const app = await startApp()
  const reader = await EventReader.open(app)
  reader.answer.destroy()
  let made = 0
  await eventually(() => {
    made = 0
    app.server.emit((at) => {
      made++
      return { type: 'port-renamed', at, port: {} as never }
    })
    return made === 0
  })
  expect(made).toBe(0)
})

test('the streams end when the server stops', async () => {
  const app = await startApp()
  const reader = await EventReader.open(app)
  await app.stop()
  await until(reader, () => reader.ended)
  expect(reader.answer.complete).toBe(true)
})
