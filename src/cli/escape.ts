import { VspcError } from '../base/index.ts'

/** Ctrl-], as telnet has it. */
export const DEFAULT_ESCAPE = 0x1d

/** Receives what {@link EscapeParser} finds, in order. */
export interface EscapeSink {
  /** Bytes for the VM: a view into the chunk, valid during the call. */
  data(bytes: Uint8Array): void
  /** The byte typed after the escape character. */
  command(byte: number): void
}

// After the escape character; after an unknown ESC (maybe an arrow key); inside such a key's sequence.
type State = 'text' | 'escaped' | 'key' | 'key-body' | 'utf8'

const ESC = 0x1b

/**
 * Takes the escape character and the key after it out of what is typed. Pure; the same events for any chunking.
 *
 * The escape character twice gives one to the VM. A key after it that sends several bytes (an arrow: ESC `[` `A`; a
 * letter outside ASCII) is one command, named by its first byte, and its other bytes do not reach the VM either.
 */
export class EscapeParser {
  readonly #escape: number | null
  #state: State = 'text'
  #continuations = 0

  /** @param escapeByte the escape character, 0 to 255; null switches escapes off. */
  constructor(escapeByte: number | null) {
    this.#escape = escapeByte
  }

  push(chunk: Uint8Array, sink: EscapeSink): void {
    const escapeByte = this.#escape
    if (escapeByte === null) {
      if (chunk.length > 0) sink.data(chunk)
      return
    }
    let at = 0
    while (at < chunk.length) {
      if (this.#state === 'text') {
        const found = chunk.indexOf(escapeByte, at)
        const end = found < 0 ? chunk.length : found
        if (end > at) sink.data(chunk.subarray(at, end))
        if (found >= 0) this.#state = 'escaped'
        at = end + 1
        continue
      }
      const byte = chunk[at] as number
      if (this.#state === 'escaped') {
        at++
        this.#state = 'text'
        if (byte === escapeByte) {
          sink.data(chunk.subarray(at - 1, at))
        } else {
          if (byte === ESC) this.#state = 'key'
          this.#continuations = continuationBytes(byte)
          if (this.#continuations > 0) this.#state = 'utf8'
          sink.command(byte)
        }
        continue
      }
      if (this.#swallow(byte)) at++
    }
  }

  /** True when `byte` belongs to the key that gave the last command. */
  #swallow(byte: number): boolean {
    if (this.#state === 'utf8' && byte >= 0x80 && byte <= 0xbf) {
      this.#continuations--
      if (this.#continuations === 0) this.#state = 'text'
      return true
    }
    // ESC [ (CSI) and ESC O (SS3) open a function key; anything else after ESC was typed on its own.
    if (this.#state === 'key' && (byte === 0x5b || byte === 0x4f)) {
      this.#state = 'key-body'
      return true
    }
    if (this.#state === 'key-body' && byte >= 0x20 && byte <= 0x7e) {
      // ECMA-48 5.4: parameters and intermediates are 0x20 to 0x3f, the final byte 0x40 to 0x7e ends it.
      if (byte >= 0x40) this.#state = 'text'
      return true
    }
    this.#state = 'text'
    return false
  }
}

/** How many bytes follow the first byte of a UTF-8 character. */
function continuationBytes(byte: number): number {
  if (byte >= 0xf0 && byte <= 0xf4) return 3
  if (byte >= 0xe0) return byte <= 0xef ? 2 : 0
  return byte >= 0xc2 ? 1 : 0
}

/**
 * The byte meant by `^]`, `^A`, `^?`, a single ASCII character, or `none` (null: no escape character at all).
 * @param source what the text came from, for the message: `-e` or `VSPC_ESCAPE`.
 * @throws VspcError VSPC_USAGE.
 */
export function parseEscapeChar(text: string, source: string): number | null {
  if (text.toLowerCase() === 'none') return null
  const byte = byteOfKey(text)
  if (byte === null) {
    throw new VspcError(
      'VSPC_USAGE',
      `${source}: "${text}" is no escape character: give ^X for Ctrl-X (such as ^]), one ASCII character, or none`,
    )
  }
  if (byte === 0x0d || byte === 0x0a || byte === ESC) {
    const key = byte === ESC ? 'Esc, with which every arrow key begins' : 'Enter'
    throw new VspcError('VSPC_USAGE', `${source}: "${text}" is the key ${key}: choose another escape character`)
  }
  return byte
}

function byteOfKey(text: string): number | null {
  if (/^[\x01-\x7f]$/.test(text)) return text.charCodeAt(0)
  if (text === '^?') return 0x7f
  const control = /^\^([@-_a-z])$/.exec(text)?.[1]
  return control ? control.toUpperCase().charCodeAt(0) & 0x1f : null
}

/** As people write it: `^]`, `~`. */
export function formatKey(byte: number): string {
  if (byte === 0x7f) return '^?'
  if (byte < 0x20) return `^${String.fromCharCode(byte + 0x40)}`
  return byte < 0x7f ? String.fromCharCode(byte) : `0x${byte.toString(16)}`
}
