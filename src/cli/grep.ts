import { type Command, Option } from 'commander'
import { VspcError } from '../base/index.ts'
import { type SearchOptions, type SearchRecord, ServerClient, searchHistory } from '../client/index.ts'
import { EXIT } from './exit-codes.ts'
import { GrepPrinter, terminalText } from './grep-print.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { parseTime } from './log-query.ts'
import { parseCount } from './offset.ts'
import { printNote, writeData } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { formatBytes } from './table.ts'

interface GrepFlags extends ServerOptions {
  ignoreCase?: true
  fixedStrings?: true
  offset?: true
  timestamps?: true
  context?: number
  since?: string
  until?: string
  json?: true
  filesWithMatches?: true
  count?: true
  maxCount?: number
  color: 'auto' | 'always' | 'never'
}

/** As many as a server gives. */
const LIMIT = 100_000
const MAX_CONTEXT = 50

const HELP = `
Searches what VMs have sent, as far as the server still holds it, oldest first.
PATTERN is a regular expression in RE2's syntax (no look-around, no \\1), matched
against each line as people read it: without colours and other sequences. PORT
may have * and ? in it; without any, all ports are searched. The server does
that beside its work, a few searches at a time. What is printed has no control
characters: safe on a terminal.

Exit codes: 0 found; 1 nothing found, as grep has it; others as for all
commands (2: the pattern or an option is wrong, 3: no such port, 5: the server
has too many searches).

Examples:
  vspc grep 'Kernel panic|Oops'         which VMs had one, and when: -t
  vspc grep -i -C 3 'i/o error' 'db*'   with three lines around each
  vspc grep -l login: --since 10m       names of VMs that came up
  vspc grep -c -F 'link is down'        how often, for each VM
  vspc grep -n oops web1                with offsets, for 'vspc log --from'
  vspc grep --json oops | jq -r .text
`

export function registerGrep(program: Command): void {
  const command = program
    .command('grep')
    .argument('<pattern>', 'regular expression')
    .argument('[port...]', 'VM name, NAME/LABEL, UUID, port id, a unique prefix of one, or a pattern like web*')
    .option('-i, --ignore-case', 'upper and lower case are the same')
    .option('-F, --fixed-strings', 'PATTERN is text, not an expression')
    .option('-n, --offset', 'with the offset of each line')
    .option('-t, --timestamps', 'with the time at which each line came')
    .option('-C, --context <lines>', 'with so many lines before and after', (text) => parseCount(text, '-C'))
    .option('--since <time>', 'only what came then or later: 10m (ago), 2h, 2026-11-23T10:00', (text) =>
      parseTime(text, '--since'),
    )
    .option('--until <time>', 'only what came until then', (text) => parseTime(text, '--until'))
    .option('-l, --files-with-matches', 'only the names of ports in which something was found')
    .option('-c, --count', 'only how many lines match in each port')
    .option('-m, --max-count <lines>', 'at most so many lines of each port', (text) => parseCount(text, '-m'))
    .option('--json', 'a line of JSON for each line or port')
    .addOption(new Option('--color <when>', 'mark what matches').choices(['auto', 'always', 'never']).default('auto'))
  addServerOptions(command).addHelpText('after', HELP).action(grep)
}

async function grep(pattern: string, ports: readonly string[], flags: GrepFlags): Promise<void> {
  const { context = 0, count: counts = false, filesWithMatches: names = false } = flags
  if (pattern === '') throw new VspcError('VSPC_USAGE', "the pattern is empty: '.' finds every line")
  if (counts && names) throw new VspcError('VSPC_USAGE', '-c and -l contradict each other: give one of them')
  if (context > MAX_CONTEXT) throw new VspcError('VSPC_USAGE', `-C: at most ${MAX_CONTEXT} lines`)
  if (flags.maxCount === 0) throw new VspcError('VSPC_USAGE', '-m: at least 1')
  const { ignoreCase = false, fixedStrings: fixed = false, since, until } = flags
  const perPort = names ? 1 : flags.maxCount
  const query: SearchOptions = {
    pattern,
    ports,
    ignoreCase,
    fixed,
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
    ...(perPort === undefined ? {} : { perPort }),
    ...(counts || names ? { counts: true } : { context, limit: LIMIT }),
  }
  const client = new ServerClient(resolveServer(flags, process.env))
  const progress = new Progress()
  exitOnInterrupt(() => progress.clear())
  const one = ports.length === 1 && !/[*?]/.test(ports[0] ?? '')
  const print = printing(flags, !one)
  try {
    for await (const record of searchHistory(client, query)) {
      progress.clear()
      const text = print(record)
      if (text !== '') await writeData(Buffer.from(text))
      if (record.type === 'progress') progress.show(record)
      else if (record.type === 'port') noteSkipped(record)
      else if (record.type === 'end') finish(record)
    }
  } finally {
    progress.clear()
  }
}

/** @param names of ports are printed. */
function printing(flags: GrepFlags, names: boolean): (record: SearchRecord) => string {
  const { color, json, count, filesWithMatches, context = 0, offset = false, timestamps: times = false } = flags
  const colour = color === 'always' || (color === 'auto' && process.stdout.isTTY === true && !process.env['NO_COLOR'])
  const printer = new GrepPrinter({ names, offsets: offset, times, colour, context: context > 0 })
  return (record) => {
    if (record.type === 'progress' || record.type === 'end') return ''
    if (record.type === 'port') {
      if (filesWithMatches && record.matches === 0) return ''
      if (json) return count || filesWithMatches ? jsonLine(record) : ''
      if (filesWithMatches) return `${printer.name(record.name)}\n`
      return count ? printer.count(record.name, record.matches) : ''
    }
    return json ? jsonLine(record) : printer.format(record)
  }
}

/** Also harmless on a terminal: what JSON leaves alone and terminals obey is written as an escape. */
function jsonLine(record: SearchRecord): string {
  const text = JSON.stringify(record).replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return `${text}\n`
}

const REASONS: { readonly [reason: string]: string } = {
  removed: 'were removed meanwhile',
  missing: 'are not where they should be: somebody has deleted a file',
  unreadable: 'could not be read: a file is damaged, or the disk fails',
}

function noteSkipped({ name, skipped }: Extract<SearchRecord, { type: 'port' }>): void {
  if (skipped === undefined) return
  const reason = REASONS[skipped.reason] ?? 'were left out'
  printNote(`${terminalText(name)}: ${formatBytes(skipped.bytes)} ${reason}`)
}

function finish({ end, matches }: Extract<SearchRecord, { type: 'end' }>): void {
  if (end === 'limit') printNote(`stopped after ${matches} lines: there may be more; -m, --since or PORT ask for less`)
  if (end === 'time') printNote('stopped: it took the server too long ("searchMs"); --since or PORT ask for less')
  if (matches === 0) process.exitCode = EXIT.other
}

/** How far the search is, on a terminal. */
class Progress {
  #shown = false

  show({ ports, ofPorts, bytes, ofBytes, matches }: Extract<SearchRecord, { type: 'progress' }>): void {
    if (!process.stderr.isTTY) return
    this.#shown = true
    const found = matches === 1 ? '1 line' : `${matches} lines`
    process.stderr.write(`${ports} of ${ofPorts} ports, ${formatBytes(bytes)} of ${formatBytes(ofBytes)}: ${found}`)
  }

  clear(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K')
    this.#shown = false
  }
}
