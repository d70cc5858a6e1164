/** Relays compared: Node's own pipe, ours, and socat, in turn. `npm run bench:relay`; see README.md. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { benchPath } from './options.ts'
import { cpuMs, hardFileLimit, machine, quiescence, rssKib } from './os.ts'
import type { relayLoad } from './relay/load.ts'
import { type Relay, RelayProcess, scratch, type Target } from './relay/relay-process.ts'
import { median } from './statistics.ts'
import { WorkerProcess } from './worker-process.ts'

const RELAY_CPU = 0
const LOAD_CPU = 1

type Load = WorkerProcess<typeof relayLoad>
type Readings = Record<string, number>

interface Sizes {
  readonly bytes: number
  readonly roundTrips: number
  readonly idle: number
  readonly connects: number
}

// 10,000 idle streams where descriptors allow: relay and load need two for each.
const FULL: Sizes = { bytes: 2e9, roundTrips: 20_000, idle: idleStreams(), connects: 10_000 }
const QUICK: Sizes = { bytes: 5e8, roundTrips: 3_000, idle: 2_000, connects: 2_000 }

function idleStreams(): number {
  return Math.min(10_000, Math.floor((hardFileLimit() - 500) / 2))
}

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    only: { type: 'string', default: '' },
    json: { type: 'string' },
    profile: { type: 'string' },
  },
})
const sizes = values.quick ? QUICK : FULL
const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
const haveSocat = spawnSync('socat', ['-V']).status === 0
const dir = scratch()

interface Work {
  readonly name: string
  readonly relays: readonly Relay[]
  run(relay: Relay, load: Load): Promise<Readings>
}

async function withRelay<T>(relay: Relay, target: Target, use: (process: RelayProcess) => Promise<T>): Promise<T> {
  const process = await RelayProcess.start(relay, target, RELAY_CPU, values.profile)
  try {
    return await use(process)
  } finally {
    await process.stop()
  }
}

async function flow(relay: Relay, load: Load, path: string | null): Promise<Readings> {
  const port = await load.run('listen', { path, does: 'count' })
  const kind = path === null ? 'tcp' : 'unix'
  return withRelay(relay, path ?? port, async (process) => {
    await load.run('flow', { tcpPort: process.tcpPort, bytes: sizes.bytes / 10 })
    // Of socat's children too, one for each stream: they go when it does.
    const before = process.cpuMs()
    const seconds = await load.run('flow', { tcpPort: process.tcpPort, bytes: sizes.bytes })
    const used = process.cpuMs() - before
    return {
      [`${kind} MB/s`]: sizes.bytes / 1e6 / seconds,
      [`${kind} CPU-s/GB`]: used / 1000 / (sizes.bytes / 1e9),
    }
  })
}

const WORKS: readonly Work[] = [
  { name: 'flow-tcp', relays: ['bare', 'ours', 'socat'], run: (relay, load) => flow(relay, load, null) },
  {
    name: 'flow-unix',
    relays: ['bare', 'ours', 'socat'],
    run: (relay, load) => flow(relay, load, join(dir, `far-${relay}-${performance.now()}`)),
  },
  {
    name: 'round-trip',
    relays: ['bare', 'ours', 'socat'],
    async run(relay, load) {
      const port = await load.run('listen', { path: null, does: 'echo' })
      const direct = await load.run('roundTrips', { tcpPort: port, count: sizes.roundTrips })
      return withRelay(relay, port, async ({ tcpPort, pid }) => {
        const before = cpuMs(pid)
        const through = await load.run('roundTrips', { tcpPort, count: sizes.roundTrips })
        const used = cpuMs(pid) - before
        return {
          'added round trip, median us': (through.median - direct.median) * 1000,
          'added round trip, p99 us': (through.p99 - direct.p99) * 1000,
          ...(relay === 'socat' ? {} : { 'round trip CPU us': (used * 1000) / (sizes.roundTrips + 500) }),
        }
      })
    },
  },
  {
    name: 'idle',
    relays: ['bare', 'ours'],
    async run(relay, load) {
      const port = await load.run('listen', { path: null, does: 'idle' })
      return withRelay(relay, port, async ({ tcpPort, pid }) => {
        await load.run('hold', { tcpPort, count: 100 })
        await quiescence(pid)
        const empty = rssKib(pid)
        await load.run('hold', { tcpPort, count: sizes.idle })
        await quiescence(pid)
        return { 'idle stream KiB': (rssKib(pid) - empty) / sizes.idle, 'at start MiB': empty / 1024 }
      })
    },
  },
  {
    name: 'connects',
    relays: ['bare', 'ours', 'socat'],
    async run(relay, load) {
      const port = await load.run('listen', { path: null, does: 'echo' })
      return withRelay(relay, port, async ({ tcpPort, pid }) => {
        await load.run('connects', { tcpPort, count: sizes.connects / 10, at: 50 })
        const before = cpuMs(pid)
        const rate = await load.run('connects', { tcpPort, count: sizes.connects, at: 50 })
        const used = cpuMs(pid) - before
        return {
          'connects/s': rate,
          ...(relay === 'socat' ? {} : { 'connect CPU us': (used * 1000) / sizes.connects }),
        }
      })
    },
  },
]

/** From exec to the line that says that it listens, ms; and what it weighs. */
async function startUp(): Promise<Readings> {
  const times: number[] = []
  let idle = 0
  for (let i = 0; i < 7; i++) {
    const began = performance.now()
    const process = await RelayProcess.start('ours', 1, RELAY_CPU)
    times.push(performance.now() - began)
    await quiescence(process.pid)
    idle = rssKib(process.pid) / 1024
    await process.stop()
  }
  const size = statSync(benchPath('../dist/vspc-relay.mjs')).size
  return { 'start-up ms': median(times), 'size KiB': size / 1024, 'idle MiB': idle }
}

const results: Record<string, Partial<Record<Relay, number[]>>> = {}
const conditions = machine()
for (const work of WORKS.filter(({ name }) => name.includes(values.only))) {
  const relays = work.relays.filter((relay) => relay !== 'socat' || haveSocat)
  for (let round = 0; round < rounds; round++) {
    for (const relay of round % 2 === 0 ? relays : relays.toReversed()) {
      const load: Load = new WorkerProcess<typeof relayLoad>(new URL('./relay/load.js', import.meta.url), LOAD_CPU)
      try {
        const readings = await work.run(relay, load)
        for (const [name, value] of Object.entries(readings)) {
          const row = results[name] ?? {}
          results[name] = row
          row[relay] = [...(row[relay] ?? []), value]
        }
        const shown = Object.entries(readings).map(([name, value]) => `${name} ${value.toPrecision(4)}`)
        process.stderr.write(`${work.name} ${round + 1}/${rounds} ${relay.padEnd(5)} ${shown.join(', ')}\n`)
      } finally {
        await load.stop()
      }
    }
  }
}
const itself = 'start-up'.includes(values.only) ? await startUp() : {}

const figure = (relay: Relay, row: Partial<Record<Relay, number[]>>) => {
  const all = row[relay]
  return all === undefined ? null : median(all)
}
const lines = ['| | bare pipe | ours | socat | ours / bare | ours / socat |', '|---|---:|---:|---:|---:|---:|']
for (const [name, row] of Object.entries(results)) {
  const [bare, ours, socat] = (['bare', 'ours', 'socat'] as const).map((relay) => figure(relay, row))
  const text = (value: number | null | undefined) => (value == null ? '-' : String(Number(value.toPrecision(4))))
  const ratio = (base: number | null | undefined) => (base == null || ours == null ? '-' : (ours / base).toFixed(2))
  lines.push(`| ${name} | ${text(bare)} | ${text(ours)} | ${text(socat)} | ${ratio(bare)} | ${ratio(socat)} |`)
}
for (const [name, value] of Object.entries(itself)) lines.push(`| ${name} | | ${value.toPrecision(4)} | | | |`)
const json = values.json ?? benchPath('results/relay.json')
mkdirSync(dirname(json), { recursive: true })
writeFileSync(
  json,
  `${JSON.stringify({ when: new Date().toISOString(), conditions, sizes, rounds, results, itself }, null, 2)}\n`,
)
process.stdout.write(`load before: ${conditions.loadAverage}; haveSocat: ${haveSocat}\n${lines.join('\n')}\n`)
