/** One port's console: the terminal, what can be done with it, and what happens around it. */
import type { ConsoleMessage, ConsoleMode, PortInfo } from '../../vspc/index.ts'
import { fetchScreen, type Screen } from './api.ts'
import { ConsoleBar } from './console-bar.ts'
import { ConsoleFeed, type FeedListener, type LinkState } from './console-feed.ts'
import { ConsoleInput } from './console-input.ts'
import { stateNews } from './console-news.ts'
import { ConsolePeople } from './console-people.ts'
import { openSocket } from './console-socket.ts'
import { copyFrom, saveFrom } from './console-tools.ts'
import { followLink } from './dialogs.ts'
import { make } from './dom.ts'
import { FindBar } from './find-bar.ts'
import { PastView } from './past-view.ts'
import { NO_SEARCH, type PastPlace, portPlace, searchPlace } from './places.ts'
import type { PortStore } from './port-store.ts'
import { hasToken } from './session.ts'
import { Terminal, type TerminalListener } from './terminal.ts'
import { touchKeys } from './touch-keys.ts'
import { bytesInWords, clockTime, portName } from './words.ts'

/** Output drawn at first, and at most; what is earlier is looked at in parts. */
const FIRST_BYTES = 256 << 10
const MOST_BYTES = 2 << 20
/** The server's limit is a bit above. */
const MOST_CELLS = 1_900_000
const NEWS_MS = 12_000

export class ConsoleView {
  readonly element: HTMLElement
  readonly #store: PortStore
  readonly #bar: ConsoleBar
  readonly #find: FindBar
  readonly #terminal: Terminal
  readonly #screen: HTMLElement
  readonly #strips: HTMLElement
  readonly #feed: ConsoleFeed
  readonly #input: ConsoleInput
  readonly #people: ConsolePeople
  readonly #ends: (() => void)[] = []
  #id: string
  /** History, over the live console. */
  #past: PastView | null = null
  /** The offset that the address names. */
  #at: number | null = null
  #state: PortInfo['state'] | null = null
  /** What was asked for last. */
  #wanted: ConsoleMode = 'write'
  #attachedBefore = false
  #bytes = FIRST_BYTES
  #drawnFrom = 0
  #newsTimer = 0

  /** @param id any way of naming a port. The element has to be in the page before `start`. */
  constructor(id: string, store: PortStore) {
    this.#id = id
    this.#store = store
    this.#bar = new ConsoleBar({
      toggleTyping: () => this.#toggleTyping(),
      exclusive: () => this.#ask('exclusive'),
      find: () => this.#find.open(),
      copy: () => void this.#copy(),
      earlier: () => this.#earlier(),
      goToTime: () => void this.#openPast().askTime(),
      searchHistory: () => location.assign(searchPlace({ ...NO_SEARCH, port: this.#id })),
      sendBreak: () => void this.#input.sendBreak(),
      sendSysRq: () => void this.#input.sendSysRq(),
      toggleSize: () => this.#toggleSize(),
      tellSize: () => void this.#input.tellSize(),
      who: () => this.#people.show(),
      say: () => void this.#people.say(),
      save: (event) => void this.#save(event),
      toggleSpoken: () => this.#toggleSpoken(),
    })
    const host = make('div', { className: 'host-cell' })
    this.#screen = make('div', { className: 'screen' }, host)
    this.element = make('section', { className: 'console', attributes: { 'aria-label': 'Console' } })
    this.#find = new FindBar(
      (text, back, incremental) => this.#shown.find(text, back, incremental),
      () => {
        this.#shown.endFind()
        this.focus()
      },
    )
    this.#people = new ConsolePeople({
      request: (request) => this.#feed.request(request),
      news: (text) => this.#news(text),
      changed: () => this.#showMode(),
    })
    const { note, question } = this.#people
    this.#strips = make('div', { className: 'strips' }, note.element, question.element, this.#find.element)
    const keys = touchKeys((sends, cursor) => this.#terminal.press(sends, cursor))
    this.element.append(this.#bar.element, this.#strips, this.#screen, keys, this.#bar.status)
    document.getElementById('main')?.replaceChildren(this.element)
    this.#terminal = new Terminal(host, {
      input: (bytes) => this.#input.send(bytes),
      typedInVain: () => this.#bar.pointAtTyping(),
      pasted: (text) => void this.#input.paste(text),
      resized: () => this.#showFigures(),
      ...this.#looking(),
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
    this.#shown.focus()
  }

  /** A part of the history, or null = the live console. */
  showPast(place: PastPlace | null): void {
    if (place === null) this.#closePast()
    else if (!('around' in place) || place.around !== this.#at) void this.#openPast().show(place)
  }

  dispose(): void {
    this.#feed.close()
    this.#past?.dispose()
    this.#people.dispose()
    window.clearTimeout(this.#newsTimer)
    for (const end of this.#ends) end()
    this.#terminal.dispose()
    this.element.remove()
  }

  get #shown(): Terminal {
    return this.#past?.terminal ?? this.#terminal
  }

  /** What both terminals have. */
  #looking(): Pick<TerminalListener, 'link' | 'found' | 'shortcut'> {
    return {
      link: (uri, hidden) => void followLink(uri, hidden),
      found: (index, total) => this.#find.found(index, total),
      shortcut: (event) => this.#shortcut(event),
    }
  }

  #openPast(): PastView {
    if (this.#past !== null) return this.#past
    const host = {
      id: () => this.#id,
      at: (offset: number | null) => this.#movePast(offset),
      news: (text: string) => this.#news(text),
    }
    this.#past = new PastView(host, this.#looking())
    this.element.classList.add('in-past')
    this.#screen.append(this.#past.element)
    this.#strips.append(this.#past.strip)
    this.#past.terminal.fit()
    this.#past.terminal.focus()
    return this.#past
  }

  #movePast(offset: number | null): void {
    this.#at = offset
    history.replaceState(null, '', portPlace(this.#id, offset))
    if (offset === null) this.#closePast()
  }

  #closePast(): void {
    this.#at = null
    if (this.#past === null) return
    this.#past.dispose()
    this.#past = null
    this.element.classList.remove('in-past')
    this.#terminal.fit()
    this.#terminal.focus()
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

  #showScreen({ port, screen, top, historyStart }: Screen): void {
    this.#renamed(port)
    this.#drawnFrom = top
    this.#bar.setEarlier(top > historyStart)
    this.#terminal.showScreen(screen)
  }

  #message(message: ConsoleMessage): void {
    this.#people.message(message)
    switch (message.type) {
      case 'attached':
        this.#renamed(message.port)
        this.#state = message.state
        if (this.#attachedBefore) this.#news('connected again')
        this.#attachedBefore = true
        break
      case 'state':
        this.#stateChanged(message)
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

  #stateChanged(message: Extract<ConsoleMessage, { type: 'state' }>): void {
    this.#news(stateNews(message, this.#state))
    this.#state = message.state
    this.#showPort()
  }

  #refused(code: string, text: string): void {
    if (code === 'VSPC_CONSOLE_BUSY') this.#people.refused(text, this.#wanted)
    else this.#news(text)
  }

  /** The port has another id now, or had a shorter name in the address. */
  #renamed(id: string): void {
    if (id === this.#id) return
    this.#id = id
    // What the address says behind it, a place in the history, stays.
    const [, rest] = location.hash.split('?')
    history.replaceState(null, '', portPlace(id) + (rest === undefined ? '' : `?${rest}`))
    window.dispatchEvent(new Event('vspc-place'))
    this.#showPort()
  }

  #showPort(): void {
    const port = this.#store.ports.get(this.#id)
    const state = this.#state ?? port?.state ?? null
    const name = this.#name()
    this.#bar.showPort(this.#id, name, state, port?.host ?? '')
    document.title = state === 'offline' ? `(offline) ${name} - vspc` : `${name} - vspc`
  }

  #showLink(state: LinkState, detail: string): void {
    this.element.classList.toggle('away', state === 'waiting' || state === 'refused')
    const known = !this.#store.connected || !this.#store.loaded || this.#store.ports.has(this.#id)
    const why = known ? detail : 'the server does not know this port (yet)'
    this.#bar.showLink(state, state === 'waiting' ? `reconnecting: ${why}` : state === 'refused' ? '' : detail)
    if (state === 'refused') this.#people.putOut(detail, () => this.#feed.comeBack())
    this.#applyWritable()
    this.#showMode()
    this.#showFigures()
  }

  #showMode(): void {
    const { mode, state } = this.#feed
    const typing = mode !== 'read' ? 'types' : this.#people.waiting ? 'waits' : 'reads'
    this.#bar.showMode(typing, this.#people.summary, state === 'live')
    this.#bar.showRights((action) => this.#people.may(action))
    this.#applyWritable()
  }

  #applyWritable(): void {
    const here = this.#people.writers.length === 0 || document.hasFocus()
    this.#terminal.setWritable(this.#feed.mode !== 'read' && here && isUp(this.#feed.state))
  }

  #showFigures(): void {
    this.#bar.showFigures(this.#terminal.cols, this.#terminal.rows, this.#feed.offset)
  }

  #news(text: string): void {
    this.#bar.showNews(`${clockTime(Date.now())} ${text}`)
    window.clearTimeout(this.#newsTimer)
    this.#newsTimer = window.setTimeout(() => this.#bar.showNews(''), NEWS_MS)
  }

  #ask(mode: ConsoleMode): void {
    this.#wanted = mode
    this.#people.ask(mode)
    this.focus()
  }

  #toggleTyping(): void {
    if (this.#people.waiting) this.#people.stopWaiting()
    else this.#ask(this.#feed.mode === 'read' ? 'write' : 'read')
  }

  async #copy(): Promise<void> {
    this.#news(await copyFrom(this.#shown))
  }

  /** A link sends no token. */
  async #save(event: Event): Promise<void> {
    if (!hasToken()) return
    event.preventDefault()
    this.#news('the log is on its way')
    this.#news(await saveFrom(this.#id))
  }

  /** More of what is before; when that is more than a terminal should hold, the part before it. */
  #earlier(): void {
    if (this.#past !== null) this.#past.older()
    else if (this.#bytes === MOST_BYTES) void this.#openPast().show({ to: this.#drawnFrom })
    else {
      this.#bytes = Math.min(this.#bytes * 4, MOST_BYTES)
      this.#terminal.allowScrollback(this.#terminal.scrollback * 4)
      this.#feed.redraw()
    }
  }

  #toggleSize(): void {
    this.#terminal.setFixed(!this.#terminal.fixed)
    this.#bar.showSize(this.#terminal.fixed)
    this.#showFigures()
  }

  #toggleSpoken(): void {
    this.#news(`output for screen readers is ${this.#terminal.toggleSpoken() ? 'on' : 'off'}`)
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
