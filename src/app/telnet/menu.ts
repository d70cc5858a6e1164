/** The menu's text and what an answer to it means. Pure. */
import { cleanText } from '../../base/index.ts'
import type { ConsoleMode, PortState } from '../../vspc/index.ts'

export interface MenuEntry {
  /** For people: `web1`, `web1/com2`, or the id. */
  readonly name: string
  readonly id: string
  readonly state: PortState
  readonly host: string | null
}

export type MenuAnswer<Entry> =
  /** `mode` null: to write, or to read where that is not to be had. */
  | { kind: 'attach'; entry: Entry; mode: ConsoleMode | null; force: boolean }
  /** Null: anywhere. */
  | { kind: 'who'; entry: Entry | null }
  | { kind: 'say'; text: string }
  | { kind: 'leave' }

const PAGE = 18
const MAX_NAME = 40
export const PROMPT = '> '
const SHORT_HELP = 'Number or name: open it. Part of a name: search. Enter: more. ?: help. q: leave.'

/** What a letter before a number or name does. */
const LETTERS: { readonly [letter: string]: { readonly mode: ConsoleMode; readonly force: boolean } | 'who' } = {
  s: { mode: 'read', force: false },
  x: { mode: 'exclusive', force: false },
  f: { mode: 'write', force: true },
  w: 'who',
}

const HELP = [
  'NUMBER or NAME   open it: to write, or to read while somebody holds it',
  's NAME           only watch',
  'x NAME           write as the only one',
  'f NAME           write, whoever holds it',
  'w NAME, or w     who is attached there, or anywhere',
  'part of a name   search, also with the beginning of a UUID; Enter shows more',
  'q                leave',
]

/** One person's view of the list: what was shown last is what numbers mean. */
export class Menu<Entry extends MenuEntry> {
  readonly #list: () => readonly Entry[]
  readonly #attached: (entry: Entry) => string
  readonly #consoleHelp: string
  #found: readonly Entry[] = []
  #from = 0
  #search = ''

  /**
   * @param list all there are, sorted. @param attached who is there, in few words; asked for what is shown.
   * @param consoleHelp where to find help at a console; may be empty.
   */
  constructor(list: () => readonly Entry[], attached: (entry: Entry) => string = () => '', consoleHelp = '') {
    this.#list = list
    this.#attached = attached
    this.#consoleHelp = consoleHelp
  }

  /** The first page. */
  open(): string {
    return this.#show('')
  }

  answer(line: string): MenuAnswer<Entry> {
    const typed = cleanText(line)
    if (typed === '') return { kind: 'say', text: this.#nextPage() }
    if (typed === 'q') return { kind: 'leave' }
    if (typed === 'w') return { kind: 'who', entry: null }
    if (typed === '?') {
      return {
        kind: 'say',
        text: [...HELP, ...(this.#consoleHelp === '' ? [] : [this.#consoleHelp]), PROMPT].join('\r\n'),
      }
    }
    const match = /^([sxfw])\s+(.+)$/.exec(typed)
    const letter = match === null ? undefined : LETTERS[match[1] as string]
    const found = this.#find(match?.[2] ?? typed)
    if (typeof found === 'string') return { kind: 'say', text: found }
    if (letter === 'who') return { kind: 'who', entry: found }
    return { kind: 'attach', entry: found, ...(letter ?? { mode: null, force: false }) }
  }

  /** @returns what to say instead, where it is not one. */
  #find(wanted: string): Entry | string {
    const numbered = /^[0-9]+$/.test(wanted) ? this.#found[Number(wanted) - 1] : undefined
    if (numbered !== undefined) return numbered
    const all = this.#list()
    const named = all.filter(({ name, id }) => name === wanted || id === wanted)
    const found = named.length === 1 ? named : matching(all, wanted)
    if (found.length === 1) return found[0] as Entry
    return found.length === 0 ? `No port is called "${wanted}".\r\n${PROMPT}` : this.#show(wanted)
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
    const hosts = Math.max(...shown.map(({ host }) => host?.length ?? 0))
    const digits = String(this.#from + shown.length).length
    const lines = shown.map((entry, at) => {
      const { name, state, host } = entry
      const number = String(this.#from + at + 1).padStart(digits + 1)
      const cut = name.length > width ? `${name.slice(0, width - 1)}~` : name.padEnd(width)
      return `${number}  ${cut}  ${state.padEnd(9)}  ${(host ?? '').padEnd(hosts)}  ${this.#attached(entry)}`.trimEnd()
    })
    const what = this.#search === '' ? '' : ` with "${this.#search}"`
    const part = shown.length < length ? `${this.#from + 1} to ${this.#from + shown.length} of ${length}` : `${length}`
    return [`Serial ports${what}: ${part}`, ...lines, SHORT_HELP, PROMPT].join('\r\n')
  }
}

function matching<Entry extends MenuEntry>(all: readonly Entry[], text: string): readonly Entry[] {
  const lower = text.toLowerCase()
  return all.filter(({ name, id }) => name.toLowerCase().includes(lower) || id.startsWith(lower))
}
