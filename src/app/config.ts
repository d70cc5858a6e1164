/** Configuration from flags, environment, file and defaults, in this order of precedence, checked as a whole. */
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { type AlertsConfig, alertsSettings } from '../alerts/index.ts'
import {
  type AccessDraft,
  accessSettings,
  GivenAccess,
  type GuestinfoConfig,
  guestinfoSettings,
  missingSetting,
  type TrackConfig,
  trackSettings,
  VSPHERE_VARIABLES,
  type VsphereAccess,
} from '../appliance/index.ts'
import { type Limits, limitsWith } from '../base/index.ts'
import {
  ConfigError,
  type ConfigProblem,
  readConfigFile,
  type SettingPath,
  type SettingsSource,
} from '../config/index.ts'
import type { HooksConfig } from '../hooks/index.ts'
import {
  DEFAULT_TRUSTED_PROXIES,
  type Endpoint,
  type EndpointPattern,
  formatEndpoint,
  formatHostPort,
  parseEndpoint,
} from '../transport/index.ts'
import { type ForwardRule, formatForward } from '../vspc/index.ts'
import { type AccessConfig, type AuditConfig, effectiveAccess, layAccess, layAudit } from './access/settings.ts'
import { checkHttp, checkHttpUnguarded, firstOf } from './config-http.ts'
import { type ConfigLayer, readLayer } from './config-layer.ts'
import {
  DEFAULT_HTTP,
  DEFAULT_LISTEN,
  type HistoryKind,
  type LogLevel,
  type Settings,
  type WriterPolicy,
} from './config-schema.ts'
import { type HttpAddress, parseHttpAddress } from './http-address.ts'
import { type LogFilesConfig, logFilesSettings } from './log-files/settings.ts'
import { layTelnet, type TelnetConfig, telnetSettings } from './telnet/settings.ts'

/** Everything that is configured, checked and in its final form. */
export interface Config {
  /** As given; null when there is none. */
  readonly file: string | null
  /** Endpoints for VMs: their `vm` parameters are set. */
  readonly listen: readonly Endpoint[]
  readonly dial: readonly Endpoint[]
  readonly forward: readonly ForwardRule[]
  /** Null: off. */
  readonly http: HttpAddress | null
  /** Null: plain HTTP. */
  readonly https: HttpsFiles | null
  /** Beside those of the certificate; see http-guard.ts. */
  readonly httpNames: readonly string[]
  /** Plain text on addresses that others reach is meant so. */
  readonly httpPlain: boolean
  /** Null: nobody has to show who they are. */
  readonly access: AccessConfig | null
  /** Null: nothing is recorded. */
  readonly audit: AuditConfig | null
  /** Absolute, as are `capture` and the files named in endpoints. */
  readonly dataDir: string
  /** Nobody has named it: it may be in use by another server, which is no mistake of anybody's. */
  readonly dataDirIsDefault: boolean
  readonly history: HistoryKind
  readonly logFiles: LogFilesConfig | null
  readonly capture: string | null
  readonly captureRedact: boolean
  readonly serviceUris: readonly string[]
  readonly allowDial: readonly EndpointPattern[]
  /** As `parseTrustedSources` takes them; checked. */
  readonly trustedProxies: readonly string[]
  readonly writers: WriterPolicy
  readonly logLevel: LogLevel
  /** Null where nobody needs it. */
  readonly vsphere: VsphereAccess | null
  /** Null: the appliance's host is not followed. */
  readonly track: TrackConfig | null
  /** Null: what VMs publish is not followed. */
  readonly guestinfo: GuestinfoConfig | null
  /** Null: no Telnet for people. */
  readonly telnet: TelnetConfig | null
  /** Null: output is not looked at. */
  readonly alerts: AlertsConfig | null
  /** Null: nobody is told of events. */
  readonly hooks: HooksConfig | null
  readonly limits: Limits
}

/** PEM files; absolute. */
export interface HttpsFiles {
  readonly cert: string
  readonly key: string
  /** Null: nobody is asked for a certificate. */
  readonly clientCa: string | null
}

export interface ConfigInputs {
  /** The configuration file; when not given, that of VSPC_CONFIG, if any. */
  readonly file?: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Values given on the command line, under the names of the settings. */
  readonly flags: Settings
  /** Relative paths on the command line are relative to this; default the working directory. */
  readonly directory?: string
}

/**
 * Reads and checks the whole configuration. Each source is checked whole, also what another one overrides: a mistake
 * does not hide until the flag is gone.
 * @throws ConfigError with all problems; VspcError VSPC_CONFIG_READ.
 */
export function loadConfig(inputs: ConfigInputs): Config {
  const directory = inputs.directory ?? process.cwd()
  const file = inputs.file ?? nonEmpty(inputs.env['VSPC_CONFIG']) ?? null
  const sources = [flagSource(inputs.flags, directory), environmentSource(inputs.env, directory)]
  if (file !== null) sources.push(readConfigFile(file, directory))
  const problems: ConfigProblem[] = []
  const layers = sources.map((source) => readLayer(source, problems))
  const http = firstOf(layers, 'http')
  const dataDir = firstOf(layers, 'dataDir')
  const [cert, key, clientCa] = [
    firstOf(layers, 'httpCert'),
    firstOf(layers, 'httpKey'),
    firstOf(layers, 'httpClientCa'),
  ]
  const accessLayers = layers.map(({ access }) => access)
  const track = firstOf(layers, 'track') ?? null
  const guestinfo = firstOf(layers, 'guestinfo') ?? null
  const vsphere = layVsphere(layers, inputs, directory, track !== null || guestinfo !== null, problems)
  const config: Config = {
    file,
    listen: firstOf(layers, 'listen') ?? DEFAULT_LISTEN.map((uri) => parseEndpoint(uri, 'listen', 'vm')),
    dial: firstOf(layers, 'dial') ?? [],
    forward: firstOf(layers, 'forward') ?? [],
    http: http === undefined ? parseHttpAddress(DEFAULT_HTTP) : http,
    https: cert === undefined || key === undefined ? null : { cert, key, clientCa: clientCa ?? null },
    httpNames: firstOf(layers, 'httpNames') ?? [],
    httpPlain: firstOf(layers, 'httpPlain') ?? false,
    access: layAccess(accessLayers, dataDir ?? defaultDataDir(inputs.env), clientCa !== undefined),
    audit: layAudit(accessLayers),
    dataDir: dataDir ?? defaultDataDir(inputs.env),
    dataDirIsDefault: dataDir === undefined,
    history: firstOf(layers, 'history') ?? 'disk',
    logFiles: firstOf(layers, 'logFiles') ?? null,
    capture: firstOf(layers, 'capture') ?? null,
    captureRedact: firstOf(layers, 'captureRedact') ?? false,
    serviceUris: firstOf(layers, 'serviceUris') ?? [],
    allowDial: firstOf(layers, 'allowDial') ?? [],
    trustedProxies: firstOf(layers, 'trustedProxies') ?? DEFAULT_TRUSTED_PROXIES,
    writers: firstOf(layers, 'writers') ?? 'shared',
    logLevel: firstOf(layers, 'logLevel') ?? 'info',
    vsphere: missingSetting(vsphere) === null ? (vsphere as VsphereAccess) : null,
    track,
    guestinfo,
    telnet: layTelnet(layers.map(({ telnet }) => telnet)),
    alerts: firstOf(layers, 'alerts') ?? null,
    hooks: firstOf(layers, 'hooks') ?? null,
    limits: limitsWith(Object.assign({}, ...layers.map(({ limits }) => limits).reverse())),
  }
  // What is missing because it was wrong would only cause further complaints.
  if (problems.length === 0) {
    checkTogether(config, vsphere, sources.at(-1), problems)
    checkHttp(config, layers, sources, problems)
  } else {
    checkHttpUnguarded(config, layers, sources, problems)
  }
  if (problems.length > 0) throw new ConfigError(problems.sort(byPlace))
  return config
}

/** @param needed the environment may be meant for other commands: it only counts where a section cannot do without. */
function layVsphere(
  layers: readonly ConfigLayer[],
  { env }: ConfigInputs,
  directory: string,
  needed: boolean,
  problems: ConfigProblem[],
): AccessDraft {
  const given = new GivenAccess()
  for (const { vsphere } of [...layers].reverse()) if (vsphere !== undefined) given.addAll(vsphere)
  if (needed) {
    const fromEnvironment = new GivenAccess()
    fromEnvironment.addEnvironment(env, directory)
    fromEnvironment.check({}, problems)
    given.addAll(fromEnvironment)
  }
  // What is wrong in any layer has been told.
  return given.check(env, [])
}

/** From top to bottom; flags and environment first. */
function byPlace(a: ConfigProblem, b: ConfigProblem): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0)
}

/** The effective settings, as they would stand in a file. */
export function effectiveSettings(config: Config): Settings {
  return {
    listen: config.listen.map(formatEndpoint),
    dial: config.dial.map(formatEndpoint),
    forward: config.forward.map(formatForward),
    http: config.http === null ? 'off' : formatHostPort(config.http.host, config.http.tcpPort),
    ...(config.https === null ? {} : { httpCert: config.https.cert, httpKey: config.https.key }),
    ...(config.https?.clientCa == null ? {} : { httpClientCa: config.https.clientCa }),
    httpNames: [...config.httpNames],
    httpPlain: config.httpPlain,
    dataDir: config.dataDir,
    history: config.history,
    ...(config.logFiles === null ? {} : { logFiles: logFilesSettings(config.logFiles) }),
    ...(config.capture === null ? {} : { capture: config.capture }),
    captureRedact: config.captureRedact,
    serviceUris: [...config.serviceUris],
    allowDial: config.allowDial.map(({ text }) => text),
    trustedProxies: [...config.trustedProxies],
    writers: config.writers,
    logLevel: config.logLevel,
    ...(config.vsphere === null ? {} : { vsphere: accessSettings(config.vsphere) }),
    ...(config.track === null ? {} : { track: trackSettings(config.track) }),
    ...(config.guestinfo === null ? {} : { guestinfo: guestinfoSettings(config.guestinfo) }),
    ...(config.telnet === null ? {} : { telnet: telnetSettings(config.telnet) }),
    ...(config.access === null && config.audit === null
      ? {}
      : { access: effectiveAccess(config.access, config.audit, config.https?.clientCa != null) }),
    ...(config.alerts === null ? {} : { alerts: alertsSettings(config.alerts) }),
    ...(config.hooks === null ? {} : { hooks: [...config.hooks.settings] }),
    limits: { ...config.limits },
  }
}

/** Flags that are not named after their setting. */
const SPECIAL_FLAGS: { readonly [setting: string]: string } = {
  serviceUris: '--service-uri',
  trustedProxies: '--trusted-proxy',
  captureRedact: '--redact',
  httpNames: '--http-name',
}

/** Of settings in sections. */
const SECTION_FLAGS: { readonly [path: string]: string } = {
  'telnet.menu': '--telnet-menu',
  'access.tokens': '--tokens',
  'access.audit.file': '--audit',
}

/** The flag of a setting: `dataDir` is `--data-dir`. */
export function flagName(setting: string): string {
  const special = SPECIAL_FLAGS[setting]
  if (special !== undefined) return special
  return `--${setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

function flagSource(flags: Settings, directory: string): SettingsSource {
  // Commander gives undefined for what was not on the command line.
  const values = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))
  return {
    values,
    directory,
    locate: (path) => ({
      where: SECTION_FLAGS[path.join('.')] ?? flagName(String(path[0])),
      line: null,
      column: null,
    }),
  }
}

function environmentSource(env: ConfigInputs['env'], directory: string): SettingsSource {
  const logLevel = nonEmpty(env['VSPC_LOG_LEVEL'])
  const tokens = nonEmpty(env['VSPC_TOKENS'])
  return {
    values: {
      ...(logLevel === undefined ? {} : { logLevel }),
      ...(tokens === undefined ? {} : { access: { tokens } }),
    },
    directory,
    locate: ([name]) => ({ where: name === 'access' ? 'VSPC_TOKENS' : 'VSPC_LOG_LEVEL', line: null, column: null }),
  }
}

/** An empty variable counts as none, as `VSPC_CONFIG= vspc serve` is meant. */
function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value
}

/** XDG base directories: state belongs to $XDG_STATE_HOME, which counts only if absolute. */
function defaultDataDir(env: ConfigInputs['env']): string {
  const state = env['XDG_STATE_HOME']
  if (state !== undefined && isAbsolute(state)) return join(state, 'vspc')
  return join(nonEmpty(env['HOME']) ?? homedir(), '.local', 'state', 'vspc')
}

/** What no setting shows on its own. */
function checkTogether(
  config: Config,
  access: AccessDraft,
  source: SettingsSource | undefined,
  problems: ConfigProblem[],
): void {
  const report = (path: SettingPath, message: string, part: 'key' | 'value' = 'value'): void => {
    const place = config.file === null ? null : source?.locate(path, part)
    problems.push({
      code: 'VSPC_CONFIG_INVALID',
      ...(place ?? { where: 'configuration', line: null, column: null }),
      message,
    })
  }
  if (config.listen.length === 0 && config.dial.length === 0) {
    report(['listen'], 'there is nothing to do: listen and dial are both empty; give at least one endpoint')
  }
  if (config.logFiles !== null && config.history !== 'disk') {
    report(['logFiles'], `logFiles are made from history on disk, and "history" is "${config.history}"`, 'key')
  }
  const { redialMinMs, redialMaxMs } = config.limits
  if (redialMinMs > redialMaxMs) {
    report(
      ['limits', 'redialMinMs'],
      `limits.redialMinMs is ${redialMinMs}, more than limits.redialMaxMs (${redialMaxMs}); accepted is at most that`,
    )
  }
  const { ports, menu } = config.telnet ?? { ports: null, menu: null }
  if (ports !== null && menu !== null && menu.tcpPort >= ports.first && menu.tcpPort <= ports.last) {
    report(['telnet', 'menu'], `telnet.menu is on TCP port ${menu.tcpPort}, one of telnet.ports; use another one`)
  }
  const missing = missingSetting(access)
  if (missing === null) return
  for (const name of ['track', 'guestinfo'] as const) {
    if (config[name] === null) continue
    report(
      [name],
      `${name} needs vsphere.${missing}, which is not given; accepted are a section vsphere with url, user and ` +
        `passwordFile, or ${VSPHERE_VARIABLES[missing]} in the environment`,
      'key',
    )
  }
}
