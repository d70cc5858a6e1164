import { createHash, createHmac, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { parseGlob } from '../../src/access/index.ts'
import { ManualClock } from '../../src/base/index.ts'
import { TestCertificates } from '../support/certificates.ts'
import { eventually } from '../vspc/loopback.ts'
import { alertOf, portsOf, Receiver, startHooks, webhook } from './support.ts'

function tempFile(text: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'vspc-hook-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'file')
  writeFileSync(file, text)
  return file
}

const countersOf = (hooks: ReturnType<typeof startHooks>) => hooks.counters.get('test')

test('an event arrives as a CloudEvent, signed as receivers check it, with headers out of files', async () => {
  const receiver = await Receiver.start()
  const secretFile = tempFile(`whsec_${Buffer.from('the key').toString('base64')}\n`)
  const headerFiles = { authorization: tempFile('Bearer abc\nnot this\n') }
  const hooks = startHooks([webhook(receiver.url('/a?b=c'), { secretFile, headerFiles })])
  hooks.take(alertOf())
  await eventually('it arrives', () => countersOf(hooks)?.delivered === 1)
  const [got] = receiver.got
  expect(got).toMatchObject({ method: 'POST', path: '/a?b=c' })
  expect(got?.headers).toMatchObject({
    'content-type': 'application/cloudevents+json; charset=utf-8',
    'user-agent': 'vspc/test',
    'webhook-id': 'e-1',
    authorization: 'Bearer abc',
  })
  expect(JSON.parse(got?.body ?? '')).toEqual({
    specversion: '1.0',
    id: 'e-1',
    source: 'urn:vspc:test',
    type: 'vspc.alert',
    time: '2026-11-23T03:17:20.000Z',
    subject: 'name:vm1',
    datacontenttype: 'application/json',
    data: alertOf(),
  })
  const time = String(got?.headers['webhook-timestamp'])
  expect(Math.abs(Number(time) - Date.now() / 1_000)).toBeLessThan(60)
  const expected = createHmac('sha256', 'the key').update(`e-1.${time}.${got?.body}`).digest('base64')
  expect(got?.headers['webhook-signature']).toBe(`v1,${expected}`)
})

test('only events that a hook wants are given to it', async () => {
  const receiver = await Receiver.start()
  const hook = webhook(receiver.url(), {
    events: [parseGlob('alert'), parseGlob('vmotion-*')],
    ports: portsOf('web*'),
    severity: 'error',
  })
  const hooks = startHooks([hook])
  const vmotion = { ...alertOf('web1'), type: 'vmotion-begin' }
  const noPort = { type: 'vmotion-plan', at: '2026-11-23T03:17:20.000Z' }
  const unwanted = [alertOf('db1'), alertOf('web1', 'warning'), { ...vmotion, type: 'port-online' }, noPort]
  for (const event of [...unwanted, alertOf('web1', 'error'), vmotion]) hooks.take(event)
  await eventually('they arrive', () => receiver.got.length === 2)
  expect(receiver.got.map(({ body }) => JSON.parse(body).type)).toEqual(['vspc.alert', 'vspc.vmotion-begin'])
})

test('a receiver that fails gets the event again, the same one, after a growing pause; then the next one', async () => {
  const clock = new ManualClock()
  const receiver = await Receiver.start()
  let failures = 2
  receiver.answer = (response) => response.writeHead(failures-- > 0 ? 503 : 200).end()
  const hooks = startHooks([webhook(receiver.url(), { timeoutMs: 60_000 })], clock)
  hooks.take(alertOf('one'))
  hooks.take(alertOf('two'))
  for (const [attempt, pause] of [
    [1, 500],
    [2, 1_000],
  ] as const) {
    await eventually('it has failed', () => countersOf(hooks)?.retries === attempt)
    clock.advance(pause - 1)
    expect(receiver.got).toHaveLength(attempt)
    clock.advance(1)
  }
  await eventually('both are there', () => countersOf(hooks)?.delivered === 2)
  expect(receiver.got.map(({ headers }) => headers['webhook-id'])).toEqual(['e-1', 'e-1', 'e-1', 'e-2'])
})

test('a receiver that asks for a longer pause gets it, up to five minutes', async () => {
  const clock = new ManualClock()
  const receiver = await Receiver.start()
  receiver.answer = (response) => response.writeHead(429, { 'retry-after': '100000' }).end()
  const hooks = startHooks([webhook(receiver.url(), { timeoutMs: 600_000, expireMs: 3_600_000 })], clock)
  hooks.take(alertOf())
  await eventually('it has failed', () => countersOf(hooks)?.retries === 1)
  clock.advance(299_000)
  expect(receiver.got).toHaveLength(1)
  clock.advance(1_000)
  await eventually('it is tried again', () => receiver.got.length === 2)
})

test('a receiver that is away longer than an event keeps loses it, and that is counted', async () => {
  const clock = new ManualClock()
  const receiver = await Receiver.start()
  const url = receiver.url()
  receiver.stop()
  const hooks = startHooks([webhook(url, { expireMs: 10_000, timeoutMs: 60_000 })], clock)
  hooks.take(alertOf())
  await eventually('it has failed', () => countersOf(hooks)?.retries === 1)
  clock.advance(10_000)
  await eventually('it is given up', () => countersOf(hooks)?.expired === 1)
  expect(hooks.waiting.get('test')).toBe(0)
})

test('a receiver that hangs is cut off, and gets the event again', async () => {
  const receiver = await Receiver.start()
  let hangs = true
  receiver.answer = (response) => {
    if (!hangs) response.writeHead(200).end()
    hangs = false
  }
  const hooks = startHooks([webhook(receiver.url(), { timeoutMs: 100 })])
  hooks.take(alertOf())
  await eventually('it has arrived', () => countersOf(hooks)?.delivered === 1)
  expect(countersOf(hooks)?.retries).toBe(1)
})

test('an answer without end takes no memory and no time', async () => {
  const receiver = await Receiver.start()
  receiver.answer = (response) => {
    const piece = Buffer.alloc(65_536)
    const write = (): void => {
      while (!response.destroyed && response.write(piece));
    }
    response.on('drain', write)
    response.on('error', () => {})
    write()
  }
  const hooks = startHooks([webhook(receiver.url())])
  hooks.take(alertOf())
  await eventually('it counts', () => countersOf(hooks)?.delivered === 1)
})

test.each([301, 302, 307, 308])(
  'a redirect (%i) is not followed: nobody but the configured receiver is spoken to',
  async (status) => {
    const [receiver, other] = [await Receiver.start(), await Receiver.start()]
    receiver.answer = (response) => response.writeHead(status, { location: other.url() }).end()
    const hooks = startHooks([webhook(receiver.url())])
    hooks.take(alertOf())
    await eventually('it is given up', () => countersOf(hooks)?.failed === 1)
    expect(other.got).toEqual([])
  },
)

test('what a receiver does not want is not tried again', async () => {
  const receiver = await Receiver.start()
  receiver.answer = (response) => response.writeHead(400).end()
  const hooks = startHooks([webhook(receiver.url())])
  hooks.take(alertOf())
  await eventually('it is given up', () => countersOf(hooks)?.failed === 1)
  expect(receiver.got).toHaveLength(1)
})

test('without the file that signs nothing is sent, and the event waits', async () => {
  const receiver = await Receiver.start()
  const hooks = startHooks([webhook(receiver.url(), { secretFile: '/nowhere/secret' })])
  hooks.take(alertOf())
  await eventually('it has failed', () => countersOf(hooks)?.retries === 1)
  expect(receiver.got).toEqual([])
})

test('over TLS the authority or the pin decides; with neither a certificate of ones own is refused, before a byte is sent', async () => {
  const certificates = await TestCertificates.create()
  onTestFinished(() => certificates.remove())
  const files = await certificates.selfSigned('127.0.0.1')
  const cert = readFileSync(files.cert, 'utf8')
  const receiver = await Receiver.start({ cert, key: readFileSync(files.key, 'utf8') })
  const pin = createHash('sha256').update(new X509Certificate(cert).raw).digest('hex')
  const results = async (more: object) => {
    const hooks = startHooks([webhook(receiver.url(), more)])
    hooks.take(alertOf())
    await eventually(
      'it is decided',
      () => (countersOf(hooks)?.delivered ?? 0) + (countersOf(hooks)?.retries ?? 0) === 1,
    )
    return countersOf(hooks)?.delivered === 1
  }
  expect(await results({})).toBe(false)
  expect(await results({ pin: 'ab'.repeat(32) })).toBe(false)
  expect(receiver.got).toEqual([])
  expect(await results({ pin })).toBe(true)
  expect(receiver.got).toHaveLength(1)
})

test('100,000 events for a receiver that hangs take bounded memory; the oldest are dropped and counted', async () => {
  const receiver = await Receiver.start()
  receiver.answer = () => {}
  const hooks = startHooks([webhook(receiver.url())])
  const begin = performance.now()
  for (let i = 0; i < 100_000; i++) hooks.take(alertOf(`vm${i}`))
  expect(performance.now() - begin).toBeLessThan(15_000)
  expect(hooks.waiting.get('test')).toBeLessThanOrEqual(1_001)
  expect(countersOf(hooks)?.dropped).toBeGreaterThanOrEqual(98_999)
  await eventually('the first is there', () => receiver.got.length === 1)
  const before = countersOf(hooks)?.dropped ?? 0
  await hooks.stop(50)
  // What was left is dropped, none is forgotten.
  expect((countersOf(hooks)?.dropped ?? 0) - before).toBe(1_001)
})

test('at the end what waits is delivered, if there is time for it', async () => {
  const clock = new ManualClock()
  const receiver = await Receiver.start()
  let failures = 1
  receiver.answer = (response) => response.writeHead(failures-- > 0 ? 503 : 200).end()
  const hooks = startHooks([webhook(receiver.url(), { timeoutMs: 60_000 })], clock)
  for (let i = 0; i < 20; i++) hooks.take(alertOf())
  await eventually('it has failed', () => countersOf(hooks)?.retries === 1)
  // The clock stands: nothing but this makes it be tried again.
  await hooks.stop(5_000)
  expect(countersOf(hooks)).toMatchObject({ delivered: 20, dropped: 0 })
})

test('with other hooks what waits for the former ones is delivered all the same', async () => {
  const [one, two] = [await Receiver.start(), await Receiver.start()]
  const hooks = startHooks([webhook(one.url())])
  for (let i = 0; i < 5; i++) hooks.take(alertOf())
  hooks.use([webhook(two.url())], 5_000)
  hooks.take(alertOf())
  await eventually('all are there', () => one.got.length === 5 && two.got.length === 1)
})

test('what waits for a receiver that is away stays when other hooks are changed', async () => {
  const clock = new ManualClock()
  const [away, other] = [await Receiver.start(), await Receiver.start()]
  away.answer = (response) => response.writeHead(503).end()
  const same = () => webhook(away.url(), { name: 'away', ports: portsOf('vm*') })
  const hooks = startHooks([same()], clock)
  for (let i = 0; i < 5; i++) hooks.take(alertOf())
  await eventually('it has failed', () => hooks.counters.get('away')?.retries === 1)
  hooks.use([webhook(other.url(), { name: 'other' }), same()], 0)
  expect(hooks.waiting.get('away')).toBe(5)
  away.answer = (response) => response.writeHead(204).end()
  hooks.take(alertOf())
  clock.advance(1_000)
  await eventually('all are there', () => hooks.counters.get('away')?.delivered === 6)
  expect(hooks.counters.get('away')?.dropped).toBe(0)
  await eventually('the other has its own', () => other.got.length === 1)
})
