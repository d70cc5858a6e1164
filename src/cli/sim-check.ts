/** `vspc sim --check`: judges a server instead of keeping it busy. */
import { cleanText, VspcError } from '../base/index.ts'
import { ServerClient } from '../client/index.ts'
import {
  type CheckConsoles,
  type CheckReport,
  type CheckResult,
  checkServer,
  parseSimTarget,
  tcpConsoles,
} from '../sim/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { printData, printNote } from './output.ts'
import { resolveServer } from './server-address.ts'
import { webConsoles } from './sim-console.ts'

export interface CheckFlags {
  target?: string[]
  console?: string
  only?: string[]
  migrations: number
  serviceUri: string
  json?: true
}

const DEFAULT_TARGET = 'tcp://127.0.0.1:13370'

/** @throws CommandExit 1 when a check failed; VspcError VSPC_SERVER_UNREACHABLE without a server. */
export async function runCheck(flags: CheckFlags): Promise<void> {
  const [uri = DEFAULT_TARGET, ...others] = flags.target ?? []
  if (others.length > 0) throw new VspcError('VSPC_USAGE', '--check judges one server: give --target once')
  const target = parseSimTarget(uri)
  const consoles = flags.console === undefined ? await ownConsoles(flags) : await consolesAt(flags.console)
  const ending = new AbortController()
  const end = () => ending.abort()
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.once(signal, end)
  // Between two connections nothing else keeps the process alive.
  const alive = setInterval(() => {}, 60_000)
  try {
    const report = await checkServer({
      target,
      serviceURI: flags.serviceUri,
      migrations: flags.migrations,
      signal: ending.signal,
      ...(consoles === null ? {} : { consoles }),
      ...(flags.only === undefined ? {} : { only: flags.only }),
      ...(flags.json === true ? {} : { onResult: (result) => printData(formatResult(result)) }),
    })
    printData(flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : formatTotals(report))
    if (ending.signal.aborted) throw new CommandExit(EXIT.interrupted, 'interrupted before the last check')
    if (report.failed > 0) throw new CommandExit(EXIT.other, `${checks(report.failed)} failed`)
  } catch (error) {
    if (!(error instanceof VspcError) || error.code !== 'VSPC_SERVER_UNREACHABLE') throw error
    const hint = "is 'vspc serve' running there? --target names another one"
    throw new VspcError('VSPC_SERVER_UNREACHABLE', `${error.message}; ${hint}`, { cause: error })
  } finally {
    clearInterval(alive)
    for (const signal of signals) process.off(signal, end)
  }
}

/** @throws VspcError VSPC_SERVER_UNREACHABLE when no server of ours answers there; better than a fault in each check. */
async function consolesAt(uri: string): Promise<CheckConsoles> {
  if (/^https?:/i.test(uri)) {
    const address = resolveServer({ server: uri }, process.env)
    await new ServerClient(address).getJson('/api/v1/ports')
    return webConsoles(address)
  }
  if (/^tcp:/i.test(uri)) return tcpConsoles(uri)
  const accepted = 'http://HOST:PORT (a server of ours) or tcp://HOST:PORT[?protocol=telnet|raw]'
  throw new VspcError('VSPC_USAGE', `--console: "${uri}" is neither ${accepted}`)
}

/** Our own server at its usual address, when the target was not named either. */
async function ownConsoles(flags: CheckFlags): Promise<CheckConsoles | null> {
  if (flags.target !== undefined) return null
  const address = resolveServer({}, process.env)
  try {
    if (!Array.isArray(await new ServerClient(address).getJson('/api/v1/ports'))) return null
  } catch {
    // Not there, or not ours: then without consoles, which the report says.
    return null
  }
  printNote(`consoles are checked through ${address.url.origin} (--console names another)`)
  return webConsoles(address)
}

const MARKS = { pass: 'pass', fail: 'FAIL', skipped: '-' } as const
const INDENT = ' '.repeat(11)

/** Statement, verdict and what was checked; below it what was seen, if it was. */
export function formatResult(result: CheckResult): string {
  const { id, outcome, title } = result
  const reason = cleanText(result.reason, 2_000)
  const head = `${id.padEnd(5)}${MARKS[outcome].padEnd(6)}${title}`
  if (outcome === 'skipped') return `${head} (skipped: ${reason})\n`
  return reason === '' ? `${head}\n` : `${head}\n${INDENT}${reason}\n`
}

function formatTotals({ target, console, passed, failed, skipped }: CheckReport): string {
  const how = console === null ? 'without consoles' : `with consoles at ${console}`
  return `\n${target}, ${how}: ${passed} passed, ${failed} failed, ${skipped} skipped\n`
}

function checks(count: number): string {
  return count === 1 ? '1 check' : `${count} checks`
}
