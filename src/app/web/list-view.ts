/** The list of ports: a table, or a narrow list beside a console. */
import type { PortInfo } from '../../vspc/index.ts'
import { button, make, setText } from './dom.ts'
import { listPlace, NO_QUERY, type PortQuery, portPlace } from './places.ts'
import { listPorts, SORTS, type Sort, STATES } from './port-filter.ts'
import type { PortStore } from './port-store.ts'
import { ageInWords, bytesInWords, count, portName } from './words.ts'

/** More rows help nobody: the search does. */
const MAX_ROWS = 500
/** Ages change without an event. */
const AGE_MS = 10_000

interface Row {
  readonly row: HTMLTableRowElement
  readonly name: HTMLAnchorElement
  readonly state: HTMLElement
  readonly host: HTMLElement
  readonly consoles: HTMLElement
  readonly vmotions: HTMLElement
  readonly bytes: HTMLElement
  readonly output: HTMLElement
}

const HEADINGS: readonly (readonly [label: string, sort: Sort | null, className: string])[] = [
  ['VM', 'name', 'name'],
  ['State', 'state', 'state'],
  ['Host', 'host', 'host'],
  ['Consoles', null, 'number consoles'],
  ['vMotions', null, 'number vmotions'],
  ['Output', null, 'number bytes'],
  ['Last output', 'output', 'number output'],
]

export class ListView {
  readonly element: HTMLElement
  readonly #store: PortStore
  readonly #search: HTMLInputElement
  readonly #host: HTMLSelectElement
  readonly #states = new Map<string, HTMLButtonElement>()
  readonly #sorts = new Map<string, HTMLButtonElement>()
  readonly #table: HTMLTableElement
  readonly #body: HTMLTableSectionElement
  readonly #rows = new Map<string, Row>()
  readonly #summary: HTMLElement
  readonly #empty: HTMLElement
  #query: PortQuery = NO_QUERY
  #current: string | null = null
  #hosts = ''
  #tookMs = 0
  #soon = 0

  constructor(store: PortStore) {
    this.#store = store
    this.#search = make('input', {
      type: 'search',
      placeholder: 'Search  /',
      autocomplete: 'off',
      attributes: { 'aria-label': 'Search ports by name, UUID, label or host', spellcheck: 'false' },
    })
    this.#search.addEventListener('input', () => this.#ask({ text: this.#search.value }))
    this.#host = make('select', { attributes: { 'aria-label': 'Host' } })
    this.#host.addEventListener('change', () => this.#ask({ host: this.#host.value }))
    const states = make('div', { className: 'states', attributes: { role: 'group', 'aria-label': 'State' } })
    for (const state of ['', ...STATES]) {
      const one = button(state || 'all', `chip ${state}`, () => this.#ask({ state }))
      this.#states.set(state, one)
      states.append(one)
    }
    this.#body = make('tbody')
    this.#table = make('table', { className: 'ports' }, this.#heading(), this.#body)
    this.#summary = make('p', { className: 'summary', attributes: { role: 'status' } })
    this.#empty = make('div', { className: 'empty' })
    this.element = make(
      'nav',
      { className: 'list', attributes: { 'aria-label': 'Ports' } },
      make('div', { className: 'filters' }, this.#search, this.#host, states),
      make('div', { className: 'scroll' }, this.#table, this.#empty),
      this.#summary,
    )
    this.element.addEventListener('keydown', (event) => this.#key(event))
    store.watch(() => this.#renderSoon())
    window.setInterval(() => {
      if (!document.hidden) this.render()
    }, AGE_MS)
  }

  /** @param current id of the port whose console is open. */
  show(query: PortQuery | null, current: string | null): void {
    if (query !== null) this.#query = query
    this.#current = current
    if (this.#search.value !== this.#query.text) this.#search.value = this.#query.text
    this.render()
  }

  /** Where the list is, as it is filtered now. */
  get place(): string {
    return listPlace(this.#query)
  }

  focusSearch(): void {
    this.#search.focus()
    this.#search.select()
  }

  /** With very many ports a look at all of them takes its time: then it is done less often. */
  #renderSoon(): void {
    if (this.#soon !== 0) return
    this.#soon = window.setTimeout(() => {
      this.#soon = 0
      this.render()
    }, this.#tookMs * 5)
  }

  render(): void {
    const began = performance.now()
    const { ports, states, hosts } = listPorts(this.#store.ports.values(), this.#query)
    for (const [state, chip] of this.#states) {
      chip.setAttribute('aria-pressed', String(state === this.#query.state))
      const number = state === '' ? [...states.values()].reduce((sum, one) => sum + one, 0) : (states.get(state) ?? 0)
      setText(chip, `${state || 'all'} ${number}`)
      chip.classList.toggle('none', number === 0 && state !== '' && state !== this.#query.state)
    }
    for (const [sort, heading] of this.#sorts) {
      const on = (this.#query.sort || 'name') === sort
      heading.closest('th')?.setAttribute('aria-sort', on ? (sort === 'output' ? 'descending' : 'ascending') : 'none')
    }
    this.#fillHosts(hosts)
    this.#place(ports.slice(0, MAX_ROWS))
    this.#table.hidden = ports.length === 0
    this.#tellEmpty(ports.length)
    const more = ports.length - MAX_ROWS
    const all = this.#store.ports.size
    const shown =
      ports.length === all ? count(all, 'port') : `${ports.length.toLocaleString('en')} of ${count(all, 'port')}`
    setText(this.#summary, more > 0 ? `${shown}; the first ${MAX_ROWS} are listed: search for others` : shown)
    this.#tookMs = performance.now() - began
  }

  #heading(): HTMLTableSectionElement {
    const cells = HEADINGS.map(([label, sort, className]) => {
      const cell = make('th', { className, scope: 'col' })
      if (sort === null) cell.append(label)
      else {
        const one = button(label, 'sort', () => this.#ask({ sort: sort === SORTS[0] ? '' : sort }))
        this.#sorts.set(sort, one)
        cell.append(one)
      }
      return cell
    })
    return make('thead', {}, make('tr', {}, ...cells))
  }

  /** Rows are kept, in place where they can be: a selection or the focus in them survives. */
  #place(ports: readonly PortInfo[]): void {
    const now = Date.now()
    const wanted = new Set(ports.map(({ id }) => id))
    for (const [id, { row }] of this.#rows) {
      if (wanted.has(id)) continue
      row.remove()
      this.#rows.delete(id)
    }
    let next = this.#body.firstElementChild
    for (const port of ports) {
      const cells = this.#rows.get(port.id) ?? this.#newRow(port.id)
      this.#fill(cells, port, now)
      if (cells.row === next) next = next.nextElementSibling
      else this.#body.insertBefore(cells.row, next)
    }
  }

  #newRow(id: string): Row {
    const name = make('a', { href: portPlace(id) })
    const cells: HTMLElement[] = HEADINGS.slice(1).map(([, , className]) => make('td', { className }))
    const row = make('tr', {}, make('td', { className: 'name' }, name), ...cells)
    // The whole row is a target for a mouse; for everything else there is the link in it.
    row.addEventListener('click', (event) => {
      if (event.target !== name && (document.getSelection()?.isCollapsed ?? true)) name.click()
    })
    const [state, host, consoles, vmotions, bytes, output] = cells as [
      HTMLElement,
      HTMLElement,
      HTMLElement,
      HTMLElement,
      HTMLElement,
      HTMLElement,
    ]
    const made = { row, name, state, host, consoles, vmotions, bytes, output }
    this.#rows.set(id, made)
    return made
  }

  #fill(cells: Row, port: PortInfo, now: number): void {
    setText(cells.name, portName(port))
    cells.name.title = port.id
    cells.row.className = port.state
    if (port.id === this.#current) cells.name.setAttribute('aria-current', 'page')
    else cells.name.removeAttribute('aria-current')
    setText(cells.state, port.state)
    setText(cells.host, port.host ?? '')
    setText(cells.consoles, port.consoles === 0 ? '' : String(port.consoles))
    setText(cells.vmotions, port.vmotions === 0 ? '' : String(port.vmotions))
    setText(cells.bytes, port.bytesFromVm === 0 ? '' : bytesInWords(port.bytesFromVm))
    setText(cells.output, ageInWords(port.lastOutputAt, now))
    cells.output.title = port.lastOutputAt ?? ''
  }

  #fillHosts(hosts: readonly (readonly [string, number])[]): void {
    const { host } = this.#query
    const options = [...hosts]
    // Chosen by a link, and gone since.
    if (host !== '' && !hosts.some(([name]) => name === host)) options.push([host, 0])
    const key = JSON.stringify(options)
    if (key !== this.#hosts) {
      this.#hosts = key
      this.#host.replaceChildren(
        make('option', { value: '' }, 'all hosts'),
        ...options.map(([name, ports]) => make('option', { value: name }, `${name} (${ports})`)),
      )
    }
    this.#host.value = host
  }

  #tellEmpty(shown: number): void {
    const { loaded, problem, ports } = this.#store
    const key = shown > 0 ? '' : !loaded ? problem || 'loading' : ports.size === 0 ? 'none' : 'no-match'
    this.#empty.hidden = key === ''
    if (this.#empty.dataset['key'] === key) return
    this.#empty.dataset['key'] = key
    const clear = () => {
      this.#search.value = ''
      this.#ask({ text: '', state: '', host: '' })
      this.#search.focus()
    }
    if (key === 'none') this.#empty.replaceChildren(...NOTHING_YET())
    else if (key === 'no-match') {
      this.#empty.replaceChildren(make('p', {}, 'No port matches.'), button('Show all', '', clear))
    } else this.#empty.replaceChildren(make('p', {}, key === 'loading' ? 'Asking for the ports…' : key))
  }

  #ask(change: Partial<PortQuery>): void {
    this.#query = { ...this.#query, ...change }
    // Beside a console the address is that of the console.
    if (this.#current === null) history.replaceState(null, '', this.place)
    this.render()
  }

  #key(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return
    const rows = [...this.#body.rows]
    const at = rows.findIndex((row) => row.contains(document.activeElement))
    const inSearch = document.activeElement === this.#search
    if (event.key === 'Escape' && inSearch && this.#search.value !== '') {
      this.#search.value = ''
      this.#ask({ text: '' })
    } else if (event.key === 'Enter' && inSearch) rows[0]?.querySelector('a')?.click()
    else if (event.key === 'ArrowDown' && (inSearch || at >= 0))
      rows[Math.min(at + 1, rows.length - 1)]?.querySelector('a')?.focus()
    else if (event.key === 'ArrowUp' && at > 0) rows[at - 1]?.querySelector('a')?.focus()
    else if (event.key === 'ArrowUp' && at === 0) this.focusSearch()
    else return
    event.preventDefault()
  }
}

const NOTHING_YET = (): HTMLElement[] => [
  make('h2', {}, 'No VM has connected yet'),
  make(
    'p',
    {},
    'Give a VM a serial port of the kind “network”, with this server as its concentrator (vSPC), and power it on. It appears here by itself.',
  ),
  make('p', {}, 'Without any ESXi host at hand, ', make('code', {}, 'vspc demo'), ' shows VMs that move about.'),
]
