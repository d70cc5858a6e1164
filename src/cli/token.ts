import type { Command } from 'commander'
import { loadTokens } from '../access/index.ts'
import { systemClock, VspcError } from '../base/index.ts'
import { printData } from './output.ts'
import { type Column, formatTable } from './table.ts'
import { addToken, hashToken, removeTokens } from './token-change.ts'
import { TOKEN_HELP } from './token-help.ts'

export interface TokenFlags {
  tokens?: string
  json?: true
}

export interface AddFlags extends TokenFlags {
  role?: string[]
  group?: string[]
  ports?: string[]
  expires?: string
}

export function registerToken(program: Command): void {
  const token = program.command('token').addHelpText('after', TOKEN_HELP)
  leaf(token, 'add')
    .description('Make a token and print it, once')
    .argument('<name>', 'what it is called in lists, rules and the audit log')
    .option('--role <role>', 'what it may do on --ports; may be repeated', collect)
    .option('--group <group>', 'a group it is in; may be repeated', collect)
    .option('--ports <selector>', "where --role counts (default '*'); may be repeated", collect)
    .option('--expires <when>', '90d, 12h, 2030-01-31 or a time in UTC (default: never)')
    .action((name: string, flags: AddFlags) => addToken(name, flags, fileOf(flags)))
  leaf(token, 'list')
    .description('List the tokens of the file')
    .action((flags: TokenFlags) => list(flags, fileOf(flags)))
  leaf(token, 'remove')
    .description('Remove tokens: they stop working within seconds')
    .argument('<name...>', 'their names')
    .action((names: string[], flags: TokenFlags) => removeTokens(names, fileOf(flags)))
  token
    .command('hash')
    .description('Print the SHA-256 of a token that comes from standard input')
    .addHelpText('after', TOKEN_HELP)
    .action(hashToken)
}

function leaf(token: Command, name: string): Command {
  return token
    .command(name)
    .option('--tokens <file>', "the server's file of tokens (env VSPC_TOKENS)")
    .option('--json', 'print JSON')
    .addHelpText('after', TOKEN_HELP)
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value]
}

function fileOf({ tokens }: TokenFlags): string {
  const path = tokens ?? process.env['VSPC_TOKENS']
  if (path) return path
  throw new VspcError('VSPC_USAGE', "which file? Give the server's file of tokens as --tokens FILE, or in VSPC_TOKENS")
}

const COLUMNS: readonly Column[] = [
  { title: 'NAME' },
  { title: 'ROLES', min: 8 },
  { title: 'PORTS', min: 8 },
  { title: 'GROUPS', min: 8 },
  { title: 'CREATED' },
  { title: 'EXPIRES' },
]

async function list(flags: TokenFlags, path: string): Promise<void> {
  const records = await loadTokens(path)
  if (records === null) throw new VspcError('VSPC_ACCESS_FILE', `there is no ${path}: "vspc token add" makes it`)
  if (flags.json === true) {
    printData(`${JSON.stringify(records, null, 2)}\n`)
    return
  }
  const now = systemClock.wall()
  const rows = records.map(({ name, roles, ports, groups, created, expires }) => [
    name,
    roles.join(','),
    roles.length === 0 ? '' : ports.join(','),
    groups.join(','),
    created.slice(0, 10),
    expires === null ? 'never' : `${expires.slice(0, 16)}Z${Date.parse(expires) <= now ? ' (expired)' : ''}`,
  ])
  const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
  if (rows.length > 0) printData(`${formatTable(COLUMNS, rows, width).join('\n')}\n`)
}
