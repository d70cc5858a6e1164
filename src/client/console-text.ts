import { AnsiScanner } from './ansi.ts'
import { utf8BytesOf, utf8OpenTail } from './utf8.ts'

/** `latin1`: one character per byte, for 8-bit consoles and binary output. */
export type ConsoleEncoding = 'utf8' | 'latin1'

/** A run of text that comes from bytes without a break in between. */
interface Piece {
  /** Index of its first character, counted from the very beginning. */
  readonly at: number
  units: number
  /** Of its first byte. */
  readonly position: number
  /** A copy, where characters are not a byte each. */
  readonly bytes: Uint8Array | null
}

/**
 * Console output as text, with the way back from a character to its byte. The same for any chunking.
 *
 * Characters are UTF-16 units. Broken UTF-8 becomes U+FFFD; a character cut by the end of a chunk waits for its rest.
 * Memory: the text held, and a record for each run of it between control sequences.
 */
export class ConsoleText {
  readonly #encoding: ConsoleEncoding
  readonly #scanner: AnsiScanner | null
  #text = ''
  /** Characters dropped before `#text`. */
  #dropped = 0
  #pieces: Piece[] = []
  /** Where the chunk being read begins. */
  #chunkPosition = 0
  /** The beginning of a character, and where it is. */
  #open: Uint8Array = new Uint8Array(0)
  #openPosition = 0

  /** @param strip leaves terminal control sequences out. */
  constructor(encoding: ConsoleEncoding, strip: boolean) {
    this.#encoding = encoding
    this.#scanner = strip ? new AnsiScanner() : null
  }

  /** What is held. */
  get text(): string {
    return this.#text
  }

  /** @param position of the first byte of `chunk`, in bytes from wherever the caller counts. */
  push(chunk: Uint8Array, position: number): void {
    this.#chunkPosition = position
    if (this.#scanner) this.#scanner.push(chunk, this.#sink)
    else this.#add(chunk, position)
  }

  /** Forgets the first `units` characters of {@link text}. */
  drop(units: number): void {
    this.#text = this.#text.slice(units)
    this.#dropped += units
    const keep = this.#pieces.findIndex(({ at, units: length }) => at + length > this.#dropped)
    this.#pieces = keep < 0 ? this.#pieces.slice(-1) : this.#pieces.slice(keep)
  }

  /** Position of the first byte of the character at `index` of {@link text}; at its end, the end. */
  startOf(index: number): number {
    const unit = this.#dropped + index
    const piece = this.#pieces.findLast(({ at }) => at <= unit)
    if (!piece) return this.#chunkPosition
    return piece.position + bytesOf(piece, Math.min(unit - piece.at, piece.units))
  }

  /** Position after the last byte of the character before `index`. */
  endOf(index: number): number {
    const unit = this.#dropped + index
    const piece = this.#pieces.findLast(({ at }) => at < unit)
    return piece ? piece.position + bytesOf(piece, unit - piece.at) : this.startOf(index)
  }

  readonly #sink = {
    text: (bytes: Uint8Array, at: number) => this.#add(bytes, this.#chunkPosition + at),
    csi: () => {},
    escape: () => {},
  }

  #add(bytes: Uint8Array, position: number): void {
    if (this.#encoding === 'latin1') {
      this.#append(latin1(bytes), position, null)
      return
    }
    let whole = bytes
    let from = position
    if (this.#open.length > 0) {
      // A control sequence in the middle of a character: it will never be whole.
      if (this.#openPosition + this.#open.length !== position) this.#decode(this.#open, this.#openPosition)
      else {
        whole = Buffer.concat([this.#open, bytes])
        from = this.#openPosition
      }
    }
    const end = whole.length - utf8OpenTail(whole)
    this.#open = Uint8Array.from(whole.subarray(end))
    this.#openPosition = from + end
    if (end > 0) this.#decode(whole.subarray(0, end), from)
  }

  #decode(bytes: Uint8Array, position: number): void {
    const text = decoder.decode(bytes)
    // Each unit takes a byte at least, so equal lengths mean a byte each.
    this.#append(text, position, text.length === bytes.length ? null : Uint8Array.from(bytes))
  }

  #append(text: string, position: number, bytes: Uint8Array | null): void {
    const last = this.#pieces.at(-1)
    if (last && bytes === null && last.bytes === null && last.position + last.units === position) {
      last.units += text.length
    } else {
      this.#pieces.push({ at: this.#dropped + this.#text.length, units: text.length, position, bytes })
    }
    this.#text += text
  }
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

function bytesOf({ bytes }: Piece, units: number): number {
  return bytes === null ? units : utf8BytesOf(bytes, units)
}
