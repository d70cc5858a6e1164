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
  PortMeta,
  StoredPort,
} from './history.ts'
export { MemoryHistoryStore } from './memory-store.ts'
export { type HistoryOptions, openHistoryStore } from './open.ts'
