/** A migration with something going differently, and whether the server got it right. */
import type { MigrateOptions, MigrationResult } from '../migration.ts'
import { type MigrationFailure, VARIANTS } from '../migration-variants.ts'
import type { SimVm } from '../sim-vm.ts'
import type { Stage } from './stage.ts'

/** Options of a migration that goes as `failure` says, with the times that the settings give. */
export function variantOptions(stage: Stage, vm: SimVm, failure: MigrationFailure | undefined): MigrateOptions {
  const { limitMs, resumeMs } = stage.settings
  return {
    to: stage.otherHost(vm),
    failure,
    sequence: vm.ports.length === 1 ? stage.sequence() : undefined,
    goaheadLimitMs: failure === 'goahead-late' ? resumeMs : limitMs,
    peerOkLimitMs: limitMs,
  }
}

/** What a result says against the server. Pure. */
export function judgeResult(what: string, failure: MigrationFailure | undefined, result: MigrationResult): string[] {
  if (result.asExpected) return []
  if (result.ports.some((port) => port.peerOk) && failure?.startsWith('peer-')) {
    return [`${what}: PEER-OK for a cookie that is not valid`]
  }
  const expected = failure ? VARIANTS[failure].expected : 'completed'
  return [`${what}: ${result.outcome} instead of ${expected} (${result.reason})`]
}

/** Acts out `failure` with a VM of its own; afterwards the VM has to be able to migrate as if nothing had been. */
export async function actOut(stage: Stage, failure: MigrationFailure): Promise<string[]> {
  const vm = await stage.boot()
  const faults: string[] = []
  if (failure === 'peer-replayed') {
    faults.push(
      ...judgeResult('the migration before', undefined, await vm.migrate(variantOptions(stage, vm, undefined))),
    )
  }
  faults.push(...judgeResult(failure, failure, await vm.migrate(variantOptions(stage, vm, failure))))
  if (!vm.attached) await stage.within(vm.powerOn(), stage.settings.limitMs, `${failure}: the VM is not served again`)
  // Data prove that a VM has resumed in place, or runs at a destination that never sent COMPLETE.
  vm.print('still here\r\n')
  const after = await vm.migrate(variantOptions(stage, vm, undefined))
  faults.push(...judgeResult(`after ${failure}`, undefined, after))
  faults.push(...violations(vm).map((text) => `${failure}: ${text}`))
  return faults
}

/**
 * What the VM has seen its server do wrong, but for a secret behind PEER-OK or NOTNOW: real hosts put up with that, and
 * the check of PEER-OK is about it. One fault should not fail everything.
 */
export function violations(vm: SimVm): string[] {
  return vm.violations.map((text) => text.replace(/^.*? port \d+: /, '')).filter((text) => !/ carries \d/.test(text))
}
