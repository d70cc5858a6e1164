/** What is wrong with a configuration: everything at once, each with its place. */
import { type ErrorCode, VspcError } from '../base/index.ts'

export type SettingPath = readonly (string | number)[]

export interface ConfigProblem {
  readonly code: ErrorCode
  /** `vspc.yaml:3:7`, `--http` or `VSPC_LOG_LEVEL`. */
  readonly where: string
  /** 1-based; null for what did not come from a file. */
  readonly line: number | null
  readonly column: number | null
  /** What is wrong; what is accepted; did you mean ... */
  readonly message: string
}

/** All problems of a configuration; the message has one line for each. */
export class ConfigError extends VspcError {
  override name = 'ConfigError'
  readonly problems: readonly ConfigProblem[]

  constructor(problems: readonly ConfigProblem[], options?: { cause?: unknown }) {
    super(sharedCode(problems), problems.map(({ where, message }) => `${where}: ${message}`).join('\n'), options)
    this.problems = problems
  }
}

/** That of all problems if they share one. A wrong endpoint is a matter of its own on the command line only. */
function sharedCode(problems: readonly ConfigProblem[]): ErrorCode {
  const codes = problems.map(({ code, line }) =>
    line !== null && code.startsWith('VSPC_ENDPOINT_') ? 'VSPC_CONFIG_INVALID' : code,
  )
  const [first] = codes
  return first !== undefined && codes.every((code) => code === first) ? first : 'VSPC_CONFIG_INVALID'
}

/** One place settings come from: knows where each of them stands. */
export interface SettingsSource {
  readonly values: unknown
  /** Relative paths are relative to this directory. */
  readonly directory: string
  /** @param part `key`: the name itself is at fault. A path that is not there gives the nearest thing that is. */
  locate(path: SettingPath, part: 'key' | 'value'): Pick<ConfigProblem, 'where' | 'line' | 'column'>
}

/** `limits.firstByteMs`, `listen[0]`. */
export function formatPath(path: SettingPath): string {
  let text = ''
  for (const step of path) text += typeof step === 'number' ? `[${step}]` : text === '' ? step : `.${step}`
  return text
}
