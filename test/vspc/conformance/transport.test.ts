import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as netConnect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { ManualClock } from '../../../src/base/index.ts'
import type { SimConnectionOptions, SimTls } from '../../../src/sim/index.ts'
import { type CertificateFiles, TestCertificates } from '../../support/certificates.ts'
import { Bench, begin, bytes, inputOf, saidTo, sequenceOf, settled, vmFacts } from './support.ts'

let certificates: TestCertificates
let ours: CertificateFiles
let others: CertificateFiles

beforeAll(async () => {
  certificates = await TestCertificates.create()
  ours = await certificates.selfSigned('ours')
  others = await certificates.selfSigned('others')
})

afterAll(() => certificates.remove())

const withTls = (scheme: 'tls' | 'tcp'): string => `${scheme}://127.0.0.1:0?cert=${ours.cert}&key=${ours.key}`
const over = (bench: Bench, tls: SimTls): Partial<SimConnectionOptions> => ({ target: { ...bench.target, tls } })

// C51

/** Somebody who connects and is no VM. Half-open: it is closed by the test alone. */
class RawPeer {
  readonly socket: Socket
  text = ''
  /** FIN or RST has come. */
  readonly ended: Promise<unknown>

  constructor(bench: Bench, socket?: Socket) {
    const { target } = bench
    const where = 'path' in target ? { path: target.path } : { host: target.host, port: target.port }
    this.socket = socket ?? netConnect({ ...where, allowHalfOpen: true })
    this.socket.on('error', () => {})
    this.socket.on('data', (chunk) => {
      this.text += chunk.toString('latin1')
    })
    this.ended = new Promise((resolve) => {
      this.socket.once('end', resolve)
      this.socket.once('close', resolve)
    })
    bench.closing({ close: () => void this.socket.destroy() })
  }

  get localAddress(): string {
    return `${this.socket.localAddress}:${this.socket.localPort}`
  }

  /** Resolves when something has come from the server: it has accepted us. */
  async greeted(): Promise<void> {
    if (this.text === '') await once(this.socket, 'data')
  }
}

// C51

// C51

test.each(['sha256', 'sha1'] as const)(
  'C51: telnets:// with a pinned %s thumbprint: a VM attaches, talks and migrates over TLS',
  async (digest) => {
    const bench = await Bench.start({ listen: withTls('tls') })
    const certificate = new X509Certificate(readFileSync(ours.cert))
    const pin = digest === 'sha1' ? certificate.fingerprint : certificate.fingerprint256
    const source = await bench.attach(1, 'vSPC.py', over(bench, { pin }))
    const user = bench.console()
    expect(bench.port().info().transport).toBe('tls')
    // No WILL AUTHENTICATION came inside TLS, so none was answered.
    expect(saidTo(source)).not.toContain('DONT AUTHENTICATION')
    source.data('out \xff')
    await user.expectText('out ')
    const { cookie, sequence } = await begin(source)
    user.type('held')
    const destination = await bench.peered(cookie, 1, over(bench, { pin }))
    source.fin()
    destination.complete(sequence)
    await destination.expectData('held')
    destination.data('moved')
    await user.expectText('moved')
    expect(inputOf(source)).toBe('')
  },
)

test('C51: a VM that verifies the certificate by its CA and name is served', async () => {
  const bench = await Bench.start({ listen: withTls('tls') })
  await bench.attach(1, 'vSPC.py', over(bench, { ca: readFileSync(ours.cert), servername: 'localhost' }))
})

test('C51: a certificate other than the pinned one is refused by the VM; no port, and the next VM is served', async () => {
  const bench = await Bench.start({ listen: withTls('tls') })
  const refusing = bench.connect(over(bench, { pin: others.sha256 }))
  await expect(refusing).rejects.toMatchObject({ code: 'VSPC_TLS_PIN_MISMATCH' })
  // It refuses after the handshake, without an alert: before or after the stream is taken for a VM's.
  const line = await bench.logged(/handshake|may not accept our TLS certificate/)
  expect(line.fields).toMatchObject({ peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/) })
  await bench.attach(2, 'vSPC.py', over(bench, { pin: ours.sha256 }))
  expect(bench.portIds).toEqual([vmFacts(2).id])
})

test('C51: a VM that refuses our certificate with a TLS alert is logged with its address and what to do', async () => {
  const bench = await Bench.start({ listen: withTls('tls') })
  const { target } = bench
  if ('path' in target) throw new Error('not TCP')
  // OpenSSL itself, because that is what a host has: it says why it leaves.
  const flags = ['-brief', '-verify_return_error', '-CAfile', others.cert]
  const client = spawn('openssl', ['s_client', '-connect', `${target.host}:${target.port}`, ...flags])
  client.stdin.end()
  await once(client, 'close')
  const line = await bench.logged(/handshake/)
  expect(line.level).toBe('warn')
  expect(line.fields).toMatchObject({ code: 'VSPC_TLS_HANDSHAKE', peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/) })
  expect(String(line.fields['reason'])).toMatch(/peer refuses our certificate/)
  expect(bench.server.counters.tlsFailures).toBe(1)
  expect(bench.portIds).toEqual([])
})

// C52

test('C52: plain and TLS VMs share a listener, and a vMotion goes from one kind to the other and back', async () => {
  const bench = await Bench.start({ listen: withTls('tcp') })
  const plain = await bench.attach(1)
  const secure = await bench.attach(2, 'vSPC.py', over(bench, { pin: ours.sha256 }))
  const users = [bench.console(vmFacts(1).id), bench.console(vmFacts(2).id)]
  plain.data('plain')
  secure.data('secure')
  await users[0]?.expectText('plain')
  await users[1]?.expectText('secure')
  const out = await begin(plain)
  const destination = await bench.peered(out.cookie, 1, over(bench, { pin: ours.sha256 }))
  destination.complete(out.sequence)
  users[0]?.type('moved')
  await destination.expectData('moved')
  expect(bench.port().info().transport).toBe('tls')
  const back = await begin(destination)
  const home = await bench.peered(back.cookie, 1)
  home.complete(back.sequence)
  users[0]?.type('home')
  await home.expectData('home')
  expect(bench.port().info()).toMatchObject({ transport: 'tcp', vmotions: 2 })
})

test('C52: a peer that says nothing is told what this is and dropped, and reset if it ignores that', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const polite = new RawPeer(bench)
  const deaf = new RawPeer(bench)
  await Promise.all([polite.greeted(), deaf.greeted()])
  clock.advance(9_999)
  const vm = await bench.attach()
  clock.advance(1)
  await Promise.all([polite.ended, deaf.ended])
  expect(polite.text).toMatch(/people do not/)
  polite.socket.end()
  await bench.wire(polite).untilClosed()
  await settled(vm)
  expect(bench.server.connections).toBe(2)
  clock.advance(5_000)
  await bench.wire(deaf).untilClosed()
  expect(bench.server.connections).toBe(1)
  expect(bench.server.counters.negotiationTimeouts).toBe(2)
})

test('C52: a silent peer of a listener that also takes TLS is dropped, whether it begins a handshake or not', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock, listen: withTls('tcp') })
  const silent = new RawPeer(bench)
  const hello = new RawPeer(bench)
  hello.socket.write(bytes('16 03 01 02 00 01'))
  await once(hello.socket, 'connect')
  // Accepted in order: when this one is served, the two before it are known. And what they wrote was read.
  await bench.attach()
  clock.advance(2_000)
  await silent.greeted()
  clock.advance(10_000)
  await Promise.all([silent.ended, hello.ended])
  expect(silent.text).toMatch(/people do not/)
  expect(bench.server.counters.tlsFailures).toBe(1)
})

test('C52: a TLS peer that never says a Telnet word is dropped too', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock, listen: withTls('tls') })
  const { target } = bench
  if ('path' in target) throw new Error('not TCP')
  const silent = new RawPeer(
    bench,
    tlsConnect({ host: target.host, port: target.port, rejectUnauthorized: false, allowHalfOpen: true } as object),
  )
  await silent.greeted()
  clock.advance(10_000)
  await silent.ended
  expect(silent.text).toMatch(/people do not/)
})

test('C52: 232 agreed and then neither DO-PROXY nor PEER: dropped after announceMs, data or not', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const vm = await bench.introduced()
  vm.data('chatter')
  await settled(vm)
  clock.advance(9_999)
  vm.data('chatter')
  await settled(vm)
  clock.advance(1)
  expect((await vm.closed).how).toBe('proxy-fin')
  expect(bench.portIds).toEqual([])
})

test.each<[string, () => Uint8Array]>([
  ['an HTTP request', () => Buffer.from('GET / HTTP/1.1\r\nHost: vspc\r\n\r\n')],
  ['a TLS ClientHello on a plain listener', () => bytes('16 03 01 00 05 01 00 00 01 00')],
  ['a megabyte of 0xFF', () => new Uint8Array(1 << 20).fill(0xff)],
  ['a megabyte of zeros', () => new Uint8Array(1 << 20)],
  ['an SB without end', () => Buffer.concat([bytes('fffae828'), new Uint8Array(1 << 20)])],
  ['a million commands', () => Buffer.alloc(2_000_000, bytes('fff6'))],
  ['requests without end', () => Buffer.alloc(300_000, bytes('fffd05'))],
])('C52: %s is survived, and its sender dropped by the timer', async (_, garbage) => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const peer = new RawPeer(bench)
  await peer.greeted()
  peer.socket.write(garbage())
  const vm = await bench.attach()
  const user = bench.console()
  vm.data('fine')
  await user.expectText('fine')
  clock.advance(10_000)
  await peer.ended
  peer.socket.destroy()
  await settled(vm)
  expect(bench.portIds).toEqual([vmFacts(1).id])
})

test('C52: garbage instead of a handshake fails at once, is logged, and the listener goes on', async () => {
  const bench = await Bench.start({ listen: withTls('tls') })
  const peer = new RawPeer(bench)
  peer.socket.write('\xff\xfb\x25 I thought this was plain telnet', 'latin1')
  await peer.ended
  expect((await bench.logged(/handshake/)).fields).toMatchObject({ code: 'VSPC_TLS_HANDSHAKE' })
  await bench.attach(1, 'vSPC.py', over(bench, { pin: ours.sha256 }))
})

test('C52: an attached VM has no idle limit: a quiet console is normal', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const vm = await bench.attach()
  const user = bench.console()
  clock.advance(30 * 86_400_000)
  vm.data('good morning')
  await user.expectText('good morning')
  user.type('in')
  await vm.expectData('in')
})

// C53

interface TcpHandle {
  setNoDelay(on: boolean): number
  setKeepAlive(on: boolean, seconds: number): number
  getsockname(out: { port?: number }): number
}

test('C53: TCP_NODELAY and keepalive are set on what we accept', async () => {
  const bench = await Bench.start()
  const { target } = bench
  if ('path' in target) throw new Error('not TCP')
  const probe = new RawPeer(bench)
  await probe.greeted()
  // Node sets both on the native handle of an accepted connection; JavaScript sees it nowhere else.
  const prototype = Object.getPrototypeOf((probe.socket as unknown as { _handle: TcpHandle })._handle) as TcpHandle
  const onOurSide = (handle: unknown): boolean => {
    const name: { port?: number } = {}
    ;(handle as TcpHandle).getsockname(name)
    return name.port === target.port
  }
  const noDelay = vi.spyOn(prototype, 'setNoDelay')
  const keepAlive = vi.spyOn(prototype, 'setKeepAlive')
  try {
    await bench.attach()
    const ours = (spy: { mock: { contexts: unknown[]; calls: unknown[][] } }): unknown[][] =>
      spy.mock.calls.filter((_, i) => onOurSide(spy.mock.contexts[i]))
    expect(ours(noDelay)).toEqual([[true]])
    expect(ours(keepAlive)).toEqual([[true, 30]])
  } finally {
    noDelay.mockRestore()
    keepAlive.mockRestore()
  }
})

test.runIf(process.platform === 'linux')(
  'C53: the kernel has a keepalive timer of 30 s on the connection',
  async () => {
    const bench = await Bench.start()
    const vm = await bench.attach()
    const { target } = bench
    if ('path' in target) throw new Error('not TCP')
    // The acknowledgement of all the server has sent travels on this; before it comes, another timer is running.
    const tap = bench.wire(vm)
    const before = tap.bytesRead
    vm.data('ack')
    await tap.untilRead(before + 3)
    const hexPort = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0')
    const remote = Number(vm.localAddress.split(':')[1])
    const row = new RegExp(`0100007F:${hexPort(target.port)} 0100007F:${hexPort(remote)} 01 \\S+ (\\d\\d):(\\S+)`)
    const [, timer, jiffies = ''] = row.exec(readFileSync('/proc/net/tcp', 'utf8')) ?? []
    // 02: keepalive; in units of 1/100 s.
    expect(timer).toBe('02')
    expect(Number.parseInt(jiffies, 16)).toBeGreaterThan(2_000)
    expect(Number.parseInt(jiffies, 16)).toBeLessThanOrEqual(3_010)
  },
)

/** Milliseconds from BEGIN to GOAHEAD, as the VM sees them. */
async function goaheadMs(vm: Parameters<typeof begin>[0]): Promise<number> {
  const started = performance.now()
  await begin(vm, sequenceOf())
  return performance.now() - started
}

test('C53: a VM that does not read blocks neither other ports nor their GOAHEAD, nor the timer of its own NOTNOW', async () => {
  const bench = await Bench.start({ listen: 'unix', limits: { goaheadMs: 100 } })
  const stalled = await bench.attach(1)
  const healthy = await bench.attach(2)
  const users = [bench.console(vmFacts(1).id), bench.console(vmFacts(2).id)]
  stalled.pauseReading()
  users[0]?.typeUntilPaused()
  stalled.begin(sequenceOf())
  healthy.data('fine')
  await users[1]?.expectText('fine')
  users[1]?.type('in')
  await healthy.expectData('in')
  expect(users[1]?.inputPaused).toBe(false)
  expect(await goaheadMs(healthy)).toBeLessThan(500)
  await bench.event('vmotion-refused', vmFacts(1).id)
})

test('C53: a stalled VM still delivers its output: only its input waits', async () => {
  const bench = await Bench.start({ listen: 'unix' })
  const vm = await bench.attach()
  const user = bench.console()
  vm.pauseReading()
  user.typeUntilPaused()
  vm.data('I cannot hear you')
  await user.expectText('I cannot hear you')
})

test('C53: consoles that do not read block neither their VM, nor other consoles, nor a GOAHEAD; later they get all', async () => {
  const bench = await Bench.start({ limits: { historyBytes: 16 << 20 } })
  const vm = await bench.attach(1)
  const other = await bench.attach(2)
  const reader = bench.console()
  const stuck = Array.from({ length: 50 }, () => bench.console(undefined, { stuck: true }))
  const piece = Buffer.alloc(1 << 20, 'abcdefghijklmnopqrstuvwxyz0123456789')
  for (let i = 0; i < 8; i++) vm.data(piece)
  vm.data('END')
  await reader.expectText('END')
  expect(reader.bytes.length).toBe((8 << 20) + 3)
  // One chunk each: the first, which filled it.
  for (const console of stuck) expect(console.bytes.length).toBeLessThan(1 << 20)
  expect(await goaheadMs(vm)).toBeLessThan(500)
  expect(await goaheadMs(other)).toBeLessThan(500)
  const awake = stuck[0] as (typeof stuck)[number]
  awake.stuck = false
  awake.console.drained()
  expect(awake.bytes.equals(reader.bytes)).toBe(true)
  expect(awake.of('gap')).toEqual([])
})

test('C53: a console that was stuck through a vMotion reads one seamless stream afterwards', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const stuck = bench.console(undefined, { stuck: true })
  source.data('before|')
  await stuck.expectText('before|')
  source.data('while stuck|')
  const destination = await bench.migrate(source)
  destination.data('after')
  const witness = bench.console(undefined, { from: 0 })
  await witness.expectText('after')
  expect(stuck.text).toBe('before|')
  stuck.stuck = false
  stuck.console.drained()
  expect(stuck.text).toBe('before|while stuck|after')
})

// C54

test('C54: WONT-PROXY does not close: the VM stays connected, unattached, for 30 s', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock, serviceUris: ['vSPC.py'] })
  const vm = await bench.connect({ announcement: { kind: 'do-proxy', direction: 'S', serviceURI: 'typo' } })
  await vm.expect('WONT-PROXY')
  vm.data('discarded '.repeat(1_000))
  await settled(vm)
  clock.advance(29_999)
  await settled(vm)
  expect(vm.isOpen).toBe(true)
  clock.advance(1)
  expect((await vm.closed).how).toBe('proxy-fin')
  expect(bench.portIds).toEqual([])
})

test('C54: a hundred misconfigured VMs that redial whenever they are closed make a hundred connections in 30 s', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock, serviceUris: ['vSPC.py'] })
  const dial = async (n: number): Promise<void> => {
    const vm = await bench.connect({
      identity: { name: `vm-${n}` },
      announcement: { kind: 'do-proxy', direction: 'S', serviceURI: 'typo' },
    })
    await vm.expect('WONT-PROXY')
    void vm.closed.then(({ how }) => (how === 'proxy-fin' ? dial(n) : undefined)).catch(() => {})
  }
  await Promise.all(Array.from({ length: 100 }, (_, n) => dial(n)))
  for (let second = 0; second < 29; second++) clock.advance(1_000)
  const witness = await bench.attach(1, 'vSPC.py')
  await settled(witness)
  expect(bench.server.counters.connectionsAccepted).toBe(101)
  expect(bench.server.counters.wontProxy).toBe(100)
})

test('C54: a port too many is not closed at once either', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock, limits: { maxPortsPerVm: 2 } })
  await bench.attach(1, 'vSPC.py?port=a')
  await bench.attach(1, 'vSPC.py?port=b')
  const announcement = { kind: 'do-proxy', direction: 'S', serviceURI: 'vSPC.py?port=c' } as const
  const third = await bench.connect({ announcement })
  await bench.logged(/no room for another port/)
  clock.advance(29_999)
  await settled(third)
  clock.advance(1)
  expect((await third.closed).how).toBe('proxy-fin')
  expect(bench.portIds).toEqual([`${vmFacts(1).id}:a`, `${vmFacts(1).id}:b`])
})

// C55

test('C55: docs/esxi.md shows the keys of the VMX file, a proxyURI of each kind, and the firewall rule set by name', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/esxi.md'), 'utf8')
  for (const line of [
    'serial0.fileType = "network"',
    /serial0\.fileName = "telnet:\/\/[^"]+\?port=/,
    /serial0\.network\.endPoint = "(server|client)"/,
    /serial0\.vspc = "telnet:\/\/[^"]+:13370"/,
    /telnets:\/\//,
    /ruleset set --ruleset-id vSPC --enabled true/,
    /`remoteSerialPort`/,
    /thumbprint=/,
  ]) {
    expect(page).toMatch(line)
  }
})
