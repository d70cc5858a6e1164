import { beforeAll, expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { type GuestOutcome, runInGuest } from '../support/vsock-guest.ts'

const SHOWN = [
  'a relay by vsock: the server knows the hosts that VMs connect from',
  'a relay by vsock: six vMotions, and the list of ports follows',
  'a relay by vsock: no byte is lost, doubled or another, either way',
  'a relay by vsock: it ends well',
  'resume=on: the relay on the way is killed in the middle of a vMotion, and started again',
  'resume=on: another next hop: a VM that moves comes that way, the others stay while they can',
  'resume=on: the former relay is killed, and all streams go on by the new one',
  'resume=on: no byte is lost, doubled or another, either way',
  'resume=on: the relays end well',
  'a VM that connects by vsock is known by its CID',
  'a VM that connects by vsock: no byte is lost, doubled or another, either way',
  'a VM that connects by vsock: its end is its end',
  'a VM that connects by vsock: the relay ends well',
  'the server ends well',
]

describeWithPeers(GUEST_PEERS, 'simulated hosts, relays and the server over AF_VSOCK of a real kernel', () => {
  let outcome: GuestOutcome
  beforeAll(async () => {
    outcome = await runInGuest({
      entry: 'test/real/vsock-chain-program.ts',
      programs: { vspc: 'src/cli/main.ts', relay: 'src/cli/relay-main.ts' },
      modules: ['vsock_loopback'],
      memoryMiB: 1024,
      timeoutMs: 170_000,
    })
  }, 180_000)

  for (const name of SHOWN) {
    test(name, () => {
      const failed = outcome.lines.find((line) => line.startsWith(`not ok ${name}: `))
      expect(failed).toBeUndefined()
      expect(outcome.lines, `it was not tried; the guest said:\n${outcome.log}`).toContain(`ok ${name}`)
    })
  }

  test('the guest ends well, with nothing else to say', () => {
    expect(outcome.lines).toEqual(SHOWN.map((name) => `ok ${name}`))
    expect(outcome.exitCode, outcome.log).toBe(0)
  })
})
