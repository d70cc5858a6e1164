/** All ports as the server has them: asked for once, then kept up to date by its events. */
import type { PortInfo, ServerEvent } from '../../vspc/index.ts'
import type { ApplianceEvent } from '../appliance-view.ts'
import { fetchPorts } from './api.ts'
import { APPLIANCE_EVENTS, applianceMove, type Move, vmotionMove } from './moves.ts'

/** Counters and times of output are in no event: asked for again this often while somebody looks. */
const REFRESH_MS = 10_000
/** With more ports than this, less often. */
const MANY_PORTS = 2_000
const REFRESH_MANY_MS = 60_000
const RECONNECT_MS = 3_000
/** Moves remembered for their page. */
const MAX_MOVES = 300

const EVENTS: readonly ServerEvent['type'][] = [
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
]

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
  #events: EventSource | null = null
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
    const events = new EventSource('api/v1/events')
    this.#events = events
    events.addEventListener('hello', (event) => {
      this.serverVersion = String((JSON.parse(event.data) as { version?: unknown }).version ?? '')
      // What happened while we did not listen is not told.
      void this.load()
    })
    for (const type of EVENTS) {
      events.addEventListener(type, (event: MessageEvent<string>) => this.#apply(JSON.parse(event.data) as ServerEvent))
    }
    for (const type of APPLIANCE_EVENTS) {
      events.addEventListener(type, (event: MessageEvent<string>) => {
        this.#moved(applianceMove(JSON.parse(event.data) as ApplianceEvent))
        this.#tell()
      })
    }
    events.addEventListener('error', () => {
      this.connected = false
      this.problem = 'the server is away'
      this.#tell()
      // A browser tries again by itself only where the connection was lost, not where the answer was an error.
      if (events.readyState !== EventSource.CLOSED) return
      this.#suspend()
      this.#refresh = window.setTimeout(() => this.#resume(), RECONNECT_MS)
    })
  }

  #suspend(): void {
    this.#events?.close()
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
