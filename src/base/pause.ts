import type { Clock } from './clock.ts'

/** Resolves after `ms`. @throws the signal's reason when it is aborted. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    const onAbort = (): void => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Resolves when `task` has ended, or after `ms`: for ends that may never come, such as that of a thread that waits for a disk. */
export function endedWithin(clock: Clock, ms: number, task: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, resolve)
    const ended = () => {
      timer.cancel()
      resolve()
    }
    task.then(ended, ended)
  })
}
