/** Metrics that are read when somebody asks for them, and kept nowhere else. */
import { Counter, Gauge, type Registry } from 'prom-client'

export interface MetricReaders {
  gauge(name: string, help: string, read: () => number | Promise<number>): void
  counter(name: string, help: string, read: () => number): void
}

export function metricReaders(registry: Registry): MetricReaders {
  const registers = [registry]
  return {
    gauge: (name, help, read) => {
      new Gauge({
        name,
        help,
        registers,
        async collect() {
          this.set(await read())
        },
      })
    },
    counter: (name, help, read) => {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset()
          this.inc(read())
        },
      })
    },
  }
}
