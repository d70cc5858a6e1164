/** The section `access` of the configuration, as far as a server needs it beside rules and roles. */
import { join } from 'node:path'
import {
  ACCESS_SCHEMA,
  type AccessRules,
  AUDIT_DEFAULTS,
  BUILT_IN_ROLES,
  CERTIFICATE_USERS,
  type CertificateRules,
  type CertificateUser,
  DEFAULT_PROXY_RULES,
  FAILURE_LIMITS,
  type FailureLimits,
  type ProxyRules,
  type AccessSettings as RuleSettings,
  readAccessSection,
} from '../../access/index.ts'
import { cleanText, VspcError } from '../../base/index.ts'
import type { ConfigProblem, SettingPath, SettingsSource } from '../../config/index.ts'
import { parseTrustedSources } from '../../transport/index.ts'

/** As it stands in a file. */
export interface AccessSettings extends RuleSettings {
  tokens?: string
  certificates?: { user?: CertificateUser; groupsFromOu?: boolean }
  proxies?: { trusted?: string[]; userHeader?: string; groupsHeader?: string }
  audit?: { file?: string; maxFileBytes?: number; keptFiles?: number }
  failures?: { burst?: number; refillMs?: number }
}

/** Who says who somebody is, and what they may. */
export interface AccessConfig {
  readonly rules: AccessRules
  /** As in the file, for comparing and showing. */
  readonly settings: RuleSettings
  /** Absolute. */
  readonly tokens: string
  /** Nobody has named it: that it is missing is no mistake of anybody's. */
  readonly tokensIsDefault: boolean
  readonly certificates: CertificateRules
  /** Null: nobody's word is believed. */
  readonly proxies: ProxyConfig | null
  readonly failures: FailureLimits
}

export interface ProxyConfig {
  /** As `parseTrustedSources` takes them; checked. */
  readonly trusted: readonly string[]
  readonly rules: ProxyRules
}

export interface AuditConfig {
  /** Absolute. */
  readonly file: string
  readonly maxFileBytes: number
  readonly keptFiles: number
}

/** What one source of settings says; undefined where it says nothing, or something wrong. */
export interface AccessLayer {
  readonly rules: AccessRules | undefined
  readonly settings: RuleSettings
  readonly tokens: string | undefined
  readonly certificates: CertificateRules | undefined
  readonly proxies: ProxyConfig | undefined
  readonly auditFile: string | undefined
  readonly audit: NonNullable<AccessSettings['audit']>
  readonly failures: NonNullable<AccessSettings['failures']>
}

const TRUSTED_ACCEPTS = 'an address (10.0.0.7), a network (10.0.0.0/8, fd00::/8) or unix (who comes by a Unix socket)'
const HEADER_NAME = /^[a-z][a-z0-9-]{0,63}$/i

export const ACCESS_SECTION = {
  ...ACCESS_SCHEMA,
  properties: {
    ...ACCESS_SCHEMA.properties,
    tokens: {
      type: 'string',
      description:
        'File of tokens, which `vspc token` writes. Flag `--tokens`, environment VSPC_TOKENS. Default: `tokens.json` in ' +
        'dataDir, once anything else is set here.',
      accepts: 'the path of a file',
    },
    certificates: {
      type: 'object',
      additionalProperties: false,
      description: 'Whom client certificates name; they must come from `httpClientCa`.',
      accepts: 'a section with "user" and "groupsFromOu"',
      properties: {
        user: {
          type: 'string',
          enum: CERTIFICATE_USERS,
          default: 'cn',
          description: 'What names the user: the CN, or the alternative name of a kind.',
        },
        groupsFromOu: { type: 'boolean', default: false, description: 'Organizational units (OU) are groups.' },
      },
    },
    proxies: {
      type: 'object',
      additionalProperties: false,
      description:
        'Proxies that log people in, and say in headers who they are. They must remove these headers from requests.',
      accepts: 'a section with "trusted", "userHeader" and "groupsHeader"',
      properties: {
        trusted: {
          type: 'array',
          description: `Where they connect from: ${TRUSTED_ACCEPTS}.`,
          accepts: `a list of ${TRUSTED_ACCEPTS}`,
          items: { type: 'string', accepts: TRUSTED_ACCEPTS },
        },
        userHeader: {
          type: 'string',
          default: DEFAULT_PROXY_RULES.userHeader,
          description: 'The header with the name of the user.',
          accepts: 'the name of a header',
        },
        groupsHeader: {
          type: 'string',
          default: DEFAULT_PROXY_RULES.groupsHeader ?? '',
          description: 'The header with their groups, separated by commas.',
          accepts: 'the name of a header',
        },
      },
    },
    audit: {
      type: 'object',
      additionalProperties: false,
      description: 'Who did what, as JSON lines.',
      accepts: 'a section with "file", "maxFileBytes" and "keptFiles"',
      properties: {
        file: {
          type: 'string',
          description: 'Where to. Flag `--audit`. Default: nothing is written.',
          accepts: 'the path of a file',
        },
        maxFileBytes: {
          type: 'integer',
          minimum: 65_536,
          maximum: 1 << 30,
          default: AUDIT_DEFAULTS.maxFileBytes,
          description: 'A new file is begun rather than exceed it.',
        },
        keptFiles: {
          type: 'integer',
          minimum: 0,
          maximum: 1_000,
          default: AUDIT_DEFAULTS.keptFiles,
          description: 'Older files that are kept.',
        },
      },
    },
    failures: {
      type: 'object',
      additionalProperties: false,
      description: 'How often one address may show what does not count. A token that is good is never limited.',
      accepts: 'a section with "burst" and "refillMs"',
      properties: {
        burst: {
          type: 'integer',
          minimum: 1,
          maximum: 10_000,
          default: FAILURE_LIMITS.burst,
          description: 'Failures at once.',
        },
        refillMs: {
          type: 'integer',
          minimum: 1,
          maximum: 3_600_000,
          default: FAILURE_LIMITS.refillMs,
          description: 'Until one more is let pass.',
        },
      },
    },
  },
} as const

/** Rules that nobody has written allow nothing: only what comes with tokens counts. */
const NO_RULES: AccessRules = { policy: { rules: [] }, roles: new Map(Object.entries(BUILT_IN_ROLES)) }

/** @param resolve makes a path absolute. Adds everything that is wrong to `problems`. */
export function readAccessLayer(
  settings: AccessSettings,
  source: SettingsSource,
  problems: ConfigProblem[],
  resolve: (path: string) => string,
): AccessLayer {
  const { tokens, certificates, audit = {}, failures = {}, proxies, roles, rules } = settings
  const report = (at: SettingPath, message: string): void => {
    problems.push({ code: 'VSPC_CONFIG_INVALID', ...source.locate(['access', ...at], 'value'), message })
  }
  const file = (path: string | undefined, at: SettingPath): string | undefined => {
    if (path === undefined) return undefined
    if (path.trim() !== '' && !path.includes('\0')) return resolve(path)
    report(at, `access.${at.join('.')} is empty; accepted is the path of a file`)
    return undefined
  }
  const ruled = roles === undefined && rules === undefined ? null : readAccessSection(settings, source, problems)
  return {
    rules: ruled ?? undefined,
    settings: { ...(roles === undefined ? {} : { roles }), ...(rules === undefined ? {} : { rules }) },
    tokens: file(tokens, ['tokens']),
    certificates:
      certificates === undefined
        ? undefined
        : { user: certificates.user ?? 'cn', groupsFromOu: certificates.groupsFromOu ?? false },
    proxies: proxies === undefined ? undefined : readProxies(proxies, report),
    auditFile: file(audit.file, ['audit', 'file']),
    audit,
    failures,
  }
}

function readProxies(
  { trusted, userHeader, groupsHeader }: NonNullable<AccessSettings['proxies']>,
  report: (at: SettingPath, message: string) => void,
): ProxyConfig {
  const sources = (trusted ?? []) as readonly (string | null)[]
  if (sources.length === 0) {
    report(['proxies'], `access.proxies trusts nobody: give "trusted", a list of ${TRUSTED_ACCEPTS}`)
  }
  for (const [index, text] of sources.entries()) {
    if (text !== null && !isProxySource(text)) {
      report(['proxies', 'trusted', index], `"${cleanText(text, 100)}" is no proxy; accepted is ${TRUSTED_ACCEPTS}`)
    }
  }
  for (const [name, text] of Object.entries({ userHeader, groupsHeader })) {
    if (text !== undefined && !HEADER_NAME.test(text)) {
      report(['proxies', name], `access.proxies.${name}: "${cleanText(text, 64)}" is no name of a header`)
    }
  }
  return {
    trusted: sources.filter((one) => one !== null && isProxySource(one)) as string[],
    rules: {
      userHeader: (userHeader ?? DEFAULT_PROXY_RULES.userHeader).toLowerCase(),
      groupsHeader: groupsHeader?.toLowerCase() ?? DEFAULT_PROXY_RULES.groupsHeader,
    },
  }
}

/** Kinds that listeners for VMs know beside these make no sense here: `certificate` would be everybody with one. */
function isProxySource(text: string): boolean {
  if (text === 'certificate' || text.startsWith('vsock:')) return false
  try {
    parseTrustedSources([text])
    return true
  } catch (error) {
    if (error instanceof VspcError) return false
    throw error
  }
}

/**
 * Earlier layers count more. Null when nothing says that anybody has to show who they are.
 * @param isAsked there are client certificates to be shown.
 */
export function layAccess(
  layers: readonly (AccessLayer | undefined)[],
  dataDir: string,
  isAsked: boolean,
): AccessConfig | null {
  const first = <Name extends keyof AccessLayer>(name: Name): AccessLayer[Name] | undefined =>
    layers.find((layer) => layer?.[name] !== undefined)?.[name]
  const [rules, tokens, certificates, proxies] = [
    first('rules'),
    first('tokens'),
    first('certificates'),
    first('proxies'),
  ]
  if (!isAsked && [rules, tokens, certificates, proxies].every((one) => one === undefined)) return null
  return {
    rules: rules ?? NO_RULES,
    settings: layers.find((layer) => layer?.rules !== undefined)?.settings ?? {},
    tokens: tokens ?? defaultTokens(dataDir),
    tokensIsDefault: tokens === undefined,
    certificates: certificates ?? { user: 'cn', groupsFromOu: false },
    proxies: proxies ?? null,
    failures: { ...FAILURE_LIMITS, ...merged(layers, 'failures') },
  }
}

/** Where server and `vspc token` look, when nobody says where. */
export function defaultTokens(dataDir: string): string {
  return join(dataDir, 'tokens.json')
}

export function layAudit(layers: readonly (AccessLayer | undefined)[]): AuditConfig | null {
  const file = layers.find((layer) => layer?.auditFile !== undefined)?.auditFile
  if (file === undefined) return null
  const { maxFileBytes, keptFiles } = { ...AUDIT_DEFAULTS, ...merged(layers, 'audit') }
  return { file, maxFileBytes, keptFiles }
}

function merged<Name extends 'audit' | 'failures'>(layers: readonly (AccessLayer | undefined)[], name: Name) {
  return Object.assign({}, ...[...layers].reverse().map((layer) => layer?.[name] ?? {})) as AccessLayer[Name]
}

/** As they would stand in a file. @param isAsked there are client certificates to be shown. */
export function effectiveAccess(
  access: AccessConfig | null,
  audit: AuditConfig | null,
  isAsked: boolean,
): AccessSettings {
  const { burst, refillMs } = access?.failures ?? FAILURE_LIMITS
  return {
    ...access?.settings,
    ...(access === null ? {} : { tokens: access.tokens }),
    ...(access === null || !isAsked ? {} : { certificates: { ...access.certificates } }),
    ...(access === null || access.proxies === null
      ? {}
      : {
          proxies: {
            trusted: [...access.proxies.trusted],
            userHeader: access.proxies.rules.userHeader,
            groupsHeader: access.proxies.rules.groupsHeader ?? '',
          },
        }),
    ...(audit === null ? {} : { audit: { ...audit } }),
    ...(access === null ? {} : { failures: { burst, refillMs } }),
  }
}
