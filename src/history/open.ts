import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, type Limits, systemClock, VspcError } from '../base/index.ts'
import { describeDiskError, diskErrorCode, FOLDER_MODE, type HistoryFs, systemFs } from './disk.ts'
import { DiskStore } from './disk-store.ts'
import type { HistoryProblem, HistoryStore } from './history.ts'
import { lockDir } from './lock.ts'
import { type ScanResult, scanPorts } from './scan.ts'

export interface HistoryOptions {
  /** The data directory; made if it is not there. Histories are in its `ports`. */
  readonly dir: string
  readonly limits: Limits
  readonly clock?: Clock
  /** Told once when a problem begins and once when it has ended. Must not throw. */
  readonly onProblem: (problem: HistoryProblem) => void
  readonly fs?: HistoryFs
}

/** Things found and left alone that are told by name. */
const MAX_NAMED = 5

/**
 * Opens the histories of a data directory, for this process alone.
 * @throws VspcError VSPC_HISTORY_LOCKED when another server has it, VSPC_HISTORY_OPEN when it cannot be used.
 */
export async function openHistoryStore(options: HistoryOptions): Promise<HistoryStore> {
  const { dir, limits, clock = systemClock, onProblem, fs = systemFs } = options
  const portsDir = join(dir, 'ports')
  try {
    makeFolder(dir)
    makeFolder(portsDir)
  } catch (cause) {
    throw openError(portsDir, cause)
  }
  const lock = await lockDir(dir, clock)
  let scan: ScanResult
  try {
    scan = await scanPorts(portsDir)
  } catch (cause) {
    await lock.release()
    throw openError(portsDir, cause)
  }
  const { ignored } = scan
  if (ignored.length > 0) {
    const more = ignored.length > MAX_NAMED ? ` and ${ignored.length - MAX_NAMED} more` : ''
    const message = `history: found in ${portsDir} what is not ours or cannot be used: ${ignored.slice(0, MAX_NAMED).join(', ')}${more}`
    onProblem({ kind: 'foreign', state: 'began', code: null, path: portsDir, message })
  }
  return new DiskStore({ portsDir, limits, clock, fs, defer: setImmediate, onProblem, scan, lock })
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: FOLDER_MODE })
  } catch (error) {
    if (diskErrorCode(error) !== 'ENOENT') throw error
    // So says Node where the file system is read-only; the plain call tells.
    mkdirSync(path, { mode: FOLDER_MODE })
  }
}

function openError(path: string, cause: unknown): VspcError {
  return new VspcError('VSPC_HISTORY_OPEN', `history: ${describeDiskError('use', path, cause)}`, { cause })
}
