/** One port's console: the terminal, what can be done with it, and what happens around it. */
import type { ConsoleInfo, ConsoleMessage, ConsoleMode, PortInfo } from '../../vspc/index.ts'
import { fetchScreen, type Screen } from './api.ts'
import { ConsoleBar } from './console-bar.ts'
import { ConsoleFeed, type FeedListener, type LinkState } from './console-feed.ts'
import { ConsoleInput } from './console-input.ts'
import { openSocket } from './console-socket.ts'
import { ask, copyText, followLink } from './dialogs.ts'
import { make } from './dom.ts'
import { FindBar } from './find-bar.ts'
import { portPlace } from './places.ts'
import type { PortStore } from './port-store.ts'
import { Terminal } from './terminal.ts'
import { touchKeys } from './touch-keys.ts'
import { bytesInWords, clockTime, count, portName } from './words.ts'

/** Output drawn at first, and at most. */
const FIRST_BYTES = 256 << 10
const MOST_BYTES = 2 << 20
/** The server's limit is a bit above. */
const MOST_CELLS = 1_900_000
const NEWS_MS = 12_000
/** News about our own mode is not replaced for this long by what all consoles are told of the same change. */
const FRESH_MS = 1_000

export class ConsoleView {
  readonly element: HTMLElement
  readonly #store: PortStore
  readonly #bar: ConsoleBar
  readonly #find: FindBar
  readonly #terminal: Terminal
  readonly #feed: ConsoleFeed
  readonly #input: ConsoleInput
  readonly #ends: (() => void)[] = []
  #id: string
  #console: number | null = null
  #consoles: readonly ConsoleInfo[] = []
  #writers: readonly ConsoleInfo[] = []
  #state: PortInfo['state'] | null = null
  #attachedBefore = false
  #mode: ConsoleMode = 'read'
  #modeChangedAt = Number.NEGATIVE_INFINITY
  #bytes = FIRST_BYTES
  #historyStart = 0
  #drawnFrom = 0
  #newsTimer = 0

  /** @param id any way of naming a port. The element has to be in the page before `start`. */
  constructor(id: string, store: PortStore) {
    this.#id = id
    this.#store = store
    this.#bar = new ConsoleBar({
      toggleTyping: () => this.#toggleTyping(),
      exclusive: () => this.#ask('exclusive', false),
      find: () => this.#find.open(),
      copy: () => void this.#copy(),
      earlier: () => this.#earlier(),
      sendBreak: () => void this.#input.sendBreak(),
      sendSysRq: () => void this.#input.sendSysRq(),
      toggleSize: () => this.#toggleSize(),
      tellSize: () => void this.#input.tellSize(),
      who: () => void this.#who(),
      toggleSpoken: () => this.#toggleSpoken(),
    })
    const host = make('div', { className: 'host-cell' })
    const screen = make('div', { className: 'screen' }, host)
    this.element = make('section', { className: 'console', attributes: { 'aria-label': 'Console' } })
    this.#find = new FindBar(
      (text, back, incremental) => this.#terminal.find(text, back, incremental),
      () => {
        this.#terminal.endFind()
        this.#terminal.focus()
      },
    )
    const strips = make('div', { className: 'strips' }, this.#find.element, this.#bar.question)
    const keys = touchKeys((sends, cursor) => this.#terminal.press(sends, cursor))
    this.element.append(this.#bar.element, strips, screen, keys, this.#bar.status)
    document.getElementById('main')?.replaceChildren(this.element)
    this.#terminal = new Terminal(host, {
      input: (bytes) => this.#input.send(bytes),
      typedInVain: () => this.#bar.pointAtTyping(),
      pasted: (text) => void this.#input.paste(text),
      resized: () => this.#showFigures(),
      link: (uri, hidden) => void followLink(uri, hidden),
      found: (index, total) => this.#find.found(index, total),
      shortcut: (event) => this.#shortcut(event),
    })
    this.#feed = new ConsoleFeed(
      {
        open: (query, listener) => openSocket(this.#id, query, listener),
        screen: () => this.#fetchScreen(),
        after: (ms, run) => {
          const timer = window.setTimeout(run, ms)
          return () => window.clearTimeout(timer)
        },
        now: () => performance.now(),
        random: () => Math.random(),
      },
      this.#feedListener(),
    )
    this.#input = new ConsoleInput(this.#feed, this.#terminal, {
      name: () => this.#name(),
      news: (text) => this.#news(text),
      refused: () => this.#bar.pointAtTyping(),
    })
    this.#ends.push(store.watch(() => this.#showPort()))
    this.#listen()
    this.#showPort()
    this.#feed.start()
  }

  get id(): string {
    return this.#id
  }

  focus(): void {
    this.#terminal.focus()
  }

  dispose(): void {
    this.#feed.close()
    window.clearTimeout(this.#newsTimer)
    for (const end of this.#ends) end()
    this.#terminal.dispose()
    this.element.remove()
  }

  #listen(): void {
    const wake = () => {
      if (!document.hidden) this.#feed.wake()
    }
    // With other writers about, their terminals answer the guest, too: ours does where somebody sits.
    const input = () => this.#applyWritable()
    const add = (target: EventTarget, type: string, run: () => void) => {
      target.addEventListener(type, run)
      this.#ends.push(() => target.removeEventListener(type, run))
    }
    add(document, 'visibilitychange', wake)
    add(window, 'online', wake)
    add(window, 'focus', input)
    add(window, 'blur', input)
    const figures = window.setInterval(() => this.#showFigures(), 1_000)
    this.#ends.push(() => window.clearInterval(figures))
  }

  #feedListener(): FeedListener {
    return {
      screen: (screen) => this.#showScreen(screen),
      output: (bytes, old, shown) => this.#terminal.write(bytes, old, shown),
      link: (state, detail) => this.#showLink(state, detail),
      message: (message) => this.#message(message),
      gap: (bytes, why) =>
        this.#news(
          why === 'lost'
            ? `${bytesInWords(bytes)} of output are lost: history does not hold them`
            : `${bytesInWords(bytes)} skipped: too much to show; the log has them`,
        ),
      restarted: () => this.#news('the history began anew'),
      mode: () => this.#showMode(),
    }
  }

  #fetchScreen(): Promise<Screen> {
    const { cols, rows, scrollback } = this.#terminal
    const lines = Math.max(0, Math.min(scrollback, Math.floor(MOST_CELLS / cols) - rows))
    return fetchScreen(this.#id, { cols, rows, scrollback: lines, bytes: this.#bytes })
  }

  #showScreen({ port, screen, start, historyStart }: Screen): void {
    this.#renamed(port)
    this.#drawnFrom = start
    this.#historyStart = historyStart
    this.#bar.setEarlier(start > historyStart && this.#bytes < MOST_BYTES)
    this.#terminal.showScreen(screen)
  }

  #message(message: ConsoleMessage): void {
    switch (message.type) {
      case 'attached':
        this.#renamed(message.port)
        this.#console = message.console
        this.#state = message.state
        this.#mode = message.mode
        if (this.#attachedBefore) this.#news('connected again')
        this.#attachedBefore = true
        this.#writers = []
        this.#feed.request({ type: 'who' })
        break
      case 'state':
        this.#stateChanged(message)
        break
      case 'writer':
        this.#writers = message.writers
        this.#writersNews(message)
        this.#feed.request({ type: 'who' })
        this.#showMode()
        break
      case 'consoles':
        this.#consoles = message.consoles
        this.#writers = message.consoles.filter(({ mode }) => mode !== 'read')
        this.#showMode()
        break
      case 'renamed':
        this.#renamed(message.port)
        this.#news(`renamed to ${message.name}`)
        break
      case 'break':
        this.#news(message.on ? 'the guest sends a BREAK' : 'the BREAK ended')
        break
      case 'error':
        this.#refused(message.code, message.message)
        break
      default:
        break
    }
  }

  /** Who lost the keyboard is told that first, and then what everybody is told. */
  #writersNews({ mode, reason }: Extract<ConsoleMessage, { type: 'writer' }>): void {
    const changed = mode !== this.#mode
    this.#mode = mode
    if (!changed && performance.now() - this.#modeChangedAt < FRESH_MS) return
    if (changed) this.#modeChangedAt = performance.now()
    const own = { read: `you are reading now (${reason})`, write: 'you may type now', exclusive: 'you type alone now' }
    this.#news(changed ? own[mode] : reason)
  }

  #stateChanged({ state, host, reason }: Extract<ConsoleMessage, { type: 'state' }>): void {
    const before = this.#state
    this.#state = state
    const where = host === null ? '' : ` on ${host}`
    if (state === 'migrating') this.#news('vMotion begins')
    else if (state === 'offline') this.#news(`the VM is disconnected (${reason})`)
    else if (before === 'migrating') this.#news(`vMotion ended: now${where} (${reason})`)
    else if (before === 'offline') this.#news(`the VM is connected again${where}`)
    else this.#news(`now${where} (${reason})`)
    this.#showPort()
  }

  #refused(code: string, text: string): void {
    if (code !== 'VSPC_CONSOLE_BUSY') {
      this.#news(text)
      return
    }
    this.#bar.ask(text, 'Take over', () => this.#ask('write', true))
  }

  /** The port has another id now, or had a shorter name in the address. */
  #renamed(id: string): void {
    if (id === this.#id) return
    this.#id = id
    history.replaceState(null, '', portPlace(id))
    window.dispatchEvent(new Event('vspc-place'))
    this.#showPort()
  }

  #showPort(): void {
    const port = this.#store.ports.get(this.#id)
    const state = this.#state ?? port?.state ?? null
    const name = port === undefined ? this.#id : portName(port)
    this.#bar.showPort(this.#id, name, state, port?.host ?? '')
    document.title = state === 'offline' ? `(offline) ${name} - vspc` : `${name} - vspc`
  }

  #showLink(state: LinkState, detail: string): void {
    this.element.classList.toggle('away', state === 'waiting')
    const known = !this.#store.connected || !this.#store.loaded || this.#store.ports.has(this.#id)
    const why = known ? detail : 'the server does not know this port (yet)'
    this.#bar.showLink(state, state === 'waiting' ? `reconnecting: ${why}` : detail)
    this.#applyWritable()
    this.#showMode()
    this.#showFigures()
  }

  #showMode(): void {
    const others = this.#writers.filter(({ id }) => id !== this.#console)
    this.#bar.showMode(this.#feed.mode, others, this.#consoles.length, this.#feed.state === 'live')
    this.#applyWritable()
  }

  #applyWritable(): void {
    const others = this.#writers.some(({ id }) => id !== this.#console)
    const here = !others || document.hasFocus()
    this.#terminal.setWritable(this.#feed.mode !== 'read' && here && isUp(this.#feed.state))
  }

  #showFigures(): void {
    const { cols, rows } = this.#terminal
    const { offset } = this.#feed
    this.#bar.showFigures(cols, rows, offset)
  }

  #news(text: string): void {
    this.#bar.showNews(`${clockTime(Date.now())} ${text}`)
    window.clearTimeout(this.#newsTimer)
    this.#newsTimer = window.setTimeout(() => this.#bar.showNews(''), NEWS_MS)
  }

  #ask(mode: ConsoleMode, force: boolean): void {
    this.#bar.ask('', '', () => {})
    if (!this.#feed.request({ type: 'mode', mode, force })) this.#news('not connected')
    this.#terminal.focus()
  }

  #toggleTyping(): void {
    this.#ask(this.#feed.mode === 'read' ? 'write' : 'read', false)
  }

  async #copy(): Promise<void> {
    const selected = this.#terminal.selection()
    const done = await copyText(selected || this.#terminal.visibleText())
    this.#news(!done ? 'the browser does not let us copy' : selected ? 'selection copied' : 'screen copied')
  }

  #earlier(): void {
    this.#bytes = Math.min(this.#bytes * 4, MOST_BYTES)
    this.#terminal.allowScrollback(this.#terminal.scrollback * 4)
    this.#feed.redraw()
    const missing = this.#drawnFrom - this.#historyStart
    if (this.#bytes === MOST_BYTES && missing > MOST_BYTES)
      this.#news('this is as far as this page goes; the log has it all')
  }

  #toggleSize(): void {
    this.#terminal.setFixed(!this.#terminal.fixed)
    this.#bar.showSize(this.#terminal.fixed)
    this.#showFigures()
  }

  #toggleSpoken(): void {
    this.#terminal.setSpoken(!this.#terminal.spoken)
    this.#news(`output for screen readers is ${this.#terminal.spoken ? 'on' : 'off'}`)
  }

  async #who(): Promise<void> {
    const rows = this.#consoles.map(({ id, who, mode, attachedAt }) =>
      make(
        'li',
        {},
        make('span', {}, id === this.#console ? `${who} (you)` : who),
        make(
          'span',
          { className: 'mode' },
          `${mode === 'read' ? 'reads' : mode === 'write' ? 'may type' : 'types alone'} since ${clockTime(attachedAt)}`,
        ),
      ),
    )
    await ask(count(this.#consoles.length, 'console'), [make('ul', { className: 'who' }, ...rows)], [], 'Close')
  }

  #name(): string {
    const port = this.#store.ports.get(this.#id)
    return port === undefined ? this.#id : portName(port)
  }

  #shortcut({ type, key, ctrlKey, shiftKey, altKey, metaKey }: KeyboardEvent): boolean {
    if (!ctrlKey || !shiftKey || altKey || metaKey) return false
    const run = {
      Enter: () => this.#toggleTyping(),
      F: () => this.#find.open(),
      L: () => document.querySelector<HTMLElement>('.list input, .back')?.focus(),
      C: () => void this.#copy(),
    }[key.length === 1 ? key.toUpperCase() : key]
    if (run === undefined) return false
    if (type === 'keydown') run()
    return true
  }
}

function isUp(state: LinkState): boolean {
  return state === 'live' || state === 'catching-up'
}
