import type { Command } from 'commander'
import { cleanText, VspcError } from '../base/index.ts'
import { ExpectError, type ExpectMatch, type RemoteConsole, VspcClient } from '../client/index.ts'
import { ConsolePrinter } from './console-printer.ts'
import { addExpectOptions, type ExpectFlags, type ExpectPlan, type ExpectStep, planOf } from './expect-options.ts'
import { formatMatches, formatReport, seenLines } from './expect-report.ts'
import { parseInputText, withEnter } from './input-text.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { printData, printNote, writeData } from './output.ts'
import { resolveServer } from './server-address.ts'
import { awaitPort, requireOnline, sendOptions, writeAccess } from './write-options.ts'

const HELP = `
--send and --wait are done in the order given. The console is attached before
anything is sent, so no answer is missed; what came before that only counts with
--from. Each --wait goes on behind what the one before it matched.

Patterns are JavaScript regular expressions, ^ and $ the ends of a line. They are
tried at the end of each line, and on a line without an end (a prompt) when the
output pauses. A match may span lines: 64 Ki characters are kept. The server may
restart meanwhile: no output is lost.

When it fails, the last lines seen are on standard error.

Exit codes: 0 all matched, 1 --fail-on matched, 2 usage, 3 no such port, 4 not
allowed, 5 held by someone else, 6 server unreachable, 7 the VM is gone (or
offline, with --send or --fail-offline), 124 timed out, 130 interrupted.

Examples:
  vspc expect web1 --wait 'login: $' --timeout 5m --fail-on 'Kernel panic'
  vspc expect web1 --send root --wait assword: --send "$PW" --wait '# $'
  vspc expect web1 --send 'make; echo rc=$?' --wait 'rc=(\\d+)' -o groups
  vspc expect web1 --from start --wait 'IPv4: (\\S+)' --json
`

export function registerExpect(program: Command): void {
  const steps: ExpectStep[] = []
  const command = program
    .command('expect')
    .argument('<port>', 'VM name, NAME/LABEL, UUID, port id, or a unique prefix of one')
  addExpectOptions(command, steps)
    .addHelpText('after', HELP)
    .action((port: string, flags: ExpectFlags) => expect(port, flags, planOf(steps, flags)))
}

/** What was waited for and found. */
export interface FoundStep extends ExpectMatch {
  readonly pattern: string
}

async function expect(port: string, flags: ExpectFlags, plan: ExpectPlan): Promise<void> {
  const inputs = plan.steps.map((step) =>
    'send' in step ? withEnter(parseInputText(step.send, '--send'), flags.enter ?? null) : null,
  )
  const types = inputs.some((input) => input !== null)
  const client = new VspcClient(resolveServer(flags, process.env))
  const printer = flags.print === 'all' ? new ConsolePrinter() : null
  exitOnInterrupt(() => printer?.finish())
  const target = await awaitPort(client, port, flags)
  const console = await client.console(target, {
    ...(types ? writeAccess(flags) : { mode: 'read' }),
    from: flags.from ?? 'now',
    ...(printer ? { onOutput: (bytes: Uint8Array) => printer.print(bytes) } : {}),
    onNotice: (notice) => {
      if (notice.type === 'lost') printNote(`${notice.error.message}; reconnecting`)
      else if (notice.type === 'gap') printNote(`${notice.bytes} bytes of output are lost: not in the history any more`)
    },
  })
  const found: FoundStep[] = []
  try {
    if (types) requireOnline(console)
    await runSteps(console, plan, inputs, flags, found)
    if (flags.json) printData(formatReport(console.port, found, null))
    else if (!printer) await writeData(formatMatches(found, flags))
  } catch (error) {
    if (error instanceof ExpectError) {
      if (flags.json) printData(formatReport(console.port, found, error))
      for (const line of seenLines(error.seen)) process.stderr.write(`${line}\n`)
    }
    throw error
  } finally {
    printer?.finish()
    await console.close()
  }
}

async function runSteps(
  console: RemoteConsole,
  plan: ExpectPlan,
  inputs: readonly (Uint8Array | null)[],
  flags: ExpectFlags,
  found: FoundStep[],
): Promise<void> {
  const deadline = liveClock.now() + plan.timeoutMs
  for (const [at, step] of plan.steps.entries()) {
    const input = inputs[at]
    if (input) {
      await sendWithin(console, input, flags, deadline)
      continue
    }
    if (!('wait' in step)) continue
    try {
      const match = await console.expect(plan.pattern(step.wait), {
        timeoutMs: Math.max(0, deadline - liveClock.now()),
        failOn: plan.failOn,
        failOffline: flags.failOffline === true,
        encoding: flags.encoding ?? 'utf8',
        stripAnsi: flags.keepAnsi !== true,
      })
      found.push({ ...match, pattern: step.wait })
    } catch (error) {
      if (!(error instanceof ExpectError)) throw error
      if (error.match) {
        const text = `--fail-on matched "${cleanText(error.match.text)}"`
        throw new ExpectError(error.code, text, error.seen, error.match, { cause: error })
      }
      if (error.code !== 'VSPC_WAIT_TIMEOUT') throw error
      const offline = console.state === 'offline' ? `; ${console.name || console.port} is offline` : ''
      const text = `no match for "${step.wait}" within ${plan.timeoutMs / 1000} s${offline}`
      throw new ExpectError(error.code, text, error.seen, null, { cause: error })
    }
  }
}

/** Until the server has it: otherwise what was lost with a connection would be waited for in vain. */
async function sendWithin(
  console: RemoteConsole,
  input: Uint8Array,
  flags: ExpectFlags,
  deadline: number,
): Promise<void> {
  let tooLate = () => {}
  const timer = liveClock.after(Math.max(0, deadline - liveClock.now()), () => tooLate())
  const late = new Promise<never>((_resolve, reject) => {
    tooLate = () => reject(new VspcError('VSPC_WAIT_TIMEOUT', 'the VM did not take what was sent in time'))
  })
  try {
    await Promise.race([console.send(input, sendOptions(flags)).then(() => console.flush()), late])
  } finally {
    timer.cancel()
  }
}
