import { setTimeout as sleep } from 'node:timers/promises'
import type { Experiment } from '../experiment.ts'
import { hardFileLimit, openFiles, quiescence } from '../os.ts'

const FILE_LIMIT = 20_000
/** What a server may need besides its connections. */
const OTHER_FILES = 500
const SETTLE_MS = 2_000

/** Every VM prints a line first, so that each has history; then they are idle. */
export const capacity: Experiment = {
  name: 'capacity',
  contenders: ['bare', 'ours'],
  maxRounds: 1,
  async run(bench) {
    const fileLimit = Math.min(FILE_LIMIT, hardFileLimit())
    const count = Math.min(bench.sizes.held, fileLimit - OTHER_FILES)
    if (fileLimit < FILE_LIMIT) bench.note(`only ${fileLimit} open files allowed here: ${count} VMs tried`)
    const server = await bench.server({ fileLimit })
    const generator = bench.generator()
    await generator.run('connect', { tcpPort: server.ports.vm, first: 0, count, atOnce: 48, dialogue: 'volunteered' })
    await generator.run('printLine')
    await quiescence(server.pid)
    await sleep(SETTLE_MS)
    const { open } = await generator.run('count')
    const online = server.contender === 'ours' ? (await server.metrics()).get('vspc_ports{state="online"}') : open
    return { held: Math.min(open, online ?? 0), files: openFiles(server.pid) }
  },
  rows: [
    {
      work: 'VMs held under a limit of 20,000 open files',
      unit: '',
      reading: 'held',
      digits: 0,
      target: { of: 'value', atLeast: 19_500 },
    },
    { work: 'the same, files open', unit: '', reading: 'files', digits: 0, target: { of: 'none' } },
  ],
}
