/**
 * The rules that need no configuration: what Linux and Windows write on a serial console when something is badly wrong.
 * The texts are those of the kernel's own messages (panic.c, oom_kill.c, watchdog.c, tree_stall.h, hung_task.c, blk-core.c,
 * buffer.c, fault.c of x86 and arm64, super.c of the file systems), of systemd and of the usual initramfs. Pure.
 */
import { type AlertRule, DEFAULT_EVERY_MS, type Severity } from './rule.ts'

/**
 * Where a message of the kernel begins: at the start of a line, after `[   12.345678] `, `[   12.345678][ T1234] `, `<3>`
 * or a syslog daemon's `kernel: `. It may well be in the middle of a line: the kernel does not ask where the cursor is.
 */
const KERNEL = '(?:^|\\] ?|kernel: |^<[0-9]{1,3}>)'

/** Who speaks of it. Of XFS: metadata I/O error in "..."; log I/O error -5. */
const BEFORE_IO_ERROR = 'update_request: |end_request: |print_req_error: |Buffer |metadata |log '

/** @param literals the longer the shortest of all rules is, the faster output is looked through. */
function rule(name: string, severity: Severity, literals: readonly string[], patterns: readonly string[]): AlertRule {
  const pattern = patterns.join('|')
  return { name, pattern, ignoreCase: false, literals, severity, ports: null, everyMs: DEFAULT_EVERY_MS }
}

export const BUILT_IN_RULES: readonly AlertRule[] = [
  rule(
    'kernel-panic',
    'critical',
    ['Kernel panic'],
    // Linux 2.4 wrote ": ". The last line of a panic, "---[ end Kernel panic ...", is not another one.
    [`${KERNEL}Kernel panic(?: - not syncing|:)`],
  ),
  rule(
    'kernel-oops',
    'critical',
    [
      'BUG: unable to handle',
      'BUG: kernel NULL',
      'BUG: Bad page',
      'BUG: scheduling while',
      'BUG: KASAN: ',
      'kernel BUG at ',
      'Oops: ',
      'Internal error: ',
      'general protection fault',
      'Unable to handle kernel ',
    ],
    [
      `${KERNEL}BUG: (?:unable to handle |kernel NULL pointer |Bad page |scheduling while atomic|KASAN: )`,
      `${KERNEL}kernel BUG at `,
      `${KERNEL}Oops: `,
      // arm64 puts the kind of fault between: "Internal error: Oops - BUG: 00000000f2000800 [#1] SMP".
      `${KERNEL}Internal error: [A-Za-z -]{1,60}: `,
      `${KERNEL}general protection fault[,:]`,
      `${KERNEL}Unable to handle kernel `,
    ],
  ),
  rule(
    'kernel-stall',
    'error',
    ['INFO: rcu_', 'BUG: soft lockup', 'INFO: task ', 'detected hard LOCKUP'],
    [
      'INFO: rcu_[a-z]+ (?:self-detected stall|detected (?:expedited )?stalls) on CPU',
      'BUG: soft lockup - CPU#',
      'INFO: task .{1,80} blocked for more than [0-9]+ seconds',
      'Watchdog detected hard LOCKUP on cpu',
    ],
  ),
  rule(
    'oom-kill',
    'error',
    ['out of memory', 'oom-killer: ', 'oom-kill:'],
    [
      `${KERNEL}(?:Memory cgroup out|Out) of memory(?: \\([a-z_]+\\))?: Kill`,
      ' invoked oom-killer: ',
      `${KERNEL}oom-kill:constraint=`,
    ],
  ),
  rule(
    'io-error',
    'error',
    [
      'I/O error',
      'medium error',
      'target error',
      'space allocation error',
      'fs error (device',
      'ounting filesystem read-only',
      'Corruption ',
      'Shutting down filesystem',
      'BTRFS error',
      'BTRFS critical',
      'BTRFS: error',
    ],
    [
      `(?:${KERNEL}|${BEFORE_IO_ERROR})I/O error(?:,| on | in | -)`,
      'critical (?:medium|target|space allocation) error, dev ',
      'EXT[234]-fs error \\(device ',
      'EXT[234]-fs \\([^)]+\\): [Rr]emounting filesystem read-only',
      'XFS \\([^)]+\\): (?:Corruption |.{0,80}[Ss]hutting down filesystem)',
      'BTRFS(?: error| critical|: error) \\(device ',
    ],
  ),
  rule(
    'emergency-mode',
    'error',
    ['emergency mode', 'rescue mode', 'Dropping to a shell', 'starting timeout scripts', 'Give root password'],
    [
      '(?:You are in|Welcome to|Entering) (?:emergency|rescue) mode',
      // The initramfs of Debian, that of dracut, sulogin.
      'Dropping to a shell!',
      'dracut-initqueue(?:\\[[0-9]+\\])?: .*timeout - starting timeout scripts',
      'Give root password for maintenance',
    ],
  ),
  // Windows tells it as XML where its emergency management services use the line (EMS), else as text.
  rule(
    'windows-stop',
    'critical',
    ['*** STOP: 0x', 'CLASSNAME="BLUESCREEN"'],
    ['\\*\\*\\* STOP: 0x[0-9A-Fa-f]{8}', 'CLASSNAME="BLUESCREEN"'],
  ),
]
