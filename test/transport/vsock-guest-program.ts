/**
 * Runs in the guest: the transport suite over real vSockets, and what only they do. One line of JSON for each.
 */
import { runScenario } from './suite.ts'
import { VSOCK_SCENARIOS, vsock } from './vsock-suite.ts'

let failed = 0
for (const scenario of VSOCK_SCENARIOS) {
  const { name, ms, error } = await runScenario(scenario, vsock)
  if (error !== null) failed++
  const reason = error instanceof Error ? (error.stack ?? error.message) : error
  process.stdout.write(`${JSON.stringify({ name, ms, error: reason })}\n`)
}
process.exit(failed === 0 ? 0 : 1)
