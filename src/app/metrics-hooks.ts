/** Metrics of hooks: by hook, which are few and named by the operator. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { HookCounters, Hooks } from '../hooks/index.ts'

const RESULTS = ['delivered', 'failed', 'expired', 'dropped'] as const satisfies readonly (keyof HookCounters)[]

export function addHookMetrics(registry: Registry, hooks: Hooks): void {
  const registers = [registry]
  new Counter({
    name: 'vspc_hook_events_total',
    help: 'Events for hooks, by what became of them.',
    labelNames: ['hook', 'result'],
    registers,
    collect() {
      this.reset()
      for (const [hook, counters] of hooks.counters) {
        for (const result of RESULTS) this.inc({ hook, result }, counters[result])
      }
    },
  })
  new Counter({
    name: 'vspc_hook_retries_total',
    help: 'Attempts to deliver an event that failed and are made again.',
    labelNames: ['hook'],
    registers,
    collect() {
      this.reset()
      for (const [hook, { retries }] of hooks.counters) this.inc({ hook }, retries)
    },
  })
  new Gauge({
    name: 'vspc_hook_waiting_events',
    help: 'Events that wait to be delivered.',
    labelNames: ['hook'],
    registers,
    collect() {
      this.reset()
      for (const [hook, waiting] of hooks.waiting) this.set({ hook }, waiting)
    },
  })
}
