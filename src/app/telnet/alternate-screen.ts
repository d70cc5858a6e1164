/**
 * Is a full-screen program (vi, less) at work? Followed in the output, whatever its chunking: such programs switch to the
 * alternate screen with ESC [ ? 1049 h (or 47, 1047) and back with l. Pure.
 */
const ESC = 0x1b
const OPENING = [ESC, 0x5b, 0x3f]
const MODES = ['47', '1047', '1049']
/** No parameter list that matters is longer. */
const MAX_PARAMETERS = 32

export class AlternateScreen {
  on = false
  /** Bytes of ESC [ ? seen. */
  #opened = 0
  #parameters = ''

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) {
      if (this.#opened === 0) {
        at = bytes.indexOf(ESC, at)
        if (at < 0) return
      }
      this.#step(bytes[at] as number)
    }
  }

  #step(byte: number): void {
    if (byte === ESC) {
      this.#opened = 1
      this.#parameters = ''
    } else if (this.#opened < OPENING.length) {
      this.#opened = byte === OPENING[this.#opened] ? this.#opened + 1 : 0
    } else if (byte >= 0x30 && byte <= 0x3b && this.#parameters.length < MAX_PARAMETERS) {
      this.#parameters += String.fromCharCode(byte)
    } else {
      this.#opened = 0
      const final = byte === 0x68 ? true : byte === 0x6c ? false : null
      if (final !== null && this.#parameters.split(';').some((one) => MODES.includes(one))) this.on = final
    }
  }
}
