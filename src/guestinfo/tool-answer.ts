/**
 * What a run of the tool means. Both tools print the host's answer and a line feed, on stdout with exit status 0 or on
 * stderr with another one; vmtoolsd ends with 0 where there is no host at all. [other: open-vm-tools' sources]
 */
import { cleanText, type ErrorCode, VspcError } from '../base/index.ts'

/** How a run of the tool ended. */
export type ToolOutcome =
  /** Ran to its end; `exitCode` is null when a signal ended it. */
  | {
      readonly type: 'ended'
      readonly exitCode: number | null
      readonly signal: string | null
      readonly stdout: string
      readonly stderr: string
    }
  /** Was stopped: it took too long, or printed too much. */
  | { readonly type: 'timeout' }
  | { readonly type: 'overflow' }
  /** Could not be run. */
  | { readonly type: 'broken'; readonly reason: string }

export interface ToolRequest {
  readonly verb: 'get' | 'set'
  readonly key: string
  /** Of the tool, for messages. */
  readonly path: string
  readonly callMs: number
}

/** Which words of the tool or the host mean what. Those of the host are not documented: what is unknown is shown. */
const WORDS: readonly (readonly [RegExp, ErrorCode])[] = [
  [/no value found/i, 'VSPC_GUESTINFO_NO_VALUE'],
  [/(must be|needs to) run (from )?inside a (vmware )?virtual machine/i, 'VSPC_GUESTINFO_NOT_IN_VM'],
  [/failed sending message to vmware/i, 'VSPC_GUESTINFO_NOT_IN_VM'],
  [/permission denied|disallowed|not allowed|disabled|unknown command|read.?only/i, 'VSPC_GUESTINFO_DENIED'],
  [/too (long|large|big)|size ?limit|exceed/i, 'VSPC_GUESTINFO_TOO_LONG'],
]

/**
 * The value that a `get` brought, on the wire; empty for a `set`.
 * @throws VspcError VSPC_GUESTINFO_*; values are never quoted, what the tool says is cleaned and cut.
 */
export function readAnswer(outcome: ToolOutcome, request: ToolRequest): string {
  const { verb, key, path, callMs } = request
  const doing = `cannot ${verb} ${key}`
  if (outcome.type === 'timeout') {
    const text = `${doing}: ${path} did not end within ${callMs / 1_000} s and was stopped`
    throw new VspcError('VSPC_GUESTINFO_TIMEOUT', text)
  }
  if (outcome.type === 'overflow') {
    throw new VspcError('VSPC_GUESTINFO_FAILED', `${doing}: ${path} printed more than a value can have and was stopped`)
  }
  if (outcome.type === 'broken') {
    throw new VspcError('VSPC_GUESTINFO_NO_TOOL', `${doing}: ${path} cannot be run: ${outcome.reason}`)
  }
  const { exitCode, signal, stdout, stderr } = outcome
  // Where there is no host beneath, the instruction that asks for it is a fault.
  if (signal === 'SIGSEGV' || signal === 'SIGILL' || signal === 'SIGBUS')
    throw notInVm(doing, `it ended with ${signal}`)
  // Warnings go to stderr as well, but a good answer is a line on stdout, if an empty one.
  if (exitCode === 0 && (stdout !== '' || stderr.trim() === '')) return stdout.replace(/\r?\n$/, '')
  const said = cleanText(
    `${stderr.slice(0, 2_000)} ${exitCode === 0 ? '' : stdout.slice(0, 500)}`.replaceAll(/\s+/g, ' '),
  )
  const code = WORDS.find(([words]) => words.test(said))?.[1] ?? 'VSPC_GUESTINFO_FAILED'
  if (code === 'VSPC_GUESTINFO_NO_VALUE') throw new VspcError(code, `${key} has no value`)
  if (code === 'VSPC_GUESTINFO_NOT_IN_VM') throw notInVm(doing, `it says "${said}"`)
  if (code === 'VSPC_GUESTINFO_DENIED') {
    const hint =
      verb === 'set'
        ? "the VM's settings isolation.tools.setinfo.disable and guest_rpc.rpci.auth.cmd.info-set decide that"
        : "the VM's setting guest_rpc.rpci.auth.cmd.info-get decides that: with it only root may, through vmtoolsd"
    throw new VspcError(code, `${doing}: the host says "${said}"; ${hint}`)
  }
  if (code === 'VSPC_GUESTINFO_TOO_LONG') throw new VspcError(code, `${doing}: the host says "${said}"`)
  const end = exitCode === null ? `was ended by ${signal}` : `ended with ${exitCode}`
  throw new VspcError(code, `${doing}: ${path} ${end}${said === '' ? ' and said nothing' : ` and said "${said}"`}`)
}

function notInVm(doing: string, why: string): VspcError {
  const text = `${doing}: the tool finds no VMware host (${why}); guestinfo works inside a VM of VMware only`
  return new VspcError('VSPC_GUESTINFO_NOT_IN_VM', text)
}
