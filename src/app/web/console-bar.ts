/** What stands above and below the terminal. Shows and asks; decides nothing. */
import type { ConsoleAction, PortInfo } from '../../vspc/index.ts'
import type { LinkState } from './console-feed.ts'
import { button, make, setText } from './dom.ts'
import { portPath } from './places.ts'
import { bytesInWords } from './words.ts'

export interface ConsoleActions {
  toggleTyping(): void
  exclusive(): void
  find(): void
  copy(): void
  earlier(): void
  goToTime(): void
  searchHistory(): void
  sendBreak(): void
  sendSysRq(): void
  toggleSize(): void
  tellSize(): void
  who(): void
  say(): void
  /** The link to the log was pressed. */
  save(event: Event): void
  toggleSpoken(): void
}

const LINKS: Readonly<Record<LinkState, string>> = {
  drawing: 'drawing the screen',
  connecting: 'connecting',
  live: 'live',
  'catching-up': 'catching up',
  waiting: 'away',
  refused: 'closed',
  over: 'closed',
}

/** How the typing button stands. */
export type Typing = 'reads' | 'waits' | 'types'

const TYPING: Readonly<Record<Typing, string>> = {
  reads: 'Start typing',
  waits: 'Stop waiting',
  types: 'Stop typing',
}

export class ConsoleBar {
  readonly element: HTMLElement
  readonly status: HTMLElement
  readonly #name = make('h1')
  readonly #state = make('span', { className: 'state' })
  readonly #host = make('span', { className: 'host' })
  readonly #typing: HTMLButtonElement
  readonly #menu: HTMLElement
  readonly #earlier: HTMLButtonElement[]
  readonly #downloads: HTMLAnchorElement[]
  readonly #size: HTMLButtonElement
  /** What takes a right. */
  readonly #guarded: readonly (readonly [ConsoleAction, HTMLElement])[]
  readonly #link = make('span', { className: 'link', attributes: { role: 'status' } })
  readonly #mode = make('span', { className: 'mode' })
  readonly #news = make('span', { className: 'news', attributes: { role: 'status' } })
  readonly #figures = make('span', { className: 'figures' })

  constructor(actions: ConsoleActions) {
    this.#typing = button('Start typing', 'typing', () => actions.toggleTyping(), 'Ctrl+Shift+Enter')
    this.#menu = make('div', { className: 'menu', popover: 'auto', id: 'console-menu' })
    const item = (label: string, run: () => void) =>
      button(label, '', () => {
        this.#menu.hidePopover()
        run()
      })
    // The server says that it is to be saved, and as what.
    const download = (label: string, className: string) => {
      const link = make('a', { className }, label)
      link.addEventListener('click', (event) => actions.save(event))
      return link
    }
    this.#earlier = [
      button('Earlier', 'wide', () => actions.earlier(), 'Load earlier output'),
      item('Load earlier output', () => actions.earlier()),
    ]
    this.#downloads = [download('Log', 'button wide'), download('Download the log', 'button')]
    this.#size = item('80 columns, 24 rows', () => actions.toggleSize())
    const who = item('Who is attached', () => actions.who())
    const say = item('Say something to all…', () => actions.say())
    const exclusive = item('Type alone (exclusive)', () => actions.exclusive())
    const sendBreak = item('Send BREAK…', () => actions.sendBreak())
    const sendSysRq = item('Send SysRq…', () => actions.sendSysRq())
    const tellSize = item('Tell the guest this size…', () => actions.tellSize())
    const breakButton = button('BREAK', 'wide live-only', () => actions.sendBreak())
    const sysRqButton = button('SysRq', 'wide live-only', () => actions.sendSysRq())
    this.#guarded = [
      ['write', this.#typing],
      ['write', tellSize],
      ['exclusive', exclusive],
      ['who', who],
      ['say', say],
      ...[sendBreak, sendSysRq, breakButton, sysRqButton].map((one) => ['break', one] as const),
    ]
    const [earlierButton, earlierItem] = this.#earlier as [HTMLButtonElement, HTMLButtonElement]
    const [downloadButton, downloadItem] = this.#downloads as [HTMLAnchorElement, HTMLAnchorElement]
    this.#menu.append(
      item('Find…', () => actions.find()),
      item('Copy', () => actions.copy()),
      earlierItem,
      item('Go to a time…', () => actions.goToTime()),
      item('Search the whole history…', () => actions.searchHistory()),
      downloadItem,
      make('hr'),
      who,
      say,
      exclusive,
      make('hr'),
      sendBreak,
      sendSysRq,
      make('hr'),
      this.#size,
      tellSize,
      item('Output for screen readers', () => actions.toggleSpoken()),
    )
    const more = make(
      'button',
      { type: 'button', className: 'more', attributes: { 'aria-haspopup': 'true' } },
      'More ▾',
    )
    more.popoverTargetElement = this.#menu
    this.#menu.addEventListener('toggle', () => {
      const { bottom, right } = more.getBoundingClientRect()
      this.#menu.style.top = `${bottom + 4}px`
      this.#menu.style.right = `${Math.max(4, window.innerWidth - right)}px`
    })
    const tools = make(
      'div',
      { className: 'tools', attributes: { role: 'toolbar', 'aria-label': 'Console' } },
      this.#typing,
      button('Find', 'wide', () => actions.find(), 'Ctrl+Shift+F'),
      button('Copy', 'wide', () => actions.copy(), 'Ctrl+Shift+C'),
      earlierButton,
      downloadButton,
      breakButton,
      sysRqButton,
      more,
      this.#menu,
    )
    const back = make('a', { className: 'button back', href: '#/', attributes: { 'aria-label': 'All ports' } }, '‹')
    this.element = make('div', { className: 'bar' }, back, this.#name, this.#state, this.#host, tools)
    this.status = make('div', { className: 'status' }, this.#link, this.#mode, this.#news, this.#figures)
  }

  showPort(id: string, name: string, state: PortInfo['state'] | null, host: string): void {
    setText(this.#name, name)
    this.#name.title = id
    setText(this.#state, state ?? '')
    this.#state.className = `state ${state ?? ''}`
    setText(this.#host, host)
    for (const link of this.#downloads) {
      link.href = portPath(id, '/log')
    }
  }

  showLink(state: LinkState, detail: string): void {
    this.#link.className = `link ${state}`
    setText(this.#link, state === 'waiting' ? detail : detail === '' ? LINKS[state] : `${LINKS[state]}: ${detail}`)
  }

  /** @param summary who may type, in words. */
  showMode(typing: Typing, summary: string, live: boolean): void {
    setText(this.#typing, TYPING[typing])
    this.#typing.setAttribute('aria-pressed', String(typing !== 'reads'))
    this.#typing.disabled = !live && typing === 'reads'
    setText(this.#mode, summary)
  }

  /** What may not be done is not offered. */
  showRights(may: (action: ConsoleAction) => boolean): void {
    for (const [action, element] of this.#guarded) element.hidden = !may(action)
  }

  showNews(text: string): void {
    setText(this.#news, text)
  }

  showFigures(cols: number, rows: number, offset: number | null): void {
    setText(this.#figures, `${cols}×${rows}${offset === null ? '' : ` · ${bytesInWords(offset)}`}`)
    if (offset !== null) this.#figures.dataset['offset'] = String(offset)
  }

  showSize(fixed: boolean): void {
    setText(this.#size, fixed ? 'As large as the window' : '80 columns, 24 rows')
  }

  setEarlier(possible: boolean): void {
    for (const one of this.#earlier) one.disabled = !possible
  }

  /** Somebody wants to type and may not yet. */
  pointAtTyping(): void {
    if (this.#typing.hidden) {
      this.showNews('You may read here, and not type.')
      return
    }
    this.#typing.classList.remove('attention')
    // Begins the animation anew.
    void this.#typing.offsetWidth
    this.#typing.classList.add('attention')
    this.showNews('You are reading. "Start typing" (Ctrl+Shift+Enter) asks for the keyboard.')
  }
}
