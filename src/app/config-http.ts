/** Of the configuration: what the settings of the HTTP side do not show one by one. */
import { VspcError } from '../base/index.ts'
import type { ConfigProblem, SettingsSource } from '../config/index.ts'
import { checkBinding } from './access/binding.ts'
import type { Config } from './config.ts'
import type { ConfigLayer } from './config-layer.ts'
import type { Settings } from './config-schema.ts'
import { telnetFaults } from './telnet/binding.ts'

/** The value of the first layer that has one. */
export function firstOf<Name extends keyof ConfigLayer>(
  layers: readonly ConfigLayer[],
  name: Name,
): ConfigLayer[Name] | undefined {
  return layers.find((layer) => layer[name] !== undefined)?.[name]
}

/** @param sources of the layers, in their order. */
export function checkHttp(
  config: Config,
  layers: readonly ConfigLayer[],
  sources: readonly SettingsSource[],
  problems: ConfigProblem[],
): void {
  const report = (name: keyof Settings, message: string): void => {
    problems.push({ code: 'VSPC_CONFIG_INVALID', ...placeOf(name, layers, sources), message })
  }
  const before = problems.length
  const has = (name: 'httpCert' | 'httpKey' | 'httpClientCa'): boolean => firstOf(layers, name) !== undefined
  if (has('httpCert') && !has('httpKey'))
    report('httpCert', 'httpCert needs its key: give httpKey (--http-key FILE), too')
  if (has('httpKey') && !has('httpCert')) {
    report('httpKey', 'httpKey needs its certificate: give httpCert (--http-cert FILE), too')
  }
  if (has('httpClientCa') && !has('httpCert') && !has('httpKey')) {
    report(
      'httpClientCa',
      'httpClientCa needs HTTPS: give httpCert and httpKey (--http-cert FILE --http-key FILE), too',
    )
  }
  if (!has('httpClientCa') && layers.some(({ access }) => access?.certificates !== undefined)) {
    report('access', 'access.certificates needs httpClientCa, the CA that client certificates must come from')
  }
  for (const { setting, message } of config.telnet === null ? [] : telnetFaults(config.telnet, config.access)) {
    const source = sources[layers.findIndex((layer) => layer.telnet?.[setting] !== undefined)]
    const place = source?.locate(['telnet', setting], 'value') ?? { where: 'configuration', line: null, column: null }
    problems.push({ code: 'VSPC_CONFIG_INVALID', ...place, message })
  }
  if (problems.length === before) checkHttpBinding(config, layers, sources, problems)
}

/**
 * Beside other mistakes: an address that nothing in the configuration so much as tries to make safe. Anything else may be
 * missing because it was wrong, and is no complaint of its own.
 */
export function checkHttpUnguarded(
  config: Config,
  layers: readonly ConfigLayer[],
  sources: readonly SettingsSource[],
  problems: ConfigProblem[],
): void {
  const tried = sources.some(({ values }) => GUARDS.some((name) => Object.hasOwn(Object(values), name)))
  if (!tried) checkHttpBinding(config, layers, sources, problems)
}

const GUARDS = ['access', 'httpCert', 'httpKey', 'httpClientCa'] as const satisfies readonly (keyof Settings)[]

function checkHttpBinding(
  config: Config,
  layers: readonly ConfigLayer[],
  sources: readonly SettingsSource[],
  problems: ConfigProblem[],
): void {
  try {
    checkBinding(config)
  } catch (error) {
    if (!(error instanceof VspcError)) throw error
    problems.push({ code: error.code, ...placeOf('http', layers, sources), message: error.message })
  }
}

/** Of the source that counts. */
function placeOf(
  name: keyof Settings,
  layers: readonly ConfigLayer[],
  sources: readonly SettingsSource[],
): Pick<ConfigProblem, 'where' | 'line' | 'column'> {
  const source = sources[layers.findIndex((layer) => layer[name as keyof ConfigLayer] !== undefined)]
  return source?.locate([name], 'value') ?? { where: 'configuration', line: null, column: null }
}
