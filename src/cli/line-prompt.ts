import { cleanText } from '../base/index.ts'
import type { Terminal } from './tty.ts'

/** More is not taken. */
const MAX_BYTES = 500

const BACKSPACE = 0x08
const ESC = 0x1b
const CTRL_U = 0x15
const DELETE = 0x7f

/**
 * A line typed to us instead of to the VM, in a terminal in raw mode: echoed, with Backspace and Ctrl-U. Enter ends it;
 * Escape, Ctrl-C and every other control key give it up. What follows in the same chunk reaches nobody.
 */
export class LinePrompt {
  readonly #terminal: Pick<Terminal, 'write' | 'bell'>
  readonly #done: (text: string | null) => void
  #bytes: number[] = []
  #over = false

  /** @param done told once; null = given up. */
  constructor(terminal: Pick<Terminal, 'write' | 'bell'>, done: (text: string | null) => void) {
    this.#terminal = terminal
    this.#done = done
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.#over; at++) {
      const byte = bytes[at] as number
      if (byte === 0x0d || byte === 0x0a) this.#end(cleanText(Uint8Array.from(this.#bytes), MAX_BYTES))
      else if (byte === BACKSPACE || byte === DELETE) this.#erase()
      else if (byte === CTRL_U) while (this.#bytes.length > 0) this.#erase()
      else if (byte === ESC && (bytes[at + 1] === 0x5b || bytes[at + 1] === 0x4f)) at = endOfKey(bytes, at + 2)
      else if (byte < 0x20) this.#end(null)
      else this.#append(byte)
    }
  }

  /** Something else came in between. */
  cancel(): void {
    if (!this.#over) this.#end(null)
  }

  #append(byte: number): void {
    if (this.#bytes.length >= MAX_BYTES) {
      this.#terminal.bell()
      return
    }
    this.#bytes.push(byte)
    this.#terminal.write(Uint8Array.of(byte))
  }

  /** One character, of several bytes outside ASCII. */
  #erase(): void {
    let byte = this.#bytes.pop()
    if (byte === undefined) return
    while (byte !== undefined && byte >= 0x80 && byte < 0xc0) byte = this.#bytes.pop()
    this.#terminal.write(Uint8Array.of(BACKSPACE, 0x20, BACKSPACE))
  }

  #end(text: string | null): void {
    this.#over = true
    this.#terminal.write(Uint8Array.of(0x0d, 0x0a))
    this.#done(text)
  }
}

/** An arrow key and the like are no part of a line: where their sequence ends. ECMA-48 5.4. */
function endOfKey(bytes: Uint8Array, from: number): number {
  let at = from
  while (at < bytes.length && (bytes[at] as number) < 0x40) at++
  return at
}
