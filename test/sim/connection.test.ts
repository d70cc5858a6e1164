import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createTlsServer, TLSSocket } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { OPENINGS, parseSimTarget, SimConnection, type SimConnectionOptions } from '../../src/sim/index.ts'
import { type DoubleBehaviour, hex, ProxyDouble } from './proxy-double.ts'

let proxy: ProxyDouble
const open: { abort(): void }[] = []

afterEach(async () => {
  for (const connection of open.splice(0)) connection.abort()
  await proxy?.close()
})

async function dial(
  behaviour: DoubleBehaviour = {},
  options: Partial<SimConnectionOptions> = {},
): Promise<SimConnection> {
  proxy = await ProxyDouble.listen(behaviour)
  const connection = new SimConnection({ target: proxy.target, noDelay: true, ...options })
  open.push(connection)
  return connection.opened
}

describe('SimConnection', () => {
  it.each(OPENINGS)(
    'C9: opening %s reaches WILL-PROXY, settled, with crossing offers answered once',
    async (opening) => {
      const vm = await dial({}, { opening })
      await vm.expect('WILL-PROXY')
      expect(vm.settled).toBe(true)
      const { tokens } = await proxy.connection(0)
      expect(tokens[0]).toBe('FFFB25')
      for (const token of ['FFFB00', 'FFFB03', 'FFFBE8', 'FFFD00', 'FFFD03']) {
        expect(tokens.filter((each) => each === token)).toHaveLength(1)
      }
    },
  )

  it('late-proactive: says nothing but WILL AUTHENTICATION until that is answered', async () => {
    const vm = await dial({ offers: Buffer.alloc(0) }, { opening: 'late-proactive' })
    const wire = await proxy.connection(0)
    await wire.until((c) => c.raw.length === 3)
    // An unknown option must be refused even now: that answer is the proof of silence about the others.
    wire.send(hex('fffd18'))
    await wire.until((c) => c.tokens.includes('FFFC18'))
    expect(wire.tokens).toEqual(['FFFB25', 'FFFC18'])
    wire.send(hex('fffe25'))
    await wire.until((c) => c.tokens.includes('FFFBE8'))
    wire.send(hex('fffde8'))
    await vm.expect('WILL-PROXY')
  })

  it('C11: WONT and DONT for an option that is on are acknowledged once, for one that is off not at all', async () => {
    const vm = await dial()
    await vm.expect('WILL-PROXY')
    const wire = await proxy.connection(0)
    const before = wire.tokens.length
    wire.send(hex('fffc00 fffc00 fffe03 fffe03 fffcc8 fffec8 fffd21'))
    await wire.until((c) => c.tokens.includes('FFFC21'))
    const after = wire.tokens.slice(before).filter((token) => /^FFF[CE](00|03|C8|21)$/.test(token))
    expect(after).toEqual(['FFFE00', 'FFFC03', 'FFFC21'])
  })

  it('identity: delayed, missing, unknown, empty, not UTF-8, volunteered', async () => {
    const vm = await dial(
      {},
      {
        identity: {
          vcUuid: { value: '', volunteer: true },
          name: Uint8Array.of(0xff, 0xfe, 0x41),
          biosUuid: { value: null, how: 'silent' },
          locationUuid: { value: 'late', delayMs: 1 },
        },
      },
    )
    await vm.expect('WILL-PROXY')
    const wire = await proxy.connection(0)
    wire.send(hex('fffae855fff0 fffae857fff0 fffae85bfff0'))
    await wire.until((c) => c.tokens.includes('FFFAE8566C617465FFF0'))
    const subs = wire.tokens.filter((token) => /^FFFAE8(5|02)/.test(token))
    expect(subs).toEqual([
      'FFFAE850FFF0', // volunteered
      'FFFAE850FFF0', // asked
      'FFFAE852FFFE41FFF0',
      'FFFAE8025BFFF0', // code 91 is nobody's
      'FFFAE8566C617465FFF0',
    ])
  })

  it('expect: each item answers one expect; the failure lists both directions in protocol words', async () => {
    const vm = await dial()
    await vm.expect('WILL-PROXY')
    await vm.expect('KNOWN-SUBOPTIONS-2')
    const error = await vm.expect('WILL-PROXY', { timeoutMs: 5 }).catch((thrown: Error) => thrown)
    expect(error).toMatchObject({ code: 'VSPC_SIM_EXPECT' })
    const text = (error as Error).message
    expect(text).toContain('expected WILL-PROXY: nothing like it within 5 ms')
    expect(text).toMatch(
      /proxy -> VM:[\s\S]*DONT AUTHENTICATION[\s\S]*GET-VM-VC-UUID[\s\S]*VM -> proxy:[\s\S]*DO-PROXY 53 76/,
    )
  })

  it('expect: rejects when the proxy closes, and says how', async () => {
    const vm = await dial()
    const waiting = vm.expect('VMOTION-GOAHEAD')
    ;(await proxy.connection(0)).socket.end()
    await expect(waiting).rejects.toThrow('closed (proxy-fin)')
    await expect(vm.closed).resolves.toEqual({ how: 'proxy-fin', error: null })
  })

  it('a reset by the proxy is told from its FIN', async () => {
    const vm = await dial()
    ;(await proxy.connection(0)).socket.resetAndDestroy()
    expect((await vm.closed).how).toBe('reset')
  })

  it('fin is a half-close: what the proxy still sends is read', async () => {
    proxy = await ProxyDouble.listen({}, true)
    const vm = await SimConnection.open({ target: proxy.target })
    open.push(vm)
    const wire = await proxy.connection(0)
    vm.fin()
    await wire.until((c) => c.ended)
    wire.send(Buffer.from('last words \xff\xff', 'latin1'))
    await vm.expectData(Buffer.from('last words \xff', 'latin1'))
    wire.socket.end()
    expect((await vm.closed).how).toBe('fin')
  })

  it('fence: tells silence from slowness without waiting', async () => {
    const vm = await dial()
    await vm.expect('WILL-PROXY')
    vm.suboption(44, hex('deadbeef'))
    expect((await vm.fence()).kind).toBe('sub')
    expect(vm.recorded.count('VMOTION-PEER-OK')).toBe(0)
  })

  it('pauseReading: nothing is read until resumeReading', async () => {
    const vm = await dial()
    await vm.expect('WILL-PROXY')
    vm.pauseReading()
    const wire = await proxy.connection(0)
    const full = !wire.socket.write(Buffer.alloc(32 << 20, 0x41))
    expect(full).toBe(true)
    vm.resumeReading()
    await once(wire.socket, 'drain')
    wire.send(Buffer.from('the end'))
    await vm.expectData('the end')
    expect(vm.recorded.received.length).toBe((32 << 20) + 7)
  })
})

describe('TLS', () => {
  const cert = readFileSync(new URL('./tls/cert.pem', import.meta.url))
  const key = readFileSync(new URL('./tls/key.pem', import.meta.url))
  const { fingerprint, fingerprint256 } = new X509Certificate(cert)

  async function listenTls(): Promise<{ host: string; port: number; close(): void }> {
    proxy = await ProxyDouble.listen()
    const server = createTlsServer({ cert, key }, (socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.write('hello over TLS'))
    })
    server.on('tlsClientError', () => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    open.push({ abort: () => server.close() })
    return { host: '127.0.0.1', port, close: () => server.close() }
  }

  it.each([
    ['no check, as ESX by default', {}],
    ['SHA-256 pin', { pin: `sha256:${fingerprint256}` }],
    ['SHA-1 thumbprint as ESX writes it', { pin: fingerprint }],
    ['CA and name', { ca: cert, servername: 'localhost' }],
  ])('C51: %s: connects, and offers no AUTHENTICATION', async (_, tls) => {
    const { host, port } = await listenTls()
    const vm = await SimConnection.open({ target: { host, port, tls }, opening: 'proactive' })
    open.push(vm)
    await vm.expectData('hello over TLS')
    expect(Buffer.from(vm.recorded.sent.bytes).toString('hex')).toBe('fffb00fffb03fffbe8fffd00fffd03')
  })

  it.each([
    ['wrong pin', { pin: 'a'.repeat(64) }, 'VSPC_TLS_PIN_MISMATCH'],
    ['unknown CA', { ca: readFileSync(new URL('./tls/other.pem', import.meta.url)) }, 'VSPC_TLS_HANDSHAKE'],
    ['wrong name', { ca: cert, servername: 'example.org' }, 'VSPC_TLS_HANDSHAKE'],
  ])('C51: %s: the VM refuses', async (_, tls, code) => {
    const { host, port } = await listenTls()
    await expect(SimConnection.open({ target: { host, port, tls } })).rejects.toMatchObject({ code })
  })
})

describe('AUTHENTICATION', () => {
  const SEND_SSL = hex('fffd25 fffa25010700fff0')

  it('declines the TLS upgrade unless told to take it', async () => {
    await dial({ offers: SEND_SSL })
    await (await proxy.connection(0)).until((c) => c.tokens.includes('FFFA25000000FFF0'))
  })

  it('takes the upgrade: IS SSL START, then TLS on the same connection', async () => {
    const cert = readFileSync(new URL('./tls/cert.pem', import.meta.url))
    const key = readFileSync(new URL('./tls/key.pem', import.meta.url))
    proxy = await ProxyDouble.listen({}, true)
    const vm = new SimConnection({ target: proxy.target, authUpgrade: { ca: cert, servername: 'localhost' } })
    open.push(vm)
    const wire = await proxy.connection(0)
    await wire.until((c) => c.tokens.includes('FFFB25'))
    wire.send(SEND_SSL)
    await wire.until((c) => c.tokens.includes('FFFA2500070001FFF0'))
    wire.send(hex('fffa2502070002fff0'))
    wire.socket.removeAllListeners('data')
    const secure = new TLSSocket(wire.socket, { isServer: true, cert, key })
    secure.on('error', () => {})
    secure.write(hex('fffde8'))
    const [answer] = (await once(secure, 'data')) as [Buffer]
    expect(answer.subarray(0, 3)).toEqual(hex('fffbe8'))
  })
})

describe('parseSimTarget', () => {
  it('takes what design and ESX write', () => {
    expect(parseSimTarget('tcp://127.0.0.1:13370')).toEqual({ host: '127.0.0.1', port: 13370 })
    expect(parseSimTarget('telnet://[::1]:13370')).toEqual({ host: '::1', port: 13370 })
    expect(parseSimTarget('unix:///run/x.sock')).toEqual({ path: '/run/x.sock' })
    expect(parseSimTarget('tls://h:1?servername=x')).toEqual({ host: 'h', port: 1, tls: { servername: 'x' } })
  })

  it.each([
    ['127.0.0.1:13370', 'VSPC_ENDPOINT_SYNTAX'],
    ['tcp://127.0.0.1', 'VSPC_ENDPOINT_SYNTAX'],
    ['unix://run/x', 'VSPC_ENDPOINT_SYNTAX'],
    ['http://h:1', 'VSPC_ENDPOINT_SCHEME'],
    ['tcp://h:0', 'VSPC_ENDPOINT_PORT'],
    ['tcp://h:65536', 'VSPC_ENDPOINT_PORT'],
    ['tcp://h:1?ca=x', 'VSPC_ENDPOINT_PARAMETER'],
    ['tls://h:1?pim=x', 'VSPC_ENDPOINT_PARAMETER'],
    ['tls://h:1?pin=12', 'VSPC_ENDPOINT_PARAMETER'],
    ['tls://h:1?ca=/does/not/exist', 'VSPC_TLS_FILES'],
  ])('%s is refused and quoted', (uri, code) => {
    expect(() => parseSimTarget(uri)).toThrow(expect.objectContaining({ code }))
    if (code !== 'VSPC_ENDPOINT_PARAMETER') expect(() => parseSimTarget(uri)).toThrow(uri)
  })
})
