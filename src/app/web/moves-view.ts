/** What moved: the VMs, as seen since the page was opened, and the appliance, if this server follows its host. */
import type { ApplianceInfo } from '../appliance-view.ts'
import { fetchAppliance } from './api.ts'
import { make } from './dom.ts'
import type { Move } from './moves.ts'
import { portPlace } from './places.ts'
import type { PortStore } from './port-store.ts'
import { clockTime, count } from './words.ts'

/** Asked for again this often. */
const REFRESH_MS = 5_000

export class MovesView {
  readonly element: HTMLElement
  readonly #store: PortStore
  readonly #appliance = make('div')
  readonly #moves = make('div')
  readonly #ends: (() => void)[] = []
  #shown = ''
  #newest: Move | undefined

  constructor(store: PortStore) {
    this.#store = store
    this.element = make('div', { className: 'page' }, make('h1', {}, 'Moves'), this.#appliance, this.#moves)
    this.#ends.push(store.watch(() => this.#showMoves()))
    const timer = window.setInterval(() => void this.#load(), REFRESH_MS)
    this.#ends.push(() => window.clearInterval(timer))
    this.#showMoves()
    void this.#load()
  }

  dispose(): void {
    for (const end of this.#ends) end()
    this.element.remove()
  }

  async #load(): Promise<void> {
    if (document.hidden) return
    const info = await fetchAppliance().catch(() => undefined)
    // No answer: what is shown stays.
    if (info === undefined) return
    const text = JSON.stringify(info)
    if (text === this.#shown) return
    this.#shown = text
    this.#appliance.replaceChildren(...(info === null ? [] : appliance(info)))
  }

  #showMoves(): void {
    const { moves } = this.#store
    if (moves.length > 0 && moves[0] === this.#newest) return
    this.#newest = moves[0]
    const heading = make('h2', {}, 'Since this page was opened')
    if (moves.length === 0) {
      this.#moves.replaceChildren(heading, make('p', {}, 'Nothing has moved yet. It appears here as it happens.'))
      return
    }
    const rows = moves.map(({ at, who, port, what, kind, host, why }) => [
      clockTime(at),
      port === null ? who : make('a', { href: portPlace(port) }, who),
      make('span', { className: kind }, what),
      host,
      why,
    ])
    this.#moves.replaceChildren(heading, table(['Time', 'Who', 'What', 'Host', 'Why'], rows))
  }
}

function appliance(info: ApplianceInfo): HTMLElement[] {
  const { vm, host, since, moves, reachable, trouble, proxyURI, settled, counts, nextHopsOpen, vms } = info
  const list = make('dl')
  const say = (name: string, ...value: (Node | string)[]) => {
    list.append(make('dt', {}, name), make('dd', {}, ...value))
  }
  say('Appliance', vm?.name ?? 'not found yet')
  if (host !== null) say('Host', [host.name, ...host.managementIps].join(' · '))
  if (since !== null) say('There since', new Date(since).toLocaleString())
  say('Moves', String(moves))
  say(
    'vCenter',
    trouble === null && reachable
      ? make('span', { className: 'good' }, 'answers')
      : make(
          'span',
          { className: 'bad' },
          trouble === null ? 'does not answer' : `${clockTime(trouble.since)} ${trouble.message}`,
        ),
  )
  if (proxyURI !== null) say('VMs are pointed at', make('code', {}, proxyURI))
  const open = counts.queued + counts.working + counts.waiting
  const wrong = counts.stuck + counts.cannot
  say(
    'VMs that follow',
    `${counts.right} of ${counts.vms}`,
    open > 0 ? `, ${open} to do` : '',
    wrong > 0 ? make('span', { className: 'bad' }, `, ${wrong} cannot`) : '',
    settled ? '' : ' (not settled)',
  )
  if (nextHopsOpen > 0) say('Relays to be told', count(nextHopsOpen, 'next hop'))
  const parts: HTMLElement[] = [make('h2', {}, "The appliance's host"), list]
  if (vms.length > 0) {
    const rows = vms.map(({ name, state, reason, attempts }) => [name, state, reason ?? '', String(attempts)])
    parts.push(make('h2', {}, 'VMs that do not follow yet'), table(['VM', 'State', 'Why', 'Attempts'], rows))
  }
  return parts
}

function table(headings: readonly string[], rows: readonly (readonly (Node | string)[])[]): HTMLElement {
  const head = make('tr', {}, ...headings.map((text) => make('th', { scope: 'col' }, text)))
  const body = rows.map((cells) => make('tr', {}, ...cells.map((cell) => make('td', {}, cell))))
  const whole = make('table', { className: 'moves' }, make('thead', {}, head), make('tbody', {}, ...body))
  return make('div', { className: 'wide-table' }, whole)
}
