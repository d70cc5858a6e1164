import type { DiskHistory } from './disk-history.ts'
import type { PortFiles, StoredFile } from './history.ts'

/** See `HistoryStore.filesOf`. */
export function portFiles(port: DiskHistory | undefined): PortFiles | null {
  if (port === undefined || port.removed || port.segments.first < 0) return null
  const { segments, store, written, times } = port
  const files: StoredFile[] = []
  const { closed, last, lastWriteAt } = segments
  for (const [i, file] of closed.entries()) {
    const end = closed[i + 1]?.start ?? (last >= 0 ? last : written)
    files.push({ start: file.start, end, lastWriteAt: file.lastWriteAt })
  }
  if (last >= 0) files.push({ start: last, end: written, lastWriteAt })
  // Copies: they are sent to another thread, or kept while more come.
  const marks = { offsets: [...(times?.offsets ?? [])], times: [...(times?.times ?? [])] }
  return { folder: store.folderOf(port.dirName), files, written, marks }
}
