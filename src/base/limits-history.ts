/** Part of LIMITS: what VMs print, in memory and on disk. */
export const HISTORY_LIMITS = {
  historyBytes: {
    default: 1 << 20,
    min: 0,
    max: 1 << 30,
    why: 'output kept in memory per port if history is not on disk; grows with use, an idle port costs nothing',
  },
  historyVisibleMs: {
    default: 50,
    min: 1,
    max: 10_000,
    why: 'output is shown once it is with the operating system, so that offsets outlive a crash; a slower disk is not waited for',
  },
  historyPendingBytes: {
    default: 4 << 20,
    min: 65_536,
    max: 1 << 30,
    why: 'output of one port not yet on disk; beyond it the oldest is lost to history (not to consoles that keep up)',
  },
  historyPendingTotalBytes: {
    default: 64 << 20,
    min: 1 << 20,
    max: 2 ** 36,
    why: 'the same for all ports together: what a hanging disk may cost in memory',
  },
  historyTailBytes: {
    default: 1 << 20,
    min: 0,
    max: 1 << 30,
    why: 'output on disk that is also kept in memory per port with consoles, so that those a little behind need no disk',
  },
  historyTailTotalBytes: {
    default: 64 << 20,
    min: 0,
    max: 2 ** 36,
    why: 'the same for all ports together; ports that were quiet longest go first',
  },
  historyGatherMs: {
    default: 10,
    min: 0,
    max: 1_000,
    why: 'output that nobody follows is written together after so long: fewer and larger writes; kill -9 loses it at worst',
  },
  historyWritesPerSecond: {
    default: 4_000,
    min: 100,
    max: 1_000_000,
    why: 'beyond it, output that nobody follows is gathered a moment (about a second with as many busy ports): a write costs CPU, not by its size',
  },
  historyOpenFiles: {
    default: 256,
    min: 1,
    max: 65_536,
    why: 'history files open at once, those used last; no descriptor per port',
  },
  historyFileBytes: {
    default: 64 << 20,
    min: 65_536,
    max: 2 ** 31,
    why: 'a port goes on in a new file at about this size: what is deleted to make room, or compressed, goes by files',
  },
  historyFileMs: {
    default: 0,
    min: 0,
    max: 31_536_000_000,
    why: 'the same by time, at multiples of it since 1970 in UTC (86400000: files of a day); 0 = by size only',
  },
  historyPortBytes: {
    default: 2 ** 30,
    min: 0,
    max: 2 ** 50,
    why: "what a port's files may take on the disk; the oldest go first. 0 = as much as there is room",
  },
  historyTotalBytes: {
    default: 16 * 2 ** 30,
    min: 0,
    max: 2 ** 50,
    why: 'the same for all ports together; what was written longest ago goes first. 0 = as much as there is room',
  },
  historyAgeMs: {
    default: 0,
    min: 0,
    max: 315_360_000_000,
    why: 'files that were last written so long ago are deleted, but for the newest of a port; 0 = they are kept',
  },
  historyCompressMs: {
    default: 3_600_000,
    min: 0,
    max: 315_360_000_000,
    why: 'files that are not appended to any more are compressed after so long, in the background; 0 = never',
  },
} as const
