import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { errorMessage, VspcError } from '../base/index.ts'

export const DEFAULT_SERVER = 'http://127.0.0.1:13371'

/** Where the server is and how to speak to it. */
export interface ServerAddress {
  /** `http:` or `https:`, without user, query and fragment; the path ends without a slash. */
  readonly url: URL
  readonly token: string | null
  /** PEM text of the authorities to trust instead of the system's. */
  readonly ca: string | null
}

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

function parseServerUrl(text: string, source: string): URL {
  const wanted = `such as ${DEFAULT_SERVER} or https://vspc.example.com`
  if (!/^https?:\/\/./i.test(text)) {
    throw new VspcError('VSPC_USAGE', `${source}: "${text}" is no http:// or https:// address: give one ${wanted}`)
  }
  let url: URL
  try {
    url = new URL(text)
  } catch (cause) {
    throw new VspcError('VSPC_USAGE', `${source}: "${text}" is no valid address: give one ${wanted}`, { cause })
  }
  if (url.username || url.password) {
    throw new VspcError('VSPC_USAGE', `${source}: no user or password in the address: use --token-file`)
  }
  if (url.search || url.hash) {
    throw new VspcError('VSPC_USAGE', `${source}: "${text}" has a query or fragment: give the address alone, ${wanted}`)
  }
  url.pathname = url.pathname.replace(/\/+$/, '')
  return url
}

function resolveToken(options: ServerOptions, env: NodeJS.ProcessEnv): string | null {
  const direct = env['VSPC_TOKEN']
  if (options.tokenFile === undefined && direct) return checkToken(direct, 'VSPC_TOKEN')
  const text = resolveFile(options.tokenFile, '--token-file', env['VSPC_TOKEN_FILE'], 'VSPC_TOKEN_FILE')
  return text === null ? null : checkToken(text, 'the token file')
}

/** The token itself stays out of every message. */
function checkToken(text: string, source: string): string {
  const token = text.trim()
  if (!/^[\x21-\x7e]+$/.test(token)) {
    const fault = token === '' ? 'is empty' : 'holds spaces, line breaks or other characters that no token has'
    throw new VspcError('VSPC_USAGE', `${source} ${fault}`)
  }
  return token
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
