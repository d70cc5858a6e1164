import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'

let possible: boolean | null = null

/** Processes can be tied to a CPU here, and there are two of them. */
export function canPin(): boolean {
  possible ??= availableParallelism() >= 2 && spawnSync('taskset', ['-c', '0', 'true']).status === 0
  return possible
}

/** The command line that runs `command` on one CPU, or as it is where that is not possible. */
export function pinned(cpu: number | null, command: readonly string[]): string[] {
  return cpu === null || !canPin() ? [...command] : ['taskset', '-c', String(cpu), ...command]
}
