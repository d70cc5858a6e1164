/**
 * A console that outlives its connection, and a tab that outlives its VM's output. Pure: sockets, time and the screen
 * come from the caller.
 *
 * A screen drawn by the server comes first, then the output behind it by offset: no byte twice, none left out without
 * being told. Output that was printed before we were attached is `old`: nothing in it may be answered to.
 *
 * A browser cannot slow a WebSocket down. So when the terminal falls behind, the connection is closed and opened again at
 * our offset; when there is more to catch up with than anyone would watch, the screen is drawn anew and the gap told.
 */
import type { ConsoleMessage, ConsoleMode, ConsoleRequest } from '../../vspc/index.ts'
import type { Screen } from './api.ts'

/** Not yet shown: beyond the first we stop reading, below the second we go on. */
const HIGH_BYTES = 1 << 20
const LOW_BYTES = 128 << 10
/** Further behind than this after a flood, we skip to now. */
const SKIP_BYTES = 4 << 20
/** Between two rounds of a flood: the rest of the page has to run, too. */
const FLOOD_PAUSE_MS = 300
const RETRY_MIN_MS = 250
const RETRY_MAX_MS = 10_000
/** An attachment that held this long was a good one: after it the pauses begin from the shortest. */
const STEADY_MS = 5_000
/** We ask who is attached this often; an answer that takes as long means that nobody is there. */
const ASK_MS = 20_000
/** After these it would be no use, or rude, to come back by ourselves. */
const FINAL: readonly string[] = ['VSPC_CONSOLE_KICKED', 'VSPC_ACCESS_DENIED', 'VSPC_ACCESS_LOGIN']
/** Closed so: the server wants to know who we are. */
const LOG_IN = 4401
/** Input that the server has not taken. */
const UNSENT_BYTES = 1 << 20

/** `refused`: we have been put out, and come back only when somebody asks for it. */
export type LinkState = 'drawing' | 'connecting' | 'live' | 'catching-up' | 'waiting' | 'refused' | 'over'

/** What of a WebSocket is needed. */
export interface FeedSocket {
  send(data: Uint8Array<ArrayBuffer> | string): void
  close(): void
  readonly bufferedAmount: number
}

export interface SocketListener {
  text(data: string): void
  bytes(data: Uint8Array): void
  closed(code: number, reason: string): void
}

export interface FeedWorld {
  open(query: string, listener: SocketListener): FeedSocket
  /** @throws with `status` (0 = no answer) and a message. */
  screen(): Promise<Screen>
  /** @returns what cancels it. */
  after(ms: number, run: () => void): () => void
  now(): number
  random(): number
}

export interface FeedListener {
  /** The terminal is to be emptied and to show this. */
  screen(screen: Screen): void
  /** @param shown has to be called once the terminal has dealt with the bytes. */
  output(bytes: Uint8Array, old: boolean, shown: () => void): void
  /** `detail` for people; empty when there is nothing to say. */
  link(state: LinkState, detail: string): void
  message(message: ConsoleMessage): void
  /** Output that we do not have: history lost it, or it was too much to show. */
  gap(bytes: number, why: 'lost' | 'skipped'): void
  /** The server counts from a new beginning. */
  restarted(): void
  mode(mode: ConsoleMode): void
}

export class ConsoleFeed {
  readonly #world: FeedWorld
  readonly #listener: FeedListener
  #socket: FeedSocket | null = null
  /** Whatever belongs to an earlier connection, screen or timer is ignored. */
  #generation = 0
  #state: LinkState = 'drawing'
  #offset: number | null = null
  #epoch: string | null = null
  /** Output before it is old. */
  #oldUntil = 0
  #mode: ConsoleMode = 'read'
  #attached = false
  #attachedAt = 0
  #pending = 0
  /** Stopped reading until the terminal has caught up. */
  #flooded = false
  /** The next attachment is one after a flood: far behind means skipping. */
  #maySkip = false
  #unskippedFrom: number | null = null
  #refusal: { code: string; text: string } | null = null
  #failures = 0
  #heard = true
  #cancelTimer: (() => void) | null = null
  #cancelAsking: (() => void) | null = null

  constructor(world: FeedWorld, listener: FeedListener) {
    this.#world = world
    this.#listener = listener
  }

  /** Offset of the next byte of output; null before the first screen. */
  get offset(): number | null {
    return this.#offset
  }

  get state(): LinkState {
    return this.#state
  }

  get mode(): ConsoleMode {
    return this.#mode
  }

  start(): void {
    this.#draw()
  }

  /** Draws the screen anew, maybe another size of it, and goes on behind it. */
  redraw(): void {
    if (this.#state === 'over') return
    this.#disconnect()
    this.#draw()
  }

  /** Comes back after having been put out, as a reader. */
  comeBack(): void {
    if (this.#state !== 'refused') return
    this.#failures = 0
    this.#retryNow()
  }

  /** Tries again now: the network came back, or somebody looks. */
  wake(): void {
    if (this.#state === 'waiting' && !this.#flooded) this.#retryNow()
  }

  close(): void {
    this.#disconnect()
    this.#state = 'over'
  }

  /** Input is sent now or never. */
  send(bytes: Uint8Array<ArrayBuffer>): 'sent' | 'not-attached' | 'read-only' | 'full' {
    if (!this.#attached || this.#socket === null) return 'not-attached'
    if (this.#mode === 'read') return 'read-only'
    if (this.#socket.bufferedAmount > UNSENT_BYTES) return 'full'
    this.#socket.send(bytes)
    return 'sent'
  }

  /** False when not attached. */
  request(request: ConsoleRequest): boolean {
    if (!this.#attached || this.#socket === null) return false
    this.#socket.send(JSON.stringify(request))
    return true
  }

  #become(state: LinkState, detail = ''): void {
    this.#state = state
    this.#listener.link(state, detail)
  }

  /** Ends the connection and whatever is under way. */
  #disconnect(): void {
    this.#generation++
    this.#attached = false
    this.#cancelTimer?.()
    this.#cancelAsking?.()
    const socket = this.#socket
    this.#socket = null
    socket?.close()
  }

  #draw(): void {
    const generation = ++this.#generation
    this.#become('drawing')
    this.#world.screen().then(
      (screen) => {
        if (generation === this.#generation) this.#drawn(screen)
      },
      (error: { status?: number; message?: string }) => {
        if (generation !== this.#generation) return
        // The server is there and cannot draw: live output is better than none.
        if (error.status === 503 && this.#offset === null) this.#connect()
        else if (error.status === 401 || error.status === 403) this.#become('refused', error.message ?? '')
        else this.#retry(error.message ?? '')
      },
    )
  }

  #drawn(screen: Screen): void {
    const from = this.#unskippedFrom
    this.#unskippedFrom = null
    if (from !== null && screen.epoch === this.#epoch && screen.start > from) {
      this.#listener.gap(screen.start - from, 'skipped')
    }
    this.#offset = screen.offset
    this.#epoch = screen.epoch
    this.#listener.screen(screen)
    this.#connect()
  }

  #connect(): void {
    const generation = ++this.#generation
    const current = () => generation === this.#generation
    this.#refusal = null
    this.#become('connecting')
    const query = `mode=${this.#mode}${this.#offset === null ? '' : `&from=${this.#offset}`}`
    this.#socket = this.#world.open(query, {
      text: (data) => {
        if (current()) this.#received(data)
      },
      bytes: (data) => {
        if (current()) this.#output(data)
      },
      closed: (code, reason) => {
        if (current()) this.#closed(code, reason)
      },
    })
  }

  #received(data: string): void {
    this.#heard = true
    const message = parseMessage(data)
    if (message === null) return
    switch (message.type) {
      case 'attached':
        this.#attachedNow(message)
        return
      case 'gap':
        this.#reach(message.offset)
        return
      case 'writer':
        this.#setMode(message.mode)
        break
      case 'detached':
        this.#refusal = { code: message.code ?? '', text: message.reason }
        return
      case 'error':
        if (!this.#attached) {
          this.#refusal = { code: message.code, text: message.message }
          return
        }
        break
      default:
        break
    }
    this.#listener.message(message)
  }

  #attachedNow(message: Extract<ConsoleMessage, { type: 'attached' }>): void {
    const behind = message.next - (this.#offset ?? message.next)
    if (this.#epoch !== null && (message.epoch !== this.#epoch || behind < 0)) {
      this.#listener.restarted()
      this.#offset = null
      this.redraw()
      return
    }
    if (this.#maySkip && behind > SKIP_BYTES) {
      this.#maySkip = false
      this.#unskippedFrom = this.#offset
      this.redraw()
      return
    }
    this.#maySkip = false
    this.#epoch = message.epoch
    this.#offset ??= message.offset
    this.#oldUntil = message.next
    this.#attached = true
    this.#attachedAt = this.#world.now()
    this.#setMode(message.mode)
    this.#reach(message.offset)
    this.#listener.message(message)
    this.#settle()
    this.#heard = true
    this.#ask()
  }

  #setMode(mode: ConsoleMode): void {
    this.#mode = mode
    this.#listener.mode(mode)
  }

  /** The next byte is that of `offset`; what lies between is lost. */
  #reach(offset: number): void {
    const missing = offset - (this.#offset ?? offset)
    this.#offset = offset
    if (missing > 0) this.#listener.gap(missing, 'lost')
  }

  #output(bytes: Uint8Array): void {
    this.#heard = true
    const at = this.#offset ?? 0
    this.#offset = at + bytes.length
    const old = Math.min(Math.max(this.#oldUntil - at, 0), bytes.length)
    if (old > 0) this.#show(bytes.subarray(0, old), true)
    if (old < bytes.length) this.#show(bytes.subarray(old), false)
    this.#settle()
    if (this.#pending > HIGH_BYTES) this.#holdBack()
  }

  #show(bytes: Uint8Array, old: boolean): void {
    this.#pending += bytes.length
    this.#listener.output(bytes, old, () => {
      this.#pending -= bytes.length
      if (this.#flooded && this.#pending < LOW_BYTES) this.#goOn()
    })
  }

  #settle(): void {
    const state = (this.#offset ?? 0) < this.#oldUntil ? 'catching-up' : 'live'
    if (this.#attached && this.#state !== state) this.#become(state)
  }

  /** The terminal is too far behind: reads nothing more until it has caught up. */
  #holdBack(): void {
    this.#disconnect()
    this.#flooded = true
    this.#become('catching-up', 'more output than this page can show')
  }

  #goOn(): void {
    this.#flooded = false
    this.#maySkip = true
    this.#cancelTimer = this.#world.after(FLOOD_PAUSE_MS, () => this.#connect())
  }

  #closed(code: number, reason: string): void {
    const wasAttached = this.#attached
    const refusal = this.#refusal
    this.#disconnect()
    if (wasAttached && this.#world.now() - this.#attachedAt >= STEADY_MS) this.#failures = 0
    if (!wasAttached && refusal?.code === 'VSPC_CONSOLE_BUSY' && this.#mode !== 'read') {
      this.#setMode('read')
      this.#listener.message({ type: 'error', code: refusal.code, message: refusal.text })
      this.#connect()
      return
    }
    if (code === LOG_IN || (refusal !== null && FINAL.includes(refusal.code))) {
      this.#setMode('read')
      this.#become('refused', refusal?.text ?? reason)
      return
    }
    // An offset beyond the server's end: it counts anew.
    if (!wasAttached && refusal?.code === 'VSPC_REQUEST_INVALID') this.#offset = null
    this.#retry(refusal?.text ?? (reason || (code === 1006 ? 'the connection is lost' : `closed (${code})`)))
  }

  #retry(detail: string): void {
    const pause = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#failures)
    this.#failures = Math.min(this.#failures + 1, 10)
    this.#become('waiting', detail)
    this.#cancelTimer = this.#world.after(pause * (0.5 + this.#world.random() / 2), () => this.#retryNow())
  }

  #retryNow(): void {
    this.#disconnect()
    if (this.#offset === null) this.#draw()
    else this.#connect()
  }

  /** A dead connection says nothing; asking makes it show. The answers tell who is attached. */
  #ask(): void {
    this.#cancelAsking = this.#world.after(ASK_MS, () => {
      if (!this.#heard) {
        this.#closed(1006, '')
        return
      }
      this.#heard = false
      this.request({ type: 'who' })
      this.#ask()
    })
  }
}

/** Null for what a newer server may say and we do not know. */
function parseMessage(data: string): ConsoleMessage | null {
  try {
    const value = JSON.parse(data) as ConsoleMessage
    return typeof value === 'object' && value !== null && typeof value.type === 'string' ? value : null
  } catch {
    // No JSON: nothing that we could act upon.
    return null
  }
}
