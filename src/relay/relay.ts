/** The relay as a whole: listeners, routes, next hops and the control endpoint; start, reload, stop. */
import { errorMessage, VspcError } from '../base/index.ts'
import {
  type Endpoint,
  formatEndpoint,
  LinkTable,
  parseTrustedSources,
  type TrustedSources,
} from '../transport/index.ts'
import { ControlServer } from './control.ts'
import { DEFAULT_DEPS, type RelayCore, type RelayDeps } from './core.ts'
import { Gate, type GateWish, openGates } from './gates.ts'
import { type NextHop, NextHops } from './next-hops.ts'
import { formatHop, formatSide, type RelayPlan, type RoutePlan, routeKey } from './plan.ts'
import { ProblemLog } from './problem-log.ts'
import { Room } from './room.ts'
import { Route, type RouteStatus } from './route.ts'
import { readStateFile, writeStateFile } from './state-file.ts'

/** A route as it is announced when it is ready: with the ports really bound. */
export interface RelayedRoute {
  readonly name: string
  readonly from: string
  readonly to: string
  /** Both sides listen: whoever comes is joined with who comes on the other one. */
  readonly bothListen: boolean
}

export class Relay {
  readonly #core: RelayCore
  #plan: RelayPlan
  /** Whose word about the origin of streams is believed. */
  #trusted: TrustedSources
  /** In order of the configuration. */
  #routes: Route[] = []
  /** No longer configured, with streams that live on. */
  readonly #retired = new Set<Route>()
  #gates = new Map<string, Gate>()
  #control: ControlServer
  #controlGate: Gate | null = null
  #state: 'new' | 'ready' | 'stopped' = 'new'
  /** Reloads and writes of the state file, one after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(plan: RelayPlan, deps: RelayDeps) {
    const limits = { ...plan.limits }
    const { log, clock = DEFAULT_DEPS.clock } = deps
    this.#plan = plan
    this.#trusted = parseTrustedSources(plan.trustedProxies)
    this.#core = {
      log,
      clock,
      random: deps.random ?? DEFAULT_DEPS.random,
      transport: deps.transport ?? DEFAULT_DEPS.transport,
      probe: deps.probe ?? DEFAULT_DEPS.probe,
      limits,
      problems: new ProblemLog(log, clock),
      hops: new NextHops(),
      room: new Room(limits),
      links: new LinkTable(),
      dialledLinks: new LinkTable(),
    }
    this.#control = new ControlServer(this, this.#core)
  }

  /** @throws VspcError when something cannot be listened on; nothing is left open then. */
  async start(): Promise<void> {
    const plan = this.#plan
    const { hops, log } = this.#core
    hops.configure(plan.nextHops, plan.stateFile === null ? undefined : readStateFile(plan.stateFile, log))
    hops.onChange = (hop) => this.#hopChanged(hop)
    const opened = await this.#openAll(plan, new Map())
    this.#commit(plan, opened)
    this.#state = 'ready'
  }

  get ready(): boolean {
    return this.#state === 'ready'
  }

  /** What is relayed, with ports as bound. */
  get relaying(): RelayedRoute[] {
    return this.#routes.map(({ plan }) => {
      const shown = plan.sides.map((side, index) => {
        if (side.role === 'dial') return formatHop(side.hop)
        const gate = this.#gates.get(gateKey(plan, index))
        return gate === undefined ? formatSide(side) : formatEndpoint(gate.endpoint)
      })
      return {
        name: plan.name,
        from: shown[0] ?? '',
        to: shown[1] ?? '',
        bothListen: plan.sides.every(({ role }) => role === 'listen'),
      }
    })
  }

  get control(): string | null {
    return this.#controlGate === null ? null : formatEndpoint(this.#controlGate.endpoint)
  }

  routes(): RouteStatus[] {
    return this.#routes.map((route) => route.status())
  }

  /** Streams of routes that are no longer configured. */
  get retiredStreams(): number {
    let streams = 0
    for (const route of this.#retired) streams += route.live
    return streams
  }

  get room(): { readonly taken: number; readonly max: number } {
    return this.#core.room
  }

  nextHops(): NextHop[] {
    return this.#core.hops.list()
  }

  /** Relative paths of endpoints that are set are relative to it. */
  get directory(): string {
    return this.#plan.directory
  }

  /**
   * New streams go there at once; where there is a state file, it is kept for the next start.
   * @throws VspcError VSPC_RELAY_NEXT_HOP; VSPC_RELAY_CONTROL when it is changed but could not be kept.
   */
  async setNextHop(name: string, endpoint: Endpoint): Promise<NextHop> {
    const changed = this.#core.hops.set(name, endpoint)
    if (changed) await this.#inTurn(() => this.#keepHops())
    return this.#core.hops.get(name)
  }

  async #keepHops(): Promise<void> {
    const { stateFile } = this.#plan
    if (stateFile === null) return
    try {
      await writeStateFile(stateFile, this.#core.hops.list())
    } catch (error) {
      const message = `the next hop is changed, but will not survive a restart: ${errorMessage(error)}`
      this.#core.log.error({ file: stateFile, reason: errorMessage(error) }, 'state file cannot be written')
      throw new VspcError('VSPC_RELAY_CONTROL', message, { cause: error })
    }
  }

  #hopChanged(hop: NextHop): void {
    this.#core.log.info({ nextHop: hop.name, endpoint: formatEndpoint(hop.endpoint) }, 'next hop changed')
    for (const route of [...this.#routes, ...this.#retired]) route.hopChanged(hop.name)
  }

  /**
   * Applies a new configuration whole, or not at all: what has not changed is not touched, live streams of what is gone
   * live on. Certificates are read again.
   * @throws VspcError; everything is as before then.
   */
  reload(plan: RelayPlan): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#state === 'stopped') return
      const trusted = parseTrustedSources(plan.trustedProxies)
      const opened = await this.#openAll(plan, this.#gates)
      this.#trusted = trusted
      Object.assign(this.#core.limits, plan.limits)
      this.#core.hops.configure(plan.nextHops)
      this.#commit(plan, opened)
      if (plan.stateFile !== null) await this.#keepHops().catch(() => {})
      this.#core.log.info({ routes: plan.routes.length }, 'configuration reloaded')
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work, work)
    this.#turn = done.catch(() => {})
    return done
  }

  /** Everything `plan` listens on, as far as it is not open already. @throws when one of it cannot be. */
  async #openAll(plan: RelayPlan, open: ReadonlyMap<string, Gate>): Promise<ReadonlyMap<string, Gate>> {
    const { limits, clock, problems, transport, links } = this.#core
    const wishes: GateWish[] = plan.routes.flatMap((route) =>
      route.sides.flatMap((side, index) =>
        side.role === 'listen' ? [{ key: gateKey(route, index), name: route.name, endpoint: side.endpoint }] : [],
      ),
    )
    if (plan.control !== null) wishes.push({ key: CONTROL_KEY, name: 'control', endpoint: plan.control })
    const all = new Map(open)
    if (this.#controlGate !== null) all.set(CONTROL_KEY, this.#controlGate)
    return openGates(wishes, all, {
      listen: transport.listen,
      problems,
      options: {
        limits,
        clock,
        links,
        trusted: { trusts: (peer, authenticated) => this.#trusted.trusts(peer, authenticated) },
      },
    })
  }

  /** Nothing in here fails. */
  #commit(plan: RelayPlan, gates: ReadonlyMap<string, Gate>): void {
    const before = new Map(this.#routes.map((route) => [routeKey(route.plan), route]))
    const started: Route[] = []
    this.#routes = plan.routes.map((routePlan) => {
      const kept = before.get(routeKey(routePlan))
      if (kept !== undefined) {
        before.delete(routeKey(routePlan))
        return kept
      }
      const route = new Route(this.#core, routePlan)
      started.push(route)
      return route
    })
    for (const gone of before.values()) this.#retire(gone)
    const control = gates.get(CONTROL_KEY) ?? null
    for (const [key, gate] of [...this.#gates, [CONTROL_KEY, this.#controlGate] as const]) {
      if (gate !== null && gates.get(key) !== gate) void gate.close()
    }
    this.#gates = new Map([...gates].filter(([key]) => key !== CONTROL_KEY))
    this.#controlGate = control
    control?.handOver((stream) => this.#control.serve(stream))
    for (const route of this.#routes) {
      for (const index of [0, 1] as const) {
        this.#gates.get(gateKey(route.plan, index))?.handOver((stream) => route.accept(index, stream))
      }
    }
    this.#plan = plan
    for (const route of started) route.start()
  }

  #retire(route: Route): void {
    route.retire()
    if (route.live === 0) return
    this.#retired.add(route)
    route.onEmpty = () => this.#retired.delete(route)
  }

  /**
   * Closes the listeners, lets go what is held, and ends live streams once they have got what is on its way to them;
   * VMs never end theirs by themselves. After `limits.drainMs` those that take nothing are destroyed.
   */
  async stop(): Promise<void> {
    if (this.#state === 'stopped') return
    this.#state = 'stopped'
    await this.#turn
    await Promise.all([...this.#gates.values()].map((gate) => gate.close()))
    const routes = [...this.#routes, ...this.#retired]
    for (const route of routes) route.retire()
    const drained = Promise.all(routes.map((route) => route.drain()))
    const { clock, limits, log, links, dialledLinks } = this.#core
    const until = clock.now() + limits.drainMs
    const timer = clock.after(limits.drainMs, () => {
      const streams = routes.reduce((sum, route) => sum + route.live, 0)
      log.warn({ streams, drainMs: limits.drainMs }, 'streams that took nothing were cut')
      for (const route of routes) route.abort()
    })
    await drained
    timer.cancel()
    // What was written to resumable streams may still be on its way.
    await Promise.all([links, dialledLinks].map((table) => table.emptied(clock, until - clock.now())))
    await this.#controlGate?.close()
    this.#control.close()
  }
}

const CONTROL_KEY = 'control'

/** Equal keys are the same listener; one on any free port belongs to its route. */
function gateKey(route: RoutePlan, index: number): string {
  const side = route.sides[index]
  return side?.role === 'listen' ? Gate.keyOf(side.endpoint, `${route.name} ${index}`) : ''
}
