/** The settings of following the appliance: one schema and one check for the configuration file and `vspc track`. */
import { type ErrorCode, errorMessage, VspcError } from '../base/index.ts'
import type { ConfigProblem, SettingPath, SettingsSource } from '../config/index.ts'
import { fillProxyTemplate, parseProxyTemplate, parseVmTerm, type RelayTable } from '../vmotion/index.ts'
import { NextHops, type PeerHop, parsePeerHop, repeatedPeer } from './next-hops.ts'
import { readRelays } from './relay-table.ts'
import type { TrackingPlan } from './tracking-types.ts'
import { resolvePath } from './vsphere-settings.ts'

/** As they stand in a file. */
export interface TrackSettings {
  appliance?: string
  vms?: string[]
  proxyUri?: string
  serviceUri?: string
  ports?: (number | string)[]
  relays?: Record<string, string> | string
  nextHops?: string[]
}

/** The section `track`, as JSON Schema. `accepts` finishes the sentence "accepted is ...". */
export const TRACK_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['vms', 'proxyUri'],
  description:
    'Follows the ESXi host that the appliance runs on, and points VMs at the relay there; see docs/tracking.md. Needs ' +
    'the section `vsphere`. Default: nothing is followed.',
  properties: {
    appliance: {
      type: 'string',
      description: "The appliance's own VM: name, inventory path or UUID. Default: the VM that this is.",
      accepts: 'the name, inventory path or UUID of a VM',
    },
    vms: {
      type: 'array',
      description:
        'VMs to re-point: patterns of names, `folder:PATH`, `pool:PATH`, `attribute:NAME=PATTERN`, `vm:NAME`. The ' +
        'appliance itself is left out.',
      accepts: 'a list of VMs, such as ["web*", "folder:/DC/vm/prod"]',
      items: {
        type: 'string',
        accepts: 'a pattern of names, folder:PATH, pool:PATH, attribute:NAME=PATTERN or vm:NAME',
      },
    },
    proxyUri: {
      type: 'string',
      description:
        'What their ports are to name as proxyURI. `{host}` is the name of the host that the appliance is on, `{ip}` ' +
        'its management address, `{relay}` what `relays` says for it.',
      accepts: 'a template, such as telnet://{host}:13370',
    },
    serviceUri: {
      type: 'string',
      description: 'Only ports whose serviceURI fits this pattern. Default: any.',
      accepts: 'a pattern, such as vspc*',
    },
    ports: {
      type: 'array',
      description: 'Only these ports of each VM, by number from 1 or label. Default: every port that has a proxyURI.',
      accepts: 'a list of numbers and labels, such as [1]',
      items: {
        anyOf: [{ type: 'integer', minimum: 1, maximum: 255 }, { type: 'string' }],
        accepts: 'a number from 1 to 255, or the label of a port',
      },
    },
    relays: {
      anyOf: [
        {
          type: 'object',
          additionalProperties: { type: 'string', accepts: 'the address of a relay, such as 10.0.0.1' },
        },
        { type: 'string' },
      ],
      description: 'The address of the relay on each host, for `{relay}`: lines `HOST: ADDRESS`, or a file of them.',
      accepts: 'a section of lines HOST: ADDRESS, or the path of a file with such lines',
    },
    nextHops: {
      type: 'array',
      description:
        'Next hops of peer relays that follow the appliance: `CONTROL-URI#NAME=ENDPOINT`, with placeholders as in ' +
        '`proxyUri`. They are told before VMs are re-pointed.',
      accepts: 'a list of CONTROL-URI#NAME=ENDPOINT',
      items: { type: 'string', accepts: 'CONTROL-URI#NAME=ENDPOINT' },
    },
  },
} as const

/** Checked and complete; plain data. */
export interface TrackConfig {
  /** Null: the VM that this is. */
  readonly appliance: string | null
  readonly vms: readonly string[]
  readonly proxyUri: string
  readonly serviceUri: string | null
  readonly ports: readonly (number | string)[] | null
  readonly relays: Readonly<Record<string, string>>
  readonly nextHops: readonly string[]
  /** Of the files that `nextHops` name. */
  readonly directory: string
}

/** Settings that have fitted the schema: wrong items of lists are null. */
type FittingTrack = { readonly [Name in keyof TrackSettings]: TrackSettings[Name] | (string | number | null)[] }

/** The section of one source, or null when it is not complete and right; then `problems` says why. */
export function readTrackSection(
  settings: FittingTrack,
  source: SettingsSource,
  problems: ConfigProblem[],
): TrackConfig | null {
  const before = problems.length
  const report = (at: SettingPath, code: ErrorCode, message: string): void => {
    problems.push({ code, ...source.locate(['track', ...at], 'value'), message })
  }
  /** What is there and did not fit has been reported. */
  const needed = (name: 'vms' | 'proxyUri'): void => {
    const { track } = source.values as { track?: object }
    if (track !== undefined && Object.hasOwn(track, name)) return
    const { accepts } = TRACK_SCHEMA.properties[name]
    const message = `track.${name} is missing; accepted is ${accepts}`
    problems.push({ code: 'VSPC_CONFIG_INVALID', ...source.locate(['track'], 'key'), message })
  }
  const attempt = <T>(at: SettingPath, make: () => T): T | null => {
    try {
      return make()
    } catch (error) {
      report(at, error instanceof VspcError ? error.code : 'VSPC_CONFIG_INVALID', errorMessage(error))
      return null
    }
  }
  const vms = texts(settings.vms)
  const nextHops = texts(settings.nextHops)
  const { proxyUri } = settings
  if (settings.vms === undefined) needed('vms')
  else if (settings.vms.length === 0) {
    report(['vms'], 'VSPC_CONFIG_INVALID', `track.vms is empty; accepted is ${TRACK_SCHEMA.properties.vms.accepts}`)
  }
  for (const [at, text] of vms) attempt(['vms', at], () => parseVmTerm(text))
  if (typeof proxyUri === 'string') attempt(['proxyUri'], () => parseProxyTemplate(proxyUri))
  else needed('proxyUri')
  const relays = attempt(['relays'], () => readTable(settings.relays, source.directory)) ?? {}
  const hops: PeerHop[] = []
  const place = { option: 'track.nextHops', directory: source.directory }
  for (const [at, text] of nextHops) {
    const hop = attempt(['nextHops', at], () => parsePeerHop(text, place))
    if (hop === null) continue
    hops.push(hop)
    const twice = repeatedPeer(hops)
    if (twice === null) continue
    report(['nextHops', at], 'VSPC_CONFIG_INVALID', `${twice} is given twice; name each next hop once`)
    hops.pop()
  }
  const complete = settings.vms !== undefined && typeof proxyUri === 'string'
  if (problems.length > before || !complete) return null
  return {
    appliance: textOrNull(settings.appliance),
    vms: vms.map(([, text]) => text),
    proxyUri,
    serviceUri: textOrNull(settings.serviceUri),
    ports: settings.ports === undefined ? null : (settings.ports as (number | string)[]),
    relays,
    nextHops: nextHops.map(([, text]) => text),
    directory: source.directory,
  }
}

/** As it would stand in a file. */
export function trackSettings(config: TrackConfig): TrackSettings {
  const { appliance, vms, proxyUri, serviceUri, ports, relays, nextHops } = config
  return {
    ...(appliance === null ? {} : { appliance }),
    vms: [...vms],
    proxyUri,
    ...(serviceUri === null ? {} : { serviceUri }),
    ...(ports === null ? {} : { ports: [...ports] }),
    ...(Object.keys(relays).length === 0 ? {} : { relays: { ...relays } }),
    ...(nextHops.length === 0 ? {} : { nextHops: [...nextHops] }),
  }
}

/**
 * @param appliance name, inventory path or UUID.
 * @param option how messages call the next hops.
 * @throws VspcError for what {@link readTrackSection} would have reported.
 */
export function trackingPlan(config: TrackConfig, appliance: string, option = 'track.nextHops'): TrackingPlan {
  const { vms, proxyUri, serviceUri, ports, nextHops, directory } = config
  const relays: RelayTable = new Map(Object.entries(config.relays))
  const template = parseProxyTemplate(proxyUri)
  return {
    appliance,
    terms: vms.map(parseVmTerm),
    choice: { ...(ports === null ? {} : { ports }), ...(serviceUri === null ? {} : { serviceURI: serviceUri }) },
    proxyURI: (place) => fillProxyTemplate(template, place, relays),
    nextHops: nextHops.length === 0 ? null : new NextHops(nextHops, relays, { option, directory }),
  }
}

function readTable(relays: FittingTrack['relays'], directory: string): Record<string, string> {
  if (relays === undefined || Array.isArray(relays)) return {}
  if (typeof relays === 'string') return Object.fromEntries(readRelays(resolvePath(relays, directory), directory))
  return relays
}

/** With their places; items that are wrong have been reported. */
function texts(list: FittingTrack['vms']): [at: number, text: string][] {
  const items: readonly unknown[] = Array.isArray(list) ? list : []
  return [...items.entries()].filter((entry): entry is [number, string] => typeof entry[1] === 'string')
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}
