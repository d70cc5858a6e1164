/** All hooks of a server: takes events, gives each to those that want it. Never waits, never throws. */
import { selects } from '../access/index.ts'
import type { Clock, Logger } from '../base/index.ts'
import { type HookEvent, makeDelivery, portOfEvent, severityOfEvent } from './event.ts'
import { execDeliver } from './exec-hook.ts'
import type { Deliver, Delivery, Hook, Outcome } from './hook.ts'
import { type HookCounters, HookQueue } from './queue.ts'
import { webhookDeliver } from './webhook.ts'

/** From the gravest on. */
const SEVERITIES = ['critical', 'error', 'warning', 'info']

export interface HooksOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
  /** Says which server it is: the `source` of events. */
  readonly source: string
  /** Random, of this run: ids of events begin with it. */
  readonly epoch: string
  readonly userAgent: string
  readonly env: NodeJS.ProcessEnv
}

interface Active {
  readonly hook: Hook
  /** All that it says, patterns included. */
  readonly text: string
  readonly queue: HookQueue
}

export class Hooks {
  readonly #options: HooksOptions
  /** By name; kept over changes of the configuration. */
  readonly #counters = new Map<string, HookCounters>()
  #active: readonly Active[] = []
  /** Of former configurations, until they are empty. */
  readonly #ending = new Set<Promise<void>>()
  #lastId = 0

  constructor(options: HooksOptions) {
    this.#options = options
  }

  get counters(): ReadonlyMap<string, Readonly<HookCounters>> {
    return this.#counters
  }

  /** Events that wait, by hook. */
  get waiting(): ReadonlyMap<string, number> {
    return new Map(this.#active.map(({ hook, queue }) => [hook.name, queue.length]))
  }

  get active(): boolean {
    return this.#active.length > 0
  }

  /** These count from now on; one that is as it was keeps what waits. What waits for others gets `graceMs`, and one attempt. */
  use(hooks: readonly Hook[], graceMs: number): void {
    const former = new Map(this.#active.map((one) => [one.text, one]))
    this.#active = hooks.map((hook) => {
      const text = JSON.stringify(hook)
      const same = former.get(text)
      former.delete(text)
      return same ?? { hook, text, queue: this.#queueOf(hook) }
    })
    for (const { queue } of former.values()) {
      const ending = queue.stop(graceMs).then(() => void this.#ending.delete(ending))
      this.#ending.add(ending)
    }
  }

  take(event: HookEvent): void {
    let delivery: Delivery | null = null
    for (const { hook, queue } of this.#active) {
      if (!wants(hook, event)) continue
      delivery ??= this.#deliveryOf(event)
      queue.add(delivery)
    }
  }

  /** What waits is tried once more, within `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.use([], graceMs)
    await Promise.all(this.#ending)
  }

  #deliveryOf(event: HookEvent): Delivery {
    const { epoch, source, clock } = this.#options
    return makeDelivery(event, `${epoch}-${++this.#lastId}`, source, new Date(clock.wall()).toISOString())
  }

  #queueOf(hook: Hook): HookQueue {
    const { clock, log, random } = this.#options
    const none: HookCounters = { delivered: 0, failed: 0, expired: 0, dropped: 0, retries: 0 }
    const counters = this.#counters.get(hook.name) ?? none
    this.#counters.set(hook.name, counters)
    const named = log.child({ hook: hook.name })
    return new HookQueue({
      hook,
      deliver: deliverOf(hook, { ...this.#options, log: named }),
      counters,
      clock,
      log: named,
      random,
    })
  }
}

/** One attempt with one event, for trying a hook out. */
export function tryHook(hook: Hook, event: HookEvent, options: HooksOptions): Promise<Outcome> {
  const at = new Date(options.clock.wall()).toISOString()
  const delivery = makeDelivery(event, `${options.epoch}-1`, options.source, at)
  return deliverOf(hook, options)(delivery, new AbortController().signal)
}

function deliverOf(hook: Hook, { clock, log, env, userAgent }: HooksOptions): Deliver {
  return hook.kind === 'exec' ? execDeliver(hook, clock, log, env) : webhookDeliver(hook, clock, userAgent)
}

function wants({ events, ports, severity }: Hook, event: HookEvent): boolean {
  if (!events.some((glob) => glob.matches(event.type))) return false
  if (severity !== null && event.type === 'alert') {
    const grave = SEVERITIES.indexOf(severityOfEvent(event) ?? '')
    if (grave > SEVERITIES.indexOf(severity)) return false
  }
  if (ports === null) return true
  const port = portOfEvent(event)
  return ports.some((selector) => selects(selector, port))
}
