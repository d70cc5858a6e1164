/** The line that somebody types into the menu: keys in, whole lines and their echo out. Pure. */

const NUL = 0x00
const ETX = 0x03
const EOT = 0x04
const BS = 0x08
const LF = 0x0a
const CR = 0x0d
const NAK = 0x15
const ESC = 0x1b
const DEL = 0x7f

const MAX_LINE_BYTES = 200

export interface EditorSink {
  /** What to show for a key. */
  echo(text: string | Uint8Array): void
  /** @returns false: the rest of the keys is not for the menu. */
  line(text: string): boolean
  /** Ctrl-C, or Ctrl-D on an empty line. */
  leave(): void
}

export class LineEditor {
  #bytes: number[] = []
  /** In BINARY a client's Enter may still be CR LF: one line, not two. */
  #afterCr = false
  /** Of a function key: nothing, after ESC, or within its sequence. */
  #key: 'none' | 'escape' | 'sequence' = 'none'

  /** @returns how many of `keys` were used. */
  push(keys: Uint8Array, sink: EditorSink): number {
    for (let at = 0; at < keys.length; at++) {
      const key = keys[at] as number
      const wasCr = this.#afterCr
      this.#afterCr = key === CR
      if (wasCr && (key === LF || key === NUL)) continue
      if (this.#inFunctionKey(key)) continue
      if (key === CR || key === LF) {
        const text = new TextDecoder().decode(Uint8Array.from(this.#bytes))
        this.#bytes = []
        sink.echo('\r\n')
        if (!sink.line(text)) return at + 1
      } else if (key === ETX || (key === EOT && this.#bytes.length === 0)) {
        sink.leave()
        return at + 1
      } else if (key === BS || key === DEL) {
        this.erase(sink)
      } else if (key === NAK) {
        this.clear(sink)
      } else if (key === ESC) {
        this.#key = 'escape'
      } else if (key >= 0x20 && this.#bytes.length < MAX_LINE_BYTES) {
        this.#bytes.push(key)
        sink.echo(Uint8Array.of(key))
      }
    }
    return keys.length
  }

  /** Takes back the last character. */
  erase(sink: Pick<EditorSink, 'echo'>): void {
    let byte = this.#bytes.pop()
    if (byte === undefined) return
    while (byte !== undefined && byte >= 0x80 && byte < 0xc0) byte = this.#bytes.pop()
    sink.echo('\b \b')
  }

  clear(sink: Pick<EditorSink, 'echo'>): void {
    while (this.#bytes.length > 0) this.erase(sink)
  }

  /** Arrow keys and the like mean nothing here: ESC and one character, or ESC [ up to its final one (ECMA-48). */
  #inFunctionKey(key: number): boolean {
    if (this.#key === 'none') return false
    if (this.#key === 'escape') this.#key = key === 0x5b || key === 0x4f ? 'sequence' : 'none'
    else if (key >= 0x40 && key <= 0x7e) this.#key = 'none'
    return true
  }
}
