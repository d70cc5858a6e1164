/** The settings of a relay's configuration file; flags are checked against the same. */
import type { SchemaNode } from '../config/index.ts'
import { RELAY_LIMITS } from './limits.ts'
import { RELAY_LOG_LEVELS, type RelayLogLevel } from './logger.ts'
import { WHEN_AWAY, type WhenAway } from './plan.ts'

export interface RouteSettings {
  name?: string
  listen?: string | (string | null)[]
  dial?: string | (string | null)[]
  whenAway?: WhenAway
  maxStreams?: number
}

export interface RelaySettings {
  routes?: (RouteSettings | null)[]
  nextHops?: Record<string, string>
  control?: string
  trustedProxies?: (string | null)[]
  stateFile?: string
  logLevel?: RelayLogLevel
  limits?: Record<string, number>
}

const listenUri: SchemaNode = {
  type: 'string',
  accepts: 'an endpoint URI, such as tcp://0.0.0.0:13370, or a list of two',
  items: { type: 'string', accepts: 'an endpoint URI, such as tcp://0.0.0.0:13370' },
}

const dialUri: SchemaNode = {
  type: 'string',
  accepts: 'an endpoint URI, such as vsock://3:13370, or next-hop:NAME, or a list of two',
  items: { type: 'string', accepts: 'an endpoint URI, such as vsock://3:13370, or next-hop:NAME' },
}

const limitNodes: Record<string, SchemaNode> = Object.fromEntries(
  Object.entries(RELAY_LIMITS).map(([name, { min, max }]) => [name, { type: 'integer', minimum: min, maximum: max }]),
)

/** @param values what is to be checked: the names of next hops are free, and taken from there. */
export function relaySchema(values: unknown): SchemaNode {
  const hops = (values as { nextHops?: unknown } | null)?.nextHops
  const hopNames = typeof hops === 'object' && hops !== null && !Array.isArray(hops) ? Object.keys(hops) : []
  const hop: SchemaNode = { type: 'string', accepts: 'an endpoint URI, such as tls://appliance:13370' }
  return {
    type: 'object',
    properties: {
      routes: {
        type: 'array',
        accepts: 'a list of routes, such as [{listen: tcp://0.0.0.0:13370, dial: vsock://3:13370}]',
        items: {
          type: 'object',
          accepts: 'a route: two of listen and dial, and what else is said about it',
          properties: {
            name: { type: 'string', accepts: 'a name: 1 to 64 of A-Z a-z 0-9 . _ -' },
            listen: listenUri,
            dial: dialUri,
            whenAway: { enum: WHEN_AWAY },
            maxStreams: { type: 'integer', minimum: 1, maximum: RELAY_LIMITS.maxStreams.max },
          },
        },
      },
      nextHops: {
        type: 'object',
        accepts: 'a section with a line "NAME: URI" for each',
        properties: Object.fromEntries(hopNames.map((name) => [name, hop])),
      },
      control: { type: 'string', accepts: 'an endpoint URI, such as unix:///run/vspc/relay.sock' },
      trustedProxies: {
        type: 'array',
        accepts: 'a list of sources, such as [10.0.0.0/8, unix, certificate]',
        items: { type: 'string', accepts: 'an address, a network, unix, vsock:CID, vsock:* or certificate' },
      },
      stateFile: { type: 'string', accepts: 'the path of a file' },
      logLevel: { enum: RELAY_LOG_LEVELS },
      limits: { type: 'object', properties: limitNodes },
    },
  }
}
