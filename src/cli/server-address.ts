import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { VspcError } from '../base/index.ts'
import { checkToken, DEFAULT_SERVER, parseServerUrl, type ServerAddress } from '../client/index.ts'
import { unreadable } from './unreadable.ts'

export interface ServerOptions {
  server?: string
  tokenFile?: string
  caFile?: string
  certFile?: string
  keyFile?: string
}

/** The options of every command that speaks to a server. */
export function addServerOptions(command: Command): Command {
  return command
    .addOption(new Option('--server <url>', `the server's HTTP address (env VSPC_SERVER; default ${DEFAULT_SERVER})`))
    .addOption(
      new Option('--token-file <file>', 'file with the access token (env VSPC_TOKEN_FILE, or VSPC_TOKEN itself)'),
    )
    .addOption(new Option('--ca-file <file>', 'PEM file of the authorities to trust for https (env VSPC_CA_FILE)'))
    .addOption(
      new Option(
        '--cert-file <file>',
        'PEM file of your certificate, for servers with mutual TLS (env VSPC_CERT_FILE)',
      ),
    )
    .addOption(new Option('--key-file <file>', 'PEM file of its key (env VSPC_KEY_FILE)'))
}

/**
 * Options first, then environment, then defaults; empty variables count as unset.
 * @throws VspcError VSPC_USAGE for an address or a file that cannot be used.
 */
export function resolveServer(options: ServerOptions, env: NodeJS.ProcessEnv): ServerAddress {
  const fromOption = options.server !== undefined
  const text = options.server ?? (env['VSPC_SERVER'] || DEFAULT_SERVER)
  const cert = resolveFile(options.certFile, '--cert-file', env['VSPC_CERT_FILE'], 'VSPC_CERT_FILE')
  const key = resolveFile(options.keyFile, '--key-file', env['VSPC_KEY_FILE'], 'VSPC_KEY_FILE')
  if ((cert === null) !== (key === null)) {
    throw new VspcError('VSPC_USAGE', 'a certificate needs its key: give --cert-file and --key-file')
  }
  return {
    url: parseServerUrl(text, fromOption ? '--server' : 'VSPC_SERVER'),
    token: resolveToken(options, env),
    ca: resolveFile(options.caFile, '--ca-file', env['VSPC_CA_FILE'], 'VSPC_CA_FILE'),
    ...(cert === null || key === null ? {} : { identity: { cert, key } }),
  }
}

/** Null: neither option nor environment gives one. */
export function resolveToken(options: ServerOptions, env: NodeJS.ProcessEnv): string | null {
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
    throw unreadable(option === undefined ? name : flag, path, cause)
  }
}
