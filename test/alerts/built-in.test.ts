/** Texts as the kernel's format strings, systemd and dracut make them; values are made up. */
import { expect, test } from 'vitest'
import { BUILT_IN_RULES } from '../../src/alerts/index.ts'
import { cutEverywhere, rulesFound, watchOf } from './support.ts'

const TEXTS: Record<string, { yes: string[]; no: string[] }> = {
  'kernel-panic': {
    yes: [
      'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)',
      '[    1.234567] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b',
      '[   12.345678][    T1] Kernel panic - not syncing: Fatal exception',
      '[12345.678901][   C3] Kernel panic - not syncing: Fatal exception in interrupt',
      '<0>[    2.000000] Kernel panic - not syncing: No working init found.',
      '<0>Kernel panic: Attempted to kill init!',
      'Nov 23 03:17:20 web1 kernel: Kernel panic - not syncing: sysrq triggered crash',
      '\x1b[1m\x1b[31m[    1.500000] Kernel panic - not syncing: \x1b[0msysrq triggered crash',
      'root@vm:~# [   33.100000] Kernel panic - not syncing: sysrq triggered crash',
    ],
    no: [
      '[    1.234570] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b ]---',
      '$ grep -c "Kernel panic - not syncing" /var/log/kern.log',
      'see: what to do after a Kernel panic',
      '[    0.000000] Command line: BOOT_IMAGE=/vmlinuz panic=10 oops=panic',
      'kernel panic is a song',
    ],
  },
  'kernel-oops': {
    yes: [
      '[   10.1] BUG: unable to handle page fault for address: ffffffffdeadbeef',
      '[   10.1] BUG: kernel NULL pointer dereference, address: 0000000000000008',
      '[   10.1] BUG: unable to handle kernel NULL pointer dereference at 0000000000000008',
      '[   10.2] Oops: 0002 [#1] PREEMPT SMP PTI',
      '[   10.2][  T900] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI',
      '[   10.3] kernel BUG at fs/ext4/inode.c:2721!',
      '[   10.4] general protection fault: 0000 [#1] SMP',
      '[   10.4] general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP',
      '[   10.5] Internal error: Oops: 0000000096000004 [#1] SMP',
      '[   10.5] Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP',
      '[   10.6] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010',
      '[   10.7] BUG: Bad page state in process kworker/0:1  pfn:12345',
      '[   10.8] BUG: scheduling while atomic: swapper/0/0/0x00000100',
      '[   10.9] BUG: KASAN: slab-out-of-bounds in foo+0x10/0x20',
    ],
    no: [
      'BUG: this is an entry of our issue tracker',
      '[    0.5] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [stress:1234]',
      'Oops, something went wrong',
      'ERROR: Internal error: disk quota',
      '[  9.0] mce: CPU0: Thermal monitoring enabled',
    ],
  },
  'kernel-stall': {
    yes: [
      '[  100.1] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [stress:1234]',
      '[  100.1] BUG: soft lockup - CPU#0 stuck for 22s! [kworker/0:1:45]',
      '[  100.2] NMI watchdog: Watchdog detected hard LOCKUP on cpu 2',
      '[  100.3] rcu: INFO: rcu_sched self-detected stall on CPU',
      '[  100.3] INFO: rcu_sched self-detected stall on CPU { 0}  (t=5250 jiffies g=1 c=0 q=1)',
      '[  100.4] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:',
      '[  100.4] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies s: 5',
      '[  243.1] INFO: task jbd2/sda1-8:234 blocked for more than 120 seconds.',
    ],
    no: [
      '[    0.1] rcu: Hierarchical RCU implementation.',
      'INFO: task 17 of 20 done',
      '2026-11-23 INFO: rcu_sched is a name',
    ],
  },
  'oom-kill': {
    yes: [
      '[  50.1] Out of memory: Killed process 1234 (stress) total-vm:1048576kB, anon-rss:900000kB, file-rss:4kB',
      '[  50.1] Out of memory: Kill process 1234 (java) score 912 or sacrifice child',
      '[  50.1] Out of memory (oom_kill_allocating_task): Killed process 77 (a)',
      '[  50.2] Memory cgroup out of memory: Killed process 99 (python3) total-vm:80000kB',
      '[  50.3] stress invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0',
      '[  50.4] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task=stress',
    ],
    no: [
      'java.lang.OutOfMemoryError: Java heap space',
      '[  1.0] systemd-oomd.service: started',
      'we ran out of memory: Killing time',
    ],
  },
  'io-error': {
    yes: [
      '[  7.1] blk_update_request: I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 0',
      '[  7.1] I/O error, dev sdb, sector 12345 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2',
      '[  7.1] end_request: I/O error, dev sda, sector 63',
      '[  7.1] print_req_error: I/O error, dev fd0, sector 0',
      '[  7.2] Buffer I/O error on dev dm-0, logical block 262128, async page read',
      '[  7.2] Buffer I/O error on device sda1, logical block 0',
      '[  7.3] critical medium error, dev sda, sector 987654 op 0x0:(READ) flags 0x0',
      '[  7.3] blk_update_request: critical target error, dev sdc, sector 1',
      '[  7.4] EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0',
      '[  7.4] EXT4-fs (sda1): Remounting filesystem read-only',
      '[  7.5] XFS (sda1): metadata I/O error in "xfs_trans_read_buf_map" at daddr 0x1 len 8 error 5',
      '[  7.5] XFS (dm-2): log I/O error -5',
      '[  7.5] XFS (dm-2): Corruption of in-memory data (0x8) detected at xfs_defer_finish_noroll+0x12 (fs/xfs/x.c:1).  Shutting down filesystem.',
      '[  7.6] BTRFS error (device sda1): bdev /dev/sda1 errs: wr 0, rd 1, flush 0, corrupt 0, gen 0',
      '[  7.6] BTRFS: error (device sda1) in btrfs_commit_transaction:2200: errno=-5 IO failure',
    ],
    no: [
      'cp: error reading a: Input/output error',
      'the counter of I/O errors is 0',
      '[  1.0] EXT4-fs (sda1): mounted filesystem with ordered data mode',
      '[  1.0] XFS (sda1): Ending clean mount',
      '[  1.0] sd 2:0:0:0: [sda] Attached SCSI disk',
    ],
  },
  'emergency-mode': {
    yes: [
      'You are in emergency mode. After logging in, type "journalctl -xb" to view',
      'You are in rescue mode. After logging in, type "journalctl -xb" to view',
      'Welcome to emergency mode! After logging in, type "journalctl -xb" to view',
      'Entering emergency mode. Exit the shell to continue.',
      'Entering rescue mode...',
      'ALERT!  UUID=0ac1 does not exist.  Dropping to a shell!',
      '[  130.1] dracut-initqueue[277]: Warning: dracut-initqueue timeout - starting timeout scripts',
      'Give root password for maintenance',
    ],
    no: ['[  OK  ] Reached target Multi-User System.', 'emergency mode is off', 'Entering mode: rescue'],
  },
  'windows-stop': {
    yes: [
      '*** STOP: 0x0000007B (0xFFFFF880009A97E8,0xFFFFFFFFC0000034,0x0000000000000000,0x0000000000000000)',
      '<INSTANCE CLASSNAME="BLUESCREEN">',
    ],
    no: ['EVENT: The CMD command is now available.', '*** STOP: the backup', '<INSTANCE CLASSNAME="BLUE">'],
  },
}

test('each built-in rule has texts here', () => {
  expect(Object.keys(TEXTS)).toEqual(BUILT_IN_RULES.map(({ name }) => name))
})

test.each(Object.entries(TEXTS))('%s finds what it is for, and nothing else', (name, { yes, no }) => {
  for (const line of yes) expect([line, rulesFound(BUILT_IN_RULES, [`${line}\r\n`])]).toEqual([line, [name]])
  // "BUG: soft lockup" and the like may well be another rule's.
  for (const line of no)
    expect([line, rulesFound(BUILT_IN_RULES, [`${line}\r\n`]).includes(name)]).toEqual([line, false])
})

test('a line that is cut anywhere is found as one that is whole, with its offset', () => {
  const { hits, take } = watchOf(BUILT_IN_RULES)
  let serial = 0
  for (const { yes } of Object.values(TEXTS)) {
    for (const line of yes) {
      const text = `before\r\n${line}\r\nafter\r\n`
      take(text, ++serial)
      const [whole] = hits.splice(0)
      expect(whole?.offset).toBe(8)
      for (const pieces of cutEverywhere(text)) {
        serial++
        for (const piece of pieces) take(piece, serial)
        expect(hits.splice(0)).toEqual([{ ...whole, serial }])
      }
    }
  }
})

test('what the rules look through output for is in each line that they match', () => {
  for (const rule of BUILT_IN_RULES) {
    for (const line of TEXTS[rule.name]?.yes ?? []) {
      const lower = line.toLowerCase()
      expect([line, rule.literals?.some((one) => lower.includes(one.toLowerCase()))]).toEqual([line, true])
    }
  }
})

test('the shortest text that output is looked through for is not short: that is what makes it fast', () => {
  const lengths = BUILT_IN_RULES.flatMap(({ literals }) => literals ?? ['']).map(({ length }) => length)
  expect(Math.min(...lengths)).toBeGreaterThanOrEqual(6)
})
