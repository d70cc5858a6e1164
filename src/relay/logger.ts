/** A logger of a few lines: the relay alone is one small file, without the logging library of the server. */
import { cleanText, type Logger } from '../base/index.ts'

export const RELAY_LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
export type RelayLogLevel = (typeof RELAY_LOG_LEVELS)[number]

const RANKS: { readonly [level in RelayLogLevel]: number } = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  silent: 99,
}

export interface RelayLogger extends Logger {
  /** Takes effect at once, on children too. */
  setLevel(level: RelayLogLevel): void
}

/**
 * @param form `json`: one object a line, as the server logs; `text`: for a terminal.
 * @param write gets whole lines; drops them rather than let them pile up.
 */
export function createRelayLogger(
  level: RelayLogLevel,
  form: 'json' | 'text',
  write: (line: string) => void,
): RelayLogger {
  return new LineLogger({ rank: RANKS[level], form, write }, {})
}

interface Output {
  rank: number
  readonly form: 'json' | 'text'
  readonly write: (line: string) => void
}

class LineLogger implements RelayLogger {
  readonly #output: Output
  readonly #bindings: object

  constructor(output: Output, bindings: object) {
    this.#output = output
    this.#bindings = bindings
  }

  setLevel(level: RelayLogLevel): void {
    this.#output.rank = RANKS[level]
  }

  trace(fields: object, message: string): void {
    this.#log('trace', fields, message)
  }

  debug(fields: object, message: string): void {
    this.#log('debug', fields, message)
  }

  info(fields: object, message: string): void {
    this.#log('info', fields, message)
  }

  warn(fields: object, message: string): void {
    this.#log('warn', fields, message)
  }

  error(fields: object, message: string): void {
    this.#log('error', fields, message)
  }

  child(bindings: object): Logger {
    return new LineLogger(this.#output, { ...this.#bindings, ...bindings })
  }

  #log(level: Exclude<RelayLogLevel, 'silent'>, fields: object, message: string): void {
    const { rank, form, write } = this.#output
    if (RANKS[level] < rank) return
    const time = new Date().toISOString()
    const all = { ...this.#bindings, ...fields }
    write(
      form === 'json'
        ? `${JSON.stringify({ level, time, ...all, msg: message })}\n`
        : textLine(level, time, all, message),
    )
  }
}

/** `12:34:56.789 warn  dial failed (endpoint=tcp://... reason="...")`; cleaned, for it goes to a terminal. */
function textLine(level: string, time: string, fields: object, message: string): string {
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${formatValue(value)}`)
  const suffix = rest.length === 0 ? '' : ` (${rest.join(' ')})`
  return `${cleanText(`${time.slice(11, 23)} ${level.padEnd(5)} ${message}${suffix}`, 4_000)}\n`
}

function formatValue(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=()]+$/.test(value)) return value
  return JSON.stringify(value) ?? 'undefined'
}
