/** Scripts of what happens to simulated VMs, and when: a YAML or JSON list of steps. */
import { type Document, LineCounter, parseDocument, type Node as YamlNode } from 'yaml'
import { errorMessage, nearest, parseHex, VspcError } from '../base/index.ts'
import { MIGRATION_FAILURES, type MigrationFailure, SOURCE_FINS, type SourceFin } from './migration-variants.ts'

export type SimStep = {
  /** Seconds after the start. */
  readonly at: number
  /** Again every so many seconds. */
  readonly every?: number
  /** A VM's name; `*` and `?` match as in file names. */
  readonly vm: string
  /** Where the step stands, for messages: `demo.yaml:7`. */
  readonly where: string
} & (
  | {
      readonly do: 'migrate'
      /** A host's name; default: another one at random. */
      readonly to?: string
      readonly sourceFin?: SourceFin
      readonly stunMs?: number
      readonly goaheadLimitMs?: number
      readonly peerOkLimitMs?: number
      readonly failure?: MigrationFailure
      /** Hex; default 4 random bytes for each port. */
      readonly sequence?: string
    }
  | { readonly do: 'power-on' | 'drop' }
  | { readonly do: 'power-off'; readonly how?: 'fin' | 'reset' }
  | { readonly do: 'print'; readonly text: string; readonly port?: number }
  | { readonly do: 'rename'; readonly name: string }
  /** Bytes as they are, `times` over (default 1): unknown commands, floods, broken frames. */
  | { readonly do: 'send'; readonly hex: string; readonly times?: number; readonly port?: number }
  /** A suboption of option 232: `hex`, followed by `bytes` times the letter A. */
  | {
      readonly do: 'suboption'
      readonly code: number
      readonly hex?: string
      readonly bytes?: number
      readonly port?: number
    }
  /** The VM reads nothing for `ms`. */
  | { readonly do: 'stall'; readonly ms: number; readonly port?: number }
)

type FieldKind = 'seconds' | 'ms' | 'text' | 'index' | 'hex' | readonly string[]

/** Fields each action takes besides at, every, vm and do; `!` = required. */
const ACTIONS: Record<string, Record<string, { kind: FieldKind; required?: true }>> = {
  migrate: {
    to: { kind: 'text' },
    sourceFin: { kind: SOURCE_FINS },
    stunMs: { kind: 'ms' },
    goaheadLimitMs: { kind: 'ms' },
    peerOkLimitMs: { kind: 'ms' },
    failure: { kind: MIGRATION_FAILURES },
    sequence: { kind: 'hex' },
  },
  // Short for a migrate that fails after GOAHEAD.
  abort: { to: { kind: 'text' }, stunMs: { kind: 'ms' } },
  'power-on': {},
  'power-off': { how: { kind: ['fin', 'reset'] } },
  drop: {},
  print: { text: { kind: 'text', required: true }, port: { kind: 'index' } },
  rename: { name: { kind: 'text', required: true } },
  send: { hex: { kind: 'hex', required: true }, times: { kind: 'index' }, port: { kind: 'index' } },
  suboption: {
    code: { kind: 'index', required: true },
    hex: { kind: 'hex' },
    bytes: { kind: 'index' },
    port: { kind: 'index' },
  },
  stall: { ms: { kind: 'ms', required: true }, port: { kind: 'index' } },
}

/** What one step may put on the wire, so that a slip of the pen is no gigabyte. */
const MAX_SENT_BYTES = 16 << 20

const COMMON: Record<string, { kind: FieldKind; required?: true }> = {
  at: { kind: 'seconds', required: true },
  every: { kind: 'seconds' },
  vm: { kind: 'text', required: true },
  do: { kind: Object.keys(ACTIONS), required: true },
}

/**
 * Parses a script. `file` is only used in messages.
 * @throws VspcError VSPC_SIM_SCRIPT that names line, step, fault and fix.
 */
export function parseSimScript(text: string, file = 'script'): SimStep[] {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: 'error' })
  const lineOf = (offset: number) => lineCounter.linePos(offset).line
  const [fault] = document.errors
  if (fault) throw new VspcError('VSPC_SIM_SCRIPT', `${file}:${lineOf(fault.pos[0])}: ${fault.message}`)
  const root = document.contents
  const entries = entriesOf(document, file)
  if (!Array.isArray(entries)) {
    throw new VspcError('VSPC_SIM_SCRIPT', `${file}:1: expected a list of steps, as in ${EXAMPLE}`)
  }
  const nodes = root && 'items' in root ? (root.items as YamlNode[]) : []
  return entries.map((entry: unknown, index) => {
    const where = `${file}:${lineOf(nodes[index]?.range?.[0] ?? 0)}`
    return parseStep(entry, where, index + 1)
  })
}

/** Aliases without an anchor, or repeated without end, are only noticed here. */
function entriesOf(document: Document.Parsed, file: string): unknown {
  try {
    return document.toJS()
  } catch (cause) {
    throw new VspcError('VSPC_SIM_SCRIPT', `${file}: ${errorMessage(cause)}; write repeated values out`, { cause })
  }
}

const EXAMPLE = '- { at: 5, vm: vm-0001, do: migrate }'

function parseStep(entry: unknown, where: string, number: number): SimStep {
  const fail = (text: string): never => {
    throw new VspcError('VSPC_SIM_SCRIPT', `${where}: step ${number}: ${text}`)
  }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    return fail(`expected fields, as in ${EXAMPLE}`)
  }
  const step = entry as Record<string, unknown>
  const action = step['do']
  checkField(fail, 'do', action, { kind: Object.keys(ACTIONS), required: true })
  const fields = { ...COMMON, ...ACTIONS[action as string] }
  for (const name of Object.keys(step)) {
    if (Object.hasOwn(fields, name)) continue
    const close = nearest(name, Object.keys(fields))
    const hint = close ? `did you mean "${close}"?` : `it takes ${words(Object.keys(fields))}`
    fail(`${action} has no field "${name}"; ${hint}`)
  }
  for (const [name, field] of Object.entries(fields)) checkField(fail, name, step[name], field)
  if (step['every'] === 0) fail('"every" must be more than 0 seconds')
  checkSize(fail, step)
  if (action === 'abort') return { ...step, do: 'migrate', failure: 'abort-after-goahead', where } as SimStep
  return { ...step, where } as SimStep
}

function checkSize(fail: (text: string) => never, step: Record<string, unknown>): void {
  const own = typeof step['hex'] === 'string' ? (parseHex(step['hex'])?.length ?? 0) : 0
  const times = typeof step['times'] === 'number' ? step['times'] : 1
  const filled = typeof step['bytes'] === 'number' ? step['bytes'] : 0
  if (own * times + filled > MAX_SENT_BYTES) fail(`more than ${MAX_SENT_BYTES} bytes in one step`)
  if (typeof step['code'] === 'number' && step['code'] > 255) fail(`"code" is ${step['code']}; expected 0 to 255`)
}

/** A value that holds itself, by an alias, has no JSON. */
function shown(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch {
    return 'a value that holds itself'
  }
}

function checkField(
  fail: (text: string) => never,
  name: string,
  value: unknown,
  field: { kind: FieldKind; required?: true },
): void {
  const { kind } = field
  if (value === undefined || value === null) {
    if (field.required) fail(`"${name}" is missing; expected ${describeKind(kind)}`)
    return
  }
  const wrong = (hint = '') => fail(`"${name}" is ${shown(value)}; expected ${describeKind(kind)}${hint}`)
  if (kind === 'text') {
    if (typeof value !== 'string' || value === '') wrong()
  } else if (kind === 'hex') {
    if (typeof value !== 'string' || parseHex(value) === null) wrong()
  } else if (kind === 'seconds' || kind === 'ms' || kind === 'index') {
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) wrong()
    else if (kind === 'index' && !Number.isInteger(value)) wrong()
  } else if (typeof value !== 'string' || !kind.includes(value)) {
    const close = nearest(String(value), kind)
    wrong(close ? `; did you mean "${close}"?` : '')
  }
}

function describeKind(kind: FieldKind): string {
  if (kind === 'seconds') return 'a number of seconds'
  if (kind === 'ms') return 'a number of milliseconds'
  if (kind === 'index') return 'a whole number from 0'
  if (kind === 'text') return 'text'
  if (kind === 'hex') return "pairs of hex digits, as in 'ff fa e8 63 ff f0'"
  return `one of ${words(kind)}`
}

function words(all: readonly string[]): string {
  return all.join(', ')
}

/** Whether a VM's name matches a step's `vm`. */
export function matchesVm(pattern: string, name: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.')
  return new RegExp(`^${source}$`).test(name)
}
