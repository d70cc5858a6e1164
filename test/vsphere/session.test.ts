/** The session against a server that misbehaves in every way we know of. */
import { once } from 'node:events'
import { connect as connectNet, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ManualClock, VspcError } from '../../src/base/index.ts'
import { parseEndpoint } from '../../src/transport/index.ts'
import {
  type ConnectOptions,
  connect,
  LoginGuard,
  leaf,
  reconfigureVm,
  retrieve,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { type Call, envelope, FakeVsphere } from './fake-vsphere.ts'

const SECRET = 'hunter2<&>'
const VM = { type: 'VirtualMachine', value: 'vm-1' }

let certificates: TestCertificates
let good: CertificateFiles
let other: CertificateFiles
let fake: FakeVsphere
const open: (() => unknown)[] = []

beforeAll(async () => {
  certificates = await TestCertificates.create()
  good = await certificates.selfSigned('good')
  other = await certificates.selfSigned('other')
})
afterAll(() => certificates.remove())
beforeEach(async () => {
  fake = await FakeVsphere.start(good)
})
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
  await fake.stop()
})

async function session(options: Partial<ConnectOptions> = {}): Promise<VsphereSession> {
  const made = await connect({ url: fake.url, user: 'u', password: () => SECRET, pin: good.sha256, ...options })
  open.push(() => made.close())
  return made
}

async function failure(promise: Promise<unknown>): Promise<VspcError> {
  try {
    await promise
  } catch (error) {
    expect(error).toBeInstanceOf(VspcError)
    for (let at: unknown = error; at instanceof Error; at = at.cause) {
      expect(`${at.message} ${at.stack} ${JSON.stringify(at)}`).not.toContain('hunter2')
    }
    return error as VspcError
  }
  throw new Error('did not fail')
}

describe('whom it talks to', () => {
  test('a pinned certificate is enough, and a different one is refused before a byte of HTTP is sent', async () => {
    expect((await session()).about).toMatchObject({ name: 'Fake', isVcenter: true })
    const calls = fake.calls.length
    expect((await failure(session({ pin: other.sha256 }))).code).toBe('VSPC_TLS_PIN_MISMATCH')
    expect(fake.calls).toHaveLength(calls)
  })

  test('a CA file decides; without pin and CA a certificate of nobody is refused', async () => {
    await session({ pin: null, ca: good.cert })
    expect((await failure(session({ pin: null, ca: other.cert }))).code).toBe('VSPC_TLS_HANDSHAKE')
    expect((await failure(session({ pin: null }))).code).toBe('VSPC_TLS_HANDSHAKE')
  })

  test('one connection with a pin makes none of the others trusting', async () => {
    await session()
    expect(process.env['NODE_TLS_REJECT_UNAUTHORIZED']).toBeUndefined()
    await expect(fetch(fake.url, { method: 'POST' })).rejects.toThrow()
  })

  test('the certificate is looked at again on every new connection', async () => {
    const made = await session({ limits: { requestMs: 5_000 } })
    const { tcpPort } = fake
    fake.cut()
    const made2 = await FakeVsphere.start(other)
    open.push(() => made2.stop())
    // Somebody else's server, reached where the first one was.
    const detour = await relay(() => made2.tcpPort)
    const through = await failure(
      connect({
        url: fake.url,
        user: 'u',
        password: () => SECRET,
        pin: good.sha256,
        dial: parseEndpoint(`tcp://127.0.0.1:${detour.tcpPort}`, 'dial', 'plain'),
      }),
    )
    expect(through.code).toBe('VSPC_TLS_PIN_MISMATCH')
    expect(made2.calls).toEqual([])
    expect(tcpPort).toBe(fake.tcpPort)
    expect(made.url).toBe(fake.url)
  })

  test('it goes through any endpoint, a Unix socket too, and TLS is spoken end to end', async () => {
    const path = join(certificates.directory, 'sdk.sock')
    const way = createServer((socket) => {
      const onward = connectNet(fake.tcpPort, '127.0.0.1')
      onward.on('error', () => {})
      socket.on('error', () => {})
      socket.pipe(onward).pipe(socket)
    })
    way.listen(path)
    await once(way, 'listening')
    open.push(() => way.close())
    const made = await session({
      url: 'https://localhost/sdk',
      dial: parseEndpoint(`unix://${path}`, 'dial', 'plain'),
      pin: null,
      ca: good.cert,
    })
    expect(await made.isActive()).toBe(true)
    expect(made.url).toBe('https://localhost/sdk')
  })

  test('nobody there: the transport says so', async () => {
    const gone = await FakeVsphere.start(good)
    const { url } = gone
    await gone.stop()
    expect((await failure(session({ url }))).code).toBe('VSPC_TRANSPORT_DIAL')
  })
})

describe('the login', () => {
  test('a wrong password: no message holds it, and it is not tried again at once', async () => {
    fake.answers['Login'] = () => 'fault:InvalidLogin'
    const error = await failure(session())
    expect(error.code).toBe('VSPC_VSPHERE_LOGIN')
    expect(error.message).toContain('as u')
  })

  test('a server that says the password back does not get it into our errors', async () => {
    fake.answers['Login'] = ({ response }) => {
      response.writeHead(500, { 'content-type': 'text/xml' })
      response.end(
        envelope(
          '<soapenv:Fault><faultcode>hunter2&lt;&amp;&gt;</faultcode><faultstring>no such password: hunter2&lt;&amp;&gt;</faultstring></soapenv:Fault>',
        ),
      )
      return null
    }
    const error = await failure(session())
    expect(error.message).toContain('***')
  })

  test('after a refused login accounts are not locked: the next one waits', async () => {
    const clock = new ManualClock()
    const made = await session({ clock })
    fake.answers['Login'] = () => 'fault:InvalidLogin'
    fake.sessions.clear()
    for (let i = 0; i < 5; i++) expect((await failure(made.call(VM, 'Anything'))).code).toBe('VSPC_VSPHERE_LOGIN')
    expect(fake.count('Login')).toBe(2)
    clock.advance(made.limits.loginPauseMs + 1)
    await failure(made.call(VM, 'Anything'))
    expect(fake.count('Login')).toBe(3)
  })

  test('a password that is refused again and again is tried ever less often, never five times in three minutes', async () => {
    const clock = new ManualClock()
    const made = await session({ clock })
    fake.answers['Login'] = () => 'fault:InvalidLogin'
    fake.sessions.clear()
    const tried: number[] = []
    for (let s = 0; s < 7_200; s += 10) {
      const before = fake.count('Login')
      await failure(made.call(VM, 'Anything'))
      if (fake.count('Login') > before) tried.push(s)
      clock.advance(10_000)
    }
    expect(tried.slice(0, 6)).toEqual([0, 30, 90, 210, 450, 930])
    expect(tried.length).toBeLessThan(15)
    expect(tried.filter((at) => at <= 180).length).toBeLessThan(5)
  })

  test('a password that was changed meanwhile is tried at once', async () => {
    const clock = new ManualClock()
    let password = 'old'
    const made = await session({ clock, password: () => password })
    const login = fake.answers['Login']
    fake.answers['Login'] = (call) => (call.body.includes('>new<') ? (login?.(call) ?? null) : 'fault:InvalidLogin')
    fake.answers['Ping'] = () => ''
    fake.sessions.clear()
    for (let i = 0; i < 3; i++) expect((await failure(made.call(VM, 'Ping'))).code).toBe('VSPC_VSPHERE_LOGIN')
    password = 'new'
    await made.call(VM, 'Ping')
    expect(fake.count('Login')).toBe(3)
  })

  test('sessions that are opened one after another share what was refused', async () => {
    const clock = new ManualClock()
    const guard = new LoginGuard(clock, 30_000)
    fake.answers['Login'] = () => 'fault:InvalidLogin'
    for (let i = 0; i < 3; i++) expect((await failure(session({ clock, guard }))).code).toBe('VSPC_VSPHERE_LOGIN')
    expect(fake.count('Login')).toBe(1)
    clock.advance(30_001)
    await failure(session({ clock, guard }))
    expect(fake.count('Login')).toBe(2)
  })

  test('the password is asked for each time, so a changed one is taken up', async () => {
    const passwords = ['first', 'second']
    const made = await session({ password: async () => passwords.shift() ?? '' })
    fake.sessions.clear()
    fake.answers['Ping'] = () => ''
    await made.call(VM, 'Ping')
    const sent = fake.calls
      .filter(({ method }) => method === 'Login')
      .map(({ body }) => /<password>(.*?)</.exec(body)?.[1])
    expect(sent).toEqual(['first', 'second'])
  })

  test('a login without a cookie is no login', async () => {
    fake.answers['Login'] = () => '<returnval/>'
    expect((await failure(session())).code).toBe('VSPC_VSPHERE_ANSWER')
  })
})

describe('a session that ends', () => {
  test('is renewed once for all calls that notice, and each call is made again', async () => {
    let held = false
    const made = await session({
      password: async () => {
        while (held && fake.count('Ping') < 8) await new Promise((resolve) => setImmediate(resolve))
        return SECRET
      },
    })
    fake.answers['Ping'] = () => '<returnval>pong</returnval>'
    let renewals = 0
    made.onRenewed(() => renewals++)
    fake.sessions.clear()
    held = true
    await Promise.all(Array.from({ length: 8 }, () => made.call(VM, 'Ping')))
    expect([fake.count('Login'), renewals]).toEqual([2, 1])
    expect(fake.calls.at(-1)?.cookie).toBe('vmware_soap_session="s2"')
  })

  test('that is forgotten at once each time does not make a busy loop', async () => {
    const made = await session()
    fake.answers['Ping'] = () => 'fault:NotAuthenticated'
    const error = await failure(made.call(VM, 'Ping'))
    expect(error.code).toBe('VSPC_VSPHERE_SESSION')
    expect([fake.count('Ping'), fake.count('Login')]).toEqual([2, 2])
  })

  test('what was bound to it is not called again in the new one', async () => {
    const made = await session()
    fake.answers['WaitForUpdatesEx'] = () => ''
    fake.sessions.clear()
    expect((await failure(made.call(VM, 'WaitForUpdatesEx', [], { bound: true }))).code).toBe('VSPC_VSPHERE_SESSION')
    expect(fake.count('WaitForUpdatesEx')).toBe(1)
    expect(made.epoch).toBe(2)
  })

  test('is found out by the look after it, while a long poll would hang for minutes', async () => {
    const clock = new ManualClock()
    const made = await session({ clock })
    const renewed = new Promise<void>((resolve) => {
      made.onRenewed(resolve)
    })
    fake.sessions.clear()
    clock.advance(made.limits.keepAliveMs)
    await renewed
    expect(await made.isActive()).toBe(true)
  })

  test('closing logs out, ends what waits, and is quiet about a server that is gone', async () => {
    const made = await session({ limits: { requestMs: 500 } })
    fake.answers['Hang'] = () => null
    const hanging = failure(made.call(VM, 'Hang'))
    await seen('Hang')
    await made.close()
    expect((await hanging).message).toContain('closed')
    expect(fake.count('Logout')).toBe(1)
    const second = await session({ limits: { requestMs: 500 } })
    fake.answers['Logout'] = hangUp
    await second.close()
    await second.close()
    await failure(second.call(VM, 'Ping'))
  })
})

describe('answers that are none', () => {
  const raw =
    (status: number, headers: Record<string, string>, body: string | Buffer) =>
    ({ response }: Call): null => {
      response.writeHead(status, headers)
      response.end(body)
      return null
    }
  const XML = { 'content-type': 'text/xml' }

  test.each([
    ['truncated XML', raw(200, XML, envelope('<PingResponse/>').slice(0, -12)), 'VSPC_VSPHERE_ANSWER', 'unclosed'],
    ['half of an element', raw(200, XML, '<soapenv:Env'), 'VSPC_VSPHERE_ANSWER', 'cannot be read'],
    ['nothing', raw(200, XML, ''), 'VSPC_VSPHERE_ANSWER', 'cannot be read'],
    [
      'a login page',
      raw(200, { 'content-type': 'text/html' }, '<html>'),
      'VSPC_VSPHERE_ANSWER',
      'text/html instead of XML',
    ],
    ['no such page', raw(404, XML, ''), 'VSPC_VSPHERE_ANSWER', 'HTTP 404'],
    ['a redirect', raw(302, { location: 'https://elsewhere/' }, ''), 'VSPC_VSPHERE_ANSWER', 'HTTP 302'],
    ['vCenter starting', raw(503, { 'content-type': 'text/html' }, 'hunter2'), 'VSPC_VSPHERE_UNREACHABLE', 'HTTP 503'],
    ['an error page', raw(500, { 'content-type': 'text/plain' }, 'oops'), 'VSPC_VSPHERE_UNREACHABLE', 'HTTP 500'],
    ['no UTF-8', raw(200, XML, Buffer.from([0x3c, 0xff])), 'VSPC_VSPHERE_ANSWER', 'not UTF-8'],
    [
      'too much',
      raw(200, XML, `<r>${'<!-- -->'.repeat(20_000)}</r>`),
      'VSPC_VSPHERE_ANSWER',
      'longer than 100000 bytes',
    ],
    [
      'a broken connection',
      ({ response }: Call): null => {
        response.writeHead(200, { ...XML, 'content-length': '100' }).write('<r>')
        response.destroy()
        return null
      },
      'VSPC_VSPHERE_UNREACHABLE',
      'broke',
    ],
    ['a reset', hangUp, 'VSPC_VSPHERE_UNREACHABLE', 'broke'],
    ['silence', () => null, 'VSPC_VSPHERE_UNREACHABLE', 'no answer within 300 ms'],
  ] as [string, (call: Call) => null, string, string][])('%s', async (what, answer, code, words) => {
    const made = await session({ limits: { maxReplyBytes: 100_000 } })
    fake.answers['Ping'] = answer
    const error = await failure(made.call(VM, 'Ping', [], { timeoutMs: what === 'silence' ? 300 : 15_000 }))
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(words)])
    expect(error.message).toContain(fake.url)
    expect(fake.count('Ping')).toBe(1)
    // The session is as good as before.
    fake.answers['Ping'] = () => '<returnval>1</returnval>'
    await made.call(VM, 'Ping')
  })

  test('a change is not made again when its connection breaks; a reading is, once', async () => {
    const made = await session()
    fake.answers['ReconfigVM_Task'] = hangUp
    expect((await failure(reconfigureVm(made, VM, { extraConfig: [['guestinfo.a', '1']] }))).code).toBe(
      'VSPC_VSPHERE_UNREACHABLE',
    )
    expect(fake.count('ReconfigVM_Task')).toBe(1)
    fake.answers['RetrievePropertiesEx'] = hangUp
    expect((await failure(retrieve(made, { type: 'VirtualMachine', properties: ['name'], objects: [VM] }))).code).toBe(
      'VSPC_VSPHERE_UNREACHABLE',
    )
    expect(fake.count('RetrievePropertiesEx')).toBe(2)
  })

  test('a kept connection that the server has closed meanwhile is not used', async () => {
    const made = await session()
    const closed = [...fake.sockets].map((socket) => once(socket, 'close'))
    for (const socket of fake.sockets) socket.end()
    await Promise.all(closed)
    fake.answers['Ping'] = () => ''
    await made.call(VM, 'Ping')
    expect(fake.count('Ping')).toBe(1)
  })
})

test('an aborted call ends at once with the reason, and takes its connection along', async () => {
  const made = await session()
  fake.answers['Hang'] = () => null
  const stop = new AbortController()
  const hanging = made.call(VM, 'Hang', [], { signal: stop.signal })
  const call = await seen('Hang')
  const gone = once(call.request.socket, 'close')
  stop.abort(new VspcError('VSPC_USAGE', 'enough'))
  expect((await failure(hanging)).message).toBe('enough')
  await gone
  expect((await failure(made.call(VM, 'Hang', [], { signal: stop.signal }))).message).toBe('enough')
  expect(fake.count('Hang')).toBe(1)
})

test('an aborted connect leaves no connection behind', async () => {
  fake.answers['Login'] = () => null
  const stop = new AbortController()
  const connecting = session({ signal: stop.signal })
  const call = await seen('Login')
  const gone = once(call.request.socket, 'close')
  stop.abort(new VspcError('VSPC_USAGE', 'enough'))
  expect((await failure(connecting)).message).toBe('enough')
  await gone
})

describe('tasks', () => {
  const task = (state: string, error = '') =>
    `<returnval><objects><obj type="Task">task-1</obj><propSet><name>info.state</name><val xsi:type="TaskInfoState">${state}</val></propSet>${error && `<propSet><name>info.error</name><val xsi:type="LocalizedMethodFault"><fault xsi:type="${error}"/><localizedMessage>words</localizedMessage></val></propSet>`}</objects></returnval>`
  const change = (made: VsphereSession) => reconfigureVm(made, VM, { extraConfig: [['guestinfo.a', '1']] })

  test.each([
    ['TaskInProgress', 'VSPC_VSPHERE_BUSY'],
    ['ConcurrentAccess', 'VSPC_VSPHERE_BUSY'],
    ['InvalidState', 'VSPC_VSPHERE_STATE'],
    ['NoPermission', 'VSPC_VSPHERE_PERMISSION'],
    ['InvalidDeviceBacking', 'VSPC_VSPHERE_FAULT'],
  ])('one that fails with %s, at the call or in the task', async (fault, code) => {
    const made = await session()
    fake.answers['ReconfigVM_Task'] = () => `fault:${fault}`
    expect((await failure(change(made))).code).toBe(code)
    fake.answers['ReconfigVM_Task'] = () => '<returnval type="Task">task-1</returnval>'
    fake.answers['RetrievePropertiesEx'] = () => task('error', fault)
    const error = await failure(change(made))
    expect(error.code).toBe(code)
    expect(error.message).toContain('cannot change vm-1')
  })

  test('many are asked about in one call', async () => {
    const made = await session()
    let tasks = 0
    fake.answers['ReconfigVM_Task'] = () => `<returnval type="Task">task-${++tasks}</returnval>`
    fake.answers['RetrievePropertiesEx'] = ({ body }) =>
      `<returnval>${[...body.matchAll(/>(task-\d+)</g)].map(([, id]) => `<objects><obj type="Task">${id}</obj><propSet><name>info.state</name><val>success</val></propSet></objects>`).join('')}</returnval>`
    await Promise.all(Array.from({ length: 20 }, () => change(made)))
    expect(fake.count('RetrievePropertiesEx')).toBeLessThan(10)
  })

  test('one that the server has forgotten, and one that does not end', async () => {
    const clock = new ManualClock()
    const made = await session({ clock })
    fake.answers['ReconfigVM_Task'] = () => '<returnval type="Task">task-1</returnval>'
    fake.answers['RetrievePropertiesEx'] = () => task('running')
    const slow = failure(reconfigureVm(made, VM, {}, { timeoutMs: 1_000 }))
    await seen('ReconfigVM_Task')
    await turns()
    clock.advance(100)
    await seen('RetrievePropertiesEx')
    clock.advance(1_000)
    expect((await slow).code).toBe('VSPC_VSPHERE_TASK_TIMEOUT')
    fake.answers['RetrievePropertiesEx'] = () => 'fault:ManagedObjectNotFound'
    const forgotten = await session()
    expect((await failure(change(forgotten))).code).toBe('VSPC_VSPHERE_NOT_FOUND')
  })

  test('a server that is away while a task runs is asked again', async () => {
    const made = await session()
    fake.answers['ReconfigVM_Task'] = () => '<returnval type="Task">task-1</returnval>'
    let asked = 0
    fake.answers['RetrievePropertiesEx'] = ({ response }) => {
      if (++asked > 1) return task('success')
      response.writeHead(503).end()
      return null
    }
    await change(made)
    expect(asked).toBeGreaterThan(1)
  })
})

test('pages are read to the end, by their token', async () => {
  const made = await session()
  const page = (id: number, token: string) =>
    `<returnval>${token}<objects><obj type="VirtualMachine">vm-${id}</obj></objects></returnval>`
  fake.answers['RetrievePropertiesEx'] = () => page(1, '<token>a</token>')
  fake.answers['ContinueRetrievePropertiesEx'] = ({ body }) =>
    body.includes('>a<') ? page(2, '<token>b</token>') : page(3, '')
  const found = await retrieve(made, { type: 'VirtualMachine', properties: ['name'], objects: [VM] })
  expect(found.map(({ ref }) => ref.value)).toEqual(['vm-1', 'vm-2', 'vm-3'])
})

test('a session that ends between two pages: the reading begins again, without doubles', async () => {
  const made = await session()
  let first = true
  fake.answers['RetrievePropertiesEx'] = () =>
    `<returnval>${first ? '<token>a</token>' : ''}<objects><obj type="VirtualMachine">vm-1</obj></objects></returnval>`
  fake.answers['ContinueRetrievePropertiesEx'] = () => {
    first = false
    return 'fault:NotAuthenticated'
  }
  const found = await retrieve(made, { type: 'VirtualMachine', properties: ['name'], objects: [VM] })
  expect(found.map(({ ref }) => ref.value)).toEqual(['vm-1'])
})

test('what XML cannot carry fails before anything is sent', async () => {
  const made = await session()
  const error = await failure(made.call(VM, 'Set', [leaf('value', 'hunter2\u0001')]))
  expect(error.code).toBe('VSPC_VSPHERE_TEXT')
  expect(fake.count('Set')).toBe(0)
})

function hangUp({ request }: Call): null {
  request.socket.destroy()
  return null
}

/** Until the server has got a call; polls the event loop, not the clock. */
async function seen(method: string): Promise<Call> {
  for (;;) {
    const call = fake.calls.find((one) => one.method === method)
    if (call !== undefined) return call
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Long enough for an answer on the loopback, counted in turns of the event loop. */
async function turns(): Promise<void> {
  for (let i = 0; i < 500; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function relay(target: () => number): Promise<{ server: Server; tcpPort: number }> {
  const server = createServer((socket) => {
    const onward = connectNet(target(), '127.0.0.1')
    for (const one of [socket, onward]) one.on('error', () => one.destroy())
    socket.pipe(onward).pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(() => server.close())
  return { server, tcpPort: (server.address() as { port: number }).port }
}
