import { setTimeout as sleep } from 'node:timers/promises'
import { cpuOf, type Experiment } from '../experiment.ts'
import { quiescence, rssKib } from '../os.ts'
import type { Dialogue } from '../raw-vm.ts'

const AT_ONCE = 48
const SETTLE_MS = 3_000

/** Memory from the first VMs of a fresh process; CPU time from the second lot, and the first for comparison. */
export const handshake: Experiment = {
  name: 'handshake',
  contenders: ['bare', 'ours'],
  async run(bench) {
    const count = bench.sizes.handshakes
    const server = await bench.server()
    const generator = bench.generator()
    let first = 0
    const lot = async (dialogue: Dialogue) => {
      const { cpu, result } = await cpuOf(server, () =>
        generator.run('connect', { tcpPort: server.ports.vm, first, count, atOnce: AT_ONCE, dialogue }),
      )
      first += count
      return { cpu: cpu / count, rate: count / result.seconds }
    }
    await quiescence(server.pid)
    const before = rssKib(server.pid)
    const cold = await lot('volunteered')
    await sleep(SETTLE_MS)
    const memory = (rssKib(server.pid) - before) / count
    await generator.run('drop')
    const warm = await lot('volunteered')
    await generator.run('drop')
    const captured = await lot('captured')
    return {
      memory,
      coldCpu: cold.cpu,
      warmCpu: warm.cpu,
      warmRate: warm.rate,
      capturedCpu: captured.cpu,
      capturedRate: captured.rate,
    }
  },
  rows: [
    {
      work: 'handshake, VM volunteers all: CPU each',
      unit: 'ms',
      reading: 'warmCpu',
      digits: 3,
      target: { of: 'ratio', atMost: 1.6 },
    },
    {
      work: 'the same, handshakes a second',
      unit: '/s',
      reading: 'warmRate',
      digits: 0,
      target: { of: 'ratio', atLeast: 0.8 },
    },
    {
      work: 'the same, first ones after start: CPU each',
      unit: 'ms',
      reading: 'coldCpu',
      digits: 3,
      target: { of: 'none' },
    },
    {
      work: 'handshake as captured, 4 round trips: CPU each',
      unit: 'ms',
      reading: 'capturedCpu',
      digits: 3,
      target: { of: 'ratio', atMost: 1.6 },
    },
    {
      work: 'the same, handshakes a second',
      unit: '/s',
      reading: 'capturedRate',
      digits: 0,
      target: { of: 'ratio', atLeast: 0.8 },
    },
    {
      work: 'memory for each idle, identified VM',
      unit: 'KiB',
      reading: 'memory',
      digits: 2,
      target: { of: 'ratio', atMost: 1.4 },
    },
  ],
}
