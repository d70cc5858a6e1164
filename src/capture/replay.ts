/**
 * Plays the VM's side of a capture against a server: opens each connection when the recording did, says what the VM
 * said, and checks that the server answers as the recording's proxy did, by kind. SHELL.
 *
 * Plan: records are played strictly in recorded order, over all streams, because what one connection does may depend
 * on another one (PEER after GOAHEAD, COMPLETE after the source's FIN). Before a stream's VM speaks or leaves, the
 * server must have said on that stream what the recording's proxy had said by then. What a good proxy has to say is
 * waited for up to `answerTimeoutMs`, habits of the recorded one a moment only, and no second time once given up.
 */
import type { Duplex } from 'node:stream'
import { type Clock, formatHex, systemClock } from '../base/index.ts'
import { isRawEndpoint } from './describe.ts'
import type { ProxySaying } from './expectations.ts'
import { openCapture } from './file.ts'
import type { Capture, CaptureRecord } from './format.ts'
import { TelnetItems } from './items.ts'
import { peerCookie, ReplayStream } from './replay-stream.ts'
import { VmNegotiation } from './vm-negotiation.ts'

export interface PlayOptions {
  /**
   * Connects to the server; called once per stream. The replay owns what it returns: a Duplex with
   * `allowHalfOpen: true`. What it throws ends the replay.
   */
  readonly dial: (signal: AbortSignal, stream: number) => Promise<Duplex>
  /** 1 = as recorded, 10 = ten times as fast; `max` = as fast as the server answers. */
  readonly speed: number | 'max'
  /** Ends the replay; its reason is thrown. */
  readonly signal?: AbortSignal
  /** For what a good proxy has to say. */
  readonly answerTimeoutMs?: number
  readonly clock?: Clock
}

/** Where the server behaved otherwise than the recording, in protocol words. */
export interface PlayMismatch {
  readonly code: 'VSPC_REPLAY_MISMATCH'
  readonly stream: number
  /** Seconds of the recording. */
  readonly t: number
  readonly expected: string | null
  readonly got: string | null
  readonly message: string
}

export interface PlaySummary {
  /** Connections played. */
  readonly streams: number
  /** Streams whose beginning is in an earlier file: they cannot be played. */
  readonly skippedStreams: number
  readonly bytesSent: number
  readonly bytesReceived: number
  /** Bytes that the recording itself lacks. */
  readonly gapBytes: number
  readonly mismatches: readonly PlayMismatch[]
}

const ANSWER_TIMEOUT_MS = 5_000
/** For habits of the recorded proxy, once per habit. */
const HABIT_TIMEOUT_MS = 250
/** For a server that does not read. */
const DRAIN_TIMEOUT_MS = 30_000
/** For the server's FIN after ours. */
const CLOSE_TIMEOUT_MS = 1_000

/**
 * Plays a capture file.
 * @throws VspcError VSPC_CAPTURE_READ, VSPC_CAPTURE_FORMAT; whatever `dial` throws; the signal's reason. Deviations of
 * the server are no errors: they are in the summary.
 */
export async function playCapture(file: string, options: PlayOptions): Promise<PlaySummary> {
  const plans = await planStreams(await openCapture(file))
  const player = new Player(plans, options)
  try {
    return await player.play(await openCapture(file))
  } finally {
    player.destroy()
  }
}

/** First pass: what each stream's VM is going to say in negotiation. Null: no Telnet. */
async function planStreams(capture: Capture): Promise<Map<number, VmNegotiation | null>> {
  const plans = new Map<number, VmNegotiation | null>()
  const items = new Map<number, TelnetItems>()
  for await (const record of capture) {
    if (record.kind === 'open') plans.set(record.stream, isRawEndpoint(record.endpoint) ? null : new VmNegotiation())
    if (record.kind !== 'data' || record.from !== 'vm') continue
    const plan = getOrAdd(plans, record.stream, () => new VmNegotiation())
    for (const item of getOrAdd(items, record.stream, () => new TelnetItems()).push(record.bytes)) {
      if (item.kind === 'negotiation') plan?.plan(item.verb, item.option)
    }
  }
  return plans
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}

class Player {
  readonly #plans: Map<number, VmNegotiation | null>
  readonly #options: PlayOptions
  readonly #clock: Clock
  readonly #abort = new AbortController()
  readonly #streams = new Map<number, ReplayStream>()
  readonly #skipped = new Set<number>()
  /** Hex of a recorded GOAHEAD's payload: who will get the real one. */
  readonly #cookies = new Map<string, { stream: ReplayStream; sequence: Uint8Array }>()
  /** What is not waited for any more; see {@link patienceKey}. */
  readonly #givenUp = new Set<string>()
  /** Streams that the server closed before their time. */
  readonly #cutOff = new Set<ReplayStream>()
  readonly #mismatches: PlayMismatch[] = []
  #gapBytes = 0
  #start: number | null = null
  #lastT = 0
  #wake: () => void = () => {}

  constructor(plans: Map<number, VmNegotiation | null>, options: PlayOptions) {
    this.#plans = plans
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  async play(capture: Capture): Promise<PlaySummary> {
    // The clock's timers do not keep the process alive, and between two connections nothing else does.
    const alive = setInterval(() => {}, 1 << 30)
    const { signal } = this.#options
    signal?.addEventListener('abort', this.#onAbort)
    try {
      signal?.throwIfAborted()
      for await (const record of capture) await this.#record(record)
      for (const stream of this.#streams.values()) await this.#finish(stream)
      await this.#wait(() => [...this.#streams.values()].every(({ closed }) => closed), CLOSE_TIMEOUT_MS)
      return this.#summary()
    } finally {
      clearInterval(alive)
      signal?.removeEventListener('abort', this.#onAbort)
    }
  }

  destroy(): void {
    this.#abort.abort()
    for (const stream of this.#streams.values()) stream.destroy()
  }

  async #record(record: CaptureRecord): Promise<void> {
    if (record.kind === 'gap') {
      this.#gapBytes += record.bytes
      return
    }
    if (record.kind === 'open' && record.continued) this.#skipped.add(record.stream)
    if (this.#skipped.has(record.stream)) return
    await this.#pace(record.t)
    const stream = await this.#stream(record.stream)
    if (record.kind === 'close') await this.#finish(stream)
    if (record.kind !== 'data') return
    if (record.from === 'proxy') {
      stream.expect(record.bytes, record.t, (cookie, sequence) =>
        this.#cookies.set(formatHex(cookie), { stream, sequence: sequence.slice() }),
      )
      return
    }
    await this.#play(stream, record.bytes, record.t)
  }

  async #play(stream: ReplayStream, bytes: Uint8Array, t: number): Promise<void> {
    await this.#answersOn(stream)
    if (stream.ended) {
      if (this.#cutOff.has(stream)) return
      this.#cutOff.add(stream)
      this.#mismatch(stream, t, null, null, 'the server has closed the connection, on which the recording goes on')
      return
    }
    const items = stream.cut(bytes)
    for (const cookie of items.map(peerCookie)) {
      const source = cookie && this.#cookies.get(formatHex(cookie))?.stream
      if (source) await this.#answersOn(source)
    }
    stream.play(items, (cookie) => this.#exchange(cookie))
    if (stream.full && !(await this.#wait(() => !stream.full, DRAIN_TIMEOUT_MS))) {
      this.#mismatch(stream, t, null, null, `the server has read nothing for ${DRAIN_TIMEOUT_MS / 1000} s`)
      stream.destroy()
    }
  }

  /** Waits until it is time for what was recorded at `t`. */
  async #pace(t: number): Promise<void> {
    this.#lastT = Math.max(this.#lastT, t)
    const { speed } = this.#options
    if (speed === 'max') {
      this.#options.signal?.throwIfAborted()
      return
    }
    const now = this.#clock.now()
    this.#start ??= now - (t * 1000) / speed
    const wait = this.#start + (t * 1000) / speed - now
    if (wait > 0) await this.#wait(() => false, wait)
    this.#options.signal?.throwIfAborted()
  }

  async #stream(number: number): Promise<ReplayStream> {
    const found = this.#streams.get(number)
    if (found) return found
    const plan = this.#plans.get(number)
    const stream = new ReplayStream(number, plan === undefined ? new VmNegotiation() : plan, () => this.#wake())
    this.#streams.set(number, stream)
    const socket = await this.#options.dial(this.#abort.signal, number)
    stream.connect(socket)
    return stream
  }

  /** Waits for what the recording's proxy had said on this stream by now. */
  async #answersOn(stream: ReplayStream): Promise<void> {
    const missing = (): ProxySaying[] =>
      stream.expectations.missing().filter((saying) => !this.#givenUp.has(patienceKey(stream, saying)))
    const required = (): boolean => stream.ended || missing().every((saying) => !saying.required)
    if (missing().length === 0) return
    // What is given up here is reported at the end, unless it comes late.
    const answered = await this.#wait(required, this.#options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS)
    if (answered && (await this.#wait(() => stream.ended || missing().length === 0, HABIT_TIMEOUT_MS))) return
    for (const saying of missing()) this.#givenUp.add(patienceKey(stream, saying))
  }

  #exchange(recorded: Uint8Array): Uint8Array | null {
    const cookie = this.#cookies.get(formatHex(recorded))
    return cookie?.stream.goaheadFor(cookie.sequence) ?? null
  }

  async #finish(stream: ReplayStream): Promise<void> {
    if (!stream.connected || stream.closed) return
    await this.#answersOn(stream)
    stream.finish()
  }

  /** @returns whether `ready` came true in time. */
  async #wait(ready: () => boolean, ms: number): Promise<boolean> {
    const { signal } = this.#options
    if (ready()) return true
    return await new Promise<boolean>((resolve, reject) => {
      const timer = this.#clock.after(ms, () => done(() => resolve(false)))
      const done = (settle: () => void): void => {
        timer.cancel()
        this.#wake = () => {}
        settle()
      }
      this.#wake = () => {
        if (signal?.aborted) done(() => reject(signal.reason))
        else if (ready()) done(() => resolve(true))
      }
      this.#wake()
    })
  }

  readonly #onAbort = (): void => {
    this.#abort.abort(this.#options.signal?.reason)
    this.#wake()
  }

  #mismatch(stream: ReplayStream, t: number, expected: string | null, got: string | null, message: string): void {
    const text = `stream ${stream.number} at ${t.toFixed(3)} s: ${message}`
    this.#mismatches.push({ code: 'VSPC_REPLAY_MISMATCH', stream: stream.number, t, expected, got, message: text })
  }

  #summary(): PlaySummary {
    let bytesSent = 0
    let bytesReceived = 0
    for (const stream of this.#streams.values()) {
      bytesSent += stream.bytesSent
      bytesReceived += stream.bytesReceived
      if (stream.fault !== null)
        this.#mismatch(stream, this.#lastT, null, null, `the connection broke: ${stream.fault}`)
      for (const { t, expected, got } of stream.expectations.deviations(this.#lastT)) {
        this.#mismatch(stream, t, expected, got, deviationWords(expected, got))
      }
    }
    return {
      streams: this.#streams.size,
      skippedStreams: this.#skipped.size,
      bytesSent,
      bytesReceived,
      gapBytes: this.#gapBytes,
      mismatches: this.#mismatches.toSorted((a, b) => a.t - b.t),
    }
  }
}

/** A habit is given up for all streams: the server does not have it. What is required, only where it did not come. */
function patienceKey(stream: ReplayStream, saying: ProxySaying): string {
  return saying.required ? `${stream.number} ${saying.key}` : saying.key
}

function deviationWords(expected: string | null, got: string | null): string {
  if (expected === null) return `${got} came, which the recording does not have`
  return got === null ? `${expected} expected, nothing came` : `${expected} expected, ${got} came`
}
