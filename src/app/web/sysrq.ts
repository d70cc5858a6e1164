/** Linux's magic SysRq on a serial line: BREAK, then a key within five seconds. Documentation/admin-guide/sysrq.rst */

export interface SysRq {
  readonly key: string
  readonly does: string
  /** Ends programs, or the guest. */
  readonly harm: boolean
}

export const SYSRQ: readonly SysRq[] = [
  { key: 'h', does: 'Help: list what this kernel allows', harm: false },
  { key: 's', does: 'Sync all file systems', harm: false },
  { key: 'w', does: 'Show blocked tasks', harm: false },
  { key: 'l', does: 'Show what every CPU does', harm: false },
  { key: 'm', does: 'Show memory', harm: false },
  { key: 't', does: 'Show all tasks', harm: false },
  { key: 'p', does: 'Show registers', harm: false },
  { key: '9', does: 'Log everything to the console', harm: false },
  { key: 'r', does: 'Take the keyboard back from raw mode', harm: false },
  { key: 'f', does: 'Run the out-of-memory killer', harm: true },
  { key: 'e', does: 'Terminate all programs but init', harm: true },
  { key: 'i', does: 'Kill all programs but init', harm: true },
  { key: 'u', does: 'Make all file systems read-only', harm: true },
  { key: 'c', does: 'Crash, for a dump', harm: true },
  { key: 'b', does: 'Reboot at once, without sync', harm: true },
  { key: 'o', does: 'Power off at once', harm: true },
]
