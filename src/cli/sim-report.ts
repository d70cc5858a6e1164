import type { LatencySummary, SimulationStatistics } from '../sim/index.ts'
import { formatBytes } from './table.ts'

/** One line, for while it runs. */
export function formatProgress(statistics: SimulationStatistics): string {
  const { ports, portsAttached, portsRefused, vmotions, goaheadMs, bytesFromVms, bytesToVms } = statistics
  const refused = portsRefused > 0 ? `, ${portsRefused} refused` : ''
  const failed = vmotions.unexpected > 0 ? `, ${vmotions.unexpected} NOT as expected` : ''
  const latency = goaheadMs ? `, GOAHEAD p99 ${formatMs(goaheadMs.p99)}` : ''
  return [
    `${portsAttached}/${ports} ports attached${refused}`,
    `${vmotions.completed} vMotions${failed}, ${vmotions.running} running${latency}`,
    `${formatBytes(bytesFromVms)} from VMs, ${formatBytes(bytesToVms)} to them`,
  ].join('; ')
}

/** What `vspc sim` prints at its end. */
export function formatSummary(statistics: SimulationStatistics): string {
  const { vmotions } = statistics
  const outcomes = (['completed', 'refused', 'timeout', 'aborted', 'resumed', 'lost', 'not-connected'] as const)
    .filter((outcome) => outcome === 'completed' || vmotions[outcome] > 0)
    .map((outcome) => `${vmotions[outcome]} ${outcome}`)
  const rows: [string, string][] = [
    ['VMs', `${statistics.vms} on ${statistics.hosts} hosts`],
    ['ports', `${statistics.portsAttached} of ${statistics.ports} attached, ${statistics.portsRefused} refused`],
    ['reconnects', String(statistics.reconnects)],
    ['vMotions', outcomes.join(', ')],
    ['not as expected', String(vmotions.unexpected)],
    ['BEGIN to answer', formatLatency(statistics.goaheadMs)],
    ['BEGIN to COMPLETE', formatLatency(statistics.stunnedMs)],
    ['from VMs', formatBytes(statistics.bytesFromVms)],
    ['to VMs', `${formatBytes(statistics.bytesToVms)}, and ${formatBytes(statistics.lostInputBytes)} lost`],
    ['violations', String(statistics.violations)],
    ...statistics.violationSamples.map((text): [string, string] => ['', text]),
  ]
  return rows.map(([name, value]) => `${name.padEnd(18)} ${value}\n`).join('')
}

/** Why the exit code is not 0; null if it is. */
export function simVerdict(statistics: SimulationStatistics): string | null {
  const { vmotions, lostInputBytes, violations } = statistics
  if (lostInputBytes > 0) return `${lostInputBytes} bytes of console input were sent where no VM reads them`
  if (vmotions.unexpected > 0) return `${vmotions.unexpected} vMotions did not end as they should have`
  if (violations > 0) return `the concentrator broke the protocol ${violations} times`
  if (statistics.portsAttached === 0 && statistics.bytesFromVms === 0) return 'no VM was ever attached'
  return null
}

function formatLatency(summary: LatencySummary | null): string {
  if (summary === null) return '-'
  const { count, min, p50, p99, max } = summary
  return `min ${formatMs(min)}, p50 ${formatMs(p50)}, p99 ${formatMs(p99)}, max ${formatMs(max)} (${count})`
}

function formatMs(ms: number): string {
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2)} ms`
}
