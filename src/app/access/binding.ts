/** Which addresses the HTTP server may listen on, given who has to show who they are. Pure. */
import type { Capability } from '../../access/index.ts'
import { VspcError } from '../../base/index.ts'
import { formatHostPort } from '../../transport/index.ts'
import type { Config } from '../config.ts'
import { isLoopbackAddress } from '../http-address.ts'
import type { AccessConfig } from './settings.ts'

export type BindingConfig = Pick<Config, 'http' | 'access' | 'https' | 'httpPlain'>

/** What people who need not say who they are may do from other machines: look. */
const HARMLESS: readonly Capability[] = ['list', 'read']

/**
 * Others reach it: then everybody has to show who they are, and what they show must not be readable on the way.
 * @throws VspcError VSPC_HTTP_UNSAFE_BIND naming the options that are missing.
 */
export function checkBinding({ http, access, https, httpPlain }: BindingConfig): void {
  if (http === null || isLoopbackAddress(http)) return
  const { tcpPort } = http
  const where = `http "${formatHostPort(http.host, tcpPort)}" can be reached from other machines`
  const local = `use 127.0.0.1:${tcpPort} (--http 127.0.0.1:${tcpPort}) and reach it over SSH (ssh -L ${tcpPort || 13371}:127.0.0.1:${tcpPort || 13371} THIS-HOST)`
  if (access === null) {
    throw unsafe(
      `${where}, and nothing says who may use it: anyone could type into the consoles. Give a file of tokens (--tokens FILE, ` +
        `made by "vspc token add") or a section "access" in --config, and a certificate (--http-cert FILE --http-key FILE); ` +
        `or ${local}`,
    )
  }
  if (https === null && !httpPlain) {
    throw unsafe(
      `${where} without TLS: tokens and all that is typed could be read on the way. Give --http-cert FILE and --http-key ` +
        `FILE; or --http-plain, where a proxy in front of it does TLS; or ${local}`,
    )
  }
  const rule = openRule(access)
  if (rule !== null) {
    throw unsafe(
      `${where}, and ${rule} gives anyone more than to read: that takes "authenticated", or names, in its "who"; ` +
        `or ${local}`,
    )
  }
}

/** The rule that lets people who need not say who they are do more than look; null: none does. */
export function openRule({ rules }: AccessConfig): string | null {
  const rule = rules.policy.rules.find(
    ({ who, capabilities }) =>
      who.some(({ kind }) => kind === 'anyone') && capabilities.some((one) => !HARMLESS.includes(one)),
  )
  return rule?.source ?? null
}

/** What is allowed, and worth a word in the log. */
export function bindingWarnings({ http, access }: BindingConfig): string[] {
  if (http === null || access === null || isLoopbackAddress(http)) return []
  return access.rules.policy.rules
    .filter(({ who }) => who.some(({ kind }) => kind === 'anyone'))
    .map(({ source }) => `${source} is for anyone: who reaches the HTTP address may read there without a token`)
}

function unsafe(message: string): VspcError {
  return new VspcError('VSPC_HTTP_UNSAFE_BIND', message)
}
