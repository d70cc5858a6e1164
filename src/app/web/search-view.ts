/** Search in what VMs have printed: all of them, some, or one. A result leads to its place in the history. */

import { button, make, setText } from './dom.ts'
import { type Found, MOST_FOUND, type SearchEnd, searchHistory } from './history-search.ts'
import { portPlace, type SearchQuery, searchPlace } from './places.ts'
import { bytesInWords, count, dayAndTime } from './words.ts'

const SINCE: readonly (readonly [value: string, label: string])[] = [
  ['', 'any time'],
  ['-3600000', 'the last hour'],
  ['-86400000', 'the last day'],
  ['-604800000', 'the last week'],
]

export class SearchView {
  readonly element: HTMLElement
  readonly #text: HTMLInputElement
  readonly #port: HTMLInputElement
  readonly #since: HTMLSelectElement
  readonly #regex: HTMLInputElement
  readonly #case: HTMLInputElement
  readonly #go: HTMLButtonElement
  readonly #state = make('p', { className: 'summary', attributes: { role: 'status' } })
  readonly #list = make('ol', { className: 'found' })
  #stop: (() => void) | null = null
  #number = 0

  constructor() {
    const field = (label: string, properties: Partial<HTMLInputElement>) =>
      make('input', { ...properties, autocomplete: 'off', attributes: { 'aria-label': label, spellcheck: 'false' } })
    this.#text = field('Text to search for', { type: 'search', placeholder: 'Text', className: 'what' })
    this.#port = field('VM: a name, or a pattern with *', { type: 'text', placeholder: 'all VMs, or web*' })
    this.#since = make(
      'select',
      { attributes: { 'aria-label': 'When' } },
      ...SINCE.map(([value, label]) => make('option', { value }, label)),
    )
    this.#regex = make('input', { type: 'checkbox' })
    this.#case = make('input', { type: 'checkbox' })
    this.#go = button('Search', 'main', () => (this.#stop === null ? this.#ask() : this.#halt('stopped')))
    const form = make(
      'div',
      { className: 'filters', attributes: { role: 'search', 'aria-label': 'History' } },
      this.#text,
      this.#port,
      this.#since,
      make('label', {}, this.#regex, ' expression'),
      make('label', {}, this.#case, ' case counts'),
      this.#go,
    )
    form.addEventListener('keydown', ({ key, target, isComposing }) => {
      if (key === 'Enter' && !isComposing && target instanceof HTMLInputElement) this.#ask()
    })
    this.element = make('div', { className: 'page search' }, make('h1', {}, 'Search'), form, this.#state, this.#list)
  }

  /** What the address says. Searches at once, if there is something to search for. */
  show(query: SearchQuery): void {
    this.#text.value = query.text
    this.#port.value = query.port
    this.#since.value = SINCE.some(([value]) => value === query.since) ? query.since : ''
    this.#regex.checked = query.regex
    this.#case.checked = query.caseCounts
    if (query.text === '') this.#text.focus()
    else this.#search(query)
  }

  dispose(): void {
    this.#stop?.()
    this.element.remove()
  }

  #ask(): void {
    const query = {
      text: this.#text.value,
      port: this.#port.value.trim(),
      since: this.#since.value,
      regex: this.#regex.checked,
      caseCounts: this.#case.checked,
    }
    if (query.text === '') return
    history.replaceState(null, '', searchPlace(query))
    this.#search(query)
  }

  #search(query: SearchQuery): void {
    this.#stop?.()
    this.#number = 0
    this.#list.replaceChildren()
    setText(this.#go, 'Stop')
    setText(this.#state, 'searching…')
    this.#stop = searchHistory(query, {
      found: (line) => {
        this.#number++
        this.#list.append(result(line))
      },
      progress: ({ ports, ofPorts, bytes, ofBytes }) => {
        const searched = `${bytesInWords(bytes)} of ${bytesInWords(ofBytes)}, ${ports} of ${count(ofPorts, 'port')}`
        setText(this.#state, `${count(this.#number, 'line')} in ${searched}; searching…`)
      },
      ended: (end) => this.#halt(endInWords(end)),
      failed: (why) => this.#halt(why),
    })
  }

  #halt(text: string): void {
    this.#stop?.()
    this.#stop = null
    setText(this.#go, 'Search')
    setText(this.#state, text)
  }
}

function endInWords({ end, ports, bytes, matches, skippedPorts, lostBytes }: SearchEnd): string {
  const found = matches === 0 ? 'nothing found' : count(matches, 'line')
  const more = {
    complete: '',
    limit: `; these are the first ${MOST_FOUND}: narrow the search, or use vspc grep`,
    time: '; it took too long: narrow the search',
  }[end]
  const missing = [
    skippedPorts > 0 ? `; ${count(skippedPorts, 'port')} could not be searched` : '',
    lostBytes > 0 ? `; ${bytesInWords(lostBytes)} are lost` : '',
  ].join('')
  return `${found} in ${bytesInWords(bytes)} of ${count(ports, 'port')}${more}${missing}`
}

function result({ port, name, offset, time, text, matches, cut }: Found): HTMLElement {
  const line = make('code', {})
  let at = 0
  for (const [from, to] of matches) {
    line.append(text.slice(at, from), make('mark', {}, text.slice(from, to)))
    at = to
  }
  line.append(text.slice(at), cut ? ' …' : '')
  return make(
    'li',
    {},
    make(
      'a',
      { href: portPlace(port, offset) },
      make('span', { className: 'name' }, name === '' ? port : name),
      make('time', { dateTime: time ?? '' }, time === null ? '' : dayAndTime(time, Date.now())),
      line,
    ),
  )
}
