/** What `vspc point` says of each VM: rows of a table, or JSON. Pure but for the printing itself. */
import { cleanText, type ErrorCode } from '../base/index.ts'
import type { SerialPort } from '../vsphere/index.ts'
import type { ExitCode } from './exit-codes.ts'
import { printData } from './output.ts'
import type { Pointed } from './point-one.ts'
import { ADD_WHILE_ON, type PointStep, type PointVm, portName } from './point-plan.ts'
import { labelOfServiceUri, portAddress } from './point-uris.ts'
import { type Column, formatTable } from './table.ts'

/** `would-...`: with --plan. */
export type PointDone = 'added' | 'changed' | 'kept' | 'failed' | 'would-add' | 'would-change'

/** One VM, as `--json` prints it. */
export interface PointOutcome {
  readonly vm: string
  readonly uuid: string | null
  readonly done: PointDone
  /** The device: `Serial port 1`; null where there is none yet. */
  readonly port: string | null
  /** What other commands call it: NAME or NAME/LABEL. */
  readonly address: string | null
  readonly changes: readonly string[]
  readonly hints: readonly string[]
  readonly poweredOn: boolean | null
  readonly connected: boolean | null
  /** `connectable.status` as the server says it; null = not told. */
  readonly status: string | null
  /** What is wrong; null = nothing. */
  readonly fault: string | null
  readonly code: ErrorCode | null
}

/** With the exit code that the VM alone would give. */
export interface PointResult {
  readonly outcome: PointOutcome
  readonly exit: ExitCode
}

export function failedOutcome(vm: string, uuid: string | null, fault: string, code: ErrorCode | null): PointOutcome {
  return {
    vm,
    uuid,
    done: 'failed',
    port: null,
    address: null,
    changes: [],
    hints: [],
    poweredOn: null,
    connected: null,
    status: null,
    fault,
    code,
  }
}

const DONE = { add: 'added', change: 'changed', keep: 'kept' } as const
const WOULD = { add: 'would-add', change: 'would-change', keep: 'kept' } as const

export function pointedOutcome({ step, vm, port, fault }: Pointed): PointOutcome {
  if (step.do === 'cannot') return failedOutcome(vm.name, vm.instanceUuid, step.message, null)
  const outcome = stepOutcome(vm, step, fault === null ? DONE[step.do] : 'failed', port, fault)
  // It went well all the same.
  return { ...outcome, hints: outcome.hints.filter((hint) => hint !== ADD_WHILE_ON) }
}

/** @param label of the port that is wanted. */
export function plannedOutcome(vm: PointVm, step: PointStep, label: string | null): PointOutcome {
  if (step.do === 'cannot') return failedOutcome(vm.name, vm.instanceUuid, step.message, null)
  const port = step.do === 'add' ? null : step.port
  return { ...stepOutcome(vm, step, WOULD[step.do], port, null), address: portAddress(vm.name, label) }
}

function stepOutcome(
  vm: PointVm,
  step: Exclude<PointStep, { do: 'cannot' }>,
  done: PointDone,
  port: SerialPort | null,
  fault: string | null,
): PointOutcome {
  const serviceURI = port?.backing.kind === 'uri' ? port.backing.serviceURI : null
  return {
    vm: vm.name,
    uuid: vm.instanceUuid,
    done,
    port: port === null ? null : portName(port),
    address: serviceURI === null ? null : portAddress(vm.name, labelOfServiceUri(serviceURI)),
    changes: step.do === 'keep' ? [] : step.changes,
    hints: step.hints,
    poweredOn: vm.poweredOn,
    connected: port?.connected ?? null,
    status: port?.status ?? null,
    fault,
    code: null,
  }
}

const COLUMNS: readonly Column[] = [
  { title: 'VM', min: 12 },
  { title: 'PORT', min: 8 },
  { title: 'RESULT' },
  { title: 'STATE', min: 9 },
  { title: 'WHAT', min: 20 },
]

const WORDS: Record<PointDone, string> = {
  added: 'added',
  changed: 'changed',
  kept: 'is right',
  failed: 'FAILED',
  'would-add': 'would be added',
  'would-change': 'would change',
}

/** @param width of the terminal; infinite when there is none. */
export function formatOutcomes(outcomes: readonly PointOutcome[], width: number): string[] {
  const rows = outcomes.map((outcome) => [
    outcome.address ?? outcome.vm,
    outcome.port ?? '',
    WORDS[outcome.done],
    stateText(outcome),
    outcome.fault === null ? outcome.changes.join(', ') : 'see above',
  ])
  return formatTable(COLUMNS, rows, width)
}

function stateText({ poweredOn, connected, status }: PointOutcome): string {
  if (poweredOn === null || connected === null) return ''
  if (!poweredOn) return 'VM is off'
  const state = connected ? 'connected' : 'not connected'
  return status === null ? state : `${state}, ${cleanText(status, 40)}`
}

/** `2 changed, 1 added`. */
export function summaryOf(outcomes: readonly PointOutcome[]): string {
  const count = (done: PointDone): number => outcomes.filter((one) => one.done === done).length
  const parts = (['added', 'changed', 'would-add', 'would-change', 'kept', 'failed'] as const).flatMap((done) => {
    const found = count(done)
    return found === 0 ? [] : [`${found} ${SUMMARY[done]}`]
  })
  return parts.join(', ')
}

const SUMMARY: Record<PointDone, string> = {
  added: 'added',
  changed: 'changed',
  kept: 'right already',
  failed: 'failed',
  'would-add': 'would be added',
  'would-change': 'would be changed',
}

export function printOutcomes(outcomes: readonly PointOutcome[], json: boolean): void {
  if (json) {
    printData(`${printableJson(outcomes)}\n`)
    return
  }
  if (outcomes.length === 0) return
  const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
  printData(`${formatOutcomes(outcomes, width).join('\n')}\n`)
}

/** JSON that is harmless on a terminal, too: what terminals obey and JSON leaves alone is written as an escape. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(
    /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
