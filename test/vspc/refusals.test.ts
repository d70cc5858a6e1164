import { expect, test } from 'vitest'
import { MAX_OF_ONE_PEER, MAX_REFUSALS, Refusals } from '../../src/vspc/refusals.ts'

let wall = 1_000
const clock = { wall: () => wall }
const peer = (address: string) => ({ address, display: `${address}:1`, transport: 'tcp' as const })

test('what one peer gets wrong again and again is one entry, and the newest is told first', () => {
  const refusals = new Refusals(clock)
  refusals.note('service-uri', peer('10.0.0.1'), 'its serviceURI "x" is not ours')
  wall = 2_000
  refusals.note('tls', null, 'handshake')
  wall = 3_000
  refusals.note('service-uri', peer('10.0.0.1'), 'its serviceURI "x" is not ours')
  expect(refusals.counts).toMatchObject({ 'service-uri': 2, tls: 1, left: 0 })
  expect(refusals.recent).toEqual([
    {
      reason: 'service-uri',
      peer: '10.0.0.1',
      detail: 'its serviceURI "x" is not ours',
      count: 2,
      firstAt: 1_000,
      lastAt: 3_000,
    },
    { reason: 'tls', peer: null, detail: 'handshake', count: 1, firstAt: 2_000, lastAt: 2_000 },
  ])
})

test('a peer that says something else each time pushes out nobody but itself', () => {
  const refusals = new Refusals(clock)
  refusals.note('service-uri', peer('10.0.0.1'), 'of somebody in earnest')
  for (let i = 0; i < 10_000; i++) refusals.note('service-uri', peer('10.6.6.6'), `noise ${i}`)
  const peers = refusals.recent.map((one) => one.peer)
  expect(peers.filter((one) => one === '10.6.6.6')).toHaveLength(MAX_OF_ONE_PEER)
  expect(peers.at(-1)).toBe('10.0.0.1')
  expect(refusals.recent[0]?.detail).toBe('noise 9999')
  expect(refusals.counts['service-uri']).toBe(10_001)
})

test('a crowd of peers fills no memory, and hostile texts reach nobody', () => {
  const refusals = new Refusals(clock)
  for (let i = 0; i < 1_000; i++) refusals.note('left', peer(`peer${i}`), `\x1b]0;evil\x07${'x'.repeat(5_000)}`)
  expect(refusals.recent).toHaveLength(MAX_REFUSALS)
  for (const { detail } of refusals.recent) {
    expect(detail).not.toMatch(/[\x00-\x1f]/)
    expect(detail.length).toBeLessThanOrEqual(300)
  }
})
