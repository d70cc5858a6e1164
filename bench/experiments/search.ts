import { get } from 'node:http'
import type { Experiment } from '../experiment.ts'
import { quiescence } from '../os.ts'

const PORTS = 1_000
const AT_ONCE = 50
const WARM_UP = 3_000
/** VMs that have printed the history that is searched. */
const PRINTED = 20
const HISTORY_BYTES = 1_000_000_000
/** Nothing to look for but what the expression says: the slowest kind. It is in no line. */
const PATTERN = '[a-z]+[0-9]{4}$'
/** A word that is in no line, as most searches have one. */
const WORD = 'Kernel panic'

interface Searched {
  readonly searches: number
  readonly bytes: number
  readonly seconds: number
}

/** BEGIN to GOAHEAD without a search, while 1 GB of history is searched again and again, and without once more. */
export const search: Experiment = {
  name: 'search',
  contenders: ['ours'],
  async run(bench) {
    const server = await bench.server()
    const generator = bench.generator()
    const { source, destination, http } = server.ports
    await generator.run('connect', { tcpPort: source, first: 0, count: PORTS, atOnce: 48, dialogue: 'volunteered' })
    await generator.run('stream', { vms: PRINTED, bytes: HISTORY_BYTES, ffPercent: 0 })
    const move = (total: number) =>
      generator.run('vmotions', { tcpPort: destination, from: 0, count: PORTS, total, atOnce: AT_ONCE, canned: false })
    await move(WARM_UP)
    await quiescence(server.pid)
    const alone = await searchFor(http, WORD)
    const slow = await searchFor(http, PATTERN)
    const total = bench.sizes.vmotions
    const before = await move(total)
    const searching = new SearchLoop(http)
    const during = await move(total)
    const looked = await searching.stop()
    await quiescence(server.pid)
    const after = await move(total)
    if (looked.bytes === 0) bench.note('search: nothing was searched meanwhile')
    return {
      p99: during.p99,
      quiet: (before.p99 + after.p99) / 2,
      ratio: (2 * during.p99) / (before.p99 + after.p99),
      noise: after.p99 / before.p99,
      rate: (2 * (total / during.seconds)) / (total / before.seconds + total / after.seconds),
      searched: looked.bytes / 1e6 / looked.seconds,
      word: alone.bytes / 1e6 / alone.seconds,
      slow: slow.bytes / 1e6 / slow.seconds,
    }
  },
  rows: [
    { work: 'BEGIN to GOAHEAD, no search: p99', unit: 'ms', reading: 'quiet', digits: 2, target: { of: 'none' } },
    {
      work: 'the same while 1 GB is searched',
      unit: 'ms',
      reading: 'p99',
      digits: 2,
      target: { of: 'value', atMost: 8 },
    },
    { work: 'the same, to no search', unit: 'x', reading: 'ratio', digits: 2, target: { of: 'none' } },
    { work: 'no search, second to first', unit: 'x', reading: 'noise', digits: 2, target: { of: 'none' } },
    { work: 'vMotions a second, to no search', unit: 'x', reading: 'rate', digits: 2, target: { of: 'none' } },
    { work: 'searched meanwhile', unit: 'MB/s', reading: 'searched', digits: 0, target: { of: 'none' } },
    { work: 'a search alone, a word', unit: 'MB/s', reading: 'word', digits: 0, target: { of: 'none' } },
    { work: 'a search alone, no word in it', unit: 'MB/s', reading: 'slow', digits: 0, target: { of: 'none' } },
  ],
}

/** Searches one after the other, of both kinds. */
class SearchLoop {
  readonly #httpPort: number
  readonly #stopping = new AbortController()
  readonly #done: Promise<Searched>

  constructor(httpPort: number) {
    this.#httpPort = httpPort
    this.#done = this.#run()
  }

  stop(): Promise<Searched> {
    this.#stopping.abort()
    return this.#done
  }

  async #run(): Promise<Searched> {
    let [searches, bytes] = [0, 0]
    const began = performance.now()
    while (!this.#stopping.signal.aborted) {
      bytes += (await searchFor(this.#httpPort, searches++ % 2 === 0 ? PATTERN : WORD, this.#stopping.signal)).bytes
    }
    return { searches, bytes, seconds: (performance.now() - began) / 1000 }
  }
}

/** @returns what it had looked through when it ended, or was given up. */
function searchFor(port: number, pattern: string, signal?: AbortSignal): Promise<Searched> {
  const began = performance.now()
  const path = `/api/v1/log/search?counts=true&pattern=${encodeURIComponent(pattern)}`
  return new Promise((resolve, reject) => {
    let bytes = 0
    const done = () => resolve({ searches: 1, bytes, seconds: (performance.now() - began) / 1000 })
    const request = get({ host: '127.0.0.1', port, path, agent: false, ...(signal === undefined ? {} : { signal }) })
    const failed = (error: Error) => (signal?.aborted ? done() : reject(error))
    request.on('error', failed)
    request.on('response', (response) => {
      let held = ''
      response.setEncoding('utf8')
      response.on('error', failed)
      response.on('data', (chunk: string) => {
        const lines = (held + chunk).split('\n')
        held = lines.pop() ?? ''
        for (const line of lines) {
          const record = JSON.parse(line) as { type: string; bytes?: number }
          if (record.type === 'progress' || record.type === 'end') bytes = record.bytes ?? bytes
        }
      })
      response.on('end', done)
    })
  })
}
