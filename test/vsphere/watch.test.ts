/** A watch whose server fails it: it comes back when time can heal that, and ends when not. */
import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import { connect, type News, type VsphereSession, watch } from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { type Call, FakeVsphere } from './fake-vsphere.ts'

const VM = { type: 'VirtualMachine', value: 'vm-1' }
const QUERY = { type: VM.type, properties: ['runtime.host'], objects: [VM] }

let certificates: TestCertificates
let certificate: CertificateFiles
let fake: FakeVsphere
let session: VsphereSession
/** Of the server: the next poll with this version answers with `news`, further ones wait. */
let version = 0
let news: string[] = []
let polls: Call[] = []

beforeAll(async () => {
  certificates = await TestCertificates.create()
  certificate = await certificates.selfSigned('good')
})
afterAll(() => certificates.remove())
beforeEach(async () => {
  fake = await FakeVsphere.start(certificate)
  version = 0
  news = ['host-1']
  polls = []
  let collectors = 0
  fake.answers['CreatePropertyCollector'] = () => `<returnval type="PropertyCollector">c${++collectors}</returnval>`
  fake.answers['CreateFilter'] = () => '<returnval type="PropertyFilter">f</returnval>'
  fake.answers['DestroyPropertyCollector'] = () => ''
  fake.answers['WaitForUpdatesEx'] = (call) => {
    polls.push(call)
    const host = /<version><\/version>/.test(call.body) ? news.at(-1) : news.length > version ? news[version] : null
    if (host == null) return null
    version = news.length
    return `<returnval><version>${version}</version><filterSet><filter type="PropertyFilter">f</filter><objectSet><kind>enter</kind><obj type="VirtualMachine">vm-1</obj><changeSet><name>runtime.host</name><op>assign</op><val type="HostSystem">${host}</val></changeSet></objectSet></filterSet></returnval>`
  }
  session = await connect({
    url: fake.url,
    user: 'u',
    password: () => 'p',
    pin: certificate.sha256,
    limits: { retryMinMs: 8, retryMaxMs: 32 },
  })
})
afterEach(async () => {
  await session.close()
  await fake.stop()
})

const hostIn = ({ updates }: News): string | undefined => updates[0]?.changes.get('runtime.host')?.text

async function next(watching: AsyncGenerator<News>): Promise<News> {
  return (await watching.next()).value
}

const down = ({ response }: Call): null => {
  response.writeHead(503, { 'content-type': 'text/html' }).end('starting')
  return null
}

test('a server that is down for a while: pauses grow to a bound, and all is told anew afterwards', async () => {
  const pauses: number[] = []
  const working = fake.answers['CreatePropertyCollector']
  const watching = watch(session, QUERY, {
    random: () => 1,
    onTrouble: (error, retryMs) => {
      expect(error).toMatchObject({ code: 'VSPC_VSPHERE_UNREACHABLE' })
      pauses.push(retryMs)
      if (pauses.length === 5 && working) fake.answers['CreatePropertyCollector'] = working
    },
  })
  fake.answers['CreatePropertyCollector'] = down
  const first = await next(watching)
  expect([hostIn(first), first.restarted]).toEqual(['host-1', true])
  expect(pauses).toEqual([8, 16, 32, 32, 32])
  expect(fake.count('CreatePropertyCollector')).toBe(6)
  await watching.return(undefined as never)
})

test('a poll whose connection breaks: the host is told again, as a new beginning', async () => {
  const watching = watch(session, QUERY)
  expect(hostIn(await next(watching))).toBe('host-1')
  const second = next(watching)
  await polled(2)
  news = ['host-1', 'host-2']
  version = 2
  fake.cut()
  const again = await second
  expect([hostIn(again), again.restarted]).toEqual(['host-2', true])
  await watching.return(undefined as never)
})

test.each(['InvalidCollectorVersion', 'RequestCanceled'])(
  'polls that bring nothing, and a collector that the server has forgotten: %s',
  async (fault) => {
    const watching = watch(session, QUERY)
    await next(watching)
    const original = fake.answers['WaitForUpdatesEx']
    const answers = ['', '', `fault:${fault}`]
    fake.answers['WaitForUpdatesEx'] = (call) => answers.shift() ?? original?.(call) ?? null
    expect((await next(watching)).restarted).toBe(true)
    expect(answers).toEqual([])
    await watching.return(undefined as never)
  },
)

test('a session that is renewed by another call ends the poll that would hang', async () => {
  const watching = watch(session, QUERY)
  await next(watching)
  const second = next(watching)
  await polled(2)
  fake.sessions.clear()
  fake.answers['Ping'] = () => ''
  await session.call(VM, 'Ping')
  expect((await second).restarted).toBe(true)
  await watching.return(undefined as never)
})

test.each([
  ['CreateFilter', 'NoPermission', 'VSPC_VSPHERE_PERMISSION'],
  ['CreateFilter', 'InvalidProperty', 'VSPC_VSPHERE_FAULT'],
  ['CreatePropertyCollector', 'ManagedObjectNotFound', 'VSPC_VSPHERE_NOT_FOUND'],
])('%s with %s is the end', async (method, fault, code) => {
  fake.answers[method] = () => `fault:${fault}`
  await expect(next(watch(session, QUERY))).rejects.toMatchObject({ code })
  expect(fake.count(method)).toBe(1)
})

test('a login that is refused meanwhile is the end, after one attempt', async () => {
  const watching = watch(session, QUERY)
  await next(watching)
  fake.answers['Login'] = () => 'fault:InvalidLogin'
  const second = next(watching)
  await polled(2)
  fake.sessions.clear()
  fake.cut()
  await expect(second).rejects.toMatchObject({ code: 'VSPC_VSPHERE_LOGIN' })
  expect(fake.count('Login')).toBe(2)
})

test('aborting ends a waiting poll at once, and removes the collector from the server', async () => {
  const stop = new AbortController()
  const watching = watch(session, QUERY, { signal: stop.signal })
  await next(watching)
  const second = next(watching)
  const [, poll] = await polled(2)
  const gone = poll && once(poll.request.socket, 'close')
  stop.abort(new VspcError('VSPC_USAGE', 'enough'))
  await expect(second).rejects.toThrow('enough')
  await gone
  while (fake.count('DestroyPropertyCollector') === 0) await new Promise((resolve) => setImmediate(resolve))
})

test('closing the session ends its watches', async () => {
  const watching = watch(session, QUERY)
  await next(watching)
  const second = next(watching)
  await polled(2)
  await Promise.all([expect(second).rejects.toThrow('closed'), session.close()])
})

async function polled(times: number): Promise<Call[]> {
  while (polls.length < times) await new Promise((resolve) => setImmediate(resolve))
  return polls
}
