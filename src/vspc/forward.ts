import type { Timer } from '../base/index.ts'
import { type Endpoint, formatEndpoint } from '../transport/index.ts'
import type { Core } from './core.ts'
import { ForwardListener } from './forward-listener.ts'
import { type ForwardRule, formatForward, forwardEndpoint, matchesForward } from './forward-rule.ts'
import type { Port } from './port.ts'
import { SpliceDial } from './splice-dial.ts'

/** What became of one port that a rule means. */
interface Forward {
  readonly rule: ForwardRule
  readonly endpoint: Endpoint
  /** `endpoint` as text: two ports never listen on one. */
  readonly place: string
  /** With the role `listen`; otherwise null. */
  readonly listener: ForwardListener | null
  /** With the role `dial`, while the port is online or was a moment ago. */
  dial: SpliceDial | null
}

interface Watched {
  /** Where the output begins that a dialled program has not been told, as none was reached yet; null = one was. */
  since: number | null
  /** The VM is there, or was until a moment ago. */
  present: boolean
  linger: Timer | null
  forward: Forward | null
  /** That no endpoint is left for it was said. */
  complained: boolean
}

/**
 * Ports that are joined to programs. The first rule that means a port counts.
 *
 * A program is kept connected over vMotions, and for `forwardLingerMs` while its port is offline: what it says then is
 * held by the port's input queue, and past that by the program's own socket.
 */
export class Forwards {
  readonly #core: Core
  readonly #rules: readonly ForwardRule[]
  readonly #ports = new Map<Port, Watched>()
  /** Endpoints that are listened on. */
  readonly #places = new Map<string, Port>()
  /** Ports that something has happened to. */
  #changed = new Set<Port>()
  #stopping = false
  /** Listeners that are being closed: whoever wants their place waits. */
  #closing = Promise.resolve()

  constructor(core: Core, rules: readonly ForwardRule[]) {
    this.#core = core
    this.#rules = rules
  }

  /** Begins with the ports that are known from before. Resolves when all has been tried once. */
  async start(): Promise<void> {
    if (this.#rules.length === 0) return
    const opening: Promise<void>[] = []
    for (const port of this.#core.table) {
      if (this.#ports.has(port)) continue
      const watched = this.#watch(port)
      // After a restart hosts need a moment to come back, and programs are back before them.
      this.#linger(port, watched)
      opening.push(this.#settle(port, watched))
    }
    await Promise.all(opening)
  }

  /** The port came online, or its VM has another connection. Before that sends anything. */
  cameOnline(port: Port): void {
    if (this.#rules.length === 0 || this.#stopping) return
    const watched = this.#ports.get(port) ?? this.#watch(port)
    watched.linger?.cancel()
    watched.linger = null
    if (!watched.present) watched.since = port.history.next
    watched.present = true
    this.changed(port)
  }

  /** The port's state, name or id may have changed. What that means is seen to after whatever is going on now. */
  changed(port: Port): void {
    if (this.#rules.length === 0 || this.#stopping) return
    if (this.#changed.size === 0) queueMicrotask(() => this.#settleChanged())
    this.#changed.add(port)
  }

  /** The port is gone for good. */
  forget(port: Port): void {
    const watched = this.#ports.get(port)
    if (watched === undefined) return
    this.#ports.delete(port)
    this.#changed.delete(port)
    watched.linger?.cancel()
    this.#drop(watched, 'the port was removed')
  }

  /** Lets no program in any more, and resolves when the connections are flushed and closed. */
  async stop(): Promise<void> {
    this.#stopping = true
    const closing: Promise<void>[] = [this.#closing]
    for (const { forward, linger } of this.#ports.values()) {
      linger?.cancel()
      if (forward === null) continue
      forward.dial?.stop('the server is stopping')
      if (forward.listener !== null) closing.push(forward.listener.stop('the server is stopping'))
      closing.push((forward.dial ?? forward.listener)?.closed() ?? Promise.resolve())
    }
    this.#ports.clear()
    await Promise.all(closing)
  }

  #watch(port: Port): Watched {
    const watched: Watched = {
      since: port.history.next,
      present: false,
      linger: null,
      forward: null,
      complained: false,
    }
    this.#ports.set(port, watched)
    return watched
  }

  #settleChanged(): void {
    const changed = this.#changed
    this.#changed = new Set()
    for (const port of changed) {
      const watched = this.#ports.get(port)
      if (watched !== undefined && !this.#stopping) void this.#settle(port, watched)
    }
  }

  /** Brings what there is in line with what should be. Resolves when a listener was tried once. */
  async #settle(port: Port, watched: Watched): Promise<void> {
    const opening = this.#choose(port, watched)
    const { forward } = watched
    const away = port.state === 'offline'
    if (away && watched.present && watched.linger === null) this.#linger(port, watched)
    if (forward !== null && forward.rule.role === 'dial') {
      if (away && forward.dial?.joined === false) this.#stopDial(watched, forward, 'the VM is offline')
      if (!away && forward.dial === null) this.#dial(port, watched, forward)
    }
    await opening
  }

  #dial(port: Port, watched: Watched, forward: Forward): void {
    forward.dial = new SpliceDial(port, forward.endpoint, {
      what: 'forward',
      who: `forward:${forward.place}`,
      from: watched.since,
    })
    watched.since = null
  }

  #stopDial(watched: Watched, forward: Forward, reason: string): void {
    // Nobody has heard the VM so far: the next one still may.
    watched.since = forward.dial?.from ?? null
    forward.dial?.stop(reason)
    forward.dial = null
  }

  #linger(port: Port, watched: Watched): void {
    watched.present = true
    watched.linger = this.#core.clock.after(this.#core.limits.forwardLingerMs, () => {
      watched.linger = null
      if (port.state !== 'offline') return
      watched.present = false
      const { forward } = watched
      forward?.listener?.hangUp('the VM is offline')
      if (forward !== null) this.#stopDial(watched, forward, 'the VM is offline')
      watched.since = null
    })
  }

  /** Which rule counts, and where that leads; opens and closes accordingly. */
  async #choose(port: Port, watched: Watched): Promise<void> {
    const rule = this.#rules.find(({ pattern }) => matchesForward(pattern, port)) ?? null
    const before = watched.forward
    if (rule === null) {
      if (before !== null) this.#drop(watched, 'no rule means the port any more')
      return
    }
    const listens = rule.role === 'listen'
    const found = forwardEndpoint(rule, port, (endpoint) => listens && this.#isTaken(endpoint, port))
    if (found === null) {
      if (before !== null) this.#drop(watched, 'its place is taken')
      if (!watched.complained) {
        this.#core.log.error(
          { port: port.id, vm: port.name, rule: formatForward(rule) },
          'forward: another port has the place that the rule names; give each its own with {uuid} or {label}',
        )
      }
      watched.complained = true
      return
    }
    const place = formatEndpoint(found.endpoint)
    if (before !== null && before.rule === rule && before.place === place) return
    if (before !== null) this.#drop(watched, 'the port has another name now')
    if (!found.plain) {
      this.#core.log.warn(
        { port: port.id, vm: port.name, rule: formatForward(rule), endpoint: place },
        "forward: the VM's name makes too long a path, or one in use; this one is used instead",
      )
    }
    const listener = listens ? new ForwardListener(port, found.endpoint, () => watched.present) : null
    watched.forward = { rule, endpoint: found.endpoint, place, listener, dial: null }
    if (listener === null) return
    if (!anyPort(found.endpoint)) this.#places.set(place, port)
    await this.#closing
    await listener.open()
  }

  #isTaken(endpoint: Endpoint, port: Port): boolean {
    const holder = this.#places.get(formatEndpoint(endpoint))
    return holder !== undefined && holder !== port
  }

  #drop(watched: Watched, reason: string): void {
    const { forward } = watched
    if (forward === null) return
    watched.forward = null
    watched.complained = false
    if (forward.rule.role === 'dial') this.#stopDial(watched, forward, reason)
    if (forward.listener === null) return
    this.#places.delete(forward.place)
    const closed = forward.listener.stop(reason)
    this.#closing = this.#closing.then(() => closed)
  }
}

/** Port 0 is another one each time. */
function anyPort(endpoint: Endpoint): boolean {
  return ('tcpPort' in endpoint && endpoint.tcpPort === 0) || ('vsockPort' in endpoint && endpoint.vsockPort === 0)
}
