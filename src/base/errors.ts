/**
 * Every coded failure of this product, in one table.
 *
 * `fault` says who has to act: `local` = the caller or operator (usage, configuration), `remote` = the peer on the
 * wire, `system` = the machine (sockets, files). `retryable` = doing the same again later may succeed.
 * docs/errors.md explains each; a test keeps both equal. Branch on `code`, never on the message.
 */
export const CODES = {
  VSPC_VMOTION_SECRET: { fault: 'local', retryable: false },
  VSPC_ENDPOINT_SYNTAX: { fault: 'local', retryable: false },
  VSPC_ENDPOINT_SCHEME: { fault: 'local', retryable: false },
  VSPC_ENDPOINT_PARAMETER: { fault: 'local', retryable: false },
  VSPC_ENDPOINT_PORT: { fault: 'local', retryable: false },
  VSPC_ENDPOINT_ROLE: { fault: 'local', retryable: false },
  VSPC_TRANSPORT_LISTEN: { fault: 'system', retryable: true },
  VSPC_TRANSPORT_DIAL: { fault: 'system', retryable: true },
  VSPC_TRANSPORT_DIAL_TIMEOUT: { fault: 'remote', retryable: true },
  VSPC_TLS_FILES: { fault: 'local', retryable: false },
  VSPC_TLS_HANDSHAKE: { fault: 'remote', retryable: true },
  VSPC_TLS_PIN_MISMATCH: { fault: 'remote', retryable: false },
  VSPC_TLS_PEER_REFUSED: { fault: 'remote', retryable: false },
  VSPC_VSOCK_UNAVAILABLE: { fault: 'system', retryable: false },
  VSPC_PROXY_HEADER: { fault: 'remote', retryable: false },
  VSPC_PROXY_UNTRUSTED: { fault: 'local', retryable: false },
  VSPC_LINK_PROTOCOL: { fault: 'remote', retryable: false },
  VSPC_LINK_REFUSED: { fault: 'remote', retryable: false },
  VSPC_LINK_LOST: { fault: 'remote', retryable: true },
  VSPC_RELAY_FULL: { fault: 'system', retryable: true },
  VSPC_RELAY_NEXT_HOP: { fault: 'local', retryable: false },
  VSPC_RELAY_CONTROL: { fault: 'system', retryable: true },
  VSPC_CONFIG_SYNTAX: { fault: 'local', retryable: false },
  VSPC_CONFIG_INVALID: { fault: 'local', retryable: false },
  VSPC_CONFIG_READ: { fault: 'system', retryable: true },
  VSPC_HTTP_UNSAFE_BIND: { fault: 'local', retryable: false },
  VSPC_PORT_NOT_FOUND: { fault: 'local', retryable: true },
  VSPC_PORT_AMBIGUOUS: { fault: 'local', retryable: false },
  VSPC_PORT_REMOVED: { fault: 'remote', retryable: true },
  VSPC_PORT_OFFLINE: { fault: 'remote', retryable: true },
  VSPC_PORT_ONLINE: { fault: 'local', retryable: true },
  VSPC_CONSOLE_BUSY: { fault: 'remote', retryable: true },
  VSPC_CONSOLE_READ_ONLY: { fault: 'local', retryable: false },
  VSPC_CONSOLE_BAD_CONTROL: { fault: 'local', retryable: false },
  VSPC_CONSOLE_TOO_MANY: { fault: 'remote', retryable: true },
  VSPC_CONSOLE_STALLED: { fault: 'remote', retryable: true },
  VSPC_CONSOLE_NOT_FOUND: { fault: 'local', retryable: false },
  VSPC_CONSOLE_NOT_WAITING: { fault: 'local', retryable: true },
  VSPC_CONSOLE_KICKED: { fault: 'remote', retryable: true },
  VSPC_SCREEN_UNAVAILABLE: { fault: 'system', retryable: true },
  VSPC_BREAK_UNSUPPORTED: { fault: 'remote', retryable: false },
  VSPC_SEARCH_BUSY: { fault: 'remote', retryable: true },
  VSPC_SEARCH_FAILED: { fault: 'system', retryable: true },
  VSPC_PATTERN: { fault: 'local', retryable: false },
  VSPC_REQUEST_INVALID: { fault: 'local', retryable: false },
  VSPC_SERVER_STARTING: { fault: 'system', retryable: true },
  VSPC_SERVER_STOPPING: { fault: 'system', retryable: true },
  VSPC_INTERNAL: { fault: 'system', retryable: false },
  VSPC_SERVER_UNREACHABLE: { fault: 'system', retryable: true },
  VSPC_SERVER_ANSWER: { fault: 'remote', retryable: false },
  VSPC_ACCESS_FILE: { fault: 'system', retryable: true },
  VSPC_ACCESS_LOGIN: { fault: 'local', retryable: false },
  VSPC_ACCESS_DENIED: { fault: 'local', retryable: false },
  VSPC_ACCESS_FAILURES: { fault: 'local', retryable: true },
  VSPC_NOT_ALLOWED: { fault: 'local', retryable: false },
  VSPC_WAIT_TIMEOUT: { fault: 'remote', retryable: true },
  VSPC_EXPECT_FAILED: { fault: 'remote', retryable: false },
  VSPC_USAGE: { fault: 'local', retryable: false },
  VSPC_HOOK_FILE: { fault: 'local', retryable: true },
  VSPC_HOOK_FAILED: { fault: 'remote', retryable: true },
  VSPC_CAPTURE_FORMAT: { fault: 'local', retryable: false },
  VSPC_CAPTURE_READ: { fault: 'system', retryable: true },
  VSPC_CAPTURE_WRITE: { fault: 'system', retryable: true },
  VSPC_REPLAY_MISMATCH: { fault: 'remote', retryable: false },
  VSPC_SIM_SCRIPT: { fault: 'local', retryable: false },
  VSPC_SIM_STATE: { fault: 'local', retryable: false },
  VSPC_SIM_EXPECT: { fault: 'remote', retryable: false },
  VSPC_HISTORY_OPEN: { fault: 'system', retryable: true },
  VSPC_HISTORY_LOCKED: { fault: 'local', retryable: true },
  VSPC_HISTORY_READ: { fault: 'system', retryable: true },
  VSPC_DEMO_PEER_MISSING: { fault: 'local', retryable: false },
  VSPC_VSPHERE_URL: { fault: 'local', retryable: false },
  VSPC_VSPHERE_UNREACHABLE: { fault: 'system', retryable: true },
  VSPC_VSPHERE_ANSWER: { fault: 'remote', retryable: true },
  VSPC_VSPHERE_LOGIN: { fault: 'local', retryable: false },
  VSPC_VSPHERE_SESSION: { fault: 'remote', retryable: true },
  VSPC_VSPHERE_PERMISSION: { fault: 'local', retryable: false },
  VSPC_VSPHERE_NOT_FOUND: { fault: 'local', retryable: true },
  VSPC_VSPHERE_AMBIGUOUS: { fault: 'local', retryable: false },
  VSPC_VSPHERE_BUSY: { fault: 'remote', retryable: true },
  VSPC_VSPHERE_STATE: { fault: 'remote', retryable: true },
  VSPC_VSPHERE_FAULT: { fault: 'remote', retryable: false },
  VSPC_VSPHERE_TASK_TIMEOUT: { fault: 'remote', retryable: true },
  VSPC_VSPHERE_TEXT: { fault: 'local', retryable: false },
  VSPC_TRACK_OFF: { fault: 'local', retryable: false },
  VSPC_GUESTINFO_KEY: { fault: 'local', retryable: false },
  VSPC_GUESTINFO_READ_ONLY: { fault: 'local', retryable: false },
  VSPC_GUESTINFO_TOO_LONG: { fault: 'local', retryable: false },
  VSPC_GUESTINFO_NO_VALUE: { fault: 'local', retryable: true },
  VSPC_GUESTINFO_DENIED: { fault: 'local', retryable: false },
  VSPC_GUESTINFO_NO_TOOL: { fault: 'local', retryable: false },
  VSPC_GUESTINFO_NOT_IN_VM: { fault: 'local', retryable: false },
  VSPC_GUESTINFO_TIMEOUT: { fault: 'system', retryable: true },
  VSPC_GUESTINFO_FAILED: { fault: 'system', retryable: true },
  VSPC_GUESTINFO_STORE: { fault: 'system', retryable: true },
} as const satisfies Record<string, { fault: 'local' | 'remote' | 'system'; retryable: boolean }>

export type ErrorCode = keyof typeof CODES

/** Any failure with a code of {@link CODES}. The message names the fault and, where there is one, the fix. */
export class VspcError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'VspcError'
    this.code = code
  }

  get retryable(): boolean {
    return CODES[this.code].retryable
  }
}

/** Our own caller broke the protocol: a bug on this side. */
export class LocalProtocolError extends VspcError {
  override name = 'LocalProtocolError'
}

/** The peer broke the protocol so badly that its session has to end. */
export class RemoteProtocolError extends VspcError {
  override name = 'RemoteProtocolError'
}

/** The text of anything that was thrown, for a log line or a message to people. */
export function errorMessage(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
