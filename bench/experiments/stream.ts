import { type Bench, cpuOf, type Experiment } from '../experiment.ts'

const CONNECTIONS = 100
const WARM_UP_BYTES = 100_000_000

/** VMs that print as fast as they are read; nobody is attached. */
export const stream: Experiment = {
  name: 'stream',
  contenders: ['bare', 'ours'],
  async run(bench: Bench) {
    const server = await bench.server()
    const generator = bench.generator()
    const tcpPort = server.ports.vm
    await generator.run('connect', { tcpPort, first: 0, count: CONNECTIONS, atOnce: 48, dialogue: 'volunteered' })
    let sent = 0
    const print = async (vms: number, ffPercent: number, bytes: number) => {
      const { cpu, result } = await cpuOf(server, () => generator.run('stream', { vms, bytes, ffPercent }), bytes)
      sent += result.bytes
      // CPU-s for each GB.
      return cpu / 1e3 / (result.bytes / 1e9)
    }
    await print(1, 1, WARM_UP_BYTES)
    await print(CONNECTIONS, 0, WARM_UP_BYTES)
    const size = bench.sizes.streamBytes
    const readings = {
      plainOne: await print(1, 0, size),
      plainMany: await print(CONNECTIONS, 0, size),
      ffOne: await print(1, 1, size),
      ffMany: await print(CONNECTIONS, 1, size),
    }
    if (server.contender === 'ours') {
      const taken = (await server.metrics()).get('vspc_vm_received_bytes_total')
      if (taken !== sent) bench.note(`stream: ${sent} bytes sent, ${taken} taken`)
    }
    return readings
  },
  rows: [
    {
      work: 'VM to server, plain text, 1 connection',
      unit: 'CPU-s/GB',
      reading: 'plainOne',
      digits: 3,
      target: { of: 'ratio', atMost: 1.6 },
    },
    {
      work: 'the same, 100 connections',
      unit: 'CPU-s/GB',
      reading: 'plainMany',
      digits: 3,
      target: { of: 'ratio', atMost: 1.6 },
    },
    {
      work: 'with 1 % 0xFF, 1 connection (to bare plain)',
      unit: 'CPU-s/GB',
      reading: 'ffOne',
      bareReading: 'plainOne',
      digits: 3,
      target: { of: 'ratio', atMost: 3.2 },
    },
    {
      work: 'the same, 100 connections',
      unit: 'CPU-s/GB',
      reading: 'ffMany',
      bareReading: 'plainMany',
      digits: 3,
      target: { of: 'ratio', atMost: 3.2 },
    },
  ],
}
