/** The endurance run. See README.md. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { benchPath } from './options.ts'
import { formatSoak } from './soak/report.ts'
import { soak } from './soak/run.ts'

const HELP = `npm run soak -- [options] [-- options for "vspc serve"]

  --duration S     seconds (default 600)
  --vms N          (default 5000), a tenth of them on hosts that die now and then
  --vmotions N     a second (default 50), every tenth made to go wrong in one of the simulator's ways
  --consoles N     at a time (default 200)
  --report FILE    Markdown; JSON goes beside it (default bench/results/soak.md)
  --allow-gaps     for a server with history in memory only: bytes that it no longer holds are no loss
  --program FILE   another vspc.js to run

The exit code is 1 if a byte was lost, doubled or wrong.
`

function whole(name: string, text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isInteger(value) && value >= 0) return value
  throw new Error(`--${name} "${text}" is not a whole number`)
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      duration: { type: 'string', default: '600' },
      vms: { type: 'string', default: '5000' },
      vmotions: { type: 'string', default: '50' },
      consoles: { type: 'string', default: '200' },
      report: { type: 'string', default: benchPath('results/soak.md') },
      'allow-gaps': { type: 'boolean', default: false },
      program: { type: 'string', default: benchPath('../bin/vspc.js') },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const vms = whole('vms', values.vms)
  const report = await soak(
    {
      program: values.program,
      serve: positionals,
      seconds: whole('duration', values.duration),
      vms,
      mortal: Math.floor(vms / 10),
      fast: Math.min(8, Math.floor(vms / 10)),
      vmotionsPerSecond: whole('vmotions', values.vmotions),
      failing: 0.1,
      deathEveryMs: 5_000,
      consoles: whole('consoles', values.consoles),
      stuck: 2,
      allowGaps: values['allow-gaps'],
    },
    (text) => process.stderr.write(`${text}\n`),
  )
  const markdown = formatSoak(report)
  mkdirSync(dirname(values.report), { recursive: true })
  writeFileSync(values.report, markdown)
  writeFileSync(values.report.replace(/(\.md)?$/, '.json'), `${JSON.stringify(report, null, 2)}\n`)
  process.stdout.write(markdown)
  return report.faults.length === 0 ? 0 : 1
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`soak: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}
