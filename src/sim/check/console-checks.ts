/** What needs both ends: every byte once and in order, whatever a migration does. */
import { patternBytes } from '../guest.ts'
import { MIGRATION_FAILURES, type MigrationFailure, SOURCE_FINS, type SourceFin } from '../migration-variants.ts'
import { concatBytes } from '../wire.ts'
import type { Check } from './check.ts'
import { consoleVm, Line, STEP_BYTES } from './line.ts'
import type { Stage } from './stage.ts'
import { judgeResult, variantOptions } from './variant.ts'
import { type Verdict, verdict } from './verdict.ts'

/** A check with a line; skipped when there is no way to a console. */
function lineCheck(
  id: string,
  name: string,
  title: string,
  act: (stage: Stage, line: Line) => Promise<readonly string[]>,
): Check {
  return {
    id,
    name,
    title,
    console: true,
    async run(stage): Promise<Verdict> {
      const line = await Line.open(stage, consoleVm(stage))
      const faults = await act(stage, line)
      const end = await line.end()
      return verdict([...faults, ...end.faults], `${end.bytes} bytes, each once and in order`, { bytes: end.bytes })
    },
  }
}

/** One migration with both ends speaking before and after it, and the console while the guest stands still. */
function exactlyOnce(id: string, name: string, title: string, failure?: MigrationFailure, fin?: SourceFin): Check {
  return lineCheck(id, name, title, async (stage, line) => {
    const { vm } = line
    const faults: string[] = []
    if (failure === 'peer-replayed') {
      const before = await vm.migrate(variantOptions(stage, vm, undefined))
      faults.push(...judgeResult('the migration before', undefined, before))
    }
    line.speak()
    const result = await vm.migrate({
      ...variantOptions(stage, vm, failure),
      sourceFin: fin,
      onStage: line.typeMeanwhile,
    })
    faults.push(...judgeResult(failure ?? 'the migration', failure, result))
    // Where COMPLETE or ABORT has told the server so; else only the VM's own output can.
    const told = result.outcome === 'completed' || result.outcome === 'aborted'
    if (told && failure !== 'complete-missing') faults.push(...(await line.released()))
    line.speak()
    if (!vm.attached) await stage.within(vm.powerOn(), stage.settings.limitMs, 'the VM is not served again')
    return faults
  })
}

/** The statement each way of failing belongs to. */
const STATEMENTS: Record<MigrationFailure, string> = {
  'abort-after-goahead': 'C41',
  'abort-after-peer-ok': 'C41',
  'goahead-late': 'C47',
  'begin-again': 'C44',
  'begin-new': 'C44',
  'source-lost': 'C46',
  'destination-lost': 'C45',
  'destination-drop': 'C45',
  'peer-twice': 'C45',
  'peer-wrong': 'C43',
  'peer-truncated': 'C43',
  'peer-extended': 'C43',
  'peer-replayed': 'C43',
  'peer-late': 'C43',
  'complete-on-source': 'C42',
  'abort-on-destination': 'C42',
  'complete-wrong': 'C42',
  'complete-twice': 'C42',
  'complete-missing': 'C46',
}

const transparent = lineCheck(
  'C3',
  'all-bytes',
  'all 256 byte values pass both ways unchanged',
  async (_stage, line) => {
    for (let n = 0; n < 8; n++) {
      line.speak()
    }
    return []
  },
)

const uninterrupted = lineCheck(
  'C37',
  'exactly-once-five',
  'five migrations back and forth with both ends speaking: one stream each way, no gap, nothing twice',
  async (stage, line) => {
    const faults: string[] = []
    for (let n = 1; n <= 5; n++) {
      line.speak()
      const result = await line.vm.migrate({
        ...variantOptions(stage, line.vm, undefined),
        onStage: line.typeMeanwhile,
      })
      faults.push(...judgeResult(`migration ${n}`, undefined, result))
    }
    line.print()
    return faults
  },
)

const heldReleased = lineCheck(
  'C35',
  'held-input-released',
  'input typed while the guest stands still reaches the destination at once, without a further key',
  async (stage, line) => {
    const result = await line.vm.migrate({
      ...variantOptions(stage, line.vm, undefined),
      onStage: (at) => {
        if (at !== 'goahead') return Promise.resolve()
        line.type()
        return stage.quiet(Math.max(20, stage.settings.quietMs))
      },
    })
    return [...judgeResult('the migration', undefined, result), ...(await line.released())]
  },
)

const STALLED_BYTES = 512 * 1024

const stalled = lineCheck(
  'C53',
  'stalled-vm',
  'a VM that does not read, with 512 KiB typed at it, keeps no other VM waiting, and gets it all when it reads again',
  async (stage, line) => {
    const connection = line.vm.port(0).connection
    connection?.pauseReading()
    for (let sent = 0; sent < STALLED_BYTES; sent += 16_384) line.type(16_384)
    const other = await stage.boot()
    const faults: string[] = []
    for (let n = 0; n < 5; n++) {
      const result = await other.migrate(variantOptions(stage, other, undefined))
      faults.push(...judgeResult('another VM', undefined, result))
      if (result.goaheadMs !== null && result.goaheadMs > 1_000) {
        faults.push(`another VM waits ${result.goaheadMs.toFixed(0)} ms for GOAHEAD`)
      }
    }
    connection?.resumeReading()
    return faults
  },
)

/** A host that has lost its link dials again long before the server notices: RFC 793 leaves the old one half-open. */
const TAKEOVER_MS = 1_000

const takeover: Check = {
  id: 'C28',
  name: 'takeover',
  title: 'a VM that dials again while its old connection is half-open is served within a second, its console stays',
  console: true,
  async run(stage) {
    const someone = consoleVm(stage)
    const line = await Line.open(stage, someone, 0)
    const fresh = await stage.attach({ identity: someone.identity })
    const faults = await line.through(fresh, TAKEOVER_MS)
    await line.close()
    return verdict(faults, 'both ways, on the new connection')
  },
}

const earlyData: Check = {
  id: 'C21',
  name: 'early-data',
  title: 'serial data before DO-PROXY and identity reach the console, in order with what follows',
  console: true,
  async run(stage) {
    const someone = consoleVm(stage)
    const line = await Line.open(stage, someone, 0)
    await line.vm.powerOff()
    const early = patternBytes(0, STEP_BYTES)
    const later = patternBytes(STEP_BYTES, STEP_BYTES)
    const fresh = await stage.attach({
      identity: someone.identity,
      handler: { opened: (connection) => void connection.data(early) },
    })
    fresh.data(later)
    const faults = await line.heardExactly(concatBytes(early, later), fresh)
    await line.close()
    return verdict(faults, `${early.length} bytes before DO-PROXY, ${later.length} behind it`)
  },
}

const SOURCE_FIN_CHECKS = SOURCE_FINS.map((fin) =>
  exactlyOnce(
    fin === 'before-complete' ? 'C30' : 'C36',
    `exactly-once-fin-${fin}`,
    `exactly once, both ways: source FIN ${fin.replace('-', ' ').replace(/complete|peer/, (word) => word.toUpperCase())}`,
    undefined,
    fin,
  ),
)

const FAILURE_CHECKS = MIGRATION_FAILURES.map((failure) =>
  exactlyOnce(STATEMENTS[failure], `exactly-once-${failure}`, `exactly once, both ways: ${failure}`, failure),
)

export const CONSOLE_CHECKS: readonly Check[] = [
  transparent,
  earlyData,
  takeover,
  ...SOURCE_FIN_CHECKS,
  uninterrupted,
  heldReleased,
  ...FAILURE_CHECKS,
  stalled,
]
