/** Which ports are listed, and in what order. Pure. */
import type { PortInfo } from '../../vspc/index.ts'
import type { PortQuery } from './places.ts'
import { portName } from './words.ts'

export const STATES = ['online', 'migrating', 'offline'] as const

export const SORTS = ['name', 'state', 'host', 'output'] as const
export type Sort = (typeof SORTS)[number]

export interface Listing {
  readonly ports: readonly PortInfo[]
  /** How many there are of each state when only the state is not asked for. */
  readonly states: ReadonlyMap<string, number>
  /** Known hosts, sorted, with how many ports each has; of all ports. */
  readonly hosts: readonly (readonly [host: string, ports: number])[]
}

/** Every word has to be found somewhere in name, id, host, label or URI; upper and lower case are the same. */
export function listPorts(all: Iterable<PortInfo>, query: PortQuery): Listing {
  const words = query.text.toLowerCase().split(/\s+/).filter(Boolean)
  const hosts = new Map<string, number>()
  const states = new Map<string, number>()
  const ports: PortInfo[] = []
  for (const port of all) {
    if (port.host !== null) hosts.set(port.host, (hosts.get(port.host) ?? 0) + 1)
    if (query.host !== '' && port.host !== query.host) continue
    if (words.length > 0 && !matches(port, words)) continue
    states.set(port.state, (states.get(port.state) ?? 0) + 1)
    if (query.state === '' || port.state === query.state) ports.push(port)
  }
  ports.sort(order(query.sort))
  return { ports, states, hosts: [...hosts].sort(([a], [b]) => compare(sortKey(a), sortKey(b))) }
}

/** What is searched and sorted by, once per description: thousands of ports are filtered with every key. */
interface Keys {
  readonly text: string
  readonly name: string
  readonly host: string
}

const known = new WeakMap<PortInfo, Keys>()

function keysOf(port: PortInfo): Keys {
  const made = known.get(port)
  if (made !== undefined) return made
  const { id, vm, label, host, serviceURI, state } = port
  const keys = {
    text: [vm.name, label, id, vm.biosUuid, host, serviceURI, state].join('\n').toLowerCase(),
    name: `${sortKey(portName(port))}\n${id}`,
    // What has no host comes last.
    host: host === null ? '\uffff' : sortKey(host),
  }
  known.set(port, keys)
  return keys
}

/** Upper and lower case are the same, and numbers sort as numbers. */
function sortKey(text: string): string {
  return text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, '0'))
}

function matches(port: PortInfo, words: readonly string[]): boolean {
  const { text } = keysOf(port)
  return words.every((word) => text.includes(word))
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
const byName = (a: PortInfo, b: PortInfo): number => compare(keysOf(a).name, keysOf(b).name)

function order(sort: string): (a: PortInfo, b: PortInfo) => number {
  switch (sort as Sort) {
    case 'state':
      return (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state) || byName(a, b)
    case 'host':
      return (a, b) => compare(keysOf(a).host, keysOf(b).host) || byName(a, b)
    case 'output':
      // ISO 8601 sorts as text; the newest first.
      return (a, b) => compare(b.lastOutputAt ?? '', a.lastOutputAt ?? '') || byName(a, b)
    default:
      return byName
  }
}
