/**
 * A look into a port's history, over the live console, which goes on behind it. Each view is a screen that the server has
 * drawn of a part of it: nothing is replayed here, and nothing typed here goes anywhere.
 */
import { fetchOffsetAt, fetchScreen, type Screen } from './api.ts'
import { agreeOnEnter, ask } from './dialogs.ts'
import { button, make, setText } from './dom.ts'
import { Terminal, type TerminalListener } from './terminal.ts'
import { bytesInWords, dayAndTime } from './words.ts'

/** Drawn at a time. */
const WINDOW_BYTES = 256 << 10
/** Before what is asked for, so that the line it stands in is whole. The server looks that far for the first one. */
const LINE_BYTES = 8 << 10
/** The server's limit is a bit above. */
const MOST_CELLS = 1_900_000
const SCROLLBACK = 20_000

export interface PastHost {
  /** Current id of the port. */
  id(): string
  /** The offset at the top of what is shown, for the address; null = back to live. */
  at(offset: number | null): void
  news(text: string): void
}

/** Which part: up to an offset, from one on, or around one. */
type Where = { readonly to: number } | { readonly from: number } | { readonly around: number }

export class PastView {
  readonly element: HTMLElement
  readonly strip: HTMLElement
  readonly terminal: Terminal
  readonly #host: PastHost
  readonly #span = make('span', { className: 'span', attributes: { role: 'status' } })
  readonly #oldest: HTMLButtonElement
  readonly #older: HTMLButtonElement
  readonly #newer: HTMLButtonElement
  #shown: Screen | null = null
  #asked = 0

  constructor(host: PastHost, listener: Pick<TerminalListener, 'link' | 'found' | 'shortcut'>) {
    this.#host = host
    const cell = make('div', { className: 'host-cell' })
    this.element = make('div', { className: 'past' }, cell)
    this.#oldest = button('Oldest', 'wide', () => void this.#show({ from: this.#shown?.historyStart ?? 0 }))
    this.#older = button('Older', '', () => this.older())
    this.#newer = button('Newer', '', () => this.newer())
    this.strip = make(
      'div',
      { className: 'strip past-strip', attributes: { role: 'toolbar', 'aria-label': 'History' } },
      make('strong', {}, 'History'),
      this.#span,
      this.#oldest,
      this.#older,
      this.#newer,
      button('Time…', '', () => void this.askTime()),
      button('Back to live', 'main', () => this.#host.at(null), 'Escape'),
    )
    const readOnly = {
      input: () => {},
      pasted: () => this.#inVain(),
      typedInVain: () => this.#inVain(),
      resized: () => {},
    }
    this.terminal = new Terminal(cell, { ...listener, ...readOnly }, 'History')
    this.terminal.allowScrollback(SCROLLBACK)
    this.terminal.element.addEventListener('keydown', (event) => this.#key(event), { capture: true })
  }

  /** Called once the element is in the page. */
  async show(where: Where | { readonly time: string }): Promise<void> {
    this.terminal.fit()
    if (!('time' in where)) return this.#show(where)
    const time = Date.parse(where.time)
    if (Number.isNaN(time)) return this.#host.news(`"${where.time.slice(0, 50)}" is no time`)
    await this.#goTo(time)
  }

  older(): void {
    if (this.#shown !== null && !this.#older.disabled) void this.#show({ to: this.#shown.top })
  }

  newer(): void {
    if (this.#shown !== null && !this.#newer.disabled) void this.#show({ from: this.#shown.offset })
  }

  async askTime(): Promise<void> {
    const input = make('input', {
      type: 'datetime-local',
      step: '1',
      value: localTime(this.#shown?.from ?? new Date().toISOString()),
      attributes: { 'aria-label': 'Day and time' },
    })
    const asked = ask(
      'Go to a time',
      ["In this browser's time zone. What came then, or next after it, is shown.", input],
      [{ label: 'Go', value: true, kind: 'main' }],
    )
    agreeOnEnter(input)
    if ((await asked) !== true) return
    const time = Date.parse(input.value)
    if (Number.isNaN(time)) this.#host.news('that is no time')
    else await this.#goTo(time)
  }

  dispose(): void {
    this.#asked++
    this.terminal.dispose()
    this.element.remove()
    this.strip.remove()
  }

  async #goTo(time: number): Promise<void> {
    try {
      await this.#show({ around: await fetchOffsetAt(this.#host.id(), new Date(time).toISOString()) })
    } catch (error) {
      this.#host.news(error instanceof Error ? error.message : String(error))
    }
  }

  async #show(where: Where): Promise<void> {
    const asked = ++this.#asked
    const { cols, rows } = this.terminal
    const part =
      'to' in where
        ? { end: where.to, bytes: WINDOW_BYTES }
        : 'from' in where
          ? { end: where.from + WINDOW_BYTES, bytes: WINDOW_BYTES + LINE_BYTES, mark: where.from }
          : { end: where.around + WINDOW_BYTES / 2, bytes: WINDOW_BYTES, mark: where.around }
    setText(this.#span, 'drawing…')
    try {
      const scrollback = Math.max(0, Math.min(SCROLLBACK, Math.floor(MOST_CELLS / cols) - rows))
      const screen = await fetchScreen(this.#host.id(), { cols, rows, scrollback, ...part })
      if (asked !== this.#asked) return
      if (screen.offset <= screen.historyStart && screen.historyEnd > screen.historyStart) {
        this.#host.news('history begins later than that')
        return this.#show({ from: screen.historyStart })
      }
      this.#shown = screen
      this.#tell(screen)
      const line = screen.markLine
      this.terminal.showScreen(screen.screen, () => {
        if (asked !== this.#asked) return
        if ('around' in where && line !== null) this.terminal.point(line)
        // Said in any case: whoever has scrolled up is not taken along.
        else this.terminal.scrollTo('from' in where ? (line ?? 0) : Number.POSITIVE_INFINITY)
      })
      this.#host.at('around' in where ? where.around : screen.top)
    } catch (error) {
      if (asked !== this.#asked) return
      setText(this.#span, '')
      this.#host.news(error instanceof Error ? error.message : String(error))
    }
  }

  #tell({ top, offset, historyStart, historyEnd, from, until }: Screen): void {
    const [first, last] = [dayAndTime(from ?? '', Date.now()), dayAndTime(until ?? '', Date.now())]
    const times = first === '' ? '' : first === last ? `${first} · ` : `${first} – ${last} · `
    const left = historyEnd - offset
    setText(this.#span, `${times}${left === 0 ? 'up to now' : `${bytesInWords(left)} before now`}`)
    this.#oldest.disabled = top <= historyStart
    this.#older.disabled = top <= historyStart
    this.#newer.disabled = left === 0
  }

  #key(event: KeyboardEvent): void {
    const { key, altKey, ctrlKey, metaKey } = event
    if (altKey || ctrlKey || metaKey) return
    const { terminal } = this
    const run: Readonly<Record<string, () => void>> = {
      Escape: () => this.#host.at(null),
      PageUp: () => (terminal.atTop ? this.older() : terminal.scrollBy(-terminal.rows)),
      PageDown: () => (terminal.atBottom ? this.newer() : terminal.scrollBy(terminal.rows)),
      ArrowUp: () => terminal.scrollBy(-1),
      ArrowDown: () => terminal.scrollBy(1),
      Home: () => terminal.scrollTo(0),
      End: () => terminal.scrollTo(Number.POSITIVE_INFINITY),
    }
    if (run[key] === undefined) return
    event.preventDefault()
    event.stopPropagation()
    run[key]()
  }

  #inVain(): void {
    this.#host.news('This is history. "Back to live" (Escape) leads to the console.')
  }
}

/** As a field for day and time wants it: local, without zone. */
function localTime(iso: string): string {
  const date = new Date(iso)
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
}
