/** One source of a relay's settings, checked setting by setting and brought into final form. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { cleanText, type ErrorCode, errorMessage, VspcError } from '../base/index.ts'
import { type ConfigProblem, checkShape, formatPath, type SettingPath, type SettingsSource } from '../config/index.ts'
import { type Endpoint, parseEndpoint, parseTrustedSources } from '../transport/index.ts'
import { type RelaySettings, type RouteSettings, relaySchema } from './config-schema.ts'
import type { RelayLimits } from './limits.ts'
import type { RelayLogLevel } from './logger.ts'
import { HOP_PREFIX, type Hop, type RoutePlan, type Side } from './plan.ts'

const NAME = /^[A-Za-z0-9._-]{1,64}$/

/** A route, and where it stands. */
export interface RoutePlace {
  /** Its name is '' where none is given. */
  readonly plan: RoutePlan
  readonly at: Pick<ConfigProblem, 'where' | 'line' | 'column'>
}

/** What one source says; undefined where it says nothing, or something wrong. */
export interface RelayLayer {
  readonly routes: readonly RoutePlace[]
  readonly nextHops: ReadonlyMap<string, Endpoint>
  readonly control: Endpoint | undefined
  readonly trustedProxies: readonly string[] | undefined
  readonly stateFile: string | undefined
  readonly logLevel: RelayLogLevel | undefined
  readonly limits: Partial<RelayLimits>
}

/** Adds everything that is wrong to `problems`. */
export function readRelayLayer(source: SettingsSource, problems: ConfigProblem[]): RelayLayer {
  const before = problems.length
  const settings = checkShape<RelaySettings>(relaySchema(source.values), source, problems)
  return new LayerReader(source, problems, problems.length > before).read(settings as RelaySettings)
}

/** Files named in an endpoint, made absolute: `~/` is expanded, for files get no help from a shell. */
export function absoluteFiles(endpoint: Endpoint, directory: string): Endpoint {
  if (!('tls' in endpoint) || endpoint.tls === null) return endpoint
  const file = (path: string | null): string | null => (path === null ? null : absolutePath(path, directory))
  const { cert, key, ca } = endpoint.tls
  const tls = { ...endpoint.tls, cert: file(cert), key: file(key), ca: file(ca) }
  return endpoint.scheme === 'tls' ? { ...endpoint, tls } : { ...endpoint, tls }
}

function absolutePath(path: string, directory: string): string {
  return path.startsWith('~/') ? join(homedir(), path.slice(2)) : resolve(directory, path)
}

class LayerReader {
  readonly #source: SettingsSource
  readonly #problems: ConfigProblem[]
  /** Something was left out for being wrong: that a side is missing then would only be a further complaint. */
  readonly #misshapen: boolean

  constructor(source: SettingsSource, problems: ConfigProblem[], misshapen: boolean) {
    this.#source = source
    this.#problems = problems
    this.#misshapen = misshapen
  }

  read(settings: RelaySettings): RelayLayer {
    const { control, stateFile } = settings
    return {
      routes: (settings.routes ?? []).flatMap((route, index) => (route === null ? [] : this.#route(route, index))),
      nextHops: this.#nextHops(settings.nextHops ?? {}),
      control: control === undefined ? undefined : this.#attempt(['control'], () => this.#control(control)),
      trustedProxies: this.#trusted(settings.trustedProxies),
      stateFile: stateFile === undefined ? undefined : this.#attempt(['stateFile'], () => this.#file(stateFile)),
      logLevel: settings.logLevel,
      limits: (settings.limits ?? {}) as Partial<RelayLimits>,
    }
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

  #route(route: RouteSettings, index: number): RoutePlace[] {
    const path = ['routes', index]
    const before = this.#problems.length
    const listening = this.#sides([...path, 'listen'], route.listen, (text) => this.#listenSide(text))
    const dialled = this.#sides([...path, 'dial'], route.dial, (text) => this.#dialSide(text))
    if (route.name !== undefined && !NAME.test(route.name)) {
      const message = `name "${cleanText(route.name, 80)}" is not usable; accepted are 1 to 64 of A-Z a-z 0-9 . _ -`
      this.#report([...path, 'name'], 'VSPC_CONFIG_INVALID', message)
    }
    if (this.#problems.length > before) return []
    const [first, second, third] = [...listening, ...dialled]
    if (first === undefined || second === undefined || third !== undefined) {
      if (this.#misshapen) return []
      this.#report(
        path,
        'VSPC_CONFIG_INVALID',
        `${formatPath(path)} has ${listening.length + dialled.length} side(s), listen ${listening.length} and ` +
          `dial ${dialled.length}; a route joins exactly two: one of each, listen: [A, B], or dial: [A, B]`,
      )
      return []
    }
    const vms = [first, second].map(vmOf)
    const plan: RoutePlan = {
      name: route.name ?? '',
      sides: [first, second],
      whenAway: route.whenAway ?? 'hold',
      maxStreams: route.maxStreams ?? null,
      vmName: vms[0]?.name ?? vms[1]?.name ?? null,
      label: vms[0]?.label ?? vms[1]?.label ?? null,
    }
    return [{ plan, at: this.#source.locate(path, 'value') }]
  }

  #sides(path: SettingPath, given: RouteSettings['listen'], make: (text: string) => Side): Side[] {
    const texts = given === undefined ? [] : typeof given === 'string' ? [given] : given
    return texts.flatMap((text, index) => {
      if (text === null) return []
      const at = typeof given === 'string' ? path : [...path, index]
      const side = this.#attempt(at, () => make(text))
      return side === undefined ? [] : [side]
    })
  }

  #listenSide(text: string): Side {
    if (text.startsWith(HOP_PREFIX)) {
      throw new VspcError('VSPC_RELAY_NEXT_HOP', `"${cleanText(text, 100)}" stands for where to dial; use it with dial`)
    }
    return { role: 'listen', endpoint: absoluteFiles(parseEndpoint(text, 'listen', 'relay'), this.#source.directory) }
  }

  #dialSide(text: string): Side {
    const hop: Hop = text.startsWith(HOP_PREFIX)
      ? { kind: 'next-hop', name: text.slice(HOP_PREFIX.length) }
      : { kind: 'endpoint', endpoint: absoluteFiles(parseEndpoint(text, 'dial', 'relay'), this.#source.directory) }
    return { role: 'dial', hop }
  }

  #nextHops(given: Readonly<Record<string, string>>): Map<string, Endpoint> {
    const hops = new Map<string, Endpoint>()
    for (const [name, text] of Object.entries(given)) {
      const path = ['nextHops', name]
      if (!NAME.test(name)) {
        const message = `"${cleanText(name, 80)}" is not usable as a name; accepted are 1 to 64 of A-Z a-z 0-9 . _ -`
        this.#report(path, 'VSPC_CONFIG_INVALID', message)
        continue
      }
      const endpoint = this.#attempt(path, () => parseEndpoint(text, 'dial', 'relay'))
      if (endpoint !== undefined) hops.set(name, absoluteFiles(endpoint, this.#source.directory))
    }
    return hops
  }

  /** Whoever reaches it may send every VM's console elsewhere. */
  #control(text: string): Endpoint {
    const endpoint = absoluteFiles(parseEndpoint(text, 'listen', 'plain'), this.#source.directory)
    const accepted = 'accepted are unix:///PATH, tls://HOST:PORT?cert=FILE&key=FILE&ca=FILE, and tcp:// on loopback'
    const refuse = (why: string) =>
      new VspcError('VSPC_CONFIG_INVALID', `control "${cleanText(text, 300)}": ${why}; ${accepted}`)
    switch (endpoint.scheme) {
      case 'unix':
        return endpoint
      case 'tls':
        if (endpoint.tls.ca !== null || endpoint.tls.pin !== null) return endpoint
        throw refuse('anybody could use it: give the CA (or pin) of the certificates that may as ca=FILE')
      case 'tcp':
        if (/^(127(\.[0-9]+){3}|localhost|::1)$/.test(endpoint.host)) return endpoint
        throw refuse('other machines can reach it, and it has no authentication')
      default:
        throw refuse(`${endpoint.scheme}:// has no authentication`)
    }
  }

  #trusted(given: readonly (string | null)[] | undefined): string[] | undefined {
    return given?.flatMap((text, index) => {
      if (text === null) return []
      const fits = this.#attempt(['trustedProxies', index], () => {
        parseTrustedSources([text])
        return true
      })
      return fits ? [text] : []
    })
  }

  #file(text: string): string {
    if (text.trim() === '' || text.includes('\0') || text.endsWith('/')) {
      throw new VspcError(
        'VSPC_CONFIG_INVALID',
        'stateFile is not the path of a file; accepted is one, such as /var/lib/vspc/relay.json',
      )
    }
    return absolutePath(text, this.#source.directory)
  }
}

function vmOf(side: Side): { name: string | null; label: string | null } {
  const endpoint = side.role === 'listen' ? side.endpoint : side.hop.kind === 'endpoint' ? side.hop.endpoint : null
  return { name: endpoint?.vm?.name ?? null, label: endpoint?.vm?.label ?? null }
}
