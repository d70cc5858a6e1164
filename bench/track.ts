/** Following the appliance, against vcsim: how fast VMs are re-pointed, at what price. `npm run bench:track`. */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { connect } from 'node:tls'
import { parseArgs } from 'node:util'
import { benchPath } from './options.ts'
import { cpuMs, machine, quiescence, rssKib } from './os.ts'
import { median } from './statistics.ts'
import type { clientWorks } from './track/client.ts'
import { BenchVcsim, CountingWay } from './track/vcsim.ts'
import { WorkerProcess } from './worker-process.ts'

const CLIENT_CPU = 0
const VCSIM_CPU = 1

const HELP = `npm run bench:track -- [options]

  --sizes N,N,...  VMs, even numbers (default 10,200,1000; quick 10,200)
  --quick          one round instead of five, fewer updates
  --json FILE      where the results go (default bench/results/track.json)
`

const { values } = parseArgs({
  options: {
    sizes: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string', default: benchPath('results/track.json') },
    help: { type: 'boolean', default: false },
  },
})

type Client = WorkerProcess<typeof clientWorks>
type Row = Record<string, number>

/** SHA-256 of the certificate that the simulator has made up. */
function fingerprint(tcpPort: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: tcpPort, rejectUnauthorized: false }, () => {
      const { raw } = socket.getPeerCertificate()
      socket.destroy()
      resolve(createHash('sha256').update(raw).digest('hex'))
    })
    socket.on('error', reject)
  })
}

async function measure(vms: number, rounds: number, updates: number): Promise<Row> {
  const vcsim = await BenchVcsim.start(vms, VCSIM_CPU)
  const way = await CountingWay.open(vcsim.tcpPort)
  const client: Client = new WorkerProcess(new URL('./track/client.js', import.meta.url), CLIENT_CPU)
  try {
    const url = `https://127.0.0.1:${vcsim.tcpPort}/sdk`
    await client.run('prepare', { url, pin: await fingerprint(vcsim.tcpPort), way: way.tcpPort })
    await client.run('follow')
    const moves: Row[] = []
    for (let round = 0; round < rounds; round++) {
      await quiescence(client.pid)
      const [cpu, bytes] = [cpuMs(client.pid), way.bytes]
      const { toldMs, ms, calls } = await client.run('move')
      const right = await client.run('right')
      if (right !== vms - 1) throw new Error(`${right} of ${vms - 1} VMs are right`)
      moves.push({ toldMs, ms, calls, cpu: cpuMs(client.pid) - cpu, kB: (way.bytes - bytes) / 1_000 })
    }
    const of = (name: string): number => median(moves.map((move) => move[name] ?? Number.NaN))
    const kept = await client.run('updates', { count: updates })
    await quiescence(client.pid)
    const idleRss = rssKib(client.pid) / 1_024
    const cpuBefore = cpuMs(client.pid)
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    const idleCpu = (cpuMs(client.pid) - cpuBefore) / 10
    const listings: Row = {}
    for (const [name, only] of [
      ['all', null],
      ['10 selected', 10],
    ] as const) {
      const before = way.bytes
      const { ms } = await client.run('listing', { only })
      listings[`listing ${name}, ms`] = ms
      listings[`listing ${name}, kB`] = (way.bytes - before) / 1_000
    }
    await client.run('close')
    return {
      'move seen, ms': of('toldMs'),
      'last VM re-pointed, ms': of('ms'),
      'SOAP calls': of('calls'),
      'SOAP calls for each VM': of('calls') / (vms - 1),
      'client CPU, ms': of('cpu'),
      'received, kB': of('kB'),
      ...listings,
      'a move that changes nothing, ms': kept.ms,
      'its SOAP calls': kept.calls,
      'heap, MB': kept.after.heap / 1e6,
      [`heap growth over ${updates} moves, kB`]: (kept.after.heap - kept.before.heap) / 1_000,
      'RSS idle, MiB': idleRss,
      'CPU idle, ms/s': idleCpu,
    }
  } finally {
    await client.stop()
    way.close()
    await vcsim.stop()
  }
}

async function main(): Promise<void> {
  if (values.help) {
    process.stdout.write(HELP)
    return
  }
  const conditions = machine()
  const sizes = (values.sizes ?? (values.quick ? '10,200' : '10,200,1000')).split(',').map(Number)
  if (!sizes.every((size) => Number.isInteger(size) && size >= 2 && size % 2 === 0))
    throw new Error('--sizes: even numbers')
  const results: Record<number, Row> = {}
  for (const vms of sizes) {
    const updates = values.quick ? 20 : vms > 500 ? 100 : 500
    results[vms] = await measure(vms, values.quick ? 1 : 5, updates)
    process.stderr.write(`${vms} VMs: ${JSON.stringify(results[vms])}\n`)
  }
  const names = [...new Set(Object.values(results).flatMap(Object.keys))]
  const cell = (vms: number, name: string): string => {
    const value = results[vms]?.[name]
    return value === undefined ? '-' : String(Number(value.toPrecision(3)))
  }
  const lines = [
    `| | ${sizes.map((vms) => `${vms} VMs`).join(' | ')} |`,
    `|---|${sizes.map(() => '---:|').join('')}`,
    ...names.map((name) => `| ${name} | ${sizes.map((vms) => cell(vms, name)).join(' | ')} |`),
  ]
  mkdirSync(dirname(values.json), { recursive: true })
  const report = { when: new Date().toISOString(), conditions, results }
  writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)
  process.stdout.write(`load before: ${conditions.loadAverage}\n${lines.join('\n')}\n`)
}

await main()
