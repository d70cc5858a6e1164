/** Parts of following the appliance: next hops over mutual TLS, which VM this is, the table of relays. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { NextHops, ownSerial, readRelays } from '../../src/appliance/index.ts'
import { startRelay, temporaryFolder } from '../relay/support.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { describeWithPeers } from '../support/peers.ts'

const HOP = { option: '--next-hop', directory: '/' }
const PLACE = { id: 'host-1', name: 'esx1', managementIps: ['192.0.2.1'] }

describeWithPeers(['openssl'], 'next hops', () => {
  let certificates: TestCertificates
  let ca: CertificateFiles
  let server: CertificateFiles
  let client: CertificateFiles
  beforeAll(async () => {
    certificates = await TestCertificates.create()
    ca = await certificates.selfSigned('ca')
    server = await certificates.issued('relay', ca)
    client = await certificates.issued('tracker', ca)
  })
  afterAll(() => certificates.remove())

  test('they are changed over mutual TLS, and not by one without a certificate', async () => {
    const folder = temporaryFolder()
    const { relay } = await startRelay({
      routes: [{ name: 'r', listen: `unix://${folder}/vm.sock`, dial: 'next-hop:a' }],
      nextHops: { a: 'tcp://127.0.0.1:1' },
      control: `tls://127.0.0.1:0?cert=${server.cert}&key=${server.key}&ca=${ca.cert}`,
    })
    const control = /^tls:\/\/[^?]+/.exec(relay.control ?? '')?.[0] ?? ''
    const hops = new NextHops(
      [`${control}?cert=${client.cert}&key=${client.key}&ca=${ca.cert}#a=tls://{ip}:13371`],
      new Map(),
      HOP,
    )
    const changes = hops.changes(PLACE)
    // No path of a key.
    expect(changes).toEqual([{ peer: `${control}#a`, endpoint: 'tls://192.0.2.1:13371' }])
    const signal = new AbortController().signal
    await hops.push(changes[0]!, { signal })
    await hops.push(changes[0]!, { signal })
    expect(relay.nextHops()).toMatchObject([{ name: 'a', endpoint: { host: '192.0.2.1' } }])
    const stranger = new NextHops([`${control}?ca=${ca.cert}#a=tls://{ip}:1`], new Map(), HOP)
    await expect(stranger.push(stranger.changes(PLACE)[0]!, { signal })).rejects.toMatchObject({
      code: 'VSPC_RELAY_CONTROL',
      message: expect.stringContaining('--next-hop'),
    })
    const aborted = AbortSignal.abort(new Error('superseded'))
    await expect(hops.push(changes[0]!, { signal: aborted })).rejects.toThrow('superseded')
    const unknown = new NextHops(
      [`${control}?cert=${client.cert}&key=${client.key}&ca=${ca.cert}#b=tls://{ip}:1`],
      new Map(),
      HOP,
    )
    await expect(unknown.push(unknown.changes(PLACE)[0]!, { signal })).rejects.toMatchObject({
      code: 'VSPC_RELAY_NEXT_HOP',
    })
    expect(relay.nextHops()).toMatchObject([{ endpoint: { host: '192.0.2.1', tcpPort: 13_371 } }])
  })

  test('without a line in the table nothing is pushed; twice the same is a mistake', () => {
    const hops = new NextHops(['unix:///a.sock#a=tls://{relay}'], new Map([['esx2', '192.0.2.2:13371']]), HOP)
    expect(() => hops.changes(PLACE)).toThrow('the table of relays has no line for host esx1')
    expect(hops.changes({ ...PLACE, name: 'ESX2' })).toEqual([
      { peer: 'unix:///a.sock#a', endpoint: 'tls://192.0.2.2:13371' },
    ])
    const twice = ['unix:///a.sock#a=tls://{ip}:1', 'unix:///a.sock#a=tls://{ip}:2']
    expect(() => new NextHops(twice, new Map(), HOP)).toThrow('is given twice')
  })
})

const HINT = 'name the VM as --appliance NAME'

test.each(['null', '[]', '"x"', '{"code":"VSPC_NONE"}', '<html>'])(
  'a peer that is no relay, and answers %s, is told of as such',
  async (body) => {
    const path = join(temporaryFolder(), 'control.sock')
    const server = createServer((_request, response) => response.writeHead(500).end(body))
    server.listen(path)
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const hops = new NextHops([`unix://${path}#a=tls://{ip}:1`], new Map(), HOP)
    const [change] = hops.changes(PLACE)
    await expect(hops.push(change!, { signal: new AbortController().signal })).rejects.toMatchObject({
      code: 'VSPC_RELAY_CONTROL',
      message: expect.stringContaining('does not answer like a relay'),
    })
  },
)

test('the VM knows which one it is by its DMI serial, and says so when it does not', () => {
  const file = join(temporaryFolder(), 'product_serial')
  writeFileSync(file, 'VMware-56 4d 0f 39 11 22 33 44-8a cb 55 66 77 88 99 aa\n')
  expect(ownSerial(HINT, file)).toBe('VMware-56 4d 0f 39 11 22 33 44-8a cb 55 66 77 88 99 aa')
  writeFileSync(file, 'Not Specified\n')
  expect(() => ownSerial(HINT, file)).toThrow("no VM of VMware's: name the VM as --appliance")
  expect(() => ownSerial(HINT, `${file}-none`)).toThrow('--appliance')
})

test('the table of relays: addresses as text, mistakes with their place', () => {
  const file = join(temporaryFolder(), 'relays.yaml')
  writeFileSync(file, 'esx1.example: 192.0.2.1\n"2001:db8::1": "[2001:db8::2]:13371"\n')
  expect([...readRelays(file, '/')]).toEqual([
    ['esx1.example', '192.0.2.1'],
    ['2001:db8::1', '[2001:db8::2]:13371'],
  ])
  writeFileSync(file, 'esx1: 192.0.2.1\nesx2: 5\n')
  expect(() => readRelays(file, '/')).toThrow(`${file}:2:7`)
  writeFileSync(file, '- esx1\n')
  expect(() => readRelays(file, '/')).toThrow('HOST: ADDRESS')
})
