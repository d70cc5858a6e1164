import type { Bench, Experiment } from '../experiment.ts'
import { quiescence, rssKib } from '../os.ts'
import type { ServerProcess } from '../server-process.ts'

const BLOCK_BYTES = 65_536
const SAMPLE_MS = 20

/** A console that does not read while its VM prints; then it reads all there is. */
export const stuckConsole: Experiment = {
  name: 'stuck-console',
  contenders: ['ours'],
  async run(bench: Bench) {
    const blocks = Math.ceil(bench.sizes.stuckBytes / BLOCK_BYTES)
    const server = await bench.server()
    const generator = bench.generator()
    const { vm: tcpPort, http: httpPort } = server.ports
    await generator.run('connect', { tcpPort, first: 0, count: 2, atOnce: 2, dialogue: 'volunteered' })
    // The same work with a console that reads, so that what is measured is the stuck one alone.
    await generator.run('attach', { httpPort, bare: false, from: 1, count: 1, mode: 'read', read: true })
    await Promise.all([
      generator.run('printNumbered', { place: 1, blocks }),
      generator.run('readNumbered', { place: 0, bytes: blocks * BLOCK_BYTES }),
    ])
    await generator.run('attach', { httpPort, bare: false, from: 0, count: 1, mode: 'read', read: false })
    await quiescence(server.pid)
    const memory = watchMemory(server)
    const printed = await generator.run('printNumbered', { place: 0, blocks })
    await quiescence(server.pid)
    const growth = memory.stop()
    const read = await generator.run('readNumbered', { place: 1, bytes: printed.bytes })
    return {
      growth: growth / 1024,
      rate: printed.bytes / 1e6 / printed.seconds,
      lost: read.gapBytes / 1e6,
      wrong: read.wrong,
    }
  },
  rows: [
    {
      work: 'memory growth for 200 MB towards a stuck console',
      unit: 'MiB',
      reading: 'growth',
      digits: 1,
      target: { of: 'value', atMost: 8 },
    },
    { work: 'the same, the VM prints at', unit: 'MB/s', reading: 'rate', digits: 0, target: { of: 'none' } },
    {
      work: 'the same, then it reads: lost, and told so',
      unit: 'MB',
      reading: 'lost',
      digits: 1,
      target: { of: 'value', atMost: 0 },
    },
    { work: 'the same, wrong bytes', unit: '', reading: 'wrong', digits: 0, target: { of: 'value', atMost: 0 } },
  ],
}

/** The most a server's memory grows from now on, KiB. */
function watchMemory({ pid }: ServerProcess): { stop(): number } {
  const before = rssKib(pid)
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, rssKib(pid))
  }, SAMPLE_MS)
  return {
    stop() {
      clearInterval(timer)
      return most - before
    },
  }
}
