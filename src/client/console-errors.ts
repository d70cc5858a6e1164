/** What a console fails with, in words. */
import { cleanMessage, VspcError } from '../base/index.ts'
import type { ConsoleMode } from '../vspc/index.ts'
import { ExpectError, type ExpectMatch } from './expectation.ts'
import { knownCode } from './feed.ts'

export function failedOn(pattern: string | RegExp, seen: Uint8Array, match: ExpectMatch): ExpectError {
  return new ExpectError('VSPC_EXPECT_FAILED', `${shownPattern(pattern)} matched`, seen, match)
}

/** @param offline the VM's name, if that is why. */
export function notInTime(
  patterns: readonly (string | RegExp)[],
  seen: Uint8Array,
  offline: string | null,
): ExpectError {
  const why = offline === null ? '' : `; ${offline} is offline`
  const text = `nothing matched ${patterns.map(shownPattern).join(' or ')} in time${why}`
  return new ExpectError('VSPC_WAIT_TIMEOUT', text, seen)
}

function shownPattern(pattern: string | RegExp): string {
  return typeof pattern === 'string' ? JSON.stringify(pattern) : String(pattern)
}

export function refusal({ code, message }: { code: string; message: string }): VspcError {
  return new VspcError(knownCode(code, 'VSPC_SERVER_ANSWER'), cleanMessage(message))
}

export function inputMayBeLost(cause: VspcError): VspcError {
  const text = `${cause.message} before the server had confirmed the input: some of it may not have reached the VM`
  return new VspcError('VSPC_SERVER_UNREACHABLE', text, { cause })
}

export function isClosed(): VspcError {
  return new VspcError('VSPC_USAGE', 'this console is closed')
}

export function readOnlyGiven(name: string): VspcError {
  return new VspcError('VSPC_CONSOLE_BUSY', `${name} gives read access only`)
}

/** @param asked the mode it was attached with. */
export function notWritable(asked: ConsoleMode, name: string): VspcError {
  return asked === 'read'
    ? new VspcError('VSPC_CONSOLE_READ_ONLY', 'this console was attached for reading: ask for mode "write"')
    : new VspcError('VSPC_CONSOLE_BUSY', `${name} was taken over by someone else`)
}
