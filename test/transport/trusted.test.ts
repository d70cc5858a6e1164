import { describe, expect, test } from 'vitest'
import { type PeerInfo, parseTrustedSources } from '../../src/transport/index.ts'
import { unixPeer } from '../../src/transport/peer.ts'
import { trustedEntryFor } from '../../src/transport/trusted.ts'

function ip(address: string, transport: 'tcp' | 'tls' = 'tcp'): PeerInfo {
  return { address, display: `${address}:1`, transport }
}

const vsock = (cid: number): PeerInfo => ({ address: `vsock:${cid}`, display: `vsock:${cid}:9`, transport: 'vsock' })
const fifo: PeerInfo = { address: '/run/vm1', display: 'fifo:/run/vm1', transport: 'fifo' }

describe('who is trusted', () => {
  test.each<[entries: string[], peer: PeerInfo, expected: boolean]>([
    [[], ip('127.0.0.1'), false],
    [['10.0.0.7'], ip('10.0.0.7'), true],
    [['10.0.0.7'], ip('10.0.0.7', 'tls'), true],
    [['10.0.0.7'], ip('10.0.0.70'), false],
    [['10.0.0.0/8', '192.168.0.0/16'], ip('192.168.9.9'), true],
    [['10.0.0.0/8'], ip('11.0.0.1'), false],
    [['0.0.0.0/0'], ip('8.8.8.8'), true],
    [['0.0.0.0/0'], ip('2001:db8::1'), false],
    [['fd00::/8'], ip('fd12::1'), true],
    [['fe80::/10'], ip('fe80::1%eth0'), true],
    [['::1'], ip('::1'), true],
    [['::1'], ip('127.0.0.1'), false],
    [['unix'], unixPeer('/run/x'), true],
    [['unix'], fifo, true],
    // A Unix socket that serves TLS beside plain.
    [['unix'], { ...unixPeer('/run/x'), transport: 'tls' }, true],
    [['unix'], vsock(2), false],
    [['vsock:2'], vsock(2), true],
    [['vsock:2'], vsock(22), false],
    [['vsock:*'], vsock(22), true],
    [['vsock:*', 'certificate'], unixPeer('/run/x'), false],
    [['0.0.0.0/0', '::/0'], unixPeer('/run/x'), false],
  ])('%j: %o is %s', (entries, peer, expected) => {
    expect(parseTrustedSources(entries).trusts(peer, false)).toBe(expected)
  })

  test('a certificate that was asked for counts only if it was said to', () => {
    expect(parseTrustedSources(['certificate']).trusts(ip('8.8.8.8', 'tls'), true)).toBe(true)
    expect(parseTrustedSources(['certificate']).trusts(ip('8.8.8.8', 'tls'), false)).toBe(false)
    expect(parseTrustedSources(['10.0.0.7']).trusts(ip('8.8.8.8', 'tls'), true)).toBe(false)
  })

  test('the entry that an error proposes is one that mends it', () => {
    for (const peer of [ip('10.0.0.7'), ip('2001:db8::1'), unixPeer('/run/x'), fifo, vsock(3)]) {
      expect(parseTrustedSources([trustedEntryFor(peer)]).trusts(peer, false)).toBe(true)
    }
  })
})

test.each([
  '',
  'localhost',
  '10.0.0',
  '10.0.0.0/33',
  '10.0.0.0/',
  '10.0.0.0/8/8',
  '::1/129',
  '[::1]',
  'fe80::1%eth0',
  '*',
  'vsock',
  'vsock:any',
  'vsock:4294967296',
  'Unix',
])('"%s" is no source, and the error says what is', (text) => {
  expect(() => parseTrustedSources(['10.0.0.7', text])).toThrow(
    expect.objectContaining({
      code: 'VSPC_CONFIG_INVALID',
      message: expect.stringContaining(`"${text}" is not a source of PROXY headers; accepted is an address`),
    }),
  )
})
