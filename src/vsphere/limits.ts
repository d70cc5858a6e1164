/** Timers and caps of the vSphere client. Milliseconds, bytes or a count, as the name says. */
export const VSPHERE_LIMITS = {
  /** Connect and TLS handshake. */
  dialMs: 10_000,
  /** One call, from the first byte sent to the last one received. A long poll gets its waiting time on top. */
  requestMs: 60_000,
  /** One task on the server, from the moment its reference is known. */
  taskMs: 120_000,
  /** How long the server may hold a long poll back. Proxies on the way give up after a minute or two. */
  maxWaitMs: 60_000,
  /**
   * How often the session is looked after: it must not fall asleep (vCenter's default is 30 min), and a long poll does
   * not notice that its session has been ended.
   */
  keepAliveMs: 30_000,
  /** After a refused login the same password is not tried for so long, and longer each time: accounts get locked. */
  loginPauseMs: 30_000,
  /** First and longest pause of a watch before it tries again to reach the server. */
  retryMinMs: 500,
  retryMaxMs: 15_000,
  /** One answer. A page of 100 VMs with all their devices is about 2 MB. */
  maxReplyBytes: 32 << 20,
  /** Elements of one answer, which cost ten times their bytes in memory. */
  maxElements: 500_000,
  /** Depth of an answer; vim25 needs about 15. */
  maxDepth: 64,
  /** Attributes of one element; vim25 needs five, for namespaces. */
  maxAttributes: 32,
  /** Objects in one page of an answer. */
  pageObjects: 100,
} as const

export type VsphereLimits = { readonly [name in keyof typeof VSPHERE_LIMITS]: number }

export function vsphereLimits(overrides: Partial<VsphereLimits> = {}): VsphereLimits {
  return { ...VSPHERE_LIMITS, ...overrides }
}
