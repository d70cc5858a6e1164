/** The terminal: xterm.js with what a serial console needs around it. */
import { FitAddon } from '@xterm/addon-fit'
import { SearchAddon } from '@xterm/addon-search'
import { Unicode11Addon } from '@xterm/addon-unicode11'
import { WebLinksAddon } from '@xterm/addon-web-links'
import { Terminal as Xterm } from '@xterm/xterm'
import { guardTerminal } from '../terminal-guard.ts'
import { pointColour, terminalTheme, watchTheme } from './theme.ts'

const MAX_SCROLLBACK = 20_000
const FIRST_SCROLLBACK = 2_000
/** Written at a time, so that drawing gets its turn in between. */
const PIECE_BYTES = 32_768
/** Before any output: leaves whatever sequence was begun, and empties screen and scrollback. RIS, ECMA-48 8.3.105. */
const RESET = Uint8Array.of(0x1b, 0x63)

export interface TerminalListener {
  /** What is typed or pasted here, and what the terminal answers to live output: to be sent to the VM. */
  input(bytes: Uint8Array<ArrayBuffer>): void
  /** Somebody types although input is off. */
  typedInVain(): void
  pasted(text: string): void
  resized(): void
  /** @param hidden the text that was clicked does not show where it leads. */
  link(uri: string, hidden: boolean): void
  found(index: number, count: number): void
  /** A shortcut of the page rather than a key for the VM: true = taken. */
  shortcut(event: KeyboardEvent): boolean
}

export class Terminal {
  readonly #xterm: Xterm
  readonly #fit = new FitAddon()
  readonly #search = new SearchAddon()
  readonly #host: HTMLElement
  readonly #listener: TerminalListener
  readonly #ends: (() => void)[] = []
  /** The page wants input to pass; and it may, as far as the output is that has been dealt with. */
  #wanted = false
  #writable = false
  /** Pieces of old output that the terminal still has to deal with. */
  #oldPieces = 0
  #fixed = false

  /** @param host an empty element, which it fills as far as whole cells do. */
  constructor(host: HTMLElement, listener: TerminalListener, label = 'Console input') {
    this.#host = host
    this.#listener = listener
    this.#xterm = new Xterm({
      allowProposedApi: true,
      disableStdin: true,
      // It would complain of what a VM prints, once for each wrong character.
      logLevel: 'off',
      fontFamily:
        "ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace",
      fontSize: window.innerWidth < 600 ? 12 : 13,
      lineHeight: 1.15,
      // What a guest prints in colours for another background stays readable on ours.
      minimumContrastRatio: 4.5,
      scrollback: FIRST_SCROLLBACK,
      theme: terminalTheme(),
      // A bell from every booting VM would be noise.
      cursorInactiveStyle: 'outline',
      linkHandler: { activate: (_event, uri) => listener.link(uri, true), allowNonHttpProtocols: true },
    })
    const xterm = this.#xterm
    guardTerminal(xterm)
    xterm.loadAddon(this.#fit)
    xterm.loadAddon(this.#search)
    xterm.loadAddon(new Unicode11Addon())
    xterm.unicode.activeVersion = '11'
    xterm.loadAddon(new WebLinksAddon((_event, uri) => listener.link(uri, false)))
    xterm.open(host)
    xterm.textarea?.setAttribute('aria-label', label)
    xterm.attachCustomKeyEventHandler((event) => this.#key(event))
    const encoder = new TextEncoder()
    xterm.onData((text) => listener.input(encoder.encode(text)))
    xterm.onBinary((text) => listener.input(Uint8Array.from(text, (character) => character.charCodeAt(0))))
    this.#search.onDidChangeResults(({ resultIndex, resultCount }) => listener.found(resultIndex, resultCount))
    this.#watch()
    this.fit()
  }

  get cols(): number {
    return this.#xterm.cols
  }

  get rows(): number {
    return this.#xterm.rows
  }

  get scrollback(): number {
    return this.#xterm.options.scrollback ?? 0
  }

  /** Lines above the screen, at most; kept until the next screen is shown. */
  allowScrollback(lines: number): void {
    this.#xterm.options.scrollback = Math.min(lines, MAX_SCROLLBACK)
  }

  /** Empties the terminal and shows what the server has drawn. */
  showScreen(screen: string, shown: () => void = () => {}): void {
    this.write(RESET, true, () => {})
    this.#beginOld()
    this.#xterm.write(screen, () => {
      this.#endOld()
      shown()
    })
  }

  /**
   * @param old output from before we were attached: nothing in it is answered to.
   * @param shown called when the terminal has dealt with it.
   */
  write(bytes: Uint8Array, old: boolean, shown: () => void): void {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES)
      const last = at + PIECE_BYTES >= bytes.length
      if (old) this.#beginOld()
      this.#xterm.write(piece, () => {
        if (old) this.#endOld()
        if (last) shown()
      })
    }
  }

  /** Whether input passes; from the output on that comes after this call. */
  setWritable(writable: boolean): void {
    this.#wanted = writable
    const apply = () => {
      this.#writable = this.#wanted
      this.#applyInput()
    }
    if (writable) this.#xterm.write('', apply)
    else apply()
  }

  focus(): void {
    this.#xterm.focus()
  }

  /** As if it were typed; bracketed if the guest asks for that. */
  paste(text: string): void {
    this.#xterm.paste(text)
  }

  /** A key that was not pressed on a keyboard. @param cursor `sends` is the final byte of a cursor key. */
  press(sends: string, cursor: boolean): void {
    if (!this.#writable) {
      this.#listener.typedInVain()
      return
    }
    const introducer = this.#xterm.modes.applicationCursorKeysMode ? '\x1bO' : '\x1b['
    this.#xterm.input(cursor ? introducer + sends : sends)
  }

  /** The guest marks pasted text, so that a shell does not run it. */
  get bracketsPaste(): boolean {
    return this.#xterm.modes.bracketedPasteMode
  }

  selection(): string {
    return this.#xterm.getSelection()
  }

  /** What is visible, as text. */
  visibleText(): string {
    const { active } = this.#xterm.buffer
    const lines: string[] = []
    for (let row = 0; row < this.rows; row++) {
      lines.push(active.getLine(active.viewportY + row)?.translateToString(true) ?? '')
    }
    return `${lines.join('\n').trimEnd()}\n`
  }

  find(text: string, back: boolean, incremental: boolean): void {
    const decorations = {
      matchBackground: '#8a6d1f',
      matchOverviewRuler: '#8a6d1f',
      activeMatchBackground: '#b8860b',
      activeMatchColorOverviewRuler: '#b8860b',
    }
    if (back) this.#search.findPrevious(text, { decorations })
    else this.#search.findNext(text, { decorations, incremental })
  }

  endFind(): void {
    this.#search.clearDecorations()
    this.#xterm.clearSelection()
  }

  get element(): HTMLElement {
    return this.#host
  }

  get atTop(): boolean {
    return this.#xterm.buffer.active.viewportY === 0
  }

  get atBottom(): boolean {
    const { viewportY, baseY } = this.#xterm.buffer.active
    return viewportY === baseY
  }

  scrollBy(lines: number): void {
    this.#xterm.scrollLines(lines)
  }

  /** A line counted from the first one held; beyond the last one = to the end. */
  scrollTo(line: number): void {
    this.#xterm.scrollToLine(Math.min(line, this.#xterm.buffer.active.baseY))
  }

  /** Shows a line in the upper half, and makes it stand out until something else is shown. */
  point(line: number): void {
    const { active } = this.#xterm.buffer
    const marker = this.#xterm.registerMarker(line - active.baseY - active.cursorY)
    let height = 1
    while (active.getLine(line + height)?.isWrapped) height++
    const backgroundColor = pointColour()
    this.#xterm.registerDecoration({ marker, width: this.cols, height, backgroundColor, layer: 'bottom' })
    this.scrollTo(Math.max(0, line - Math.floor(this.rows / 3)))
  }

  /** 80x24, as a guest assumes that was told nothing else; or as large as the window. */
  setFixed(fixed: boolean): void {
    this.#fixed = fixed
    this.#host.classList.toggle('fixed', fixed)
    this.fit()
  }

  get fixed(): boolean {
    return this.#fixed
  }

  /** Puts what is printed where screen readers find it, or no longer; costs speed. @returns whether it does now. */
  toggleSpoken(): boolean {
    const spoken = !(this.#xterm.options.screenReaderMode ?? false)
    this.#xterm.options.screenReaderMode = spoken
    return spoken
  }

  fit(): void {
    if (this.#fixed) this.#xterm.resize(80, 24)
    else if (this.#host.clientWidth > 0) this.#fit.fit()
  }

  dispose(): void {
    for (const end of this.#ends) end()
    this.#xterm.dispose()
  }

  #beginOld(): void {
    this.#oldPieces++
    this.#applyInput()
  }

  #endOld(): void {
    this.#oldPieces--
    this.#applyInput()
  }

  /**
   * The one gate: with input off, xterm.js lets nothing out, answers and focus reports included. It calls back between
   * two pieces of output, so what comes before a live piece is never answered.
   */
  #applyInput(): void {
    this.#xterm.options.disableStdin = !this.#writable || this.#oldPieces > 0
  }

  #key(event: KeyboardEvent): boolean {
    if (this.#listener.shortcut(event)) {
      event.preventDefault()
      return false
    }
    if (event.type === 'keydown' && !this.#writable && isTyping(event)) this.#listener.typedInVain()
    return true
  }

  #watch(): void {
    const resize = new ResizeObserver(() => {
      const [cols, rows] = [this.cols, this.rows]
      this.fit()
      if (cols !== this.cols || rows !== this.rows) this.#listener.resized()
    })
    resize.observe(this.#host)
    const paste = (event: ClipboardEvent) => {
      event.preventDefault()
      event.stopPropagation()
      this.#listener.pasted(event.clipboardData?.getData('text/plain') ?? '')
    }
    this.#host.addEventListener('paste', paste, { capture: true })
    this.#ends.push(
      () => resize.disconnect(),
      watchTheme(() => {
        this.#xterm.options.theme = terminalTheme()
      }),
    )
  }
}

function isTyping({ key, ctrlKey, metaKey, altKey }: KeyboardEvent): boolean {
  return !metaKey && !altKey && !ctrlKey && (key.length === 1 || key === 'Enter')
}
