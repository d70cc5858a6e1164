import { type Command, Option } from 'commander'
import { errorMessage, VspcError } from '../base/index.ts'
import { EXPECT_DEFAULTS } from '../client/index.ts'
import { parseDuration } from './duration.ts'
import { parseOffset } from './offset.ts'
import { addServerOptions, type ServerOptions } from './server-address.ts'
import { addWriteOptions, type WriteFlags } from './write-options.ts'

/** `--send` and `--wait`, in the order in which they were given. */
export type ExpectStep = { readonly send: string } | { readonly wait: string }

export interface ExpectFlags extends ServerOptions, WriteFlags {
  send?: ExpectStep[]
  wait?: ExpectStep[]
  timeout?: number
  failOn?: string[]
  failOffline?: true
  ignoreCase?: true
  fixedStrings?: true
  from?: 'now' | number
  print?: 'match' | 'groups' | 'all' | 'none'
  json?: true
  encoding?: 'utf8' | 'latin1'
  keepAnsi?: true
}

/** What there is to do, and how; everything checked. */
export interface ExpectPlan {
  readonly steps: readonly ExpectStep[]
  readonly timeoutMs: number
  readonly failOn: readonly (string | RegExp)[]
  pattern(text: string): string | RegExp
}

/** Adds the options; `steps` fills in order as they are parsed. */
export function addExpectOptions(command: Command, steps: ExpectStep[]): Command {
  const wanted = [
    new Option('--send <text>', 'type this, with Enter; escapes as in vspc send').argParser((send: string) => {
      steps.push({ send })
      return steps
    }),
    new Option('--wait <regex>', 'wait for output that matches; several in order').argParser((wait: string) => {
      steps.push({ wait })
      return steps
    }),
    new Option('--timeout <duration>', 'give up after this long, in all (default 30s)').argParser((text: string) =>
      parseDuration(text, '--timeout'),
    ),
    new Option('--fail-on <regex>', 'output that is a failure; several times for several').argParser(
      (text: string, before: string[] | undefined) => [...(before ?? []), text],
    ),
    new Option('--fail-offline', 'fail as soon as the VM is offline, instead of waiting for it'),
    new Option('-i, --ignore-case', 'upper and lower case are the same'),
    new Option('-F, --fixed-strings', 'patterns are plain text'),
    new Option('--from <start>', 'where to begin: now (default), start, or an offset; negative from the end').argParser(
      parseFrom,
    ),
    new Option(
      '-o, --print <what>',
      'match (default), groups: what stands in ( ), all: everything seen, or none',
    ).choices(['match', 'groups', 'all', 'none']),
    new Option('--json', 'print matches with groups and offsets as JSON').conflicts('print'),
    new Option('--encoding <name>', 'how to read the output (default utf8)').choices(['utf8', 'latin1']),
    new Option('--keep-ansi', 'match colours and cursor moves too, instead of leaving them out'),
  ]
  for (const option of wanted) command.addOption(option)
  return addServerOptions(addWriteOptions(command))
}

function parseFrom(text: string): 'now' | number {
  if (text === 'now') return 'now'
  return text === 'start' ? 0 : parseOffset(text, '--from')
}

/** @throws VspcError VSPC_USAGE. */
export function planOf(steps: readonly ExpectStep[], flags: ExpectFlags): ExpectPlan {
  if (!steps.some((step) => 'wait' in step)) {
    throw new VspcError('VSPC_USAGE', "--wait is missing: nothing to wait for; only to type there is 'vspc send'")
  }
  const compile = (text: string, what: string) => {
    if (flags.fixedStrings && !flags.ignoreCase) return text
    const source = flags.fixedStrings ? text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&') : text
    try {
      // m: ^ and $ are the ends of a line.
      return new RegExp(source, flags.ignoreCase ? 'mi' : 'm')
    } catch (cause) {
      throw new VspcError('VSPC_USAGE', `${what}: ${errorMessage(cause)}`, { cause })
    }
  }
  for (const step of steps) if ('wait' in step) compile(step.wait, '--wait')
  return {
    steps,
    timeoutMs: flags.timeout ?? EXPECT_DEFAULTS.timeoutMs,
    failOn: (flags.failOn ?? []).map((text) => compile(text, '--fail-on')),
    pattern: (text) => compile(text, '--wait'),
  }
}
