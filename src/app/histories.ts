/** Where histories are kept, as configured, and what is said about them in the log. */
import { type Limits, VspcError } from '../base/index.ts'
import { type HistoryProblem, type HistoryStore, MemoryHistoryStore, openHistoryStore } from '../history/index.ts'
import type { Config } from './config.ts'
import type { AppLogger } from './logger.ts'

/** Of the disk, not of the configuration: a server that comes back to serve VMs must not be kept from it by them. */
const DISK_FAULTS = ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS']

/**
 * The histories that are configured; in memory where the disk is at fault.
 * @param onProblem told of each when it begins and ends, as the log is.
 * @throws VspcError VSPC_HISTORY_OPEN, VSPC_HISTORY_LOCKED when the directory was named.
 */
export async function openHistories(
  config: Config,
  log: AppLogger,
  onProblem: (problem: HistoryProblem) => void = () => {},
): Promise<HistoryStore> {
  const { history, dataDir, dataDirIsDefault, limits } = config
  if (history !== 'disk') return new MemoryHistoryStore(limits, history === 'memory' ? 'all' : 'followed')
  try {
    const tell = (problem: HistoryProblem): void => {
      logProblem(problem, log)
      onProblem(problem)
    }
    return await openHistoryStore({ dir: dataDir, limits, onProblem: tell })
  } catch (error) {
    if (!(error instanceof VspcError)) throw error
    const { code, message, cause } = error
    const diskFault = DISK_FAULTS.includes(systemCode(cause))
    // A second server, or an account without a home: nobody has asked for that directory.
    if (!diskFault && !dataDirIsDefault) {
      const hint =
        code === 'VSPC_HISTORY_OPEN' ? '; name another one with --data-dir, or do without: --history memory' : ''
      throw new VspcError(code, message + hint, { cause })
    }
    const hint = diskFault ? '' : '; --data-dir names a directory for it, --history memory is what you get now'
    log[diskFault ? 'error' : 'warn'](
      { code, reason: message },
      `history is kept in memory only, until the next start${hint}`,
    )
    return new MemoryHistoryStore(limits)
  }
}

function systemCode(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : ''
}

function logProblem({ kind, state, code, path, message }: HistoryProblem, log: AppLogger): void {
  if (state === 'ended') log.info({ problem: kind, code, path }, 'history: that is over')
  else log[kind === 'late' ? 'warn' : 'error']({ problem: kind, code, path }, message)
}

/** Never rejects; says in the log what could not be written in time. */
export async function closeHistories(histories: HistoryStore, limits: Limits, log: AppLogger): Promise<void> {
  const before = histories.gauges.pendingBytes
  if (await histories.close(limits.drainMs)) return
  log.error({ bytes: before }, 'history: the disk did not take everything in time ("drainMs"); the rest is lost')
}
