import { parseArgs } from 'node:util'

export interface Options {
  /** Experiments whose name contains this; empty: all. */
  readonly only: string
  readonly quick: boolean
  readonly rounds: number
  readonly json: string
  readonly program: string
  readonly profileDir: string | undefined
  /** For `vspc serve`. */
  readonly serve: readonly string[]
}

const HELP = `npm run bench -- [options] [-- options for "vspc serve"]

  --only TEXT      experiments whose name contains TEXT; "--only list" names them
  --quick          one round of a smaller size, about a minute
  --rounds N       rounds of bare and ours in turn; the median counts (default 3, quick 1)
  --json FILE      where the results go (default bench/results/latest.json)
  --profile DIR    write CPU profiles of the server there, and show where the time goes
  --program FILE   another vspc.js to measure
`

/** @throws Error with what is wrong; null = help was asked for and shown. */
export function parseOptions(argv: readonly string[]): Options | null {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      only: { type: 'string', default: '' },
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'string' },
      program: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return null
  }
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3))
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`--rounds "${values.rounds}" is not a whole number from 1 on`)
  return {
    only: values.only,
    quick: values.quick,
    rounds,
    json: values.json ?? benchPath('results/latest.json'),
    program: values.program ?? benchPath('../bin/vspc.js'),
    profileDir: values.profile,
    serve: positionals,
  }
}

/** A path below bench/; this file runs from bench/.build/bench/. */
export function benchPath(path: string): string {
  return new URL(`../../${path}`, import.meta.url).pathname
}
