/** The thread that keeps log files: it reads history's files and writes others, and waits for the disk by itself. */
import { rmSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { makeLogDirectory, TailFile, type TailSource } from './tail-file.ts'

/** A port with new output, or another name. */
export interface TailJob extends TailSource {
  readonly id: string
  readonly path: string
}

export interface LogFilesWork {
  readonly jobs: readonly TailJob[]
  /** Ports that are gone, and their files with them. */
  readonly removed: readonly string[]
}

export interface LogFilesDone {
  /** Ids of ports that could not be written. */
  readonly failed: readonly string[]
  /** The last reason. */
  readonly error: string | null
}

const { dir, keep } = workerData as { dir: string; keep: number }
const files = new Map<string, TailFile>()

function update({ id, path, ...source }: TailJob): void {
  let file = files.get(id)
  if (file !== undefined && file.path !== path) {
    try {
      file.rename(path)
    } catch {
      // It is made anew under its name, and the other one is nobody's.
      rmSync(file.path, { force: true })
      file = undefined
    }
  }
  file ??= new TailFile(path, keep)
  files.set(id, file)
  file.update(source)
}

parentPort?.on('message', ({ jobs, removed }: LogFilesWork) => {
  const failed: string[] = []
  let error: string | null = null
  const attempt = (id: string, run: () => void) => {
    try {
      run()
    } catch (thrown) {
      failed.push(id)
      error = thrown instanceof Error ? thrown.message : String(thrown)
    }
  }
  attempt('', () => makeLogDirectory(dir))
  for (const id of removed) {
    attempt(id, () => {
      const path = files.get(id)?.path
      files.delete(id)
      if (path !== undefined) rmSync(path, { force: true })
    })
  }
  for (const job of jobs) attempt(job.id, () => update(job))
  const done: LogFilesDone = { failed, error }
  parentPort?.postMessage(done)
})
