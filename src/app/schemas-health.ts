/** What the API tells of the server itself, as JSON Schema. The compiler checks it against the types. */
import { MAX_REFUSALS, REFUSAL_REASONS } from '../vspc/index.ts'
import type { DiskInfo, HealthInfo, RefusalInfo, TroubleInfo } from './health-view.ts'
import type { CertificateInfo, ListenerInfo } from './listener-info.ts'

const text = { type: 'string' }
const textOrNull = { type: ['string', 'null'] }
const count = { type: 'integer', minimum: 0 }
const countOrNull = { type: ['integer', 'null'], minimum: 0 }
const ms = { type: 'number', minimum: 0 }
const flag = { type: 'boolean' }
const time = { type: 'string', description: 'ISO 8601.' }

/** A property for each of the type, all of them required. */
function object<Content>(properties: { readonly [Name in keyof Required<Content>]: object }, more: object = {}) {
  return { type: 'object', properties, required: Object.keys(properties), ...more }
}

function orNull(ref: string, description: string) {
  return { anyOf: [{ $ref: ref }, { type: 'null' }], description }
}

function choice(values: readonly string[]) {
  return { type: 'string', enum: [...values] }
}

const CertificateSchema = object<CertificateInfo>(
  {
    subject: { ...text, description: 'Common name, or the whole subject.' },
    issuer: text,
    selfSigned: flag,
    names: { type: 'array', items: text, description: 'DNS names and addresses that it is for.' },
    validFrom: time,
    validTo: time,
    sha1: { ...text, description: 'Hex pairs with colons between, as #thumbprint= of a proxyURI takes it.' },
    sha256: text,
  },
  { $id: 'Certificate', description: 'What a listener shows in TLS.' },
)

const ListenerSchema = object<ListenerInfo>(
  {
    uri: { ...text, description: 'Without parameters.' },
    scheme: text,
    host: textOrNull,
    tcpPort: countOrNull,
    protocol: choice(['vmware', 'telnet', 'raw'] satisfies ListenerInfo['protocol'][]),
    tls: {
      ...choice(['off', 'only', 'beside'] satisfies ListenerInfo['tls'][]),
      description: 'beside: plain and TLS, told apart by the first byte.',
    },
    forRelays: { ...flag, description: 'It takes streams of relays only.' },
    asksForCertificate: { ...flag, description: 'Peers have to show a certificate.' },
    certificate: orNull('Certificate#', 'Null without TLS.'),
  },
  { $id: 'Listener', description: 'Where VMs connect to.' },
)

const RefusalSchema = object<RefusalInfo>(
  {
    reason: choice(REFUSAL_REASONS),
    peer: { ...textOrNull, description: 'Address of the peer.' },
    detail: text,
    count: { ...count, description: 'How often it was so.' },
    firstAt: time,
    lastAt: time,
  },
  { $id: 'Refusal', description: 'A connection that got no port, and why; the same again is counted.' },
)

const TroubleSchema = object<TroubleInfo>(
  {
    kind: choice(['late', 'write', 'read', 'dropped', 'budget', 'lock', 'foreign'] satisfies TroubleInfo['kind'][]),
    code: { ...textOrNull, description: "The system's error: ENOSPC." },
    message: text,
    since: time,
  },
  { $id: 'HistoryTrouble', description: 'What is wrong with history just now.' },
)

const DiskSchema = object<DiskInfo>(
  { path: text, freeBytes: countOrNull, freeFiles: countOrNull, writable: flag },
  { $id: 'Disk', description: 'Where history is kept; null where the system does not tell.' },
)

const counts = Object.fromEntries(REFUSAL_REASONS.map((reason) => [reason, count]))

const HealthSchema = object<HealthInfo>(
  {
    at: time,
    version: text,
    node: { ...text, description: 'Version of Node.' },
    startedAt: time,
    state: choice(['starting', 'ready', 'stopping'] satisfies HealthInfo['state'][]),
    listeners: { type: 'array', items: { $ref: 'Listener#' } },
    http: {
      ...object<NonNullable<HealthInfo['http']>>({
        url: text,
        certificate: orNull('Certificate#', 'Null without TLS.'),
      }),
      type: ['object', 'null'],
    },
    serviceUris: { type: 'array', items: text, description: 'Empty: any.' },
    ports: object<HealthInfo['ports']>({ online: count, offline: count, migrating: count }),
    connections: object<HealthInfo['connections']>({ open: count, max: count }),
    openFiles: object<HealthInfo['openFiles']>({ open: countOrNull, max: countOrNull }),
    memory: object<HealthInfo['memory']>({ rssBytes: count, heapBytes: count }),
    eventLoop: object<HealthInfo['eventLoop']>(
      { p50Ms: ms, p99Ms: ms, maxMs: ms },
      { description: 'How late the event loop ran in the last one or two minutes.' },
    ),
    clock: object<HealthInfo['clock']>(
      { jumps: count, lastAt: textOrNull, lastByMs: { type: ['integer', 'null'] } },
      { description: 'Jumps of the wall clock since the start.' },
    ),
    refusals: object<HealthInfo['refusals']>({
      counts: object<HealthInfo['refusals']['counts']>(counts as HealthCounts),
      recent: { type: 'array', maxItems: MAX_REFUSALS, items: { $ref: 'Refusal#' }, description: 'Newest first.' },
    }),
    vmotions: object<HealthInfo['vmotions']>({
      open: count,
      completed: count,
      aborted: count,
      refused: count,
      timedOut: count,
    }),
    history: object<HealthInfo['history']>({
      wanted: choice(['disk', 'memory', 'off'] satisfies HealthInfo['history']['wanted'][]),
      persistent: flag,
      usedBytes: count,
      budgetBytes: { ...count, description: '0: as much as there is room.' },
      pendingBytes: count,
      troubledPorts: count,
      troubles: { type: 'array', items: { $ref: 'HistoryTrouble#' } },
      disk: orNull('Disk#', 'Null unless it is kept on disk.'),
    }),
    lost: object<HealthInfo['lost']>(
      {
        historyBytes: count,
        consoleBytes: count,
        preAttachBytes: count,
        captureBytes: countOrNull,
        logLines: count,
        internalErrors: count,
      },
      { description: 'What was lost or left out since the start.' },
    ),
    vsphere: {
      ...object<NonNullable<HealthInfo['vsphere']>>({ reachable: flag, trouble: textOrNull }),
      type: ['object', 'null'],
    },
    appliance: {
      ...object<NonNullable<HealthInfo['appliance']>>({
        host: textOrNull,
        settled: flag,
        stuckVms: count,
        nextHopsOpen: count,
      }),
      type: ['object', 'null'],
    },
    guestinfo: {
      ...object<NonNullable<HealthInfo['guestinfo']>>({ following: flag, trouble: textOrNull }),
      type: ['object', 'null'],
    },
  },
  { $id: 'Health', description: 'How the server itself is.' },
)

type HealthCounts = { readonly [name in keyof HealthInfo['refusals']['counts']]: object }

export const HEALTH_SCHEMAS: readonly object[] = [
  CertificateSchema,
  ListenerSchema,
  RefusalSchema,
  TroubleSchema,
  DiskSchema,
  HealthSchema,
]
