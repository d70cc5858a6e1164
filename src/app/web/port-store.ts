/** All ports as the server has them: asked for once, then kept up to date by its events. */
import type { PortInfo, ServerEvent } from '../../vspc/index.ts'
import type { ApplianceEvent } from '../appliance-view.ts'
import { ApiError, fetchPorts } from './api.ts'
import { readEvents } from './event-stream.ts'
import { APPLIANCE_EVENTS, applianceMove, type Move, vmotionMove } from './moves.ts'
import { authorization, refused } from './session.ts'

/** Counters and times of output are in no event: asked for again this often while somebody looks. */
const REFRESH_MS = 10_000
/** With more ports than this, less often. */
const MANY_PORTS = 2_000
const REFRESH_MANY_MS = 60_000
const RECONNECT_MS = 3_000
/** Moves remembered for their page. */
const MAX_MOVES = 300

const EVENTS: readonly string[] = [
  'port-added',
  'port-removed',
  'port-online',
  'port-offline',
  'port-renamed',
  'port-rekeyed',
  'vmotion-begin',
  'vmotion-complete',
  'vmotion-abort',
  'vmotion-timeout',
  'vmotion-refused',
  'console-attached',
  'console-detached',
  'console-mode',
] satisfies ServerEvent['type'][]

export class PortStore {
  readonly ports = new Map<string, PortInfo>()
  /** The newest first. */
  readonly moves: Move[] = []
  /** Null before the first answer. */
  serverVersion: string | null = null
  /** The server answers. */
  connected = false
  /** Ports have been asked for at least once. */
  loaded = false
  /** Why the last try failed; empty when it did not. */
  problem = ''
  readonly #watchers = new Set<() => void>()
  /** Ends the stream of events. */
  #events: (() => void) | null = null
  #refresh = 0
  #loading: Promise<void> | null = null
  #stale = false
  #told = false

  /** Calls back, at most once per frame, when something has changed. @returns what ends it. */
  watch(changed: () => void): () => void {
    this.#watchers.add(changed)
    return () => this.#watchers.delete(changed)
  }

  /** Listens while the page is visible: browsers give a server six connections for all of its tabs. */
  start(): void {
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#suspend() : this.#resume()))
    if (!document.hidden) this.#resume()
  }

  #resume(): void {
    if (this.#events !== null) return
    this.#events = readEvents('api/v1/events', authorization(), {
      event: (type, data) => this.#event(type, data),
      ended: (status, detail) => {
        this.connected = false
        this.problem = detail
        this.#tell()
        this.#suspend()
        if (status === 401) refused(detail)
        this.#refresh = window.setTimeout(() => this.#resume(), RECONNECT_MS)
      },
    })
  }

  #event(type: string, data: string): void {
    if (type === 'hello') {
      this.serverVersion = String((JSON.parse(data) as { version?: unknown }).version ?? '')
      // What happened while we did not listen is not told.
      void this.load()
    } else if (EVENTS.includes(type)) this.#apply(JSON.parse(data) as ServerEvent)
    else if ((APPLIANCE_EVENTS as readonly string[]).includes(type)) {
      this.#moved(applianceMove(JSON.parse(data) as ApplianceEvent))
      this.#tell()
    }
  }

  #suspend(): void {
    this.#events?.()
    this.#events = null
    window.clearTimeout(this.#refresh)
  }

  /** Asks for all ports; once for whoever asks meanwhile. */
  load(): Promise<void> {
    if (this.#loading !== null) {
      this.#stale = true
      return this.#loading
    }
    this.#loading = this.#fetch().finally(() => {
      this.#loading = null
      if (!this.#stale) return
      this.#stale = false
      void this.load()
    })
    return this.#loading
  }

  async #fetch(): Promise<void> {
    window.clearTimeout(this.#refresh)
    try {
      const ports = await fetchPorts()
      this.ports.clear()
      for (const port of ports) this.ports.set(port.id, port)
      this.connected = true
      this.loaded = true
      this.problem = ''
    } catch (error) {
      this.connected = false
      this.problem = error instanceof Error ? error.message : String(error)
      // What we may no longer see is not shown any longer.
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) this.ports.clear()
    }
    this.#tell()
    if (this.#events === null) return
    const pause = this.ports.size > MANY_PORTS ? REFRESH_MANY_MS : REFRESH_MS
    this.#refresh = window.setTimeout(() => void this.load(), pause)
  }

  #apply(event: ServerEvent): void {
    // An answer that is on its way may be older than this.
    if (this.#loading !== null) this.#stale = true
    if (event.type === 'port-rekeyed') this.ports.delete(event.previousId)
    if (event.type === 'port-removed') this.ports.delete(event.port.id)
    else this.ports.set(event.port.id, event.port)
    const move = vmotionMove(event)
    if (move !== null) this.#moved(move)
    this.#tell()
  }

  #moved(move: Move): void {
    this.moves.unshift(move)
    this.moves.length = Math.min(this.moves.length, MAX_MOVES)
  }

  #tell(): void {
    if (this.#told) return
    this.#told = true
    // Not a frame of animation: those do not come while the page is hidden.
    window.setTimeout(() => {
      this.#told = false
      for (const changed of this.#watchers) changed()
    }, 50)
  }
}
