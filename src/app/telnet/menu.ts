/** The menu's text and what an answer to it means. Pure. */
import { cleanText } from '../../base/index.ts'
import type { PortState } from '../../vspc/index.ts'

export interface MenuEntry {
  /** For people: `web1`, `web1/com2`, or the id. */
  readonly name: string
  readonly id: string
  readonly state: PortState
  readonly host: string | null
}

export type MenuAnswer<Entry> =
  | { kind: 'attach'; entry: Entry; mode: 'read' | 'write' }
  | { kind: 'say'; text: string }
  | { kind: 'leave' }

const PAGE = 18
const MAX_NAME = 40
const PROMPT = '> '
const HELP = 'Number or name: open it. Part of a name: search. s before it: only watch. Enter: more. q: leave.'

/** One person's view of the list: what was shown last is what numbers mean. */
export class Menu<Entry extends MenuEntry> {
  readonly #list: () => readonly Entry[]
  #found: readonly Entry[] = []
  #from = 0
  #search = ''

  /** @param list all there are, sorted. */
  constructor(list: () => readonly Entry[]) {
    this.#list = list
  }

  /** The first page. */
  open(): string {
    return this.#show('')
  }

  answer(line: string): MenuAnswer<Entry> {
    const typed = cleanText(line)
    if (typed === '') return { kind: 'say', text: this.#nextPage() }
    if (typed === 'q') return { kind: 'leave' }
    if (typed === '?') return { kind: 'say', text: `${HELP}\r\n${PROMPT}` }
    const watch = /^s\s+(.+)$/.exec(typed)
    const wanted = watch?.[1] ?? typed
    const mode = watch === null ? 'write' : 'read'
    const numbered = /^[0-9]+$/.test(wanted) ? this.#found[Number(wanted) - 1] : undefined
    if (numbered !== undefined) return { kind: 'attach', entry: numbered, mode }
    const all = this.#list()
    const named = all.filter(({ name, id }) => name === wanted || id === wanted)
    const found = named.length === 1 ? named : matching(all, wanted)
    if (found.length === 1) return { kind: 'attach', entry: found[0] as Entry, mode }
    if (found.length === 0) return { kind: 'say', text: `No port is called "${wanted}".\r\n${PROMPT}` }
    return { kind: 'say', text: this.#show(wanted) }
  }

  #nextPage(): string {
    const next = this.#from + PAGE
    if (next >= this.#found.length) return this.#show('')
    this.#from = next
    return this.#page()
  }

  #show(search: string): string {
    this.#search = search
    this.#found = matching(this.#list(), search)
    this.#from = 0
    return this.#page()
  }

  #page(): string {
    const { length } = this.#found
    if (length === 0) return `No VM has connected yet. Enter looks again, q leaves.\r\n${PROMPT}`
    const shown = this.#found.slice(this.#from, this.#from + PAGE)
    const width = Math.min(MAX_NAME, Math.max(...shown.map(({ name }) => name.length)))
    const digits = String(this.#from + shown.length).length
    const lines = shown.map(({ name, state, host }, at) => {
      const number = String(this.#from + at + 1).padStart(digits + 1)
      const cut = name.length > width ? `${name.slice(0, width - 1)}~` : name.padEnd(width)
      return `${number}  ${cut}  ${state.padEnd(9)}  ${host ?? ''}`.trimEnd()
    })
    const what = this.#search === '' ? '' : ` with "${this.#search}"`
    const part = shown.length < length ? `${this.#from + 1} to ${this.#from + shown.length} of ${length}` : `${length}`
    return [`Serial ports${what}: ${part}`, ...lines, HELP, PROMPT].join('\r\n')
  }
}

function matching<Entry extends MenuEntry>(all: readonly Entry[], text: string): readonly Entry[] {
  const lower = text.toLowerCase()
  return all.filter(({ name, id }) => name.toLowerCase().includes(lower) || id.startsWith(lower))
}
