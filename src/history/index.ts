export type { HistoryFs } from './disk.ts'
export type {
  History,
  HistoryCounters,
  HistoryGauges,
  HistoryOwner,
  HistoryProblem,
  HistoryStore,
  Load,
  LoadResult,
  PortFiles,
  PortMeta,
  StoredFile,
  StoredPort,
} from './history.ts'
export { type DirLock, lockDir } from './lock.ts'
export { MemoryHistoryStore } from './memory-store.ts'
export { type HistoryOptions, openHistoryStore } from './open.ts'
export { StoredOutput, storedMarks } from './stored-output.ts'
export type { Marks } from './times.ts'
