/** A relay's configuration from flags, environment and file, in this order of precedence, checked as a whole. */
import { resolve } from 'node:path'
import { cleanText } from '../base/index.ts'
import { ConfigError, type ConfigProblem, readConfigFile, type SettingsSource } from '../config/index.ts'
import { DEFAULT_TRUSTED_PROXIES, type Endpoint, formatEndpoint } from '../transport/index.ts'
import { type RelayLayer, type RoutePlace, readRelayLayer } from './config-layer.ts'
import type { RelaySettings } from './config-schema.ts'
import { relayLimitsWith } from './limits.ts'
import { unknownHop } from './next-hops.ts'
import { isAnyPort, placeOf } from './places.ts'
import type { RelayPlan, RoutePlan } from './plan.ts'

const LABEL = /^[A-Za-z0-9._-]{1,64}$/
/** Of the field of a PROXY header. */
const MAX_NAME_BYTES = 128

export interface RelayInputs {
  /** The configuration file, if there is one. */
  readonly file?: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Values given on the command line, under the names of the settings; at most one route. */
  readonly flags: RelaySettings
  /** Of the route on the command line. */
  readonly vmName?: string
  readonly label?: string
  /** Relative paths on the command line are relative to this; default the working directory. */
  readonly directory?: string
}

/**
 * Reads and checks the whole configuration.
 * @throws ConfigError with all problems; VspcError VSPC_CONFIG_READ.
 */
export function loadRelayConfig(inputs: RelayInputs): RelayPlan {
  const directory = inputs.directory ?? process.cwd()
  const file = inputs.file ?? null
  const fileSource = file === null ? null : readConfigFile(file, directory)
  const problems: ConfigProblem[] = []
  const flags = readRelayLayer(flagSource(inputs.flags, directory), problems)
  checkIdentity(inputs, problems)
  const fromEnv = readRelayLayer(environmentSource(inputs.env, directory), problems)
  const fromFile = fileSource === null ? null : readRelayLayer(fileSource, problems)
  // What is missing because it was wrong would only cause further complaints.
  if (problems.length > 0) throw new ConfigError(problems.sort(byPlace))
  const layers = [flags, fromEnv, ...(fromFile === null ? [] : [fromFile])]
  const plan: RelayPlan = {
    file,
    directory: fileSource?.directory ?? resolve(directory),
    routes: named([
      ...flags.routes.map((route) => withIdentity(route, inputs)),
      ...(fromFile?.routes.map(({ plan: route }) => route) ?? []),
    ]),
    nextHops: new Map([...(fromFile?.nextHops ?? []), ...flags.nextHops]),
    control: firstOf(layers, 'control') ?? null,
    trustedProxies: firstOf(layers, 'trustedProxies') ?? DEFAULT_TRUSTED_PROXIES,
    stateFile: firstOf(layers, 'stateFile') ?? null,
    logLevel: firstOf(layers, 'logLevel') ?? 'info',
    limits: relayLimitsWith(Object.assign({}, ...layers.map(({ limits }) => limits).reverse())),
  }
  checkTogether(plan, [...flags.routes, ...(fromFile?.routes ?? [])], fileSource, problems)
  if (problems.length > 0) throw new ConfigError(problems.sort(byPlace))
  return plan
}

/** From top to bottom; flags and environment first. */
function byPlace(a: ConfigProblem, b: ConfigProblem): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0)
}

function firstOf<Name extends keyof RelayLayer>(layers: readonly RelayLayer[], name: Name) {
  return layers.find((layer) => layer[name] !== undefined)?.[name]
}

/** The same as `name=` and `label=` are: the other end would turn away every stream that says otherwise. */
function checkIdentity({ vmName, label }: RelayInputs, problems: ConfigProblem[]): void {
  const wrong = (where: string, message: string): void => {
    problems.push({ code: 'VSPC_CONFIG_INVALID', where, line: null, column: null, message })
  }
  if (label !== undefined && !LABEL.test(label)) {
    wrong('--label', `label "${cleanText(label, 80)}" is not usable; accepted are 1 to 64 of A-Z a-z 0-9 . _ -`)
  }
  if (vmName !== undefined && (vmName === '' || new TextEncoder().encode(vmName).length > MAX_NAME_BYTES)) {
    wrong('--name', `name "${cleanText(vmName, 80)}" is not usable; accepted are 1 to ${MAX_NAME_BYTES} bytes of UTF-8`)
  }
}

/** What the flags say counts more than what stands in the URIs. */
function withIdentity({ plan }: RoutePlace, inputs: RelayInputs): RoutePlan {
  return { ...plan, vmName: inputs.vmName ?? plan.vmName, label: inputs.label ?? plan.label }
}

/** Routes without a name are numbered. */
function named(routes: readonly RoutePlan[]): RoutePlan[] {
  return routes.map((route, index) => (route.name === '' ? { ...route, name: `route${index + 1}` } : route))
}

const FLAGS: { readonly [setting: string]: string } = {
  nextHops: '--next-hop',
  control: '--control',
  trustedProxies: '--trusted-proxy',
  stateFile: '--state-file',
  logLevel: '--log-level',
}

function flagSource(flags: RelaySettings, directory: string): SettingsSource {
  const values = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))
  return {
    values,
    directory,
    locate: ([setting, _index, name]) => {
      const where =
        setting === 'routes'
          ? name === 'whenAway'
            ? '--when-away'
            : name === 'listen' || name === 'dial'
              ? `--${name}`
              : '--listen, --dial'
          : (FLAGS[String(setting)] ?? `--${String(setting)}`)
      return { where, line: null, column: null }
    },
  }
}

function environmentSource(env: RelayInputs['env'], directory: string): SettingsSource {
  const logLevel = env['VSPC_LOG_LEVEL']
  return {
    // An empty variable counts as none.
    values: logLevel === undefined || logLevel === '' ? {} : { logLevel },
    directory,
    locate: () => ({ where: 'VSPC_LOG_LEVEL', line: null, column: null }),
  }
}

/** What no setting shows on its own. */
function checkTogether(
  plan: RelayPlan,
  places: readonly RoutePlace[],
  source: SettingsSource | null,
  problems: ConfigProblem[],
): void {
  const invalid = (at: RoutePlace['at'], message: string, code: ConfigProblem['code'] = 'VSPC_CONFIG_INVALID') =>
    problems.push({ code, ...at, message })
  if (plan.routes.length === 0) {
    const nowhere = { where: plan.file ?? '--listen, --dial', line: null, column: null }
    invalid(
      source?.locate(['routes'], 'value') ?? nowhere,
      'there is nothing to do: a route needs two sides; give two of listen and dial',
    )
  }
  const names = new Set<string>()
  const listening = new Map<string, string>()
  for (const [index, route] of plan.routes.entries()) {
    const at = places[index]?.at ?? { where: 'configuration', line: null, column: null }
    if (names.has(route.name)) invalid(at, `a route named "${route.name}" stands above already; choose another name`)
    names.add(route.name)
    for (const side of route.sides) {
      if (side.role === 'dial') {
        const { hop } = side
        if (hop.kind === 'endpoint' || plan.nextHops.has(hop.name)) continue
        invalid(at, unknownHop(hop.name, [...plan.nextHops.keys()]).message, 'VSPC_RELAY_NEXT_HOP')
        continue
      }
      claim(side.endpoint, `route ${route.name}`, (message) => invalid(at, message))
    }
  }
  if (plan.control !== null) {
    const at = source?.locate(['control'], 'value') ?? { where: '--control', line: null, column: null }
    claim(plan.control, 'the control endpoint', (message) => invalid(at, message))
  }
  const { redialMinMs, redialMaxMs } = plan.limits
  if (redialMinMs > redialMaxMs) {
    invalid(
      source?.locate(['limits', 'redialMinMs'], 'value') ?? { where: 'limits', line: null, column: null },
      `limits.redialMinMs is ${redialMinMs}, more than limits.redialMaxMs (${redialMaxMs}); accepted is at most that`,
    )
  }

  function claim(endpoint: Endpoint, owner: string, report: (message: string) => void): void {
    if (isAnyPort(endpoint)) return
    const place = placeOf(endpoint)
    const before = listening.get(place)
    if (before === undefined) listening.set(place, owner)
    else report(`endpoint "${formatEndpoint(endpoint)}": ${before} listens there already; choose another place`)
  }
}
