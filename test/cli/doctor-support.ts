/** A server that is well, as it would tell itself. */
import type { HealthInfo, ListenerInfo } from '../../src/app/index.ts'
import { REFUSAL_REASONS } from '../../src/vspc/refusals.ts'

export const NOW = '2026-06-01T12:00:00.000Z'

export const CERTIFICATE: NonNullable<ListenerInfo['certificate']> = {
  subject: 'vspc.example.com',
  issuer: 'vspc.example.com',
  selfSigned: true,
  names: ['vspc.example.com'],
  validFrom: '2026-01-01T00:00:00.000Z',
  validTo: '2027-01-01T00:00:00.000Z',
  sha1: Array(20).fill('AB').join(':'),
  sha256: Array(32).fill('CD').join(':'),
}

export const LISTENER: ListenerInfo = {
  uri: 'tcp://0.0.0.0:13370',
  scheme: 'tcp',
  host: '0.0.0.0',
  tcpPort: 13_370,
  protocol: 'vmware',
  tls: 'beside',
  forRelays: false,
  asksForCertificate: false,
  certificate: CERTIFICATE,
}

export function healthInfo(change: Partial<HealthInfo> = {}): HealthInfo {
  return {
    at: NOW,
    version: '0.1.0',
    node: '20.20.2',
    startedAt: '2026-05-01T00:00:00.000Z',
    state: 'ready',
    listeners: [LISTENER],
    http: { url: 'http://127.0.0.1:13371', certificate: null },
    serviceUris: [],
    ports: { online: 1, offline: 0, migrating: 0 },
    connections: { open: 1, max: 60_000 },
    openFiles: { open: 40, max: 65_536 },
    memory: { rssBytes: 90e6, heapBytes: 20e6 },
    eventLoop: { p50Ms: 1, p99Ms: 2.5, maxMs: 12.3 },
    clock: { jumps: 0, lastAt: null, lastByMs: null },
    refusals: {
      counts: Object.fromEntries(REFUSAL_REASONS.map((reason) => [reason, 0])) as HealthInfo['refusals']['counts'],
      recent: [],
    },
    vmotions: { open: 0, completed: 12, aborted: 1, refused: 0, timedOut: 0 },
    history: {
      wanted: 'disk',
      persistent: true,
      usedBytes: 1e9,
      budgetBytes: 17e9,
      pendingBytes: 0,
      troubledPorts: 0,
      troubles: [],
      disk: { path: '/var/lib/vspc', freeBytes: 100e9, freeFiles: 1e6, writable: true },
    },
    lost: { historyBytes: 0, consoleBytes: 0, preAttachBytes: 0, captureBytes: null, logLines: 0, internalErrors: 0 },
    vsphere: { reachable: true, trouble: null },
    appliance: { host: 'esx1', settled: true, stuckVms: 0, nextHopsOpen: 0 },
    guestinfo: { following: true, trouble: null },
    ...change,
  }
}
