import { AnsiScanner, type AnsiSink } from '../client/index.ts'

const ENQ = 0x05

/**
 * Makes recorded console output safe to print on a terminal: takes out what makes a terminal type an answer by itself
 * (the answer would land in the reader's shell), what changes what its keyboard or mouse sends, and what sets its title,
 * clipboard or printer. Text, colours and cursor movement pass unchanged. Pure.
 */
export class TerminalFilter implements AnsiSink {
  readonly #scanner = new AnsiScanner()
  #pass: (bytes: Uint8Array) => void = () => {}

  /** Calls `pass` with what may be printed; views into `chunk` or small pieces, valid during the call. */
  push(chunk: Uint8Array, pass: (bytes: Uint8Array) => void): void {
    this.#pass = pass
    this.#scanner.push(chunk, this)
  }

  text(bytes: Uint8Array): void {
    let from = 0
    for (;;) {
      const at = bytes.indexOf(ENQ, from)
      const end = at < 0 ? bytes.length : at
      if (end > from) this.#pass(bytes.subarray(from, end))
      if (at < 0) return
      from = at + 1
    }
  }

  csi(sequence: Uint8Array, parameters: string, final: string): void {
    if (!asksOrRewires(parameters, final)) this.#pass(sequence)
  }

  escape(sequence: Uint8Array, name: string): void {
    // ESC Z: DECID, asks who the terminal is. ESC c: RIS, a full reset, clears the reader's screen.
    if (name !== 'Z' && name !== 'c') this.#pass(sequence)
  }
}

/** Names as in xterm's "Control Sequences". */
function asksOrRewires(parameters: string, final: string): boolean {
  const prefix = /^[<=>?]/.test(parameters) ? parameters.charAt(0) : ''
  const intermediate = /[ -/]+$/.exec(parameters)?.[0] ?? ''
  switch (final) {
    case 'c': // DA1, DA2, DA3
    case 'n': // DSR, cursor position
    case 't': // window reports and manipulation
    case 'i': // MC: prints
      return true
    case 'x': // DECREQTPARM; with an intermediate DECFRA and its like
    case 'u': // kitty keyboard modes and their query; without prefix SCORC, which restores the cursor
      return final === 'x' ? intermediate === '' : prefix !== ''
    case 'h': // DECSET and DECRST: mouse, focus, paste and screen modes
    case 'l':
      return prefix === '?'
    case 'm': // XTMODKEYS and its query
    case 'q': // XTVERSION
    case 'S': // XTSMGRAPHICS
      return prefix !== ''
    case 'p': // DECRQM
      return intermediate.includes('$')
    case 'w': // DECRQPSR, DECEFR
    case 'z': // DECELR
    case '{': // DECSLE
    case '|': // DECRQLP
    case 'y': // DECRQCRA
      return intermediate !== ''
    default:
      return false
  }
}
