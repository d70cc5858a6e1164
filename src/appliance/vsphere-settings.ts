/** The settings of how to reach a vSphere API: one schema and one check for flags, environment and configuration file. */
import { existsSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { cleanText, errorMessage, VspcError } from '../base/index.ts'
import type { ConfigProblem, SettingsSource } from '../config/index.ts'
import { type Endpoint, formatEndpoint, parseEndpoint } from '../transport/index.ts'
import { parseVsphereUrl } from '../vsphere/index.ts'
import type { VsphereAccess } from './access.ts'

/** As they stand in a file. */
export interface VsphereSettings {
  url?: string
  user?: string
  passwordFile?: string
  caFile?: string
  pin?: string
  dial?: string
}

export type VsphereSettingName = keyof VsphereSettings

/** The section `vsphere`, as JSON Schema. `accepts` finishes the sentence "accepted is ...". */
export const VSPHERE_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  description: 'How to reach the vSphere API of the vCenter; see docs/tracking.md.',
  properties: {
    url: {
      type: 'string',
      description: 'Of the vSphere API: `https://HOST[:PORT]/sdk`.',
      accepts: 'a URL, such as https://vcenter.example.com/sdk',
    },
    user: {
      type: 'string',
      description: 'To log in as.',
      accepts: 'the name of a user, such as vspc@vsphere.local',
    },
    passwordFile: {
      type: 'string',
      description:
        'File with the password, read at each login. Default: the systemd credential `vsphere-password`, if there is one.',
      accepts: 'the path of a file',
    },
    caFile: {
      type: 'string',
      description: 'PEM file of the authorities to trust. Default: those of Node.js.',
      accepts: 'the path of a PEM file',
    },
    pin: {
      type: 'string',
      description: "Fingerprint of the server's certificate, which alone decides then: `sha256:` and 64 hex digits.",
      accepts: 'a fingerprint, such as sha256:1f:2e:...',
    },
    dial: {
      type: 'string',
      description: 'Endpoint to dial instead of the host of the URL, such as `vsock://host:8443`.',
      accepts: 'an endpoint URI, such as vsock://host:8443',
    },
  },
} as const

export const VSPHERE_VARIABLES: Readonly<Record<VsphereSettingName, string>> = {
  url: 'VSPC_VSPHERE_URL',
  user: 'VSPC_VSPHERE_USER',
  passwordFile: 'VSPC_VSPHERE_PASSWORD_FILE',
  caFile: 'VSPC_VSPHERE_CA_FILE',
  pin: 'VSPC_VSPHERE_PIN',
  dial: 'VSPC_VSPHERE_DIAL',
}

export const VSPHERE_SETTING_NAMES = Object.keys(VSPHERE_VARIABLES) as VsphereSettingName[]

const TRUST = ['caFile', 'pin'] as const
/** Where systemd puts what LoadCredential=vsphere-password:FILE names. */
const CREDENTIAL = 'vsphere-password'

/** One setting, and where it was made. */
interface GivenSetting {
  readonly text: string
  readonly at: Pick<ConfigProblem, 'where' | 'line' | 'column'>
  /** Relative paths are relative to it. */
  readonly directory: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** What is missing is null. */
export type AccessDraft = { readonly [name in keyof VsphereAccess]: VsphereAccess[name] | null }

/** Settings from several layers; those laid over later count more. */
export class GivenAccess {
  readonly #given = new Map<VsphereSettingName, GivenSetting>()

  /** @param locate where a setting was made. */
  add(
    layer: { readonly [name in VsphereSettingName]?: string | undefined },
    directory: string,
    locate: (name: VsphereSettingName) => GivenSetting['at'],
  ): void {
    if (TRUST.some((name) => layer[name] !== undefined)) this.#forgetTrust()
    for (const name of VSPHERE_SETTING_NAMES) {
      const text = layer[name]
      if (text !== undefined) this.#given.set(name, { text, at: locate(name), directory })
    }
  }

  addAll(layer: GivenAccess): void {
    if (TRUST.some((name) => layer.#given.has(name))) this.#forgetTrust()
    for (const [name, given] of layer.#given) this.#given.set(name, given)
  }

  /** The section of a file, which has fitted the schema. */
  addSection(settings: VsphereSettings, source: SettingsSource): void {
    this.add(settings, source.directory, (name) => source.locate(['vsphere', name], 'value'))
  }

  /** Empty variables count as unset. */
  addEnvironment(env: Environment, directory: string): void {
    const layer = Object.fromEntries(
      VSPHERE_SETTING_NAMES.map((name) => [name, env[VSPHERE_VARIABLES[name]] || undefined]),
    )
    this.add(layer, directory, (name) => ({ where: VSPHERE_VARIABLES[name], line: null, column: null }))
  }

  /** Who names one way to trust the server does not mean the other one of a layer below. */
  #forgetTrust(): void {
    for (const name of TRUST) this.#given.delete(name)
  }

  /** Adds everything that is wrong to `problems`. */
  check(env: Environment, problems: ConfigProblem[]): AccessDraft {
    const attempt = <T>(name: VsphereSettingName, read: (one: GivenSetting) => T): T | null => {
      const one = this.#given.get(name)
      if (one === undefined) return null
      try {
        return read(one)
      } catch (error) {
        if (!(error instanceof VspcError)) throw error
        problems.push({ code: error.code, ...one.at, message: error.message })
        return null
      }
    }
    return {
      url: attempt('url', ({ text }) => {
        parseVsphereUrl(text)
        return text
      }),
      user: attempt('user', ({ text }) => text || null),
      ca: attempt('caFile', readableFile),
      pin: attempt('pin', ({ text }) => parsePin(text)),
      dial: attempt('dial', parseDial),
      passwordFile: attempt('passwordFile', readableFile) ?? credentialFile(env),
    }
  }
}

/** The first setting without which nobody can log in, or null. */
export function missingSetting({ url, user, passwordFile }: AccessDraft): 'url' | 'user' | 'passwordFile' | null {
  return url === null ? 'url' : user === null ? 'user' : passwordFile === null ? 'passwordFile' : null
}

/** As it would stand in a file. */
export function accessSettings({ url, user, passwordFile, ca, pin, dial }: VsphereAccess): VsphereSettings {
  return {
    url,
    user,
    passwordFile,
    ...(ca === null ? {} : { caFile: ca }),
    ...(pin === null ? {} : { pin: `sha256:${pin}` }),
    ...(dial === null ? {} : { dial: formatEndpoint(dial) }),
  }
}

/** Files named in an endpoint belong beside the file it stands in. */
export function parseDial({ text, directory }: { readonly text: string; readonly directory: string }): Endpoint {
  const endpoint = parseEndpoint(text, 'dial', 'plain')
  if (!('tls' in endpoint) || endpoint.tls === null) return endpoint
  const beside = (path: string | null): string | null => (path === null ? null : resolvePath(path, directory))
  const tls = {
    ...endpoint.tls,
    cert: beside(endpoint.tls.cert),
    key: beside(endpoint.tls.key),
    ca: beside(endpoint.tls.ca),
  }
  return endpoint.scheme === 'tls' ? { ...endpoint, tls } : { ...endpoint, tls }
}

/** `~/` is expanded: files get no help from a shell. */
export function resolvePath(path: string, directory: string): string {
  return path.startsWith('~/') ? join(homedir(), path.slice(2)) : resolve(directory, path)
}

function readableFile({ text, directory }: GivenSetting): string {
  const path = resolvePath(text, directory)
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

function credentialFile(env: Environment): string | null {
  const directory = env['CREDENTIALS_DIRECTORY']
  if (!directory) return null
  const path = join(directory, CREDENTIAL)
  return existsSync(path) ? path : null
}
