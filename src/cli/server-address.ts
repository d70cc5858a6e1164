import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { errorMessage, VspcError } from '../base/index.ts'
import { checkToken, DEFAULT_SERVER, parseServerUrl, type ServerAddress } from '../client/index.ts'

export interface ServerOptions {
  server?: string
  tokenFile?: string
  caFile?: string
}

/** The options of every command that speaks to a server. */
export function addServerOptions(command: Command): Command {
  return command
    .addOption(new Option('--server <url>', `the server's HTTP address (env VSPC_SERVER; default ${DEFAULT_SERVER})`))
    .addOption(
      new Option('--token-file <file>', 'file with the access token (env VSPC_TOKEN_FILE, or VSPC_TOKEN itself)'),
    )
    .addOption(new Option('--ca-file <file>', 'PEM file of the authorities to trust for https (env VSPC_CA_FILE)'))
}

/**
 * Options first, then environment, then defaults; empty variables count as unset.
 * @throws VspcError VSPC_USAGE for an address or a file that cannot be used.
 */
export function resolveServer(options: ServerOptions, env: NodeJS.ProcessEnv): ServerAddress {
  const fromOption = options.server !== undefined
  const text = options.server ?? (env['VSPC_SERVER'] || DEFAULT_SERVER)
  return {
    url: parseServerUrl(text, fromOption ? '--server' : 'VSPC_SERVER'),
    token: resolveToken(options, env),
    ca: resolveFile(options.caFile, '--ca-file', env['VSPC_CA_FILE'], 'VSPC_CA_FILE'),
  }
}

function resolveToken(options: ServerOptions, env: NodeJS.ProcessEnv): string | null {
  const direct = env['VSPC_TOKEN']
  if (options.tokenFile === undefined && direct) return checkToken(direct, 'VSPC_TOKEN')
  const text = resolveFile(options.tokenFile, '--token-file', env['VSPC_TOKEN_FILE'], 'VSPC_TOKEN_FILE')
  return text === null ? null : checkToken(text, 'the token file')
}

function resolveFile(
  option: string | undefined,
  flag: string,
  variable: string | undefined,
  name: string,
): string | null {
  const path = option ?? variable
  if (!path) return null
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new VspcError('VSPC_USAGE', `${option === undefined ? name : flag}: ${errorMessage(cause)}`, { cause })
  }
}
