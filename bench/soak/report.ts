import { slope } from '../statistics.ts'
import type { Sample, SoakReport } from './run.ts'

/** Share that is warming up: heap and allocator have found their size after some four minutes of ten. */
const WARM_UP = 0.4
/** Growth over the rest that still counts as flat. */
const FLAT_RSS_SHARE = 0.05
const FLAT_RSS_MIB = 8
const FLAT_LOOP_MS = 5

interface Trend {
  readonly start: number
  readonly end: number
  readonly perMinute: number
  readonly flat: boolean
}

/** A straight line through one figure of the samples, without the warming up. */
function trend(samples: readonly Sample[], of: (sample: Sample) => number, mayGrow: (mean: number) => number): Trend {
  const kept = samples.slice(Math.floor(samples.length * WARM_UP))
  const points = kept.map((sample) => [sample.seconds, of(sample)] as const)
  const perSecond = slope(points)
  const mean = points.reduce((sum, [, y]) => sum + y, 0) / Math.max(1, points.length)
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / Math.max(1, points.length)
  const first = points[0]?.[0] ?? 0
  const last = points.at(-1)?.[0] ?? 0
  return {
    start: mean + perSecond * (first - meanX),
    end: mean + perSecond * (last - meanX),
    perMinute: perSecond * 60,
    flat: perSecond * (last - first) <= mayGrow(mean),
  }
}

export function formatSoak(report: SoakReport): string {
  const { parameters, machine, hosts, consoles, audit, samples, faults } = report
  const rss = trend(
    samples,
    (sample) => sample.rssMib,
    (mean) => Math.max(FLAT_RSS_MIB, mean * FLAT_RSS_SHARE),
  )
  const loop = trend(
    samples,
    (sample) => sample.loopP99Ms,
    () => FLAT_LOOP_MS,
  )
  const cpu = samples.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0) / Math.max(1, samples.length)
  const worst = Math.max(0, ...samples.map(({ loopMaxMs }) => loopMaxMs))
  const outcomes = Object.entries(hosts.vmotions)
    .sort(([, a], [, b]) => b - a)
    .map(([outcome, count]) => `${count} ${outcome}`)
  const rows: [string, string][] = [
    ['lost, doubled or wrong', faults.length === 0 ? 'nothing' : `${faults.length} FAULTS, see below`],
    [
      'VMs',
      `${parameters.vms}, ${parameters.fast} of them printing 100 times a second, ${parameters.mortal} on hosts that die`,
    ],
    [
      'printed',
      `${mb(report.printedBytes)}; ${mb(audit.historyBytes)} read back from history and compared, ${mb(audit.trimmedBytes)} no longer kept`,
    ],
    [
      'consoles',
      `${consoles.attachments} attached, ${parameters.stuck} of them stuck most of the time; ${mb(consoles.bytes)} seen, ${mb(consoles.gapBytes)} of gaps told; ${mb(consoles.typedBytes)} typed`,
    ],
    ['vMotions', `${outcomes.join(', ')} (${(parameters.failing * 100).toFixed(0)} % were made to go wrong)`],
    [
      'BEGIN to answer',
      `p50 ${ms(hosts.goaheadMs.p50)}, p99 ${ms(hosts.goaheadMs.p99)}, most ${ms(hosts.goaheadMs.max)}`,
    ],
    [
      'hosts died',
      `${hosts.deaths} times, ${hosts.resets} connections reset; ${audit.lostWithHosts} bytes went with them`,
    ],
    [
      'memory',
      `${rss.start.toFixed(0)} to ${rss.end.toFixed(0)} MiB, ${signed(rss.perMinute)} MiB a minute: ${flat(rss)}`,
    ],
    [
      'event loop delay, p99',
      `${ms(loop.start)} to ${ms(loop.end)}, ${signed(loop.perMinute)} ms a minute: ${flat(loop)}; most ${ms(worst)}`,
    ],
    ['CPU', `${cpu.toFixed(0)} % of one`],
  ]
  const head = `${report.when}; ${parameters.seconds} s; ${machine.cores} x ${machine.cpu}, Node ${machine.node}; load before: ${machine.loadAverage}`
  for (const [message, count] of Object.entries(report.complaints)) rows.push(['server log', `${count} x ${message}`])
  const table = rows.map(([name, value]) => `| ${name} | ${value} |`).join('\n')
  const list = faults.map((fault) => `- ${fault}`).join('\n')
  return `${head}\n\n| | |\n| --- | --- |\n${table}\n${list === '' ? '' : `\n${list}\n`}`
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`
}

function signed(value: number): string {
  return `${value < 0 ? '' : '+'}${value.toFixed(2)}`
}

function flat({ flat }: Trend): string {
  return flat ? 'flat' : 'NOT flat'
}
