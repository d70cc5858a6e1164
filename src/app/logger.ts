/** pino, on stderr: JSON lines for machines, plain lines for a terminal. Never blocks on a reader that is slow. */
import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino'
import { cleanText, type Logger } from '../base/index.ts'
import type { LogLevel } from './config-schema.ts'
import { LogLimit } from './log-limit.ts'
import { LogWriter } from './log-writer.ts'

/** Of any object logged, or one in it. Nothing logs these; this is for the day something does. */
const SECRETS: ReadonlySet<string> = new Set(['secret', 'password', 'token', 'authorization', 'cookie'])
const CENSOR = '[redacted]'

/** Log lines kept for a reader that is slow; more are dropped, so that logging can fill no memory. */
const MAX_BACKLOG_BYTES = 4 << 20

/**
 * So long a line may wait for others to be written with it: a write for each costs ten times the line itself, and a
 * thousand VMs that connect or move at once are a thousand lines.
 */
const BATCH_MS = 20
/** Written at once even so. */
const BATCH_BYTES = 16_000

export interface AppLogger extends Logger {
  /** Takes effect at once, on children too. */
  setLevel(level: LogLevel): void
  /** Of this logger and all its children, since the start. */
  readonly counts: LogCounts
}

export interface LogCounts {
  readonly lines: { readonly [level in 'info' | 'warn' | 'error']: number }
  /** Not written: the same message came too often. */
  readonly leftOut: number
  /** Not written: whoever reads the log did not keep up. */
  readonly dropped: number
}

/**
 * @param output 'json' or 'text' to stderr, or a stream for tests, which gets JSON.
 */
export function createLogger(level: LogLevel, output: 'json' | 'text' | DestinationStream): AppLogger {
  const options = {
    level: 'trace',
    base: null,
    timestamp: timeField,
    formatters: { level: (label: string) => ({ level: label }), log: withoutSecrets },
  }
  const stderr = typeof output === 'string' ? stderrStream(output) : null
  const logger = pino(options, stderr ?? (output as DestinationStream))
  const shared = {
    rank: RANKS[level],
    counts: { info: 0, warn: 0, error: 0 },
    limit: new LogLimit({
      tell: (message, leftOut) => {
        if (shared.rank <= RANKS.warn) logger.warn({ of: message, leftOut }, LEFT_OUT)
      },
    }),
    dropped: () => stderr?.dropped() ?? 0,
  }
  return new LevelledLogger(logger, shared)
}

const LEFT_OUT = 'lines are left out here: the same came too often'

const RANKS: { readonly [level in LogLevel]: number } = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  silent: 99,
}

/** What a logger and all its children share. */
interface Shared {
  rank: number
  readonly limit: LogLimit
  readonly counts: { -readonly [level in keyof LogCounts['lines']]: number }
  readonly dropped: () => number
}

/** One level for a logger and all its children, which pino's own copy when they are made. */
class LevelledLogger implements AppLogger {
  readonly #pino: PinoLogger
  readonly #shared: Shared

  constructor(logger: PinoLogger, shared: Shared) {
    this.#pino = logger
    this.#shared = shared
  }

  get counts(): LogCounts {
    const { counts, limit, dropped } = this.#shared
    return { lines: counts, leftOut: limit.leftOut, dropped: dropped() }
  }

  setLevel(level: LogLevel): void {
    this.#shared.rank = RANKS[level]
  }

  trace(fields: object, message: string): void {
    if (this.#shared.rank <= RANKS.trace) this.#pino.trace(fields, message)
  }

  debug(fields: object, message: string): void {
    if (this.#shared.rank <= RANKS.debug) this.#pino.debug(fields, message)
  }

  info(fields: object, message: string): void {
    if (this.#mayLog('info', fields, message)) this.#pino.info(fields, message)
  }

  warn(fields: object, message: string): void {
    if (this.#mayLog('warn', fields, message)) this.#pino.warn(fields, message)
  }

  error(fields: object, message: string): void {
    if (this.#mayLog('error', fields, message)) this.#pino.error(fields, message)
  }

  child(bindings: object): Logger {
    return new LevelledLogger(this.#pino.child(withoutSecrets(bindings)), this.#shared)
  }

  /** Whoever asks for debug or trace wants to see it all. */
  #mayLog(level: keyof LogCounts['lines'], fields: object, message: string): boolean {
    const { rank, limit, counts } = this.#shared
    if (rank > RANKS[level] || !limit.allows(fields, message)) return false
    counts[level]++
    return true
  }
}

let lastTime = { ms: -1, field: '' }

/** ISO 8601, made once for all lines of a millisecond. */
function timeField(): string {
  const ms = Date.now()
  if (ms !== lastTime.ms) lastTime = { ms, field: `,"time":"${new Date(ms).toISOString()}"` }
  return lastTime.field
}

/** By hand, and only copied where there is something: pino's own redaction triples the cost of a line. */
function withoutSecrets(fields: object): Record<string, unknown> {
  const given = fields as Record<string, unknown>
  let clean = given
  for (const name of Object.keys(given)) {
    const value = given[name]
    const shown = SECRETS.has(name) ? CENSOR : isRecord(value) ? censored(value) : value
    if (shown === value) continue
    if (clean === given) clean = { ...given }
    clean[name] = shown
  }
  return clean
}

function censored(record: Record<string, unknown>): Record<string, unknown> {
  const names = Object.keys(record).filter((name) => SECRETS.has(name))
  return names.length === 0 ? record : { ...record, ...Object.fromEntries(names.map((name) => [name, CENSOR])) }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Lines are written in batches; what still waits when the process exits is written then. */
function stderrStream(form: 'json' | 'text'): DestinationStream & { dropped(): number } {
  const shown = (line: string) => (form === 'json' ? line : formatLine(line))
  const writer = new LogWriter({
    fd: 2,
    maxBytes: MAX_BACKLOG_BYTES,
    batchBytes: BATCH_BYTES,
    batchMs: BATCH_MS,
    missing: (dropped) => {
      const fields = { dropped, msg: 'log lines are missing here: whoever reads the log did not keep up' }
      return shown(`{"level":"warn"${timeField()},${JSON.stringify(fields).slice(1)}\n`)
    },
  })
  return { write: (line) => writer.write(shown(line)), dropped: () => writer.droppedInAll }
}

/** `12:34:56.789 warn  dial failed (endpoint=tcp://... reason="...")` from a JSON line. */
export function formatLine(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
  const clock = typeof time === 'string' ? time.slice(11, 23) : ''
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${formatValue(value)}`)
  const suffix = rest.length === 0 ? '' : ` (${rest.join(' ')})`
  // Cleaned as a whole: parts of it come from the wire, and this goes to a terminal.
  return `${cleanText(`${clock} ${String(level).padEnd(5)} ${String(msg)}${suffix}`, 4_000)}\n`
}

function formatValue(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=()]+$/.test(value)) return value
  return JSON.stringify(value) ?? 'undefined'
}
