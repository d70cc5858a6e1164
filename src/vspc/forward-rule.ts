/** Which ports are joined to which program: the rules of `--forward`, as text and as data. Nothing is opened here. */
import { createHash } from 'node:crypto'
import { cleanText, type ErrorCode, nearest, VspcError } from '../base/index.ts'
import { type Endpoint, type EndpointRole, formatEndpoint, parseEndpoint, SCHEMES } from '../transport/index.ts'
import { canonicalUuid } from './identity.ts'

const PLACEHOLDERS = ['uuid', 'name', 'label', 'id'] as const
type Placeholder = (typeof PLACEHOLDERS)[number]

const ACCEPTED =
  "write 'PATTERN=URI', such as '*=unix:///run/vspc/{uuid}.sock' or 'web*/com2=tcp://127.0.0.1:2379'; " +
  '"listen:" or "dial:" before the URI says who connects to whom'
const PLACES = `placeholders are ${PLACEHOLDERS.map((name) => `{${name}}`).join(', ')}`

const STRICT = /^(.*?)=((?:[A-Za-z]+:(?!\/\/))?)([A-Za-z][A-Za-z0-9+.-]*:\/\/.*)$/s
const LOOSE = /^(.*?)=((?:listen:|dial:)?)(.*)$/s

/** sun_path of Linux is 108 bytes, the last of them NUL; a name in a directory has at most 255. */
const MAX_SOCKET_PATH_BYTES = 107
const MAX_FILE_NAME_BYTES = 255

/** Of a port without label, where a path asks for one. */
const NO_LABEL = 'default'

/** Made by {@link parseForward}. */
export interface ForwardRule {
  readonly pattern: string
  readonly role: EndpointRole
  /** Its path may hold placeholders, and nothing else of it. */
  readonly template: Endpoint
}

/** What of a port rules look at. */
export interface ForwardNames {
  readonly id: string
  readonly vmKey: string
  readonly biosUuid: string | null
  /** Empty while unknown. */
  readonly name: string
  readonly label: string | null
}

/**
 * Parses `PATTERN=[listen:|dial:]URI`. Without a role, Unix sockets are listened on and everything else is dialled.
 * @throws VspcError VSPC_CONFIG_INVALID or VSPC_ENDPOINT_*; the message quotes the rule and says what is accepted.
 */
export function parseForward(text: string): ForwardRule {
  const fail = (wrong: string, accepted: string, code: ErrorCode = 'VSPC_CONFIG_INVALID'): VspcError =>
    new VspcError(code, `forward "${cleanText(text, 300)}": ${wrong}; ${accepted}`)
  // A VM's name may hold "=": the one before the scheme counts, and the first one where there is no scheme.
  const match = STRICT.exec(text) ?? LOOSE.exec(text)
  if (!match) throw fail('it is not PATTERN=URI', ACCEPTED)
  const [, pattern = '', written = '', uri = ''] = match
  if (pattern === '') throw fail('the pattern is empty', 'write * for all ports, or a name, NAME/LABEL, UUID or id')
  if (/[\u0000-\u001f\u007f]/.test(pattern)) throw fail('the pattern holds a control character', ACCEPTED)
  const scheme = uri.slice(0, uri.indexOf('://')).toLowerCase()
  const role = readRole(written.slice(0, -1).toLowerCase(), scheme, fail)
  let template: Endpoint
  try {
    template = parseEndpoint(uri, role, 'plain')
  } catch (error) {
    // Its sentence is right but for a placeholder in a place where it makes the rest look wrong.
    if (!(error instanceof VspcError)) throw error
    const misplaced = /[{}]/.test(uri) && !hasPath(scheme)
    if (misplaced) throw fail('only paths have placeholders', 'a VM is not to choose the host that is dialled for it')
    throw new VspcError(error.code, `forward "${cleanText(text, 300)}": ${error.message}`, { cause: error })
  }
  const rule = { pattern, role, template }
  checkTemplate(rule, uri, fail)
  if (role === 'listen') checkListener(rule, fail)
  return rule
}

/** The canonical text. */
export function formatForward({ pattern, role, template }: ForwardRule): string {
  const uri = formatEndpoint(template).replace(/%7B([a-z]+)%7D/g, '{$1}')
  return `${pattern}=${role === defaultRole(template.scheme) ? '' : `${role}:`}${uri}`
}

type Fail = (wrong: string, accepted: string, code?: ErrorCode) => VspcError

function defaultRole(scheme: string): EndpointRole {
  return scheme === 'unix' ? 'listen' : 'dial'
}

function readRole(written: string, scheme: string, fail: Fail): EndpointRole {
  if (written === '') return defaultRole(scheme)
  if (written === 'listen' || written === 'dial') return written
  const near = nearest(written, ['listen', 'dial', ...SCHEMES])
  throw fail(
    `"${cleanText(written, 40)}:" is neither listen: nor dial:`,
    near === null ? ACCEPTED : `${ACCEPTED}; did you mean ${near}:?`,
  )
}

function hasPath(scheme: string): boolean {
  return scheme === 'unix' || scheme === 'fifo' || scheme === 'hvsock'
}

function checkTemplate(rule: ForwardRule, uri: string, fail: Fail): void {
  const { template } = rule
  if (/[{}]/.test(uri.slice(uri.indexOf('?') < 0 ? uri.length : uri.indexOf('?')))) {
    throw fail('only paths have placeholders', 'write the parameters out')
  }
  if (!('path' in template)) return
  for (const [whole, name = ''] of template.path.matchAll(/\{([^{}]*)\}|[{}]/g)) {
    if (PLACEHOLDERS.some((known) => known === name)) continue
    const near = nearest(name, PLACEHOLDERS)
    throw fail(
      `"${cleanText(whole, 40)}" in the path is no placeholder`,
      near === null ? PLACES : `${PLACES}; did you mean {${near}}?`,
    )
  }
  // What always works must fit, or else there would be ports without.
  if (
    !fits(
      template,
      fill(template.path, () => shortHash('')),
    )
  ) {
    throw fail(
      'the path leaves no room for the names of ports',
      `the system takes at most ${MAX_SOCKET_PATH_BYTES} bytes for a socket: use a shorter directory`,
      'VSPC_ENDPOINT_SYNTAX',
    )
  }
  const shared = template.scheme === 'fifo' || rule.role === 'listen'
  if (shared && hasWildcard(rule.pattern) && !hasPlaceholder(template.path)) {
    throw fail(
      'every port that matches needs a path of its own',
      `put {uuid} or {name} into it, as in unix:///run/vspc/{uuid}.sock; ${PLACES}`,
    )
  }
}

/** Who connects to a forwarded port types into the VM, and nobody asks who that is. */
function checkListener({ pattern, template }: ForwardRule, fail: Fail): void {
  switch (template.scheme) {
    case 'unix':
    case 'fifo':
    case 'hvsock':
      return
    case 'tcp':
    case 'tls': {
      const { scheme, host, tcpPort, tls } = template
      const authenticated = tls !== null && (tls.ca !== null || tls.pin !== null)
      if (!authenticated && !isLoopback(host)) {
        throw fail(
          `${host} can be reached from other machines, and whoever connects may type into the VM`,
          `listen on 127.0.0.1 or [::1], on a Unix socket, or on tls:// with ca= or pin= for the programs' certificates`,
        )
      }
      if (tcpPort !== 0 && hasWildcard(pattern)) {
        throw fail(
          'every port that matches needs a TCP port of its own',
          `write port 0 (any free one, it is logged), as in listen:${scheme}://127.0.0.1:0, or use unix:// with {uuid}`,
        )
      }
      return
    }
    case 'vsock':
      if (template.cid !== 'local' && template.cid !== 1) {
        throw fail(
          'other VMs can reach it, and whoever connects may type into the VM',
          'listen on vsock://local:PORT, or on a Unix socket',
        )
      }
      if (template.vsockPort !== 0 && hasWildcard(pattern)) {
        throw fail('every port that matches needs a vsock port of its own', 'use unix:// with {uuid}')
      }
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.[0-9.]+$/.test(host)
}

function hasWildcard(pattern: string): boolean {
  return /[*?]/.test(pattern)
}

function hasPlaceholder(path: string): boolean {
  return path.includes('{')
}

/**
 * Does a rule mean this port? By the name of its VM, `NAME/LABEL`, UUID, `UUID/LABEL`, or id; a UUID without wildcards
 * may be spelled in any way. `/LABEL` is any VM's.
 */
export function matchesForward(pattern: string, port: ForwardNames): boolean {
  const full = pattern.startsWith('/') ? `*${pattern}` : pattern
  if (isUuidOf(full, port)) return true
  const slash = full.lastIndexOf('/')
  if (
    port.label !== null &&
    slash > 0 &&
    full.slice(slash + 1) === port.label &&
    isUuidOf(full.slice(0, slash), port)
  ) {
    return true
  }
  for (const vm of [port.name, port.vmKey]) {
    if (vm === '') continue
    if (matchesGlob(full, vm)) return true
    if (port.label !== null && matchesGlob(full, `${vm}/${port.label}`)) return true
  }
  return matchesGlob(full, port.id)
}

function isUuidOf(text: string, port: ForwardNames): boolean {
  const uuid = canonicalUuid(text)
  return uuid !== null && (uuid === port.vmKey || uuid === port.biosUuid)
}

/** `*`: any characters, `?`: one. In time that no text can make worse than its length times that of the pattern. */
export function matchesGlob(pattern: string, text: string): boolean {
  let p = 0
  let t = 0
  let star = -1
  let starAt = 0
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++
      starAt = t
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++
      t++
    } else if (star >= 0) {
      // The last star takes one character more; earlier ones need not be tried again.
      p = star + 1
      t = ++starAt
    } else {
      return false
    }
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}

/**
 * The endpoint of a rule for one port. What a VM is called never changes more than the name of a file: each value is
 * percent-encoded, and put into the path after the URI was parsed.
 *
 * Where a VM's name is unknown, too long or taken, its UUID stands for it; where that does not do, a hash of the port's
 * id. @param taken is this endpoint in use by another port?
 * @returns null when every one is taken. `plain` is false when it is not the path that the name alone would give.
 */
export function forwardEndpoint(
  rule: ForwardRule,
  port: ForwardNames,
  taken: (endpoint: Endpoint) => boolean,
): { endpoint: Endpoint; plain: boolean } | null {
  const { template } = rule
  if (!('path' in template) || !hasPlaceholder(template.path))
    return taken(template) ? null : { endpoint: template, plain: true }
  const named = values(rule, port)
  const hash = shortHash(port.id)
  const attempts: ((placeholder: Placeholder) => string)[] = [
    (placeholder) => named[placeholder],
    (placeholder) => (placeholder === 'name' ? named.uuid : named[placeholder]),
    () => hash,
  ]
  // Nothing is wrong with a VM that has not said its name.
  const from = cleanText(port.name) === '' ? 1 : 0
  for (const value of attempts.slice(from)) {
    const path = fill(template.path, value)
    const endpoint: Endpoint = { ...template, path }
    if (fits(template, path) && !taken(endpoint)) return { endpoint, plain: value === attempts[from] }
  }
  return null
}

function values(rule: ForwardRule, port: ForwardNames): Record<Placeholder, string> {
  const path = 'path' in rule.template ? rule.template.path : ''
  // Two ports of one VM must not depend on who comes first for who gets the plain name.
  const told = path.includes('{label}') || path.includes('{id}') || rule.pattern.endsWith(`/${port.label}`)
  const suffix = port.label === null || told ? '' : `-${fileName(port.label)}`
  return {
    uuid: `${fileName(port.vmKey)}${suffix}`,
    name: `${fileName(port.name)}${suffix}`,
    label: fileName(port.label ?? NO_LABEL),
    id: fileName(port.id),
  }
}

/** Never `.`, `..` or a path, and different for different text that can be shown. */
function fileName(text: string): string {
  return encodeURIComponent(cleanText(text, 1024)).replaceAll('%3A', ':').replace(/^\./, '%2E')
}

function shortHash(id: string): string {
  return createHash('sha256').update(id).digest('hex').slice(0, 16)
}

function fill(path: string, value: (placeholder: Placeholder) => string): string {
  return path.replace(/\{([a-z]+)\}/g, (_, name: Placeholder) => value(name))
}

function fits({ scheme }: Endpoint, path: string): boolean {
  const encoder = new TextEncoder()
  if (scheme !== 'fifo') return encoder.encode(path).length <= MAX_SOCKET_PATH_BYTES
  // ".out" is added.
  return path.split('/').every((part) => encoder.encode(part).length + 4 <= MAX_FILE_NAME_BYTES)
}
