import { cpuOf, type Experiment } from '../experiment.ts'

const WARM_UP_BYTES = 100_000_000
/** On their way at once; less than what is kept in memory, so that no console has to be fed from disk. */
const WINDOW_BYTES = 524_288

/** One VM prints, one console reads, both in the generator. */
export const consoleStream: Experiment = {
  name: 'console-stream',
  contenders: ['bare', 'ours'],
  async run(bench) {
    const server = await bench.server()
    const generator = bench.generator()
    const { vm: tcpPort, http: httpPort } = server.ports
    await generator.run('connect', { tcpPort, first: 0, count: 1, atOnce: 1, dialogue: 'volunteered' })
    const bare = server.contender === 'bare'
    await generator.run('attach', { httpPort, bare, from: 0, count: 1, mode: 'read', read: true })
    await generator.run('consoleStream', { bytes: WARM_UP_BYTES, windowBytes: WINDOW_BYTES })
    const bytes = bench.sizes.consoleBytes
    const { cpu, result } = await cpuOf(
      server,
      () => generator.run('consoleStream', { bytes, windowBytes: WINDOW_BYTES }),
      bytes,
    )
    if (result.gapBytes > 0) bench.note(`console-stream: the console missed ${result.gapBytes} bytes`)
    return { rate: bytes / 1e6 / result.seconds, cpu: cpu / 1e3 / (bytes / 1e9) }
  },
  rows: [
    {
      work: 'VM to one console (WebSocket)',
      unit: 'MB/s',
      reading: 'rate',
      digits: 0,
      target: { of: 'ratio', atLeast: 0.8 },
    },
    { work: 'the same, CPU', unit: 'CPU-s/GB', reading: 'cpu', digits: 3, target: { of: 'none' } },
  ],
}
