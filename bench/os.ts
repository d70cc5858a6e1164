/** What the operating system says of a process (Linux). */
import { closeSync, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from 'node:fs'
import { availableParallelism, cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** USER_HZ: fixed by the kernel's interface. */
const TICKS_PER_SECOND = 100

/**
 * CPU time of all its threads, user and system, in ms: by the scheduler's own clock, to the nanosecond; where the kernel
 * does not tell that, in steps of 10.
 */
export function cpuMs(pid: number): number {
  try {
    let ns = 0
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0])
    }
    if (ns > 0) return ns / 1e6
  } catch {
    // Built without CONFIG_SCHED_INFO; or a thread has just ended, which those of Node do not.
  }
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The second field may hold anything, parentheses too.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND
}

const BLOCK = Buffer.alloc(1 << 20)

/**
 * Has the kernel take memory from the hypervisor: in a virtual machine the first touch of a page may cost ten times what
 * is measured here, and free pages are given back after seconds. The returned function frees it, for whoever needs
 * memory next.
 */
export function holdMemory(dir: string, bytes: number): () => void {
  const path = join(dir, 'memory')
  const file = openSync(path, 'w')
  for (let written = 0; written < bytes; written += BLOCK.length) writeSync(file, BLOCK)
  closeSync(file)
  return () => unlinkSync(path)
}

/** Resident memory, KiB. */
export function rssKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** CPU time in a tenth of a second that is as good as none. */
const CALM_MS = 10

/** Waits until a process has done (nearly) nothing for 300 ms; gives up after 20 s. */
export async function quiescence(pid: number): Promise<void> {
  let last = cpuMs(pid)
  for (let calm = 0, waited = 0; calm < 3 && waited < 200; waited++) {
    await sleep(100)
    const now = cpuMs(pid)
    calm = now - last <= CALM_MS ? calm + 1 : 0
    last = now
  }
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGb: number
  readonly kernel: string
  readonly node: string
  /** Of the last minute, when the run began: more than 0.5 and the figures are not to be trusted. */
  readonly loadAverage: number
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim(),
    node: process.version,
    loadAverage: Number(readFileSync('/proc/loadavg', 'latin1').split(' ')[0]),
  }
}

/** The most files a process may be allowed to open here. */
export function hardFileLimit(): number {
  const text = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
  return text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text)
}
