/** How to reach a vSphere API: from flags, environment and configuration file, in this order of precedence. */
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { type Clock, cleanText, errorMessage, type Logger, VspcError } from '../base/index.ts'
import { ConfigError, type ConfigProblem, checkShape, readConfigFile, type SchemaNode } from '../config/index.ts'
import { type Endpoint, parseEndpoint } from '../transport/index.ts'
import { connect, parseVsphereUrl, type VsphereSession } from '../vsphere/index.ts'

export interface VsphereFlags {
  vsphere?: string
  user?: string
  passwordFile?: string
  ca?: string
  pin?: string
  dial?: string
  config?: string
}

/** Everything checked. The password itself is not here: it is read from its file at each login, and not kept. */
export interface VsphereAccess {
  readonly url: string
  readonly user: string
  readonly passwordFile: string
  /** PEM file; null: the authorities that Node comes with. */
  readonly ca: string | null
  /** 64 lower-case hex digits. */
  readonly pin: string | null
  readonly dial: Endpoint | null
}

interface VsphereSettings {
  url?: string
  user?: string
  passwordFile?: string
  caFile?: string
  pin?: string
  dial?: string
}

type Name = keyof VsphereSettings

const FLAG: Record<Name, string> = {
  url: '--vsphere',
  user: '--user',
  passwordFile: '--password-file',
  caFile: '--ca',
  pin: '--pin',
  dial: '--dial',
}
const VARIABLE: Record<Name, string> = {
  url: 'VSPC_VSPHERE_URL',
  user: 'VSPC_VSPHERE_USER',
  passwordFile: 'VSPC_VSPHERE_PASSWORD_FILE',
  caFile: 'VSPC_VSPHERE_CA_FILE',
  pin: 'VSPC_VSPHERE_PIN',
  dial: 'VSPC_VSPHERE_DIAL',
}
const NAMES = Object.keys(FLAG) as Name[]
const TRUST = ['caFile', 'pin'] as const
/** Where systemd puts what LoadCredential=vsphere-password:FILE names. */
const CREDENTIAL = 'vsphere-password'

const SCHEMA: SchemaNode = {
  type: 'object',
  properties: {
    vsphere: { type: 'object', properties: Object.fromEntries(NAMES.map((name) => [name, { type: 'string' }])) },
  },
}

/** The options of every command that speaks to a vSphere API. */
export function addVsphereOptions(command: Command): Command {
  const add = (flags: string, text: string): void => {
    command.addOption(new Option(flags, text))
  }
  add('--vsphere <url>', 'of the vSphere API: https://HOST[:PORT]/sdk (env VSPC_VSPHERE_URL)')
  add('--user <name>', 'to log in as (env VSPC_VSPHERE_USER)')
  add('--password-file <file>', 'that holds the password (env VSPC_VSPHERE_PASSWORD_FILE)')
  add('--ca <file>', 'PEM file of the authorities to trust (env VSPC_VSPHERE_CA_FILE)')
  add('--pin <sha256:hex>', "of the server's certificate, which alone decides then (env VSPC_VSPHERE_PIN)")
  add('--dial <uri>', 'what to dial instead of the host of the URL (env VSPC_VSPHERE_DIAL)')
  add('--config <file>', 'YAML file with these settings in a section vsphere (env VSPC_CONFIG)')
  return command
}

/** One setting, and where it was made. */
interface Given {
  readonly text: string
  readonly at: Pick<ConfigProblem, 'where' | 'line' | 'column'>
  /** Relative paths are relative to it. */
  readonly directory: string
}

/**
 * Flags first, then environment, then the file; empty variables count as unset.
 * @throws VspcError VSPC_USAGE for what is missing, VSPC_CONFIG_READ; ConfigError with everything that is wrong.
 */
export function resolveVsphere(
  flags: VsphereFlags,
  env: NodeJS.ProcessEnv,
  directory: string = process.cwd(),
): VsphereAccess {
  const problems: ConfigProblem[] = []
  const given = gather(flags, env, directory, problems)
  const attempt = <T>(name: Name, read: (one: Given) => T): T | null => {
    const one = given.get(name)
    if (one === undefined) return null
    try {
      return read(one)
    } catch (error) {
      if (!(error instanceof VspcError)) throw error
      problems.push({ code: error.code, ...one.at, message: error.message })
      return null
    }
  }
  const url = attempt('url', ({ text }) => {
    parseVsphereUrl(text)
    return text
  })
  const user = attempt('user', ({ text }) => text)
  const ca = attempt('caFile', readableFile)
  const pin = attempt('pin', ({ text }) => parsePin(text))
  const dial = attempt('dial', ({ text }) => parseEndpoint(text, 'dial', 'plain'))
  const passwordFile = attempt('passwordFile', readableFile) ?? credentialFile(env)
  if (problems.length > 0) throw new ConfigError(problems)
  if (url === null) throw missing('the vSphere API', 'url', 'https://vcenter.example.com/sdk')
  if (user === null) throw missing('the user', 'user', 'vspc@vsphere.local')
  if (passwordFile === null) throw missing('the file with the password', 'passwordFile', '/etc/vspc/password')
  return { url, user, passwordFile, ca, pin, dial }
}

/** Logs in; the caller closes the session. @throws as {@link connect}; VSPC_USAGE for a password that is not there. */
export function connectVsphere(
  access: VsphereAccess,
  { signal, clock, log }: { signal: AbortSignal; clock: Clock; log: Logger },
): Promise<VsphereSession> {
  const { url, user, passwordFile, ca, pin, dial } = access
  return connect({ url, user, ca, pin, dial, signal, clock, log, password: () => readPassword(passwordFile) })
}

/** What whoever runs this should hear about the file; null = nothing. */
export function passwordFileWarning({ passwordFile }: VsphereAccess): string | null {
  if ((statSync(passwordFile).mode & 0o004) === 0) return null
  return `every user of this machine may read ${cleanText(passwordFile, 300)}: chmod 600 it`
}

async function readPassword(file: string): Promise<string> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new VspcError('VSPC_USAGE', `cannot read the password: ${errorMessage(cause)}`, { cause })
  }
  // An editor ends the line.
  const password = text.replace(/\r?\n$/, '')
  if (password === '')
    throw new VspcError('VSPC_USAGE', `${cleanText(file, 300)} is empty; it has to hold the password`)
  return password
}

function gather(
  flags: VsphereFlags,
  env: NodeJS.ProcessEnv,
  directory: string,
  problems: ConfigProblem[],
): Map<Name, Given> {
  const fromFlags: VsphereSettings = {
    ...(flags.vsphere === undefined ? {} : { url: flags.vsphere }),
    ...(flags.user === undefined ? {} : { user: flags.user }),
    ...(flags.passwordFile === undefined ? {} : { passwordFile: flags.passwordFile }),
    ...(flags.ca === undefined ? {} : { caFile: flags.ca }),
    ...(flags.pin === undefined ? {} : { pin: flags.pin }),
    ...(flags.dial === undefined ? {} : { dial: flags.dial }),
  }
  const given = new Map<Name, Given>()
  const file = flags.config ?? env['VSPC_CONFIG']
  if (file) gatherFile(file, directory, problems, given)
  const fromEnv = Object.fromEntries(NAMES.map((name) => [name, env[VARIABLE[name]] || undefined]))
  layOver(given, fromEnv, VARIABLE, directory)
  layOver(given, fromFlags, FLAG, directory)
  return given
}

function layOver(
  given: Map<Name, Given>,
  layer: { readonly [name in Name]?: string | undefined },
  places: Record<Name, string>,
  directory: string,
): void {
  // Who names one way to trust the server does not mean the other one of a layer below.
  if (layer.caFile !== undefined || layer.pin !== undefined) for (const name of TRUST) given.delete(name)
  for (const name of NAMES) {
    const text = layer[name]
    if (text !== undefined) given.set(name, { text, at: { where: places[name], line: null, column: null }, directory })
  }
}

/** The file may be that of the server, with sections that are not ours to judge. */
function gatherFile(file: string, directory: string, problems: ConfigProblem[], given: Map<Name, Given>): void {
  const source = readConfigFile(file, directory)
  const { values } = source
  const isRecord = typeof values === 'object' && values !== null && !Array.isArray(values)
  if (isRecord && !('vsphere' in values)) return
  const ours = isRecord && 'vsphere' in values ? { ...source, values: { vsphere: values.vsphere } } : source
  const { vsphere = {} } = checkShape<{ vsphere?: VsphereSettings }>(SCHEMA, ours, problems)
  for (const name of NAMES) {
    const text = vsphere[name]
    if (text === undefined) continue
    given.set(name, { text, at: source.locate(['vsphere', name], 'value'), directory: source.directory })
  }
}

function readableFile({ text, directory }: Given): string {
  const path = resolve(directory, text)
  try {
    if (statSync(path).isFile()) return path
  } catch (cause) {
    throw new VspcError('VSPC_USAGE', `${cleanText(text, 300)}: ${errorMessage(cause)}`, { cause })
  }
  throw new VspcError('VSPC_USAGE', `${cleanText(text, 300)} is no file`)
}

function parsePin(text: string): string {
  const digits = /^sha256:(.*)$/i.exec(text.trim())?.[1]?.replaceAll(':', '').toLowerCase() ?? ''
  if (/^[0-9a-f]{64}$/.test(digits)) return digits
  const how = 'sha256: and the 64 hex digits of "openssl x509 -noout -fingerprint -sha256 -in CERT"'
  throw new VspcError('VSPC_USAGE', `"${cleanText(text, 100)}" is no fingerprint; accepted is ${how}`)
}

function credentialFile(env: NodeJS.ProcessEnv): string | null {
  const directory = env['CREDENTIALS_DIRECTORY']
  if (!directory) return null
  const path = join(directory, CREDENTIAL)
  return existsSync(path) ? path : null
}

function missing(what: string, name: Name, example: string): VspcError {
  const places = `${FLAG[name]}, ${VARIABLE[name]} or vsphere.${name} in the configuration file`
  return new VspcError('VSPC_USAGE', `${what} is not given: use ${places}, such as ${example}`)
}
