import { AnsiScanner, type AnsiSink } from '../client/index.ts'

/** DEC private modes that a guest's program may leave on, and that spoil a terminal: keys, colours, mouse, screens. */
const OFF_BY_DEFAULT: ReadonlySet<string> = new Set(
  '1 5 6 9 47 1000 1001 1002 1003 1004 1005 1006 1015 1016 1047 1049 2004'.split(' '),
)
const LF = 0x0a
const ALTERNATE_SCREENS = ['47', '1047', '1049']
/** Auto-wrap and the cursor are on in a terminal at rest. */
const ON_BY_DEFAULT: ReadonlySet<string> = new Set(['7', '25'])

/**
 * Remembers which modes console output has changed in the terminal that shows it, so that leaving in the middle of a
 * full-screen program leaves a usable terminal. Pure.
 */
export class TerminalModes implements AnsiSink {
  readonly #scanner = new AnsiScanner()
  /** What undoes each thing changed, by the thing. */
  readonly #undo = new Map<string, string>()
  /** The cursor was put on a row other than the first, and fewer than two lines were printed since. */
  #placed = false
  #lines = 0

  push(chunk: Uint8Array): void {
    this.#scanner.push(chunk, this)
  }

  /**
   * A full-screen program has the terminal: what is written in between spoils its picture. It has the alternate screen,
   * or (firmware set-up, boot menus, `less`) has put text on chosen rows, and no lines have followed each other since.
   */
  get fullScreen(): boolean {
    return this.#placed || ALTERNATE_SCREENS.some((mode) => this.#undo.has(`?${mode}`))
  }

  /** The sequences that bring the terminal back; empty when nothing was changed. */
  reset(): string {
    const undo = [...this.#undo.values()].join('')
    this.#undo.clear()
    return undo
  }

  text(bytes: Uint8Array): void {
    if (!this.#placed) return
    for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) this.#lines++
    if (this.#lines >= 2) this.#placed = false
  }

  csi(_sequence: Uint8Array, parameters: string, final: string): void {
    if ((final === 'H' || final === 'f') && Number.parseInt(parameters, 10) > 1) {
      this.#placed = true
      this.#lines = 0
    }
    if (final === 'h' || final === 'l') this.#mode(parameters, final === 'h')
    else if (final === 'm' && /^[\d;:]*$/.test(parameters)) this.#note('sgr', !/^0*$/.test(parameters), '\x1b[0m')
    // Setting the region homes the cursor, hence save and restore.
    else if (final === 'r' && /^[\d;]*$/.test(parameters)) this.#note('region', parameters !== '', '\x1b7\x1b[r\x1b8')
    else if (final === 'q' && parameters.endsWith(' ')) this.#note('cursor', !/^0? $/.test(parameters), '\x1b[0 q')
  }

  escape(_sequence: Uint8Array, name: string): void {
    if (name === '=' || name === '>') this.#note('keypad', name === '=', '\x1b>')
    else if (name.startsWith('(')) this.#note('charset', name !== '(B', '\x1b(B')
    else if (name === 'c') this.#undo.clear()
  }

  #mode(parameters: string, on: boolean): void {
    if (parameters === '4') this.#note('insert', on, '\x1b[4l')
    if (!parameters.startsWith('?')) return
    for (const mode of parameters.slice(1).split(';')) {
      if (!on && ALTERNATE_SCREENS.includes(mode)) this.#placed = false
      if (OFF_BY_DEFAULT.has(mode)) this.#note(`?${mode}`, on, `\x1b[?${mode}l`)
      else if (ON_BY_DEFAULT.has(mode)) this.#note(`?${mode}`, !on, `\x1b[?${mode}h`)
    }
  }

  #note(what: string, changed: boolean, undo: string): void {
    if (changed) this.#undo.set(what, undo)
    else this.#undo.delete(what)
  }
}
