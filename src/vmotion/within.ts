import { type Clock, VspcError } from '../base/index.ts'

export interface WithinOptions {
  readonly clock: Clock
  /** Aborting it makes the call fail with its reason. */
  readonly signal: AbortSignal
  readonly timeoutMs: number
  /** For the message: `reading where the appliance is`. */
  readonly doing: string
}

/**
 * Makes a call that has a deadline, and that fails at once when it passes or the signal is aborted, whatever the callee
 * does about it.
 * @throws VspcError VSPC_VSPHERE_TASK_TIMEOUT: what was asked may still happen.
 */
export function within<T>(options: WithinOptions, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { clock, signal: outer, timeoutMs, doing } = options
  return new Promise<T>((resolve, reject) => {
    const inner = new AbortController()
    const settle = (): void => {
      timer.cancel()
      outer.removeEventListener('abort', onAbort)
    }
    const fail = (reason: unknown): void => {
      settle()
      reject(reason)
      inner.abort(reason)
    }
    const onAbort = (): void => fail(outer.reason)
    const timer = clock.after(timeoutMs, () => {
      fail(new VspcError('VSPC_VSPHERE_TASK_TIMEOUT', `${doing}: no answer within ${timeoutMs} ms`))
    })
    if (outer.aborted) {
      onAbort()
      return
    }
    outer.addEventListener('abort', onAbort)
    call(inner.signal).then(
      (value) => {
        settle()
        resolve(value)
      },
      (error: unknown) => {
        settle()
        reject(error)
      },
    )
  })
}
