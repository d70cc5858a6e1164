/**
 * Finds terminal control sequences (ECMA-48) in console output. Pure; the same events for any chunking.
 *
 * Plan: one state per place in a sequence; text is reported as views into the chunk, a sequence as one piece once its
 * last byte is there. Limits: a sequence longer than {@link MAX_SEQUENCE} is dropped whole; the text of a string
 * sequence (OSC, DCS, ...) is never kept, and ends at a line feed, so that line noise cannot swallow the rest.
 * Bytes 0x80 to 0x9f are C1 controls unless they continue a UTF-8 character; UTF-8's own form of them (C2 80 to C2 9f)
 * counts too, since terminals obey it.
 */
export interface AnsiSink {
  /**
   * Printable text and C0 controls; a view, valid during the call. `at` is where it begins in the chunk: -1 for the last
   * byte of the chunk before.
   */
  text(bytes: Uint8Array, at: number): void
  /** `CSI ... final`, whole, and what stands between introducer and final byte. */
  csi(sequence: Uint8Array, parameters: string, final: string): void
  /** `ESC ... final`, whole; `name` is what follows the ESC. */
  escape(sequence: Uint8Array, name: string): void
}

export const MAX_SEQUENCE = 256

const ESC = 0x1b
const BEL = 0x07
const CAN = 0x18
const SUB = 0x1a
const LF = 0x0a

type State = 'text' | 'c2' | 'escape' | 'csi' | 'string' | 'string-escape'

export class AnsiScanner {
  #state: State = 'text'
  /** Bytes of the current sequence so far, introducer included. */
  #held: number[] = []
  #introducer = 0
  #utf8 = 0
  #osc = false

  push(chunk: Uint8Array, sink: AnsiSink): void {
    let textFrom = 0
    let at = 0
    while (at < chunk.length) {
      const byte = chunk[at] as number
      if (this.#state === 'text') {
        if (!this.#leavesText(byte)) {
          at++
          continue
        }
        if (at > textFrom) sink.text(chunk.subarray(textFrom, at), textFrom)
        at++
        textFrom = at
        this.#begin(byte, chunk.subarray(at - 1, at), at - 1, sink)
        continue
      }
      if (this.#inSequence(byte, at, sink)) at++
      textFrom = at
    }
    if (this.#state === 'text' && at > textFrom) sink.text(chunk.subarray(textFrom, at), textFrom)
  }

  /** In text: is `byte` the start of something? Keeps count of UTF-8 continuation bytes. */
  #leavesText(byte: number): boolean {
    if (byte < 0x80) {
      this.#utf8 = 0
      return byte === ESC
    }
    if (byte < 0xc0) {
      if (this.#utf8 > 0) {
        this.#utf8--
        return false
      }
      return byte < 0xa0
    }
    this.#utf8 = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3
    return byte === 0xc2
  }

  #begin(byte: number, self: Uint8Array, at: number, sink: AnsiSink): void {
    if (byte === ESC) this.#enter('escape', [ESC])
    else if (byte === 0xc2) this.#enter('c2', [0xc2])
    else if (!this.#beginC1(byte, [byte])) sink.text(self, at)
  }

  #enter(state: State, held: number[]): void {
    this.#state = state
    this.#held = held
    this.#introducer = held.length
    this.#utf8 = 0
  }

  /** A C1 control that introduces something; false for the others. */
  #beginC1(byte: number, held: number[]): boolean {
    const state = INTRODUCERS[byte - 0x40]
    if (state) {
      this.#enter(state, held)
      this.#osc = byte === 0x9d
    } else if (byte === 0x9a) {
      // DECID asks who the terminal is, like ESC Z: not text.
      this.#state = 'text'
    } else {
      return false
    }
    return true
  }

  /** One byte outside text; false when it has to be looked at again as text. */
  #inSequence(byte: number, at: number, sink: AnsiSink): boolean {
    switch (this.#state) {
      case 'c2':
        if (byte >= 0x80 && byte <= 0x9f && this.#beginC1(byte, [0xc2, byte])) return true
        this.#state = 'text'
        this.#utf8 = 1
        sink.text(Uint8Array.of(0xc2), at - 1)
        return false
      case 'string':
        return this.#inString(byte)
      case 'string-escape':
        // ESC \ is ST; any other byte ends the string as well, and is the second one of a new sequence.
        if (byte === 0x5c) {
          this.#state = 'text'
          return true
        }
        this.#enter('escape', [ESC])
        return false
      default:
        return this.#inEscapeOrCsi(byte, at, sink)
    }
  }

  #inString(byte: number): boolean {
    const continues = this.#utf8 > 0 && byte >= 0x80 && byte < 0xc0
    this.#utf8 = continues ? this.#utf8 - 1 : byte < 0xc0 ? 0 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3
    if (byte === ESC) {
      this.#state = 'string-escape'
    } else if (byte === CAN || byte === SUB || (byte === BEL && this.#osc) || (byte === 0x9c && !continues)) {
      this.#state = 'text'
    } else if (byte === LF) {
      this.#state = 'text'
      return false
    }
    return true
  }

  #inEscapeOrCsi(byte: number, at: number, sink: AnsiSink): boolean {
    if (byte === ESC) {
      this.#enter('escape', [ESC])
      return true
    }
    if (byte === CAN || byte === SUB) {
      this.#state = 'text'
      return true
    }
    if (byte >= 0x80) {
      this.#state = 'text'
      return false
    }
    if (byte < 0x20) {
      // ECMA-48 terminals obey a C0 control in the middle of a sequence and go on with the sequence.
      sink.text(Uint8Array.of(byte), at)
      return true
    }
    if (byte === 0x7f) return true
    if (this.#state === 'escape' && this.#held.length === 1) {
      const next = INTRODUCERS[byte]
      if (next) {
        this.#enter(next, [ESC, byte])
        this.#osc = byte === 0x5d
        return true
      }
    }
    if (this.#held.length < MAX_SEQUENCE) this.#held.push(byte)
    if (byte < (this.#state === 'csi' ? 0x40 : 0x30)) return true
    this.#finish(sink)
    return true
  }

  #finish(sink: AnsiSink): void {
    const kind = this.#state
    this.#state = 'text'
    this.#utf8 = 0
    if (this.#held.length >= MAX_SEQUENCE) return
    const sequence = Uint8Array.from(this.#held)
    const inner = String.fromCharCode(...this.#held.slice(this.#introducer))
    if (kind === 'csi') sink.csi(sequence, inner.slice(0, -1), inner.slice(-1))
    else sink.escape(sequence, inner)
  }
}

/** What `ESC byte` opens; the C1 form is 0x40 higher. ECMA-48 5.6 and 8.3. */
const INTRODUCERS: { readonly [byte: number]: State } = {
  [0x5b]: 'csi',
  [0x5d]: 'string',
  [0x50]: 'string',
  [0x58]: 'string',
  [0x5e]: 'string',
  [0x5f]: 'string',
}
