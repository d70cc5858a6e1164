import { beforeAll, expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { type GuestOutcome, runInGuest } from '../support/vsock-guest.ts'
import { VSOCK_SCENARIOS } from '../transport/vsock-suite.ts'

describeWithPeers(GUEST_PEERS, 'AF_VSOCK of a real kernel', () => {
  let outcome: GuestOutcome
  const verdicts = new Map<string, { ms: number; error: string | null }>()
  beforeAll(async () => {
    outcome = await runInGuest({ entry: 'test/transport/vsock-guest-program.ts', modules: ['vsock_loopback'] })
    for (const line of outcome.lines.filter((one) => one.startsWith('{'))) {
      const { name, ...verdict } = JSON.parse(line)
      verdicts.set(name, verdict)
    }
  }, 120_000)

  for (const { name } of VSOCK_SCENARIOS) {
    test(name, () => {
      const verdict = verdicts.get(name)
      expect(verdict, `it did not run; the guest said:\n${outcome.log}`).toBeDefined()
      expect(verdict?.error).toBe(null)
    })
  }

  test('the guest ends well, with nothing else to say', () => {
    expect(outcome.lines.filter((line) => !line.startsWith('{'))).toEqual([])
    expect(outcome.exitCode, outcome.log).toBe(0)
  })
})
