/**
 * Telnet decoder: bytes in, calls out, nothing buffered but a subnegotiation.
 *
 * Plan: five states of RFC 854/855. Runs of serial data are found with `indexOf(IAC)` and passed on as one view per
 * run; doubled IACs are halved by moving bytes down inside the chunk, so a run with 0xFF in it is still one view.
 * A subnegotiation that lies whole in one chunk is passed as a view as well; only a split one is copied.
 *
 * Limits: a subnegotiation past `maxSubnegotiationBytes` is discarded up to its IAC SE without growing memory.
 * Nothing here can throw on any input.
 */
import { DO, DONT, IAC, SB, SE, type Verb, WILL, WONT } from './codes.ts'

/** Things that are wrong on the wire but end nothing. */
export type TelnetAnomaly =
  /** IAC SE without IAC SB. */
  | 'stray-se'
  /** IAC followed by something that is neither IAC nor SE inside a subnegotiation: the subnegotiation is dropped. */
  | 'iac-in-subnegotiation'
  /** IAC SB IAC SE. */
  | 'empty-subnegotiation'
  /** Discarded: longer than the cap. */
  | 'subnegotiation-too-long'
  /** A negotiation that gets no answer any more: the peer has drawn `maxNegotiationReplies`. */
  | 'negotiation-flood'
  /** A subnegotiation of an option that is not in force. */
  | 'subnegotiation-of-inactive-option'

/** What a decoder reports, in wire order, before `push` returns. Views are valid until the call returns. */
export interface DecoderSink {
  /** Serial data, IAC already halved. Never empty. */
  data(bytes: Uint8Array): void
  /** A two-byte command: NOP to GA, or an undefined code below SE. */
  command(code: number): void
  negotiation(verb: Verb, option: number): void
  /** `payload` is without the option byte, IAC already halved. */
  subnegotiation(option: number, payload: Uint8Array): void
  /** `offset`: of the byte that showed it, counted from the start of the connection. */
  anomaly(kind: TelnetAnomaly, offset: number): void
}

const DATA = 0
const AFTER_IAC = 1
const IN_SB = 2
const SB_AFTER_IAC = 3
/** OPT_BASE + verb: waiting for the option byte of that verb. */
const OPT_BASE = 1000

const NO_BUFFER = new Uint8Array(0)
/** Bytes between two doubled IACs. */
const CLOSE = 12

export class Decoder {
  #state = DATA
  #buffer = NO_BUFFER
  #length = 0
  #overflow = false
  #offset = 0
  /** Bytes of the chunk in hand consumed so far, that is up to the end of what is being reported. */
  #position = 0
  #stopped = false
  readonly #maxSubnegotiationBytes: number

  /** @param maxSubnegotiationBytes option byte included. */
  constructor(maxSubnegotiationBytes = 4096) {
    this.#maxSubnegotiationBytes = maxSubnegotiationBytes
  }

  /**
   * Bytes consumed since the connection began. Inside a sink call: up to and with the last byte of what is reported,
   * whatever the chunking.
   */
  get offset(): number {
    return this.#offset + this.#position
  }

  /**
   * Callable from a sink: `push` returns right after the current command; what follows is not Telnet (TLS). From then
   * on `push` consumes nothing.
   */
  stop(): void {
    this.#stopped = true
  }

  /**
   * Feeds one chunk and reports what it holds before returning. The decoder owns `chunk` during the call and may
   * overwrite it (it halves IAC IAC in place); views passed to the sink are parts of it: whoever keeps one copies it,
   * unless nobody writes to the chunk afterwards.
   * @returns bytes consumed; less than `chunk.length` only after {@link stop}.
   */
  push(chunk: Uint8Array, sink: DecoderSink): number {
    const end = chunk.length
    let read = 0
    // The run of data found and not yet passed on is chunk[runStart, runEnd); runEnd <= read.
    let runStart = 0
    let runEnd = 0
    if (this.#stopped) return 0
    while (read < end) {
      const state = this.#state
      if (state === DATA) {
        // Doubled IACs are halved here, without leaving the state. Where they lie close together bytes are moved by
        // hand: finding and moving a run costs two calls into the runtime, as much as a dozen bytes.
        for (let close = false; ; ) {
          const from = read
          const near = close ? Math.min(end, read + CLOSE) : read
          while (read < near && chunk[read] !== IAC) chunk[runEnd++] = chunk[read++]!
          if (read < end && chunk[read] !== IAC) {
            const at = chunk.indexOf(IAC, read)
            const stop = at < 0 ? end : at
            if (runEnd !== read) chunk.copyWithin(runEnd, read, stop)
            runEnd += stop - read
            read = stop
          }
          if (read === end) break
          if (chunk[read + 1] !== IAC) {
            this.#state = AFTER_IAC
            read++
            break
          }
          chunk[runEnd++] = IAC
          close = read - from < CLOSE
          read += 2
        }
      } else if (state === AFTER_IAC) {
        const byte = chunk[read++]!
        if (byte === IAC) {
          chunk[runEnd++] = IAC
          this.#state = DATA
          continue
        }
        if (runEnd > runStart) {
          this.#position = read - 2
          sink.data(chunk.subarray(runStart, runEnd))
        }
        this.#afterIac(byte, sink, read)
        runStart = runEnd = read
        if (this.#stopped) break
      } else if (state === IN_SB) {
        read = this.#inSubnegotiation(chunk, read, sink)
        runStart = runEnd = read
        if (this.#stopped) break
      } else if (state === SB_AFTER_IAC) {
        const byte = chunk[read++]!
        if (byte === IAC) {
          this.#append(chunk, read - 1, read)
          this.#state = IN_SB
        } else if (byte === SE) {
          this.#state = DATA
          this.#position = read
          this.#endSubnegotiation(sink)
        } else {
          // RFC 855 leaves this open. The subnegotiation is lost; what looks like a command is taken as one.
          this.#dropBuffer()
          this.#position = read
          sink.anomaly('iac-in-subnegotiation', this.offset - 1)
          this.#afterIac(byte, sink, read)
        }
        runStart = runEnd = read
        if (this.#stopped) break
      } else {
        this.#state = DATA
        const option = chunk[read++]!
        this.#position = read
        sink.negotiation((state - OPT_BASE) as Verb, option)
        runStart = runEnd = read
        if (this.#stopped) break
      }
    }
    if (runEnd > runStart) {
      // A trailing IAC is consumed, but whether it is data shows only in the next chunk.
      this.#position = this.#state === AFTER_IAC ? read - 1 : read
      sink.data(runStart === 0 && runEnd === end ? chunk : chunk.subarray(runStart, runEnd))
    }
    this.#offset += read
    this.#position = 0
    return read
  }

  #afterIac(byte: number, sink: DecoderSink, read: number): void {
    this.#state = DATA
    this.#position = read
    switch (byte) {
      case WILL:
      case WONT:
      case DO:
      case DONT:
        this.#state = OPT_BASE + byte
        return
      case SB:
        this.#state = IN_SB
        this.#length = 0
        this.#overflow = false
        return
      case SE:
        sink.anomaly('stray-se', this.offset - 1)
        return
      default:
        sink.command(byte)
    }
  }

  /** Consumes payload from `read` on, up to and including the IAC that ends or escapes; returns the new position. */
  #inSubnegotiation(chunk: Uint8Array, read: number, sink: DecoderSink): number {
    const at = chunk.indexOf(IAC, read)
    if (at < 0) {
      this.#append(chunk, read, chunk.length)
      return chunk.length
    }
    const whole = this.#length === 0 && !this.#overflow && chunk[at + 1] === SE && at > read
    if (whole && at - read <= this.#maxSubnegotiationBytes) {
      this.#state = DATA
      this.#position = at + 2
      sink.subnegotiation(chunk[read]!, chunk.subarray(read + 1, at))
      return at + 2
    }
    this.#append(chunk, read, at)
    this.#state = SB_AFTER_IAC
    return at + 1
  }

  #append(chunk: Uint8Array, from: number, to: number): void {
    if (this.#overflow || to === from) return
    const needed = this.#length + to - from
    if (needed > this.#maxSubnegotiationBytes) {
      this.#dropBuffer()
      this.#overflow = true
      return
    }
    if (needed > this.#buffer.length) {
      const grown = new Uint8Array(Math.min(this.#maxSubnegotiationBytes, Math.max(64, needed * 2)))
      grown.set(this.#buffer.subarray(0, this.#length))
      this.#buffer = grown
    }
    this.#buffer.set(chunk.subarray(from, to), this.#length)
    this.#length = needed
  }

  #endSubnegotiation(sink: DecoderSink): void {
    const buffer = this.#buffer
    const length = this.#length
    const overflow = this.#overflow
    this.#dropBuffer()
    if (overflow) sink.anomaly('subnegotiation-too-long', this.offset - 1)
    else if (length === 0) sink.anomaly('empty-subnegotiation', this.offset - 1)
    else sink.subnegotiation(buffer[0]!, buffer.subarray(1, length))
  }

  #dropBuffer(): void {
    this.#buffer = NO_BUFFER
    this.#length = 0
    this.#overflow = false
  }
}
