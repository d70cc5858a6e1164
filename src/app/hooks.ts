/** Hooks as a part of the server, and tried out without one. */
import { hostname } from 'node:os'
import { type Clock, type Logger, VspcError } from '../base/index.ts'
import { Hooks, type HooksConfig, type HooksOptions, type Outcome, tryHook } from '../hooks/index.ts'
import type { Server } from '../vspc/index.ts'
import type { Config } from './config.ts'
import type { EventSource } from './routes-events.ts'

/** Hands events to hooks, while there are any: events that nobody wants are not even made. */
export class EventHooks {
  readonly hooks: Hooks
  readonly #server: Server
  readonly #sources: readonly EventSource[]
  #subscriptions: (() => void)[] = []

  /** @param sources besides the server's own events. */
  constructor(server: Server, sources: readonly EventSource[], log: Logger, version: string) {
    this.#server = server
    this.#sources = [server, ...sources]
    this.hooks = new Hooks(optionsOf(server.clock, log, version, server.epoch))
  }

  use(config: HooksConfig | null): void {
    this.hooks.use(config?.hooks ?? [], this.#server.limits.drainMs)
    for (const end of this.#subscriptions.splice(0)) end()
    if (!this.hooks.active) return
    this.#subscriptions = this.#sources.map((source) => source.subscribe((event) => this.hooks.take(event)))
  }

  /** After whatever makes events has ended. */
  async stop(graceMs: number): Promise<void> {
    for (const end of this.#subscriptions.splice(0)) end()
    await this.hooks.stop(graceMs)
  }
}

function optionsOf(clock: Clock, log: Logger, version: string, epoch: string): HooksOptions {
  const source = `urn:vspc:${encodeURIComponent(hostname())}`
  return { clock, log, random: Math.random, source, epoch, userAgent: `vspc/${version}`, env: process.env }
}

/**
 * Gives a hook of the configuration a made-up alert, once, as this user and from this machine.
 * @throws VspcError VSPC_USAGE when there is no such hook.
 */
export function testHook(
  config: Config,
  name: string,
  tools: { clock: Clock; log: Logger; version: string },
): Promise<Outcome> {
  const all = config.hooks?.hooks ?? []
  const hook = all.find((one) => one.name === name)
  if (hook === undefined) {
    const names = all.map((one) => one.name).join(', ')
    throw new VspcError(
      'VSPC_USAGE',
      `there is no hook "${name}"; ${names === '' ? 'the configuration has none' : `there are ${names}`}`,
    )
  }
  const at = new Date(tools.clock.wall()).toISOString()
  const event = {
    type: 'alert',
    at,
    port: { id: 'name:test', vm: { name: 'test', uuid: null }, label: null, state: 'offline', host: null },
    alert: {
      id: 0,
      rule: 'hook-test',
      severity: 'info',
      line: 'This is a test of the hook.',
      offset: 0,
      suppressed: 0,
    },
  }
  return tryHook(hook, event, optionsOf(tools.clock, tools.log, tools.version, `test-${tools.clock.wall()}`))
}
