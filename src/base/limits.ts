import { HISTORY_LIMITS } from './limits-history.ts'

/**
 * Every timer and cap, with its default, range and reason. Configurable one by one in the `limits:` section of the
 * configuration file under the same names; docs/configuration.md is generated from this table.
 *
 * Units are in the names: `Ms` milliseconds, `Bytes` bytes, otherwise a count. 0 is only allowed where `min` is 0.
 */
export const LIMITS = {
  // Telnet
  maxSubnegotiationBytes: {
    default: 4096,
    min: 256,
    max: 1 << 20,
    why: 'longest useful suboption is a UUID or URI; the rest is discarded to IAC SE without growing memory',
  },
  maxNegotiationReplies: {
    default: 256,
    min: 16,
    max: 65_536,
    why: 'RFC 1143 needs a handful of answers; a peer that keeps asking gets silence after this many',
  },
  // VM sessions
  firstByteMs: {
    default: 2_000,
    min: 10,
    max: 60_000,
    why: 'a listener that serves plain and TLS waits this long for the byte that tells them apart, then speaks plain telnet',
  },
  tlsHandshakeMs: {
    default: 10_000,
    min: 100,
    max: 120_000,
    why: 'a TLS handshake takes a few round trips; a peer that needs longer is holding a slot',
  },
  negotiationMs: {
    default: 10_000,
    min: 100,
    max: 600_000,
    why: 'option 232 agreed within this time of accept (protocol: 10 s recommended)',
  },
  announceMs: {
    default: 10_000,
    min: 100,
    max: 600_000,
    why: 'DO-PROXY or VMOTION-PEER within this time of option 232',
  },
  identityMs: {
    default: 3_000,
    min: 10,
    max: 60_000,
    why: 'a VM that does not answer GET-VM-VC-UUID falls back to its next identity',
  },
  refusedLingerMs: {
    default: 30_000,
    min: 0,
    max: 600_000,
    why: 'after WONT-PROXY the host is kept connected, so that a misconfiguration is no reconnect storm',
  },
  unknownPeerLingerMs: {
    default: 10_000,
    min: 0,
    max: 600_000,
    why: 'a destination with a wrong cookie gets silence, then this long until it is closed',
  },
  preAttachBytes: { default: 65_536, min: 0, max: 16 << 20, why: 'serial data that arrive before the port is known' },
  maxPortsPerVm: {
    default: 32,
    min: 1,
    max: 1024,
    why: 'ESXi allows 32 serial ports; more labels under one UUID are an attack on our memory',
  },
  maxConnections: {
    default: 60_000,
    min: 1,
    max: 1_000_000,
    why: 'VM connections at once; further ones are refused with a log line, not with a crash for want of descriptors',
  },
  maxPorts: { default: 60_000, min: 1, max: 1_000_000, why: 'ports remembered at once, online or not' },
  portRetentionMs: {
    default: 86_400_000,
    min: 0,
    max: 31_536_000_000,
    why: 'an offline port stays listed for a day (as vSPC.py does), then goes with its history in memory',
  },
  historyRetentionMs: {
    default: 2_592_000_000,
    min: 0,
    max: 31_536_000_000,
    why: 'the same for a port with history on disk: after 30 days without output or connection it goes, its files too',
  },
  takeoverGraceMs: {
    default: 1_000,
    min: 0,
    max: 60_000,
    why: 'a superseded connection may deliver unread data this long; data after it prove that two ports share one URI',
  },
  takeoverTailMs: {
    default: 5_000,
    min: 0,
    max: 600_000,
    why: "output of a new connection waits this long for the last of a superseded resumable one's that is away (an appliance's move), so that nothing is reordered",
  },
  newcomerMs: {
    default: 250,
    min: 0,
    max: 60_000,
    why: 'on a raw or telnet line in use, a newcomer that sends nothing takes over after this: a port scan cuts nobody off',
  },
  keepAliveMs: {
    default: 30_000,
    min: 1_000,
    max: 3_600_000,
    why: 'TCP keepalive finds hosts that vanished without FIN',
  },
  redialMinMs: { default: 500, min: 10, max: 60_000, why: 'first pause before a dialled serial port is dialled again' },
  redialMaxMs: {
    default: 15_000,
    min: 100,
    max: 3_600_000,
    why: 'longest pause between dials (doubling, with jitter)',
  },
  dialMs: { default: 10_000, min: 100, max: 120_000, why: 'a connect that takes longer is treated as failed' },
  closeMs: {
    default: 5_000,
    min: 10,
    max: 60_000,
    why: 'a graceful close (FIN sent) that is not answered becomes a reset',
  },
  // Relays
  proxyHeaderMs: {
    default: 5_000,
    min: 100,
    max: 120_000,
    why: 'a peer that has to send a PROXY header has so long; headers come in the first packet',
  },
  resumeMs: {
    default: 60_000,
    min: 100,
    max: 3_600_000,
    why: "a resumable stream without connection is kept so long (an appliance's move takes seconds), then closed at both ends",
  },
  resumeBytes: {
    default: 262_144,
    min: 4_096,
    max: 64 << 20,
    why: 'of a resumable stream, in each direction: sent and not yet acknowledged; kept to be sent again, then the sender waits',
  },
  resumePingMs: {
    default: 5_000,
    min: 50,
    max: 600_000,
    why: 'a resumable stream that hears nothing for so long asks its peer for a sign of life',
  },
  resumeDeadMs: {
    default: 15_000,
    min: 100,
    max: 3_600_000,
    why: 'a connection of a resumable stream without sign of life for so long is given up, and dialled again',
  },
  maxResumable: {
    default: 60_000,
    min: 1,
    max: 1_000_000,
    why: 'resumable streams at once; each may keep "resumeBytes" in each direction',
  },
  forwardLingerMs: {
    default: 120_000,
    min: 0,
    max: 3_600_000,
    why: 'a forwarded port that goes offline keeps its program connected so long: the VM, or the appliance, may only be moving',
  },
  // vMotion
  goaheadMs: {
    default: 2_000,
    min: 10,
    max: 60_000,
    why: 'ESX waits 5 s by default; if input cannot drain in 2 s the answer is NOTNOW',
  },
  orphanMs: {
    default: 120_000,
    min: 100,
    max: 3_600_000,
    why: 'T_orphan: how long a vMotion may stay open after its source went, or without a destination',
  },
  resumeAfterMs: {
    default: 1_000,
    min: 10,
    max: 60_000,
    why: 'serial data on the source this long after GOAHEAD mean that the VM resumed in place',
  },
  sourceTailMs: {
    default: 50,
    min: 0,
    max: 10_000,
    why: "after COMPLETE the destination's first output waits this long for the end of the source's, so that nothing is reordered",
  },
  retireMs: {
    default: 10_000,
    min: 10,
    max: 600_000,
    why: 'the old source is closed when its input is exhausted, at the latest after this',
  },
  maxSequenceBytes: {
    default: 256,
    min: 4,
    max: 4096,
    why: '4 bytes attested; a longer one than this is refused with NOTNOW',
  },
  // Input to the VM
  inputBytes: {
    default: 262_144,
    min: 1024,
    max: 64 << 20,
    why: 'input held for a VM (during vMotion or when it does not read); beyond it consoles are back-pressured',
  },
  inputPieces: {
    default: 8_192,
    min: 16,
    max: 1 << 20,
    why: 'one-byte keystrokes must not cost more memory than bytes',
  },
  vmSocketBytes: {
    default: 65_536,
    min: 1024,
    max: 16 << 20,
    why: "written to a VM's socket and not yet taken by the kernel; kept small so that GOAHEAD and NOTNOW overtake what is queued behind it",
  },
  maxUnreadAnswerBytes: {
    default: 1 << 20,
    min: 65_536,
    max: 64 << 20,
    why: "answers to a VM's host that it does not take; one that asks without listening is disconnected past this",
  },
  destinationOutputBytes: {
    default: 262_144,
    min: 1024,
    max: 64 << 20,
    why: 'output of a destination before COMPLETE; beyond it the VM evidently runs there (implicit COMPLETE)',
  },
  // Consoles
  ...HISTORY_LIMITS,
  consoleBufferBytes: {
    default: 262_144,
    min: 4096,
    max: 64 << 20,
    why: 'sent to a console and not yet taken by its socket; beyond it the console is fed from history',
  },
  maxConsolesPerPort: { default: 256, min: 1, max: 65_536, why: 'each console costs a socket and a send per chunk' },
  maxConsoleQueue: {
    default: 16,
    min: 1,
    max: 1_024,
    why: 'consoles that wait for the keyboard of one port; a further one is told that the queue is full',
  },
  writerIdleMs: {
    default: 0,
    min: 0,
    max: 604_800_000,
    why: 'while somebody waits, a console that may write and has typed nothing for so long gives way to the first in the queue; 0 = never',
  },
  telnetLoginMs: {
    default: 60_000,
    min: 1_000,
    max: 3_600_000,
    why: 'a Telnet client that has not shown a token by then is holding a connection',
  },
  telnetMenuIdleMs: {
    default: 600_000,
    min: 0,
    max: 604_800_000,
    why: 'a Telnet client at whose menu nothing was typed for so long is sent away; 0 = never. Consoles stay',
  },
  maxTelnetConnections: {
    default: 1_000,
    min: 1,
    max: 65_536,
    why: 'each Telnet client costs a socket and its buffer',
  },
  maxConsoleMessageBytes: { default: 1 << 20, min: 1024, max: 64 << 20, why: 'one WebSocket message from a console' },
  pingMs: { default: 15_000, min: 1_000, max: 600_000, why: 'WebSocket ping; a console that misses two is closed' },
  // Operators
  maxEventBacklogBytes: {
    default: 1 << 20,
    min: 4096,
    max: 64 << 20,
    why: 'a reader of /api/v1/events that does not read is disconnected past this',
  },
  alertBufferBytes: {
    default: 4 << 20,
    min: 1 << 20,
    max: 1 << 30,
    why: 'output that waits to be held against the alert rules; beyond it output is not looked at, and that is counted',
  },
  drainMs: {
    default: 5_000,
    min: 0,
    max: 600_000,
    why: 'SIGTERM: consoles and sockets get this long to flush before the process exits',
  },
  maxMetricPorts: {
    default: 0,
    min: 0,
    max: 10_000,
    why: 'ports with series of their own in /metrics, five each, those known longest; 0 = none: most sites have too many VMs for that',
  },
  // Captures
  captureFileBytes: {
    default: 268_435_456,
    min: 65_536,
    max: 2 ** 40,
    why: 'a capture goes on in a new file at this size, so that one can be looked at and thrown away',
  },
  captureFiles: {
    default: 8,
    min: 1,
    max: 10_000,
    why: 'files kept per server start; a forgotten --capture must not fill the disk',
  },
  capturePendingBytes: {
    default: 8 << 20,
    min: 1 << 20,
    max: 1 << 30,
    why: 'recorded and not yet on disk; beyond it records are dropped and counted, the data path never waits',
  },
} as const satisfies Record<string, { default: number; min: number; max: number; why: string }>

export type LimitName = keyof typeof LIMITS
export type Limits = { readonly [name in LimitName]: number }

/** The defaults with `overrides` on top. Ranges are checked where configuration is read, not here. */
export function limitsWith(overrides: Partial<Limits> = {}): Limits {
  const limits = {} as { [name in LimitName]: number }
  for (const name of Object.keys(LIMITS) as LimitName[]) limits[name] = overrides[name] ?? LIMITS[name].default
  return limits
}
