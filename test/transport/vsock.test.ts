/** The vsock transport as far as it goes without a kernel that has vSockets; test/real/vsock-guest.test.ts has one. */
import { execFileSync } from 'node:child_process'
import { once, setMaxListeners } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { ManualClock, type VspcError } from '../../src/base/index.ts'
import type { DialOptions, ListenHandlers } from '../../src/transport/contracts.ts'
import { NO_LAYERS, type VsockEndpoint } from '../../src/transport/endpoint.ts'
import type { ByteStream, Listening } from '../../src/transport/index.ts'
import { dialVsock, listenVsock } from '../../src/transport/vsock.ts'
import { ConnectWatch } from '../../src/transport/vsock-connects.ts'
import { vsockDialError } from '../../src/transport/vsock-errors.ts'
import { loadVsockLibc } from '../../src/transport/vsock-libc.ts'
import { SCENARIOS, type SuiteTransport } from './suite.ts'
import { Accepted, LISTEN } from './support.ts'
import { VsockDouble } from './vsock-double.ts'

const { errno } = constants

function at(cid: VsockEndpoint['cid'], vsockPort: number): VsockEndpoint {
  return { scheme: 'vsock', cid, vsockPort, vm: null, layers: NO_LAYERS }
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

const double = new VsockDouble()
const suite: SuiteTransport = {
  name: 'vsock',
  listen: (handlers) => listenVsock(at('any', 0), handlers, LISTEN, () => double.system),
  dial: ({ endpoint }, options) =>
    dialVsock(at('local', (endpoint as VsockEndpoint).vsockPort), options, () => double.system),
  listenAgain: ({ endpoint }, handlers) =>
    listenVsock(endpoint as VsockEndpoint, handlers, LISTEN, () => double.system),
  peers: { dialled: /^vsock:1:\d+$/, accepted: /^vsock:1:\d+$/ },
  nobody: { code: 'VSPC_TRANSPORT_DIAL', message: /^cannot reach vsock:\/\/local:\d+: nothing listens there/ },
  inUse: /a program listens on this port already/,
  readsAhead: true,
  crowd: 150,
}

describe('the suite, on Unix sockets in the place of vSockets', () => {
  for (const { name, run } of SCENARIOS) test(name, () => run(suite))
})

/** A double of its own, and the descriptors counted: none may be left. */
function world(): {
  double: VsockDouble
  dialling(endpoint: VsockEndpoint, options?: Partial<DialOptions>): Promise<ByteStream>
  listening(endpoint: VsockEndpoint, handlers?: ListenHandlers): Promise<Listening>
} {
  const double = new VsockDouble()
  const before = openDescriptors()
  onTestFinished(() => expect.poll(openDescriptors).toBe(before))
  return {
    double,
    dialling: (endpoint, options) => dialVsock(endpoint, { timeoutMs: 5000, ...options }, () => double.system),
    listening: (endpoint, handlers = new Accepted()) => listenVsock(endpoint, handlers, LISTEN, () => double.system),
  }
}

async function failure(promise: Promise<unknown>): Promise<string> {
  const error: VspcError = await promise.then(
    () => expect.fail('it succeeded'),
    (thrown) => thrown,
  )
  return `${error.code}: ${error.message}`
}

describe('connecting', () => {
  test('a silent peer: given up at the deadline; the kernel knows the same one', async () => {
    const { double, dialling } = world()
    double.looks = Number.POSITIVE_INFINITY
    const clock = new ManualClock()
    const failed = failure(dialling(at('host', 4000), { timeoutMs: 12_345, clock }))
    expect(double.timeouts).toEqual([12_345])
    clock.advance(12_345)
    expect(await failed).toBe(
      'VSPC_TRANSPORT_DIAL_TIMEOUT: cannot reach vsock://host:4000: no connection within 12345 ms; check the address and firewalls',
    )
    expect(clock.pending).toBe(0)
  })

  test('the deadline of the kernel comes first: the same error', async () => {
    const { double, dialling } = world()
    double.connectErrno = errno.ETIMEDOUT
    expect(await failure(dialling(at('host', 4000)))).toMatch(/^VSPC_TRANSPORT_DIAL_TIMEOUT: /)
  })

  test('a thousand silent peers: one poll now and then for all of them, and all are let go', async () => {
    const { double, dialling } = world()
    double.looks = Number.POSITIVE_INFINITY
    const abort = new AbortController()
    setMaxListeners(0, abort.signal)
    const timersBefore = timers()
    const clock = new ManualClock()
    const dials = Array.from({ length: 1000 }, (_, index) =>
      failure(dialling(at(77, index), { signal: abort.signal, clock })),
    )
    expect(timers() - timersBefore).toBe(1)
    while (double.polls < 4) await new Promise((resolve) => setTimeout(resolve, 1))
    const timersHeld = timers()
    abort.abort(Object.assign(new Error('enough'), { code: 'ENOUGH' }))
    expect(timers()).toBe(timersHeld - 1)
    expect(new Set(await Promise.all(dials))).toEqual(new Set(['ENOUGH: enough']))
  })

  test('looks get rarer, until another dial begins', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    let now = 0
    const looks: string[] = []
    const ended = new Set<number>()
    const watch = new ConnectWatch({
      connectEnded: (fds) => {
        looks.push(`${now}: ${fds.join(' ')}`)
        return fds.filter((fd) => ended.has(fd))
      },
    })
    const pass = (ms: number): void => {
      for (let passed = 0; passed < ms; passed++) {
        now++
        vi.advanceTimersByTime(1)
      }
    }
    watch.add(7, () => expect.fail('it has not ended'))
    pass(131)
    const told: number[] = []
    ended.add(8)
    watch.add(8, () => told.push(now))
    pass(10)
    expect(told).toEqual([132])
    watch.delete(7)
    pass(100)
    const rarer = [1, 3, 7, 15, 31, 63, 95, 127].map((at) => `${at}: 7`)
    expect(looks).toEqual([...rarer, '132: 7 8', '134: 7', '138: 7'])
  })
})

function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

describe('errors say what to do, and leave no descriptor', () => {
  test.each([
    [
      'socket',
      errno.EAFNOSUPPORT,
      'VSPC_VSOCK_UNAVAILABLE: cannot listen on vsock://any:0: the kernel has no vSockets; load the one for it with modprobe: ' +
        'vsock_loopback (this machine itself), vmw_vsock_vmci_transport (guest of ESXi) or vmw_vsock_virtio_transport (guest of KVM), vhost_vsock (KVM host) (socket EAFNOSUPPORT)',
    ],
    [
      'socket',
      errno.EPERM,
      'VSPC_VSOCK_UNAVAILABLE: cannot listen on vsock://any:0: this process may not make vSockets; allow AF_VSOCK in the seccomp profile of its container (socket EPERM)',
    ],
    [
      'bind',
      errno.EADDRINUSE,
      'VSPC_TRANSPORT_LISTEN: cannot listen on vsock://any:0: a program listens on this port already; stop it, or choose another port (0 = any free one) (bind EADDRINUSE)',
    ],
    [
      'bind',
      errno.EACCES,
      'VSPC_TRANSPORT_LISTEN: cannot listen on vsock://any:0: permission denied; ports below 1024 need privileges (CAP_NET_BIND_SERVICE), so choose a higher one (bind EACCES)',
    ],
    ['listen', errno.EINVAL, 'VSPC_TRANSPORT_LISTEN: cannot listen on vsock://any:0: listen EINVAL'],
    ['dup3', errno.EBUSY, 'VSPC_TRANSPORT_LISTEN: cannot listen on vsock://any:0: dup3 EBUSY'],
    [
      'socket',
      errno.EMFILE,
      'VSPC_TRANSPORT_LISTEN: cannot listen on vsock://any:0: no file descriptor is left; raise the limit of open files (ulimit -n, LimitNOFILE=) (socket EMFILE)',
    ],
    ['placeholder', errno.ENOBUFS, 'VSPC_TRANSPORT_LISTEN: cannot listen on vsock://any:0: socket ENOBUFS'],
  ])('listen: %s fails with %i', async (call, code, message) => {
    const { double, listening } = world()
    double.failures.set(call, code)
    expect(await failure(listening(at('any', 0)))).toBe(message)
  })

  test('a CID of another machine', async () => {
    expect(await failure(world().listening(at(77, 4000)))).toBe(
      'VSPC_TRANSPORT_LISTEN: cannot listen on vsock://77:4000: the CID is not one of this machine; listen on vsock://any:PORT (bind EADDRNOTAVAIL)',
    )
  })

  test.each([
    [
      'local',
      errno.ENODEV,
      /^VSPC_VSOCK_UNAVAILABLE: .*: the kernel has no way to that CID; .*: vsock_loopback \(this/,
    ],
    ['host', errno.ENODEV, /^VSPC_VSOCK_UNAVAILABLE: .* modprobe: vmw_vsock_vmci_transport \(guest of ESXi\) or /],
    [77, errno.ENODEV, /^VSPC_VSOCK_UNAVAILABLE: .* modprobe: vhost_vsock \(KVM host\), vmw_vsock_vmci_transport/],
    ['local', errno.ECONNRESET, /^VSPC_TRANSPORT_DIAL: cannot reach .*: nothing listens there, or too many/],
    ['local', errno.EHOSTUNREACH, /^VSPC_TRANSPORT_DIAL: .*: the host cannot be reached \(connect EHOSTUNREACH\)$/],
  ] as const)('dial of %s: connect fails at once with %i', async (cid, code, message) => {
    const { double, dialling } = world()
    double.failures.set('connect', code)
    expect(await failure(dialling(at(cid, 4000)))).toMatch(message)
  })

  test('dial: the same, a moment later', async () => {
    const { double, dialling } = world()
    double.connectErrno = errno.ECONNRESET
    expect(await failure(dialling(at('host', 4000)))).toMatch(/^VSPC_TRANSPORT_DIAL: .*\(connect ECONNRESET\)$/)
  })

  test.each(['dup3', 'getsockopt', 'placeholder'])('dial: %s fails after the connect', async (call) => {
    const { double, dialling, listening } = world()
    const accepted = new Accepted()
    const listener = await listening(at('any', 0), accepted)
    double.failures.set(call, errno.ENOBUFS)
    expect(await failure(dialling(listener.endpoint as VsockEndpoint))).toMatch(
      /^VSPC_TRANSPORT_DIAL: cannot reach vsock:\/\/any:\d+: (dup3|getsockopt|socket) ENOBUFS$/,
    )
    await once((await accepted.nextStream()).socket.destroy(), 'close')
    await listener.close()
  })

  test('no guest has the CID now: worth another try later, where guests can be reached at all', () => {
    const thrown = Object.assign(new Error('connect ENODEV'), { code: 'ENODEV', syscall: 'connect' })
    const error = vsockDialError(at(77, 4000), thrown, () => ' 238 vhost-net\n 241 vhost-vsock\n')
    expect(error).toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL',
      message:
        'cannot reach vsock://77:4000: no virtual machine has that CID now; start it, or check the CID (connect ENODEV)',
    })
    expect(vsockDialError(at('host', 4000), thrown, () => ' 241 vhost-vsock\n').code).toBe('VSPC_VSOCK_UNAVAILABLE')
    expect(vsockDialError(at(77, 4000), thrown, () => ' 238 vhost-net\n').code).toBe('VSPC_VSOCK_UNAVAILABLE')
  })
})

describe('without koffi', () => {
  test('whatever is wrong with it, it is said', () => {
    const broken = () => {
      throw new Error('Cannot find module "koffi"\nRequire stack:\n- here')
    }
    expect(() => loadVsockLibc(broken)).toThrow(
      'the optional package koffi is not installed; run "npm install koffi" beside vspc (Cannot find module "koffi")',
    )
  })

  test('one file, alone: tcp works, vsock says what to install', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-bundle-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const outfile = join(folder, 'transport.mjs')
    await build({
      entryPoints: ['src/transport/index.ts'],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['koffi'],
    })
    const script = `
      import { listen, dial, parseEndpoint } from ${JSON.stringify(outfile)}
      const options = { limits: {}, clock: { now: () => 0 } }
      await (await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'plain'), {}, options)).close()
      const failed = ({ code, message }) => console.log(code, message)
      await listen(parseEndpoint('vsock://any:4000', 'listen', 'plain'), {}, options).catch(failed)
      await dial(parseEndpoint('vsock://host:4000', 'dial', 'plain'), { timeoutMs: 5000 }).catch(failed)`
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
    const why =
      /the optional package koffi is not installed; run "npm install koffi" beside vspc \(Cannot find .*koffi.*\)/
    const [listening, dialling, rest] = output.split('\n')
    expect(listening).toMatch(new RegExp(`^VSPC_VSOCK_UNAVAILABLE cannot listen on vsock://any:4000: ${why.source}$`))
    expect(dialling).toMatch(new RegExp(`^VSPC_VSOCK_UNAVAILABLE cannot reach vsock://host:4000: ${why.source}$`))
    expect(rest).toBe('')
  })
})
