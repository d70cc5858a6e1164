import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Command } from 'commander'
import { loadTokens } from '../access/index.ts'
import { type Config, defaultTokens, loadConfig } from '../app/index.ts'
import { systemClock, VspcError } from '../base/index.ts'
import { printData, printNote } from './output.ts'
import { addServerOptions } from './server-address.ts'
import { type Column, formatTable } from './table.ts'
import { addToken, hashToken, readSecret, removeTokens } from './token-change.ts'
import { type CheckFlags, checkTokenRights } from './token-check.ts'
import { TOKEN_HELP } from './token-help.ts'

export interface TokenFlags {
  tokens?: string
  config?: string
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
    .action(add)
  leaf(token, 'list')
    .description('List the tokens of the file')
    .action((flags: TokenFlags) => list(flags, locate(flags).path))
  leaf(token, 'remove')
    .description('Remove tokens: they stop working within seconds')
    .argument('<name...>', 'their names')
    .action((names: string[], flags: TokenFlags) => removeTokens(names, locate(flags).path))
  addServerOptions(leaf(token, 'check'))
    .description('Say who a token is and what it may: from VSPC_TOKEN, --token-file or standard input')
    .option('--vm <name>', 'what it may on the VM of that name, and why')
    .option('--uuid <uuid>', 'the same, of that UUID')
    .option('--host <address>', 'the same, connected from that host')
    .action(checkRights)
  token
    .command('hash')
    .description('Print the SHA-256 of a token that comes from standard input')
    .addHelpText('after', TOKEN_HELP)
    .action(hashToken)
}

function leaf(token: Command, name: string): Command {
  return token
    .command(name)
    .option('--tokens <file>', "the server's file of tokens (env VSPC_TOKENS; default: that of the configuration)")
    .option('--config <file>', "the server's configuration (env VSPC_CONFIG)")
    .option('--json', 'print JSON')
    .addHelpText('after', TOKEN_HELP)
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value]
}

/** The server's file, and its configuration where that had to be looked into. */
interface Located {
  readonly path: string
  readonly config: Config | null
}

function locate({ tokens, config: file }: TokenFlags): Located {
  const named = tokens ?? (process.env['VSPC_TOKENS'] || undefined)
  if (named !== undefined && file === undefined) return { path: named, config: null }
  const config = loadConfig({ env: process.env, flags: {}, ...(file === undefined ? {} : { file }) })
  return { path: named ?? config.access?.tokens ?? defaultTokens(config.dataDir), config }
}

/** Rules count, too: the configuration is looked at wherever the file is. A server has both. */
function checkRights(flags: CheckFlags & TokenFlags): Promise<void> {
  const file = flags.config === undefined ? {} : { file: flags.config }
  const config = flags.server === undefined ? loadConfig({ env: process.env, flags: {}, ...file }) : null
  return checkTokenRights(flags, flags.server === undefined ? locate(flags).path : '', config, readSecret)
}

/** Where nobody has named a file, the folder may not be there yet, and the server may not ask for tokens at all. */
async function add(name: string, flags: AddFlags): Promise<void> {
  const { path, config } = locate(flags)
  if (config !== null) await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await addToken(name, flags, path)
  if (config !== null && config.access === null) {
    printNote(`note: in ${path}; a server asks for tokens once it is told to: vspc serve --tokens ${path}`)
  }
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
