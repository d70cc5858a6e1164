import { cpuOf, type Experiment } from '../experiment.ts'
import { canPin } from '../pinning.ts'

const WARM_UP = 3_000
const STREAMS = 100
const STREAM_BYTES_PER_SECOND = 1_000_000

/** A keystroke from a console to its VM, which echoes it; server and generator each on a CPU of their own. */
export const roundTrip: Experiment = {
  name: 'round-trip',
  contenders: ['bare', 'ours'],
  async run(bench) {
    if (!canPin()) bench.note('round-trip: not pinned, there is no taskset or a single CPU')
    const server = await bench.server({ pin: true })
    const generator = bench.generator({ pin: true })
    const { vm: tcpPort, http: httpPort } = server.ports
    const bare = server.contender === 'bare'
    await generator.run('connect', { tcpPort, first: 0, count: 1 + STREAMS, atOnce: 48, dialogue: 'volunteered' })
    await generator.run('attach', { httpPort, bare, from: 0, count: 1, mode: 'write', read: true })
    await generator.run('roundTrips', { count: WARM_UP })
    const count = bench.sizes.roundTrips
    const idle = await cpuOf(server, () => generator.run('roundTrips', { count }))
    await generator.run('startStreams', { from: 1, count: STREAMS, bytesPerSecond: STREAM_BYTES_PER_SECOND })
    await generator.run('roundTrips', { count: WARM_UP })
    const busy = await generator.run('roundTrips', { count })
    const { skipped } = await generator.run('stopStreams')
    if (skipped > 0.01)
      bench.note(`round-trip, ${bench.contender}: ${(skipped * 100).toFixed(0)} % of the streams held up`)
    return {
      cpu: (idle.cpu * 1000) / count,
      p50: idle.result.p50 / 1000,
      p99: idle.result.p99 / 1000,
      busyP50: busy.p50 / 1000,
      busyP99: busy.p99 / 1000,
    }
  },
  rows: [
    {
      work: 'console round trip, idle: CPU each',
      unit: 'us',
      reading: 'cpu',
      digits: 1,
      target: { of: 'ratio', atMost: 1.2 },
    },
    { work: 'the same, median', unit: 'ms', reading: 'p50', digits: 3, target: { of: 'none' } },
    { work: 'the same, p99', unit: 'ms', reading: 'p99', digits: 3, target: { of: 'ratio', atMost: 1.5 } },
    {
      work: 'round trip beside 100 ports at 1 MB/s: median',
      unit: 'ms',
      reading: 'busyP50',
      digits: 3,
      target: { of: 'none' },
    },
    { work: 'the same, p99', unit: 'ms', reading: 'busyP99', digits: 3, target: { of: 'ratio', atMost: 1 } },
  ],
}
