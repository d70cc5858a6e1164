import { VspcError } from '../base/index.ts'
import type { ConsoleInfo, ConsoleRequest } from '../vspc/index.ts'

interface Barrier {
  resolve(consoles: readonly ConsoleInfo[]): void
  reject(error: Error): void
  refusal: VspcError | null
}

/**
 * Tells when the server has read all input up to here. A console's frames are read in order, so the answer to a question
 * comes after everything sent before it was accepted or refused; `who` is the cheapest one.
 */
export class InputBarriers {
  readonly #request: (request: ConsoleRequest) => boolean
  readonly #waiting: Barrier[] = []

  /** @param request false when there is no connection. */
  constructor(request: (request: ConsoleRequest) => boolean) {
    this.#request = request
  }

  get pending(): boolean {
    return this.#waiting.length > 0
  }

  /** Who is attached, by the way. */
  add(): Promise<readonly ConsoleInfo[]> {
    return new Promise((resolve, reject) => {
      if (this.#request({ type: 'who' })) this.#waiting.push({ resolve, reject, refusal: null })
      else reject(notConnected())
    })
  }

  /** An answer came. */
  passed(consoles: readonly ConsoleInfo[]): void {
    const barrier = this.#waiting.shift()
    if (barrier?.refusal) barrier.reject(barrier.refusal)
    else barrier?.resolve(consoles)
  }

  /** The server said no to something sent before the oldest barrier. */
  refused(error: VspcError): void {
    const barrier = this.#waiting[0]
    if (barrier) barrier.refusal ??= error
  }

  fail(error: VspcError): void {
    for (const barrier of this.#waiting.splice(0)) barrier.reject(error)
  }
}

/** What sending fails with while there is no connection. */
export function notConnected(): VspcError {
  const text = 'not connected at the moment: input was not sent, and is never kept for later'
  return new VspcError('VSPC_SERVER_UNREACHABLE', text)
}
