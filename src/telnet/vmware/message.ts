/**
 * The messages of option 232 as a union. Byte payloads are as on the wire without IAC doubling; `sequence` and
 * `secret` are opaque. VMOTION-PEER and VMOTION-GOAHEAD carry both without a delimiter: what a VM sends as PEER is one
 * `cookie`, and only whoever made it knows where it divides.
 */

/** Sent by the VM's host. */
export type VmMessage =
  | { kind: 'KNOWN-SUBOPTIONS-1'; codes: Uint8Array }
  | { kind: 'UNKNOWN-SUBOPTION-RCVD-1'; code: number }
  | { kind: 'VMOTION-BEGIN'; sequence: Uint8Array }
  | { kind: 'VMOTION-PEER'; cookie: Uint8Array }
  | { kind: 'VMOTION-COMPLETE'; sequence: Uint8Array }
  | { kind: 'VMOTION-ABORT' }
  /** `serviceURI` raw: whatever the VM's editor typed, not always UTF-8. */
  | { kind: 'DO-PROXY'; direction: 'server' | 'client'; serviceURI: Uint8Array }
  | { kind: 'VM-VC-UUID' | 'VM-BIOS-UUID' | 'VM-LOCATION-UUID'; text: Uint8Array }
  | { kind: 'VM-NAME'; text: Uint8Array }

/** Sent by the proxy. */
export type ProxyMessage =
  | { kind: 'KNOWN-SUBOPTIONS-2'; codes: Uint8Array }
  | { kind: 'UNKNOWN-SUBOPTION-RCVD-2'; code: number }
  | { kind: 'VMOTION-GOAHEAD'; sequence: Uint8Array; secret: Uint8Array }
  | { kind: 'VMOTION-NOTNOW'; sequence: Uint8Array }
  | { kind: 'VMOTION-PEER-OK'; sequence: Uint8Array }
  | { kind: 'WILL-PROXY' | 'WONT-PROXY' }
  | { kind: 'GET-VM-VC-UUID' | 'GET-VM-NAME' | 'GET-VM-BIOS-UUID' | 'GET-VM-LOCATION-UUID' }

/** What a frame was that is not a good message. */
export type VmwareAnomaly =
  /** A code we do not support, or one only a proxy may send (never 2 or 3): answer UNKNOWN-SUBOPTION-RCVD-2. */
  | { kind: 'unknown'; code: number }
  /** A code we support with a payload that makes no sense. */
  | { kind: 'malformed'; code: number; reason: string }
