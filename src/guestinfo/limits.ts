/** Timers and caps of the guestinfo channel. Milliseconds, bytes or a count, as the name says. */
export const GUESTINFO_LIMITS = {
  /** One message to the host, such as `info-set KEY VALUE`: 64 KiB with the byte that ends it. [doc] */
  maxMessageBytes: 65_535,
  /** Longer keys do not survive a .vmx file well, and no scheme that we know needs half of it. [guess] */
  maxKeyLength: 255,
  /** Between the end of one call and the beginning of the next: called faster, vmtoolsd hangs for seconds. [doc] */
  paceMs: 50,
  /** One run of the tool. vmtoolsd is known to take two seconds at times. [doc] */
  callMs: 10_000,
  /**
   * With secure calls (guest_rpc.rpci.auth.cmd.*) a second call soon after the first may be denied (open-vm-tools
   * issue 692): one that comes within this after a good one is repeated, once, after this. [doc]
   */
  deniedAgainMs: 2_000,
  /** What the tool may print: one message, and room for its complaints. */
  maxOutputBytes: 131_072,
  /** First and longest pause between two looks of a watch; guests are not told of changes. [doc] */
  pollMinMs: 500,
  pollMaxMs: 10_000,
  /** Keys of one watch: a look at so many takes 13 s. */
  maxWatchKeys: 256,
  /** What is taken of one VM's extraConfig: VMs have some hundred keys, and the host limits them to about 1 MiB. */
  maxSnapshotKeys: 8_192,
  maxSnapshotBytes: 4 << 20,
  /** Records of each kind that are taken from one VM. */
  maxRecords: 256,
  /** One change over the API: keys, and bytes of keys and values. A VM has room for about 1 MiB in all. [doc] */
  maxChangeKeys: 1_000,
  maxChangeBytes: 4 << 20,
  /** A change that met another one, or a server that was away: how often it is tried, and the pauses between. */
  changeAttempts: 8,
  changeRetryMinMs: 250,
  changeRetryMaxMs: 8_000,
  /**
   * What is kept of one VM: records of each kind, and exits of each process, the current one among them. Of processes
   * twice as many as are taken of one look in each scheme: none that is there pushes out another one that is.
   */
  maxKeptAddresses: 32,
  maxKeptErrors: 32,
  maxKeptProcesses: 128,
  maxKeptExits: 4,
  /** What is kept of all VMs together, in memory and on disk; some 100 bytes a record, and its text. */
  maxKeptVms: 20_000,
  maxKeptBytes: 32 << 20,
  /** The file of results is written anew when it has more than this, and twice what is in force. */
  compactMinBytes: 4 << 20,
  /** Results that wait for the disk. Half of it is for exits alone: other records can be read again. */
  maxPendingBytes: 8 << 20,
  /** Pauses between attempts to write, and between attempts to reach the server anew. */
  storeRetryMinMs: 200,
  storeRetryMaxMs: 10_000,
  collectRetryMinMs: 1_000,
  collectRetryMaxMs: 60_000,
  /** VMs in one answer: each may have 1 MiB of keys, which XML can make five, and an answer has room for 32. */
  collectPageVms: 16,
  /** Between news and the next look: a guest that changes its keys all the time is not to keep us busy all the time. */
  collectPaceMs: 250,
} as const

export type GuestinfoLimits = { readonly [name in keyof typeof GUESTINFO_LIMITS]: number }

export function guestinfoLimits(overrides: Partial<GuestinfoLimits> = {}): GuestinfoLimits {
  return { ...GUESTINFO_LIMITS, ...overrides }
}
