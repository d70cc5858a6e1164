/** What would be re-pointed now, asked of vCenter: at most one question at a time, whoever asks how often. */
import type { Tracking } from '../appliance/index.ts'
import { type Clock, VspcError } from '../base/index.ts'
import { type PlanInfo, planInfo } from './appliance-view.ts'

/** A listing of a few thousand VMs takes seconds. */
const PLAN_MS = 30_000
/** An answer, or a failure, is given again for so long: a page that asks in a loop must not keep vCenter busy. */
const FRESH_MS = 2_000

export class PlanReader {
  readonly #tracking: Pick<Tracking, 'readPlan'>
  readonly #clock: Clock
  #last: Promise<PlanInfo> | null = null

  constructor(tracking: Pick<Tracking, 'readPlan'>, clock: Clock) {
    this.#tracking = tracking
    this.#clock = clock
  }

  /** @throws VspcError VSPC_WAIT_TIMEOUT, and as {@link Tracking.readPlan}. */
  read(): Promise<PlanInfo> {
    this.#last ??= this.#ask().finally(() => {
      this.#clock.after(FRESH_MS, () => {
        this.#last = null
      })
    })
    return this.#last
  }

  async #ask(): Promise<PlanInfo> {
    const clock = this.#clock
    const asking = new AbortController()
    const tooLong = new VspcError('VSPC_WAIT_TIMEOUT', `vCenter has not answered within ${PLAN_MS / 1_000} s`)
    const timer = clock.after(PLAN_MS, () => asking.abort(tooLong))
    try {
      return planInfo(await this.#tracking.readPlan(asking.signal), clock.wall())
    } finally {
      timer.cancel()
    }
  }
}
