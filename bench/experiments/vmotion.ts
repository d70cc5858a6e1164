import { cpuOf, type Experiment } from '../experiment.ts'
import { quiescence } from '../os.ts'

const PORTS = 1_000
const AT_ONCE = 50
const STUCK = 100
const STUCK_BYTES_PER_SECOND = 1_000_000
const WARM_UP = 3_000

/** Upper end of the bucket that 99 % of the answers since `before` lie in or below, ms. */
function p99Within(before: Map<string, number>, after: Map<string, number>): number {
  const name = 'vspc_vmotion_goahead_seconds'
  const grown = (sample: string) => (after.get(sample) ?? 0) - (before.get(sample) ?? 0)
  const all = grown(`${name}_count`)
  for (const sample of after.keys()) {
    const bound = /_bucket\{le="([^"]+)"\}$/.exec(sample)?.[1]
    if (sample.startsWith(name) && bound !== undefined && grown(sample) >= all * 0.99) return Number(bound) * 1000
  }
  return Number.POSITIVE_INFINITY
}

/** Whole vMotions, BEGIN to COMPLETE; then again while consoles that never read hang on ports that print. */
export const vmotion: Experiment = {
  name: 'vmotion',
  contenders: ['bare', 'ours'],
  async run(bench) {
    const server = await bench.server()
    const generator = bench.generator()
    const { source, destination, http: httpPort } = server.ports
    const bare = server.contender === 'bare'
    const total = bench.sizes.vmotions
    await generator.run('connect', { tcpPort: source, first: 0, count: PORTS, atOnce: 48, dialogue: 'volunteered' })
    const move = (from: number, number: number) =>
      generator.run('vmotions', {
        tcpPort: destination,
        from,
        count: PORTS - from,
        total: number,
        atOnce: AT_ONCE,
        canned: bare,
      })
    await move(0, WARM_UP)
    const answeredBefore = bare ? null : await server.metrics()
    const { cpu, result } = await cpuOf(server, () => move(0, total))
    const inside = answeredBefore === null ? Number.NaN : p99Within(answeredBefore, await server.metrics())
    await generator.run('attach', { httpPort, bare, from: 0, count: STUCK, mode: 'read', read: false })
    await generator.run('startStreams', { from: 0, count: STUCK, bytesPerSecond: STUCK_BYTES_PER_SECOND })
    // Until the consoles' sockets are full and they really are stuck.
    await new Promise((resolve) => setTimeout(resolve, STUCK_WAIT_MS))
    const stuck = await move(STUCK, total)
    const { skipped } = await generator.run('stopStreams')
    if (skipped > 0.01)
      bench.note(`vmotion, ${bench.contender}: ${(skipped * 100).toFixed(0)} % of the streams held up`)
    await quiescence(server.pid)
    return {
      cpu: cpu / total,
      rate: total / result.seconds,
      p50: result.p50,
      p99: result.p99,
      inside,
      stuckP50: stuck.p50,
      stuckP99: stuck.p99,
    }
  },
  rows: [
    {
      work: 'whole vMotion, 50 at once, 1,000 ports: CPU each',
      unit: 'ms',
      reading: 'cpu',
      digits: 3,
      target: { of: 'value', atMost: 0.13 },
    },
    {
      work: 'the same, vMotions a second',
      unit: '/s',
      reading: 'rate',
      digits: 0,
      target: { of: 'value', atLeast: 6_000 },
    },
    { work: 'the same, BEGIN to GOAHEAD: median', unit: 'ms', reading: 'p50', digits: 2, target: { of: 'none' } },
    { work: 'the same, p99', unit: 'ms', reading: 'p99', digits: 2, target: { of: 'value', atMost: 5 } },
    {
      work: 'the same, inside of the server: p99 at most',
      unit: 'ms',
      reading: 'inside',
      digits: 2,
      target: { of: 'none' },
    },
    {
      work: 'the same beside 100 stuck consoles: median',
      unit: 'ms',
      reading: 'stuckP50',
      digits: 2,
      target: { of: 'none' },
    },
    { work: 'the same, p99', unit: 'ms', reading: 'stuckP99', digits: 2, target: { of: 'value', atMost: 8 } },
  ],
}

const STUCK_WAIT_MS = 3_000
