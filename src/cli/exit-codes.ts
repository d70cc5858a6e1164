import { CommanderError } from 'commander'
import { type ErrorCode, VspcError } from '../base/index.ts'

/** What the process ends with. Scripts rely on these numbers: they never change their meaning. */
export const EXIT = {
  ok: 0,
  other: 1,
  usage: 2,
  noSuchPort: 3,
  notAllowed: 4,
  busy: 5,
  unreachable: 6,
  gone: 7,
  timedOut: 124,
  hangup: 129,
  interrupted: 130,
  terminated: 143,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** Exit code of each coded failure; one that is not listed ends with {@link EXIT.other}. */
export const EXIT_BY_CODE: { readonly [code in ErrorCode]?: ExitCode } = {
  VSPC_USAGE: EXIT.usage,
  VSPC_PATTERN: EXIT.usage,
  VSPC_SEARCH_BUSY: EXIT.busy,
  VSPC_REQUEST_INVALID: EXIT.usage,
  VSPC_ENDPOINT_SYNTAX: EXIT.usage,
  VSPC_ENDPOINT_SCHEME: EXIT.usage,
  VSPC_ENDPOINT_PARAMETER: EXIT.usage,
  VSPC_ENDPOINT_PORT: EXIT.usage,
  VSPC_ENDPOINT_ROLE: EXIT.usage,
  VSPC_CONFIG_SYNTAX: EXIT.usage,
  VSPC_CONFIG_INVALID: EXIT.usage,
  VSPC_HTTP_UNSAFE_BIND: EXIT.usage,
  VSPC_SIM_SCRIPT: EXIT.usage,
  VSPC_RELAY_NEXT_HOP: EXIT.usage,
  VSPC_PORT_NOT_FOUND: EXIT.noSuchPort,
  VSPC_PORT_AMBIGUOUS: EXIT.noSuchPort,
  VSPC_NOT_ALLOWED: EXIT.notAllowed,
  VSPC_ACCESS_DENIED: EXIT.notAllowed,
  VSPC_CONSOLE_KICKED: EXIT.notAllowed,
  VSPC_CONSOLE_NOT_FOUND: EXIT.noSuchPort,
  VSPC_CONSOLE_NOT_WAITING: EXIT.busy,
  VSPC_ACCESS_LOGIN: EXIT.notAllowed,
  VSPC_ACCESS_FAILURES: EXIT.notAllowed,
  VSPC_CONSOLE_READ_ONLY: EXIT.notAllowed,
  VSPC_CONSOLE_BUSY: EXIT.busy,
  VSPC_CONSOLE_TOO_MANY: EXIT.busy,
  VSPC_RELAY_FULL: EXIT.busy,
  VSPC_SERVER_UNREACHABLE: EXIT.unreachable,
  VSPC_SERVER_STARTING: EXIT.unreachable,
  VSPC_SERVER_STOPPING: EXIT.unreachable,
  VSPC_RELAY_CONTROL: EXIT.unreachable,
  VSPC_PORT_REMOVED: EXIT.gone,
  VSPC_PORT_OFFLINE: EXIT.gone,
  VSPC_WAIT_TIMEOUT: EXIT.timedOut,
  VSPC_TRANSPORT_DIAL: EXIT.unreachable,
  VSPC_TRANSPORT_DIAL_TIMEOUT: EXIT.unreachable,
  VSPC_VSPHERE_URL: EXIT.usage,
  VSPC_VSPHERE_TEXT: EXIT.usage,
  VSPC_VSPHERE_UNREACHABLE: EXIT.unreachable,
  VSPC_VSPHERE_ANSWER: EXIT.unreachable,
  VSPC_VSPHERE_LOGIN: EXIT.notAllowed,
  VSPC_VSPHERE_PERMISSION: EXIT.notAllowed,
  // No such VM, or several.
  VSPC_VSPHERE_NOT_FOUND: EXIT.noSuchPort,
  VSPC_VSPHERE_AMBIGUOUS: EXIT.noSuchPort,
  VSPC_VSPHERE_BUSY: EXIT.busy,
  VSPC_VSPHERE_TASK_TIMEOUT: EXIT.timedOut,
  VSPC_GUESTINFO_KEY: EXIT.usage,
  VSPC_GUESTINFO_TOO_LONG: EXIT.usage,
  // No such thing of that name, here a key.
  VSPC_GUESTINFO_NO_VALUE: EXIT.noSuchPort,
  VSPC_GUESTINFO_READ_ONLY: EXIT.notAllowed,
  VSPC_GUESTINFO_DENIED: EXIT.notAllowed,
  VSPC_GUESTINFO_NO_TOOL: EXIT.unreachable,
  VSPC_GUESTINFO_NOT_IN_VM: EXIT.unreachable,
  VSPC_GUESTINFO_TIMEOUT: EXIT.timedOut,
}

/** Ends the process with `exitCode`; `message`, when there is one, goes to stderr. For ends that are no failures. */
export class CommandExit extends Error {
  override name = 'CommandExit'
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message = '') {
    super(message)
    this.exitCode = exitCode
  }
}

/** The exit code for whatever a command threw. */
export function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof CommandExit) return thrown.exitCode
  if (thrown instanceof VspcError) return EXIT_BY_CODE[thrown.code] ?? EXIT.other
  // Commander ends `--help` and `--version` by throwing too, with 0; all else it throws is a usage error.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.ok : EXIT.usage
  return EXIT.other
}
