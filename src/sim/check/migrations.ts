/** A hundred migrations of a few VMs: what latency, secrets and escaping are judged by. */
import type { WireItem } from '../item.ts'
import { judgeBegin, judgeEscaping, judgePeerOk } from './judge-wire.ts'
import type { Stage } from './stage.ts'

export interface MigrationSamples {
  readonly made: number
  readonly goaheadMs: readonly number[]
  readonly peerOkMs: readonly number[]
  readonly secrets: readonly Uint8Array[]
  /** Migrations that did not complete, and why. */
  readonly failures: readonly string[]
  readonly beginFaults: readonly string[]
  readonly peerFaults: readonly string[]
  readonly escapingFaults: readonly string[]
}

const VMS = 5
/** A server that cannot do it once will not at the hundredth time. */
const MAX_FAILURES = 3

/** `migrations` of the settings, over five VMs that go back and forth. */
export async function migrateMany(stage: Stage): Promise<MigrationSamples> {
  const samples = {
    made: 0,
    goaheadMs: [] as number[],
    peerOkMs: [] as number[],
    secrets: [] as Uint8Array[],
    failures: [] as string[],
    beginFaults: [] as string[],
    peerFaults: [] as string[],
    escapingFaults: [] as string[],
  }
  const { migrations, limitMs } = stage.settings
  const vms = await Promise.all(Array.from({ length: Math.min(VMS, migrations) }, () => stage.boot()))
  for (let n = 0; n < migrations && samples.failures.length < MAX_FAILURES; n++) {
    const vm = vms[n % vms.length]
    if (!vm) break
    const sequence = stage.sequence()
    const result = await vm.migrate({
      to: stage.otherHost(vm),
      sequence,
      goaheadLimitMs: limitMs,
      peerOkLimitMs: limitMs,
    })
    samples.made++
    if (result.outcome !== 'completed')
      samples.failures.push(`a migration ended as ${result.outcome}: ${result.reason}`)
    const [port] = result.ports
    if (!port) continue
    if (port.goaheadMs !== null) samples.goaheadMs.push(port.goaheadMs)
    if (port.peerOkMs !== null) samples.peerOkMs.push(port.peerOkMs)
    if (port.secret) samples.secrets.push(port.secret)
    // The source of one migration was the destination of the one before: a single BEGIN and a single PEER on each.
    const source = port.source.recorded.items
    samples.beginFaults.push(...judgeBegin(sequence, source).faults)
    const destination: readonly WireItem[] = port.destinations[0]?.recorded.items ?? []
    samples.escapingFaults.push(...judgeEscaping(source))
    if (result.outcome === 'completed') samples.peerFaults.push(...judgePeerOk(sequence, destination))
  }
  return samples
}
