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
} as const

export type GuestinfoLimits = { readonly [name in keyof typeof GUESTINFO_LIMITS]: number }

export function guestinfoLimits(overrides: Partial<GuestinfoLimits> = {}): GuestinfoLimits {
  return { ...GUESTINFO_LIMITS, ...overrides }
}
