/** Runs the experiments, bare and ours in turn, and reports. See README.md. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Bench, type Experiment, FULL, QUICK, type Readings } from './experiment.ts'
import { capacity } from './experiments/capacity.ts'
import { consoleStream } from './experiments/console-stream.ts'
import { handshake } from './experiments/handshake.ts'
import { loss } from './experiments/loss.ts'
import { roundTrip } from './experiments/round-trip.ts'
import { search } from './experiments/search.ts'
import { stream } from './experiments/stream.ts'
import { stuckConsole } from './experiments/stuck-console.ts'
import { vmotion } from './experiments/vmotion.ts'

import { type Options, parseOptions } from './options.ts'
import { machine } from './os.ts'
import { profileSummary } from './profile.ts'
import { formatConditions, formatTable, type Report, type Result, resultsOf } from './report.ts'
import { type Contender, ServerProcess } from './server-process.ts'
import { startGenerator } from './worker-process.ts'

const EXPERIMENTS: readonly Experiment[] = [
  handshake,
  capacity,
  stream,
  consoleStream,
  roundTrip,
  vmotion,
  search,
  stuckConsole,
  loss,
]
const SERVER_CPU = 0
const GENERATOR_CPU = 1

const notes = new Set<string>()

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** One run of one contender; whatever it started is ended when it returns. */
async function runOnce(experiment: Experiment, contender: Contender, options: Options): Promise<Readings> {
  const started: { stop(): Promise<void> }[] = []
  const profileDir =
    options.profileDir !== undefined && contender === 'ours' ? join(options.profileDir, experiment.name) : undefined
  const bench: Bench = {
    contender,
    sizes: options.quick ? QUICK : FULL,
    program: options.program,
    serve: options.serve,
    async server({ pin = false, fileLimit } = {}) {
      const { program, serve } = options
      const cpu = pin ? SERVER_CPU : null
      const server = await ServerProcess.start({
        contender,
        program,
        serve,
        cpu,
        profileDir,
        ...(fileLimit === undefined ? {} : { fileLimit }),
      })
      started.push(server)
      return server
    },
    generator({ pin = false } = {}) {
      const generator = startGenerator(pin ? GENERATOR_CPU : null)
      started.push(generator)
      return generator
    },
    note: (text) => void notes.add(text),
  }
  try {
    return await experiment.run(bench)
  } finally {
    // The last one first: a server whose consoles do not answer its farewell waits for them for seconds.
    for (const process of started.reverse()) await process.stop()
    if (profileDir !== undefined) say(`\n${experiment.name}: ${profileSummary(profileDir)}`)
  }
}

/** Bare and ours in turn, the other one first in every other round. */
async function runRounds(experiment: Experiment, options: Options): Promise<Result[]> {
  const runs: Record<Contender, Readings[]> = { bare: [], ours: [] }
  const rounds = Math.min(options.rounds, experiment.maxRounds ?? options.rounds)
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? experiment.contenders : experiment.contenders.toReversed()
    for (const contender of order) {
      const began = performance.now()
      const readings = await runOnce(experiment, contender, options)
      runs[contender].push(readings)
      const shown = Object.entries(readings).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      say(
        `${experiment.name} ${round + 1}/${rounds} ${contender.padEnd(4)} ${seconds.padStart(5)} s  ${shown.join(', ')}`,
      )
    }
  }
  return resultsOf(experiment, runs)
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2))
  if (options === null) return
  const exact = EXPERIMENTS.filter(({ name }) => name === options.only)
  const chosen = exact.length > 0 ? exact : EXPERIMENTS.filter(({ name }) => name.includes(options.only))
  if (chosen.length === 0) {
    throw new Error(`--only "${options.only}": the experiments are ${EXPERIMENTS.map(({ name }) => name).join(', ')}`)
  }
  const began = performance.now()
  const conditions = machine()
  const results: Result[] = []
  for (const experiment of chosen) results.push(...(await runRounds(experiment, options)))
  const report: Report = {
    when: new Date().toISOString(),
    machine: conditions,
    commandLine: process.argv.slice(2),
    seconds: (performance.now() - began) / 1000,
    notes: [...notes],
    results,
  }
  mkdirSync(dirname(options.json), { recursive: true })
  writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
  process.stdout.write(`${formatConditions(report)}\n${formatTable(results)}`)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

try {
  await main()
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
