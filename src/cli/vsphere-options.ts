/** How to reach a vSphere API: from flags, environment and configuration file, in this order of precedence. */
import { type Command, Option } from 'commander'
import {
  GivenAccess,
  missingSetting,
  VSPHERE_SCHEMA,
  VSPHERE_VARIABLES,
  type VsphereAccess,
  type VsphereSettingName,
  type VsphereSettings,
} from '../appliance/index.ts'
import { VspcError } from '../base/index.ts'
import { ConfigError, type ConfigProblem, checkShape, readConfigFile } from '../config/index.ts'

export { connectVsphere, passwordFileWarning, type VsphereAccess } from '../appliance/index.ts'

export interface VsphereFlags {
  vsphere?: string
  user?: string
  passwordFile?: string
  ca?: string
  pin?: string
  dial?: string
  config?: string
}

const FLAG: Readonly<Record<VsphereSettingName, string>> = {
  url: '--vsphere',
  user: '--user',
  passwordFile: '--password-file',
  caFile: '--ca',
  pin: '--pin',
  dial: '--dial',
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
  const given = new GivenAccess()
  const file = flags.config ?? env['VSPC_CONFIG']
  if (file) addFile(given, file, directory, problems)
  given.addEnvironment(env, directory)
  const { vsphere, user, passwordFile, ca, pin, dial } = flags
  given.add({ url: vsphere, user, passwordFile, caFile: ca, pin, dial }, directory, (name) => ({
    where: FLAG[name],
    line: null,
    column: null,
  }))
  const draft = given.check(env, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  const missing = missingSetting(draft)
  if (missing === null) return draft as VsphereAccess
  const [what, example] = MISSING[missing]
  const places = `${FLAG[missing]}, ${VSPHERE_VARIABLES[missing]} or vsphere.${missing} in the configuration file`
  throw new VspcError('VSPC_USAGE', `${what} is not given: use ${places}, such as ${example}`)
}

const MISSING = {
  url: ['the vSphere API', 'https://vcenter.example.com/sdk'],
  user: ['the user', 'vspc@vsphere.local'],
  passwordFile: ['the file with the password', '/etc/vspc/password'],
} as const

/** The file may be that of the server, with sections that are not ours to judge. */
function addFile(given: GivenAccess, file: string, directory: string, problems: ConfigProblem[]): void {
  const source = readConfigFile(file, directory)
  const { values } = source
  const isRecord = typeof values === 'object' && values !== null && !Array.isArray(values)
  if (isRecord && !('vsphere' in values)) return
  const ours = isRecord && 'vsphere' in values ? { ...source, values: { vsphere: values.vsphere } } : source
  const schema = { type: 'object', properties: { vsphere: VSPHERE_SCHEMA } }
  const { vsphere } = checkShape<{ vsphere?: VsphereSettings }>(schema, ours, problems)
  if (vsphere !== undefined) given.addSection(vsphere, source)
}
