/** After an endurance run: is everything that VMs have printed in the server's books, and in its history? */
import { patternFault } from '../../src/sim/index.ts'
import type { VmTotals } from './hosts.ts'
import { LineCheck } from './lines.ts'

export interface PortRecord {
  readonly id: string
  readonly bytesFromVm: number
  readonly bytesToVm: number
}

export interface Audit {
  /** Bytes of history read and found right. */
  historyBytes: number
  /** No longer kept. */
  trimmedBytes: number
  /** What hosts took with them when they died: printed, never arrived. */
  lostWithHosts: number
  readonly faults: string[]
}

const AT_ONCE = 4

export async function ports(httpPort: number): Promise<Map<string, PortRecord>> {
  const list = (await (await fetch(`http://127.0.0.1:${httpPort}/api/v1/ports`)).json()) as PortRecord[]
  return new Map(list.map((port) => [port.id, port]))
}

export async function audit(
  httpPort: number,
  totals: readonly VmTotals[],
  typed: ReadonlyMap<string, number>,
): Promise<Audit> {
  const found: Audit = { historyBytes: 0, trimmedBytes: 0, lostWithHosts: 0, faults: [] }
  const known = await ports(httpPort)
  const waiting = totals.values()
  const worker = async () => {
    for (const vm of waiting) {
      const port = known.get(vm.id)
      if (port === undefined) {
        found.faults.push(`${vm.id}: not in the list`)
        continue
      }
      checkCounts(vm, port, typed.get(vm.id) ?? 0, found)
      await checkHistory(httpPort, vm, port, found)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return found
}

function checkCounts(vm: VmTotals, port: PortRecord, typed: number, found: Audit): void {
  const missing = vm.bytesOut - port.bytesFromVm
  if (vm.kind === 'mortal' && missing >= 0) found.lostWithHosts += missing
  else if (missing !== 0) found.faults.push(`${vm.kind} ${vm.id}: printed ${vm.bytesOut}, arrived ${port.bytesFromVm}`)
  if (vm.kind === 'mortal') return
  if (vm.inputBytes !== typed) found.faults.push(`${vm.id}: typed ${typed}, read by the VM ${vm.inputBytes}`)
  if (vm.inputFaults > 0) found.faults.push(`${vm.id}: input wrong or out of order ${vm.inputFaults} times`)
}

async function checkHistory(httpPort: number, vm: VmTotals, port: PortRecord, found: Audit): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/api/v1/ports/${vm.id}/log?start=0`)
  const start = Number(response.headers.get('x-vspc-start'))
  const lines = vm.kind === 'mortal' ? new LineCheck(start === 0) : null
  let offset = start
  let wrong = false
  try {
    for await (const chunk of response.body ?? []) {
      const bytes = chunk as Uint8Array
      if (lines !== null) lines.feed(bytes)
      else if (!wrong && patternFault(bytes, offset) >= 0) {
        wrong = true
        found.faults.push(`${vm.id}: history is wrong at ${offset + patternFault(bytes, offset)}`)
      }
      offset += bytes.length
    }
  } catch (error) {
    found.faults.push(`${vm.id}: history broke off at ${offset}: ${error instanceof Error ? error.message : error}`)
    return
  }
  found.trimmedBytes += start
  found.historyBytes += offset - start
  if (offset !== port.bytesFromVm) found.faults.push(`${vm.id}: history ends at ${offset} of ${port.bytesFromVm}`)
  if (lines === null) return
  if (lines.repeated > 0) found.faults.push(`mortal ${vm.id}: ${lines.repeated} lines repeated in history`)
  if (lines.breaks > vm.resets) {
    found.faults.push(`mortal ${vm.id}: ${lines.breaks} breaks in history, its hosts died ${vm.resets} times`)
  }
}
