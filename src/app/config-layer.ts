/** One source of settings, checked setting by setting and brought into final form. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { type AlertsConfig, readAlertsSection } from '../alerts/index.ts'
import {
  GivenAccess,
  type GuestinfoConfig,
  type GuestinfoSettings,
  readGuestinfoSection,
  readTrackSection,
  type TrackConfig,
  type TrackSettings,
} from '../appliance/index.ts'
import { cleanText, type ErrorCode, errorMessage, type Limits, VspcError } from '../base/index.ts'
import {
  type ConfigProblem,
  checkShape,
  formatPath,
  type PartialSettings,
  type SettingPath,
  type SettingsSource,
} from '../config/index.ts'
import { type HooksConfig, readHooksSection } from '../hooks/index.ts'
import {
  type Endpoint,
  type EndpointPattern,
  type EndpointRole,
  formatEndpoint,
  NO_LAYERS,
  parseEndpoint,
  parseEndpointPattern,
  parseTrustedSources,
  type TlsParameters,
} from '../transport/index.ts'
import { type ForwardRule, parseForward } from '../vspc/index.ts'
import { type AccessLayer, type AccessSettings, readAccessLayer } from './access/settings.ts'
import { type HistoryKind, type LogLevel, type Settings, SettingsSchema, type WriterPolicy } from './config-schema.ts'
import { type HttpAddress, parseHttpAddress } from './http-address.ts'
import { parsePublicName } from './http-guard.ts'
import { type LogFilesConfig, type LogFilesSettings, readLogFiles } from './log-files/settings.ts'
import { EVENT_TYPES } from './schemas.ts'
import { parseEscape } from './telnet/escape.ts'
import { parseTelnetMenu, parseTelnetPorts, type TelnetLayer, type TelnetSettings } from './telnet/settings.ts'

const MAX_SERVICE_URI_LENGTH = 1024

/** What one source says; undefined where it says nothing, or something wrong. */
export interface ConfigLayer {
  readonly listen: readonly Endpoint[] | undefined
  readonly dial: readonly Endpoint[] | undefined
  readonly forward: readonly ForwardRule[] | undefined
  readonly http: HttpAddress | null | undefined
  readonly httpCert: string | undefined
  readonly httpKey: string | undefined
  readonly httpClientCa: string | undefined
  readonly httpNames: readonly string[] | undefined
  readonly httpPlain: boolean | undefined
  readonly dataDir: string | undefined
  readonly history: HistoryKind | undefined
  readonly logFiles: LogFilesConfig | undefined
  readonly capture: string | undefined
  readonly captureRedact: boolean | undefined
  readonly serviceUris: readonly string[] | undefined
  readonly allowDial: readonly EndpointPattern[] | undefined
  readonly trustedProxies: readonly string[] | undefined
  readonly writers: WriterPolicy | undefined
  readonly logLevel: LogLevel | undefined
  readonly vsphere: GivenAccess | undefined
  readonly track: TrackConfig | undefined
  readonly guestinfo: GuestinfoConfig | undefined
  readonly telnet: TelnetLayer | undefined
  readonly access: AccessLayer | undefined
  readonly alerts: AlertsConfig | undefined
  readonly hooks: HooksConfig | undefined
  readonly limits: Partial<Limits>
}

/** Adds everything that is wrong to `problems`. */
export function readLayer(source: SettingsSource, problems: ConfigProblem[]): ConfigLayer {
  const settings = checkShape<Settings>(SettingsSchema, source, problems)
  return new LayerReader(source, problems).read(settings)
}

class LayerReader {
  readonly #source: SettingsSource
  readonly #problems: ConfigProblem[]

  constructor(source: SettingsSource, problems: ConfigProblem[]) {
    this.#source = source
    this.#problems = problems
  }

  read(settings: PartialSettings<Settings>): ConfigLayer {
    const { http } = settings
    return {
      listen: this.#endpoints('listen', settings.listen),
      dial: this.#endpoints('dial', settings.dial),
      forward: this.#each('forward', settings.forward, (text) => this.#forward(text)),
      http: http === undefined ? undefined : this.#attempt(['http'], () => parseHttpAddress(http)),
      httpCert: this.#path('httpCert', settings.httpCert),
      httpKey: this.#path('httpKey', settings.httpKey),
      httpClientCa: this.#path('httpClientCa', settings.httpClientCa),
      httpNames: this.#each('httpNames', settings.httpNames, parsePublicName),
      httpPlain: settings.httpPlain,
      dataDir: this.#path('dataDir', settings.dataDir),
      history: settings.history,
      logFiles: this.#logFiles(settings.logFiles),
      capture: this.#path('capture', settings.capture),
      captureRedact: settings.captureRedact,
      serviceUris: this.#serviceUris(settings.serviceUris),
      allowDial: this.#each('allowDial', settings.allowDial, parseEndpointPattern),
      trustedProxies: this.#each('trustedProxies', settings.trustedProxies, (text) => {
        parseTrustedSources([text])
        return text
      }),
      writers: settings.writers,
      logLevel: settings.logLevel,
      vsphere: this.#vsphere(settings.vsphere),
      track: this.#track(settings.track),
      guestinfo: this.#guestinfo(settings.guestinfo),
      telnet: settings.telnet === undefined ? undefined : this.#telnet(settings.telnet),
      access: settings.access === undefined ? undefined : this.#access(settings.access),
      hooks:
        settings.hooks === undefined
          ? undefined
          : readHooksSection(settings.hooks, this.#source, this.#problems, EVENT_TYPES),
      alerts:
        settings.alerts === undefined ? undefined : readAlertsSection(settings.alerts, this.#source, this.#problems),
      limits: (settings.limits ?? {}) as Partial<Limits>,
    }
  }

  /** Each source is checked on its own; who counts is decided when they are laid over each other. */
  #vsphere(settings: Settings['vsphere']): GivenAccess | undefined {
    if (settings === undefined) return undefined
    const given = new GivenAccess()
    given.addSection(settings, this.#source)
    given.check({}, this.#problems)
    return given
  }

  #track(settings: TrackSettings | undefined): TrackConfig | undefined {
    return settings === undefined ? undefined : (readTrackSection(settings, this.#source, this.#problems) ?? undefined)
  }

  #guestinfo(settings: GuestinfoSettings | undefined): GuestinfoConfig | undefined {
    if (settings === undefined) return undefined
    return readGuestinfoSection(settings, this.#source, this.#problems) ?? undefined
  }

  #telnet({ ports, menu, ...same }: TelnetSettings): TelnetLayer {
    return {
      ports: ports === undefined ? undefined : this.#attempt(['telnet', 'ports'], () => parseTelnetPorts(ports)),
      menu: menu === undefined ? undefined : this.#attempt(['telnet', 'menu'], () => parseTelnetMenu(menu)),
      notices: same.notices,
      binary: same.binary,
      escape: this.#escape('escape', same.escape),
      portEscape: this.#escape('portEscape', same.portEscape),
      cert: same.cert === undefined ? undefined : this.#resolve(same.cert),
      key: same.key === undefined ? undefined : this.#resolve(same.key),
    }
  }

  #logFiles(settings: LogFilesSettings | undefined): LogFilesConfig | undefined {
    if (settings === undefined) return undefined
    return this.#attempt(['logFiles'], () => readLogFiles(settings, (path) => this.#resolve(path)))
  }

  #escape(name: 'escape' | 'portEscape', text: string | undefined): TelnetLayer['escape'] {
    return text === undefined ? undefined : this.#attempt(['telnet', name], () => parseEscape(text, name))
  }

  #report(path: SettingPath, code: ErrorCode, message: string): void {
    this.#problems.push({ code, ...this.#source.locate(path, 'value'), message })
  }

  /** The value, or undefined once its problem is reported. */
  #attempt<T>(path: SettingPath, make: () => T): T | undefined {
    try {
      return make()
    } catch (error) {
      const code = error instanceof VspcError ? error.code : 'VSPC_CONFIG_INVALID'
      this.#report(path, code, errorMessage(error))
      return undefined
    }
  }

  #each<T>(
    name: keyof Settings,
    texts: readonly (string | null)[] | undefined,
    make: (text: string, index: number) => T,
  ): T[] | undefined {
    if (texts === undefined) return undefined
    const made: T[] = []
    for (const [index, text] of texts.entries()) {
      if (text === null) continue
      const value = this.#attempt([name, index], () => make(text, index))
      if (value !== undefined) made.push(value)
    }
    return made
  }

  #endpoints(role: EndpointRole, texts: readonly (string | null)[] | undefined): Endpoint[] | undefined {
    const seen = new Map<string, number>()
    return this.#each(role, texts, (text, index) => {
      const endpoint = this.#absolute(parseEndpoint(text, role, 'vm'))
      const place = placeOf(endpoint)
      const before = seen.get(place)
      // Port 0 is another one each time.
      const anyPort =
        ('tcpPort' in endpoint && endpoint.tcpPort === 0) || ('vsockPort' in endpoint && endpoint.vsockPort === 0)
      if (before !== undefined && !anyPort) {
        throw new VspcError(
          'VSPC_CONFIG_INVALID',
          `endpoint "${cleanText(text, 300)}": ${formatPath([role, before])} is the same place; name it once`,
        )
      }
      seen.set(place, index)
      return endpoint
    })
  }

  #forward(text: string): ForwardRule {
    const rule = parseForward(text)
    return { ...rule, template: this.#absolute(rule.template) }
  }

  /** Files named in an endpoint belong beside the file it stands in, like the directories. */
  #absolute(endpoint: Endpoint): Endpoint {
    if (!('tls' in endpoint) || endpoint.tls === null) return endpoint
    const file = (path: string | null): string | null => (path === null ? null : this.#resolve(path))
    const { cert, key, ca } = endpoint.tls
    const tls: TlsParameters = { ...endpoint.tls, cert: file(cert), key: file(key), ca: file(ca) }
    return endpoint.scheme === 'tls' ? { ...endpoint, tls } : { ...endpoint, tls }
  }

  #access(settings: AccessSettings): AccessLayer {
    return readAccessLayer(settings, this.#source, this.#problems, (path) => this.#resolve(path))
  }

  #path(
    name: 'dataDir' | 'capture' | 'httpCert' | 'httpKey' | 'httpClientCa',
    text: string | undefined,
  ): string | undefined {
    if (text === undefined) return undefined
    return this.#attempt([name], () => {
      if (text.trim() === '' || text.includes('\0')) {
        const what = name.startsWith('http') ? 'file' : 'directory'
        throw new VspcError('VSPC_CONFIG_INVALID', `${name} is empty; accepted is the path of a ${what}`)
      }
      return this.#resolve(text)
    })
  }

  /** `~/` is expanded, because files and `--data-dir=~/x` get no help from a shell. */
  #resolve(path: string): string {
    return path.startsWith('~/') ? join(homedir(), path.slice(2)) : resolve(this.#source.directory, path)
  }

  #serviceUris(texts: readonly (string | null)[] | undefined): string[] | undefined {
    return this.#each('serviceUris', texts, (text, index) => {
      if (text !== '' && text.length <= MAX_SERVICE_URI_LENGTH && cleanText(text, MAX_SERVICE_URI_LENGTH) === text) {
        return text
      }
      throw new VspcError(
        'VSPC_CONFIG_INVALID',
        `${formatPath(['serviceUris', index])} is not a serviceURI; accepted are 1 to ${MAX_SERVICE_URI_LENGTH} ` +
          'visible characters, without spaces around them',
      )
    })
  }
}

/** What two endpoints of one role may not share. */
function placeOf(endpoint: Endpoint): string {
  switch (endpoint.scheme) {
    case 'tcp':
    case 'tls':
      return formatEndpoint({ ...endpoint, scheme: 'tcp', tls: null, vm: null, layers: NO_LAYERS })
    case 'unix':
      return formatEndpoint({ ...endpoint, tls: null, vm: null, layers: NO_LAYERS })
    case 'fifo':
      return formatEndpoint({ ...endpoint, vm: null })
    case 'vsock':
    case 'hvsock':
      return formatEndpoint({ ...endpoint, vm: null, layers: NO_LAYERS })
  }
}
