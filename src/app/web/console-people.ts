/** Who else is at a console's port, and who of them may type. */
import type { ConsoleInfo, ConsoleMessage, ConsoleMode } from '../../vspc/index.ts'
import { ownModeNews } from './console-news.ts'
import { ask } from './dialogs.ts'
import { make } from './dom.ts'
import { clockTime, count } from './words.ts'

/** News about our own mode is not replaced for this long by what all consoles are told of the same change. */
const FRESH_MS = 1_000

export interface PeopleHost {
  /** Asks the server for the list. */
  askWho(): void
  news(text: string): void
  /** Who is there, or who may type, is to be shown anew. */
  changed(): void
}

export class ConsolePeople {
  readonly #host: PeopleHost
  #own: number | null = null
  #mode: ConsoleMode = 'read'
  #modeChangedAt = Number.NEGATIVE_INFINITY
  #all: readonly ConsoleInfo[] = []
  #writers: readonly ConsoleInfo[] = []

  constructor(host: PeopleHost) {
    this.#host = host
  }

  /** How many are attached. */
  get size(): number {
    return this.#all.length
  }

  /** All that may type but us. */
  get writers(): readonly ConsoleInfo[] {
    return this.#writers.filter(({ id }) => id !== this.#own)
  }

  message(message: ConsoleMessage): void {
    switch (message.type) {
      case 'attached':
        this.#own = message.console
        this.#mode = message.mode
        this.#writers = []
        this.#host.askWho()
        break
      case 'writer':
        this.#writers = message.writers
        this.#writersNews(message)
        this.#host.askWho()
        this.#host.changed()
        break
      case 'consoles':
        this.#all = message.consoles
        this.#writers = message.consoles.filter(({ mode }) => mode !== 'read')
        this.#host.changed()
        break
      default:
        break
    }
  }

  async show(): Promise<void> {
    const rows = this.#all.map(({ id, who, mode, attachedAt }) =>
      make(
        'li',
        {},
        make('span', {}, id === this.#own ? `${who} (you)` : who),
        make(
          'span',
          { className: 'mode' },
          `${mode === 'read' ? 'reads' : mode === 'write' ? 'may type' : 'types alone'} since ${clockTime(attachedAt)}`,
        ),
      ),
    )
    await ask(count(this.#all.length, 'console'), [make('ul', { className: 'who' }, ...rows)], [], 'Close')
  }

  /** Who lost the keyboard is told that first, and then what everybody is told. */
  #writersNews({ mode, reason }: Extract<ConsoleMessage, { type: 'writer' }>): void {
    const changed = mode !== this.#mode
    this.#mode = mode
    if (!changed && performance.now() - this.#modeChangedAt < FRESH_MS) return
    if (changed) this.#modeChangedAt = performance.now()
    this.#host.news(changed ? ownModeNews(mode, reason) : reason)
  }
}
