import { type Command, Option } from 'commander'
import { type Clock, VspcError } from '../base/index.ts'
import {
  ConsoleFeed,
  chunksOf,
  type OpenConsole,
  openHistory,
  ServerClient,
  webSocketConsoles,
} from '../client/index.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { printLines } from './log-lines.ts'
import { LogPrinter } from './log-printer.ts'
import { openLog, parsePattern, parseTime } from './log-query.ts'
import { parseCount, parseOffset } from './offset.ts'
import { printNote } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { TIMING } from './timing.ts'

interface LogFlags extends ServerOptions {
  follow?: true
  lines?: number
  from?: number
  timestamps?: true
  since?: string
  until?: string
  grep?: RegExp
  format?: 'text' | 'raw' | 'ndjson' | 'asciicast'
}

const HELP = `
Prints what the VM sent, byte for byte, into a file or a pipe. On a terminal,
sequences are left out that make the terminal answer, or that change its
keyboard, mouse, title or clipboard.

Examples:
  vspc log web1                 all the output that is still held
  vspc log -n 50 web1           the last 50 lines
  vspc log -f -n 0 web1         only what comes from now on
  vspc log --from 10000 web1    from offset 10000 on
  vspc log web1 > web1.log      byte for byte
  vspc log -t --since 10m web1  the last ten minutes, each line with its time
  vspc log -f --grep 'oops|BUG' web1
                                only lines that have this in them
  vspc log --format asciicast web1 > web1.cast
                                a recording that asciinema plays
`

export function registerLog(program: Command): void {
  const command = program
    .command('log')
    .argument('<port>', 'VM name, NAME/LABEL, UUID, port id, or a unique prefix of one')
    .option('-f, --follow', 'go on with new output; reconnects, and misses nothing')
    .option('-n, --lines <lines>', 'only the last lines', (text) => parseCount(text, '-n'))
    .option('--from <offset>', 'begin at this offset; negative counts from the end', (text) =>
      parseOffset(text, '--from'),
    )
    .option('-t, --timestamps', 'each line with the time at which it came')
    .option('--since <time>', 'only what came then or later: 10m (ago), 2h, 2026-11-23T10:00', (text) =>
      parseTime(text, '--since'),
    )
    .option('--until <time>', 'only what came until then', (text) => parseTime(text, '--until'))
    .option('--grep <regex>', 'only lines that match (JavaScript syntax)', parsePattern)
    .addOption(
      new Option(
        '--format <format>',
        'raw: as it is; text: without control characters; ndjson: a line of JSON each; asciicast: a recording',
      ).choices(['raw', 'text', 'ndjson', 'asciicast']),
    )
  addServerOptions(command).addHelpText('after', HELP).action(log)
}

async function log(port: string, flags: LogFlags): Promise<void> {
  if (flags.lines !== undefined && flags.from !== undefined) {
    throw new VspcError('VSPC_USAGE', '-n and --from contradict each other: give one of them')
  }
  if (flags.lines !== undefined && flags.since !== undefined) {
    throw new VspcError('VSPC_USAGE', '-n and --since contradict each other: give one of them')
  }
  if (flags.follow && flags.until !== undefined) {
    throw new VspcError('VSPC_USAGE', '-f and --until contradict each other: give one of them')
  }
  if (flags.format === 'asciicast' && (flags.follow || flags.grep || flags.timestamps)) {
    throw new VspcError('VSPC_USAGE', '--format asciicast is a whole recording: without -f, -t and --grep')
  }
  const address = resolveServer(flags, process.env)
  const client = new ServerClient(address)
  const printer = new LogPrinter()
  exitOnInterrupt(() => printer.finish())
  try {
    const from = flags.lines === undefined ? (flags.from ?? 0) : await lastLinesOffset(client, port, flags.lines)
    const { since, until, format = 'raw', grep = null, timestamps = false, follow: goOn = false } = flags
    const query = { start: from, ...(since === undefined ? {} : { since }), ...(until === undefined ? {} : { until }) }
    if (format === 'asciicast') {
      const { body } = await openLog(client, port, { ...query, format })
      for await (const chunk of chunksOf(body)) await printer.print(chunk)
      return
    }
    if (timestamps || grep !== null || format !== 'raw') {
      await printLines(client, port, query, { follow: goOn, timestamps, grep, format }, printer)
      return
    }
    const { start, next, body } = await openLog(client, port, query)
    if (flags.from !== undefined && start > from && from >= 0) {
      printNote(`the ${start - from} bytes before offset ${start} are no longer held`)
    }
    let missing = next - start
    for await (const chunk of chunksOf(body)) {
      missing -= chunk.length
      await printer.print(chunk)
    }
    if (missing > 0) printNote(`${missing} bytes in between are lost: the server's disk was full, too slow or gone`)
    if (flags.follow) await follow(port, next, webSocketConsoles(address, liveClock), printer, liveClock)
    else if (next === start && process.stderr.isTTY) printNote('no output is held for this port')
  } finally {
    printer.finish()
  }
}

/** Offset at which the last `count` lines begin; what is held may be fewer. Reads it, but keeps none of it. */
export async function lastLinesOffset(client: ServerClient, port: string, count: number): Promise<number> {
  for (let lookBack: number = TIMING.tailBytes; ; lookBack *= 8) {
    const { start, next, body } = await openHistory(client, port, -lookBack)
    const lines = new LineStarts(count, start)
    let missing = next - start
    for await (const chunk of chunksOf(body)) {
      missing -= chunk.length
      lines.push(chunk)
    }
    const wholeHistory = start === 0 || next - start < lookBack
    // What history has lost was not counted; it is likely to lie before the last lines.
    if (wholeHistory || lines.complete) return Math.min(lines.first + missing, next)
  }
}

/** Offsets of the last lines of a stream. Memory: one number per line asked for. */
export class LineStarts {
  readonly #count: number
  readonly #ring: number[] = []
  #oldest = 0
  #offset: number
  readonly #start: number
  /** A line begins with its first byte, not with the line feed before it. */
  #lineOpen = false

  constructor(count: number, start: number) {
    this.#count = count
    this.#offset = start
    this.#start = start
  }

  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      if (!this.#lineOpen) this.#opened(this.#offset + at)
      const end = chunk.indexOf(0x0a, at)
      this.#lineOpen = end < 0
      at = end < 0 ? chunk.length : end + 1
    }
    this.#offset += chunk.length
  }

  /** True when the first line is a whole one, not one cut by where the stream began. */
  get complete(): boolean {
    return this.#count === 0 || (this.#ring.length === this.#count && this.first > this.#start)
  }

  get first(): number {
    return this.#count === 0 ? this.#offset : (this.#ring[this.#oldest] ?? this.#offset)
  }

  #opened(offset: number): void {
    if (this.#count === 0) return
    if (this.#ring.length < this.#count) {
      this.#ring.push(offset)
    } else {
      this.#ring[this.#oldest] = offset
      this.#oldest = (this.#oldest + 1) % this.#count
    }
  }
}

/** Prints what comes after `from` until the port is gone; never returns otherwise. */
async function follow(port: string, from: number, open: OpenConsole, printer: LogPrinter, clock: Clock): Promise<void> {
  const error = await new Promise<VspcError>((resolve) => {
    const feed = new ConsoleFeed(
      { port, mode: 'read', from, force: false },
      open,
      {
        output: (bytes) => {
          if (printer.write(bytes)) return
          feed.setPaused(true)
          process.stdout.once('drain', () => feed.setPaused(false))
        },
        attached: (_message, again) => {
          if (again) printNote('attached again')
        },
        message: () => {},
        gap: (bytes) => printNote(`${bytes} bytes of output are lost: the server's history no longer holds them`),
        lost: (reason) => printNote(`${reason.message}; reconnecting`),
        waiting: (reason) => printNote(`the server is back, waiting for the port: ${reason.message}`),
        restarted: () => printNote('the server has restarted without its history: what follows is all it holds now'),
        demoted: () => {},
        drained: () => {},
        ended: resolve,
      },
      clock,
      Math.random,
    )
    feed.start()
  })
  throw error
}
