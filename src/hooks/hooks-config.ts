/** The section `hooks` of the configuration: its schema, and the hooks that it says. */
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { parseGlob, parseSelector, SELECTOR_ACCEPTS } from '../access/index.ts'
import { cleanText, errorMessage, nearest, VspcError } from '../base/index.ts'
import type { ConfigProblem, SettingsSource } from '../config/index.ts'
import type { Hook } from './hook.ts'

/** As they stand in a file. */
export interface HookSettings {
  name?: string
  url?: string
  exec?: string[]
  events?: string[]
  ports?: string[]
  severity?: string
  caFile?: string
  pin?: string
  secretFile?: string
  headerFiles?: Record<string, string>
  timeoutMs?: number
  expireMs?: number
  parallel?: number
}

export interface HooksConfig {
  /** As written: what a file would say again. */
  readonly settings: readonly HookSettings[]
  readonly hooks: readonly Hook[]
}

const NAME = /^[a-z][a-z0-9-]{0,62}$/
const NAME_ACCEPTS = 'lower-case letters, digits and "-", such as pager'
/** RFC 9110 section 5.6.2. */
const HEADER = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/
const OUR_HEADERS = /^(?:content-|transfer-|webhook-|host$|connection$|expect$|upgrade$|te$|trailer$)/i
const MAX_HOOKS = 50
const DEFAULT_EVENTS = ['alert']
const DEFAULTS = { timeoutMs: 10_000, expireMs: 3_600_000, parallel: 1 }

const file = (description: string) => ({ type: 'string', description, accepts: 'the path of a file' }) as const

/** The section `hooks`, as JSON Schema. `accepts` finishes the sentence "accepted is ...". */
export const HOOKS_SCHEMA = {
  type: 'array',
  default: [],
  description: 'Who is told of events: URLs that get them by POST, and programs that are run; see docs/hooks.md.',
  accepts: 'a list of hooks, each with a name, and a url or exec',
  items: {
    type: 'object',
    additionalProperties: false,
    properties: {
      name: { type: 'string', description: 'Names the hook in logs and metrics.', accepts: NAME_ACCEPTS },
      url: {
        type: 'string',
        description: 'Gets each event by HTTP POST, as a CloudEvent. Redirects are not followed.',
        accepts: 'an http:// or https:// URL',
      },
      exec: {
        type: 'array',
        description: 'Is run for each event, without a shell: the absolute path of a program, then its arguments.',
        accepts: 'a list: the absolute path of a program, then its arguments',
        items: { type: 'string', accepts: 'text' },
      },
      events: {
        type: 'array',
        default: DEFAULT_EVENTS,
        description: 'Patterns of types of events: alert, port-offline, vmotion-*, console-*, *.',
        items: { type: 'string', accepts: 'a pattern of types of events, such as vmotion-*' },
      },
      ports: {
        type: 'array',
        description: `Only events of these ports: any of ${SELECTOR_ACCEPTS}. Default: all, and those of no port.`,
        items: { type: 'string', accepts: SELECTOR_ACCEPTS },
      },
      severity: {
        type: 'string',
        enum: ['critical', 'error', 'warning', 'info'],
        description: 'Of alerts only those as grave as this or graver. Default: all.',
      },
      caFile: file('PEM file of the authorities to trust for the URL instead of those of the system.'),
      pin: {
        type: 'string',
        description: 'SHA-256 of the certificate of the URL; it alone decides then.',
        accepts: '"sha256:" and 64 hexadecimal digits',
      },
      secretFile: file('File with the key that signs each request (HMAC-SHA256). Read for each.'),
      headerFiles: {
        type: 'object',
        description: 'More headers: their names, and for each the file that holds its value. Read for each request.',
        additionalProperties: { type: 'string', accepts: 'the path of a file' },
      },
      timeoutMs: {
        type: 'integer',
        minimum: 100,
        maximum: 600_000,
        default: DEFAULTS.timeoutMs,
        description: 'For one attempt: then the connection is cut, the program killed.',
      },
      expireMs: {
        type: 'integer',
        minimum: 0,
        maximum: 86_400_000,
        default: DEFAULTS.expireMs,
        description: 'So long an event is tried again and again.',
      },
      parallel: {
        type: 'integer',
        minimum: 1,
        maximum: 16,
        default: DEFAULTS.parallel,
        description: 'Events delivered at the same time; 1 keeps them in order.',
      },
    },
  },
} as const

/**
 * The section of one source; what is wrong in it is added to `problems` and does not count.
 * @param types of events that there are.
 */
export function readHooksSection(
  settings: readonly (HookSettings | null)[],
  source: SettingsSource,
  problems: ConfigProblem[],
  types: readonly string[],
): HooksConfig {
  const hooks: Hook[] = []
  const names = new Set<string>()
  for (const [index, one] of settings.entries()) {
    // What is no section has been reported.
    if (one === null) continue
    const reader = new HookReader(one, index, source, problems, types)
    const hook = reader.read(names)
    if (hook !== null) hooks.push(hook)
  }
  if (settings.length > MAX_HOOKS) {
    problems.push({
      code: 'VSPC_CONFIG_INVALID',
      ...source.locate(['hooks'], 'key'),
      message: `hooks has ${settings.length} entries; at most ${MAX_HOOKS} are accepted`,
    })
  }
  return { settings: settings.filter((one) => one !== null), hooks }
}

class HookReader {
  readonly #one: HookSettings
  readonly #index: number
  readonly #source: SettingsSource
  readonly #problems: ConfigProblem[]
  readonly #types: readonly string[]
  #bad = false

  constructor(
    one: HookSettings,
    index: number,
    source: SettingsSource,
    problems: ConfigProblem[],
    types: readonly string[],
  ) {
    this.#one = one
    this.#index = index
    this.#source = source
    this.#problems = problems
    this.#types = types
  }

  /** @param names those taken; gets this one. */
  read(names: Set<string>): Hook | null {
    const { url, exec, severity } = this.#one
    const name = this.#name(names)
    const common = {
      name,
      events: this.#list('events', this.#one.events ?? DEFAULT_EVENTS, (text) => this.#eventGlob(text)),
      ports: this.#one.ports === undefined ? null : this.#list('ports', this.#one.ports, parseSelector),
      severity: severity ?? null,
      timeoutMs: this.#one.timeoutMs ?? DEFAULTS.timeoutMs,
      expireMs: this.#one.expireMs ?? DEFAULTS.expireMs,
      parallel: this.#one.parallel ?? DEFAULTS.parallel,
    }
    if ((url === undefined) === (exec === undefined)) {
      this.#report(
        [],
        url === undefined ? 'has neither url nor exec; give one' : 'has both url and exec; make two hooks',
      )
      return null
    }
    const hook: Hook =
      exec === undefined ? { ...common, ...this.#webhook(url ?? '') } : { ...common, ...this.#exec(exec) }
    return this.#bad ? null : hook
  }

  #name(names: Set<string>): string {
    const { name } = this.#one
    if (name === undefined) this.#report([], `has no name; accepted are ${NAME_ACCEPTS}`)
    else if (!NAME.test(name))
      this.#report(['name'], `"${cleanText(name, 80)}" is no name; accepted are ${NAME_ACCEPTS}`)
    else if (names.has(name)) this.#report(['name'], `"${name}" is there already; name each hook once`)
    else names.add(name)
    return name ?? ''
  }

  #webhook(text: string) {
    const { pin, caFile, secretFile, headerFiles = {} } = this.#one
    const found =
      pin === undefined
        ? null
        : /^sha256:([0-9a-f]{64})$/i.exec(pin.replaceAll(/(?<=[0-9a-f]{2}):(?=[0-9a-f]{2})/gi, ''))
    if (pin !== undefined && found === null) {
      this.#report(
        ['pin'],
        `"${cleanText(pin, 100)}" is no fingerprint; accepted is "sha256:" and 64 hexadecimal digits`,
      )
    }
    const files: Record<string, string> = {}
    for (const [header, path] of Object.entries(headerFiles)) {
      if (!HEADER.test(header)) this.#report(['headerFiles', header], 'is no name of a header')
      else if (OUR_HEADERS.test(header)) this.#report(['headerFiles', header], 'is one that vspc sets itself')
      else files[header] = this.#path(path)
    }
    return {
      kind: 'webhook',
      url: this.#url(text),
      ca: caFile === undefined ? null : this.#path(caFile),
      pin: found?.[1]?.toLowerCase() ?? null,
      secretFile: secretFile === undefined ? null : this.#path(secretFile),
      headerFiles: files,
    } as const
  }

  #url(text: string): URL {
    const bad = (why: string): URL => {
      this.#report(['url'], `"${cleanText(text, 200)}" ${why}`)
      return new URL('http://invalid.')
    }
    if (!URL.canParse(text)) return bad('is no URL; accepted is one such as https://example.com/hook')
    const url = new URL(text)
    if (url.protocol !== 'http:' && url.protocol !== 'https:') return bad('is neither http:// nor https://')
    if (url.username !== '' || url.password !== '') {
      this.#report(
        ['url'],
        'holds a user or password; put them into a file, and that into headerFiles as authorization',
      )
      return url
    }
    if (url.hash !== '') return bad('has a fragment (#), which is never sent; leave it out')
    if (url.protocol === 'http:' && (this.#one.caFile ?? this.#one.pin) !== undefined) {
      return bad('is not https://, so caFile and pin say nothing')
    }
    return url
  }

  #exec(command: readonly (string | null)[]) {
    const [program, ...args] = command.map((text) => text ?? '')
    if (program === undefined || !isAbsolute(program)) {
      this.#report(
        ['exec'],
        'does not begin with the absolute path of a program; there is no shell, and no search for it',
      )
    }
    if (command.some((text) => text?.includes('\0'))) this.#report(['exec'], 'holds a NUL character')
    for (const name of ['caFile', 'pin', 'secretFile', 'headerFiles'] as const) {
      if (this.#one[name] !== undefined) this.#report([name], 'is for hooks with a url')
    }
    return { kind: 'exec', program: program ?? '', args } as const
  }

  #eventGlob(text: string) {
    const glob = parseGlob(text)
    if (this.#types.some((type) => glob.matches(type))) return glob
    const near = nearest(text, this.#types)
    const most = this.#types.join(', ')
    throw new VspcError(
      'VSPC_CONFIG_INVALID',
      `"${cleanText(text, 80)}" fits no event; there are ${most}${near ? `; did you mean ${near}?` : ''}`,
    )
  }

  #list<T>(name: 'events' | 'ports', texts: readonly (string | null)[], parse: (text: string) => T): T[] {
    if (texts.length === 0) this.#report([name], 'is empty; leave it out')
    const parsed: T[] = []
    for (const [at, text] of texts.entries()) {
      if (text === null) continue
      try {
        parsed.push(parse(text))
      } catch (error) {
        this.#report([name, at], errorMessage(error))
      }
    }
    return parsed
  }

  /** Relative to where it stands. */
  #path(path: string): string {
    return path.startsWith('~/') ? join(homedir(), path.slice(2)) : resolve(this.#source.directory, path)
  }

  #report(path: readonly (string | number)[], message: string): void {
    this.#bad = true
    const [first, ...more] = path
    const named =
      first === undefined
        ? ''
        : `.${first}${more.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('')}`
    this.#problems.push({
      code: 'VSPC_CONFIG_INVALID',
      ...this.#source.locate(['hooks', this.#index, ...path], 'value'),
      message: `hooks[${this.#index}]${named} ${message}`,
    })
  }
}
