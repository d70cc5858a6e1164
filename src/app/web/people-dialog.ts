/** The list of those who are attached, while it is open: as it changes, with what can be done about each. */
import type { ConsoleInfo } from '../../vspc/index.ts'
import { button, make, setText } from './dom.ts'
import { ageInWords, clockTime, count } from './words.ts'

const REFRESH_MS = 3_000

export interface PeopleActions {
  /** The list is to be asked for again: what they type changes it without a word. */
  refresh(): void
  handOver(id: number): void
  putOut(one: ConsoleInfo): void
  say(): void
}

export interface PeopleShown {
  readonly consoles: readonly ConsoleInfo[]
  readonly own: number | null
  /** We may type, and can hand that over. */
  readonly holds: boolean
  readonly mayKick: boolean
  readonly maySay: boolean
}

export class PeopleDialog {
  readonly #actions: PeopleActions
  #dialog: HTMLDialogElement | null = null
  readonly #title = make('h2', { id: 'people-title' })
  readonly #list = make('ul', { className: 'who' })
  readonly #say: HTMLButtonElement
  #shown = ''

  constructor(actions: PeopleActions) {
    this.#actions = actions
    this.#say = button('Say something to all…', '', () => {
      this.#dialog?.close()
      actions.say()
    })
  }

  open(): void {
    if (this.#dialog !== null) return
    const before = document.activeElement
    const dialog = make(
      'dialog',
      { attributes: { 'aria-labelledby': 'people-title' } },
      this.#title,
      this.#list,
      make(
        'div',
        { className: 'buttons' },
        this.#say,
        button('Close', '', () => dialog.close()),
      ),
    )
    const refresh = window.setInterval(() => this.#actions.refresh(), REFRESH_MS)
    dialog.addEventListener('close', () => {
      window.clearInterval(refresh)
      dialog.remove()
      this.#dialog = null
      if (before instanceof HTMLElement) before.focus()
    })
    dialog.addEventListener('click', (event) => {
      if (event.target === dialog) dialog.close()
    })
    this.#dialog = dialog
    this.#shown = ''
    document.body.append(dialog)
    dialog.showModal()
  }

  close(): void {
    this.#dialog?.close()
  }

  show({ consoles, own, holds, mayKick, maySay }: PeopleShown): void {
    if (this.#dialog === null) return
    setText(this.#title, count(consoles.length, 'console'))
    this.#say.hidden = !maySay
    const now = Date.now()
    const rows = consoles.map((one) => ({ one, does: doesWhat(one, now) }))
    const key = JSON.stringify([rows.map(({ one, does }) => [one.id, one.who, does, one.waiting]), own, holds, mayKick])
    if (key === this.#shown) return
    this.#shown = key
    // What is the same in the new list keeps the focus.
    const focused = document.activeElement?.getAttribute('data-key')
    this.#list.replaceChildren(
      ...rows.map(({ one, does }) => {
        const isOwn = one.id === own
        const name = one.address === undefined ? one.who : `${one.who} (${one.address})`
        const from = make('span', { className: 'name' }, isOwn ? `${name} (you)` : name)
        const tools = make('span', { className: 'tools' })
        if (!isOwn && holds && one.waiting !== null) {
          tools.append(this.#tool('Hand over', one, () => this.#actions.handOver(one.id)))
        }
        if (!isOwn && mayKick) tools.append(this.#tool('Put out…', one, () => this.#actions.putOut(one)))
        return make('li', {}, from, make('span', { className: 'mode' }, does), tools)
      }),
    )
    if (focused) this.#list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus()
  }

  #tool(label: string, { id, who }: ConsoleInfo, run: () => void): HTMLButtonElement {
    const one = button(label, '', run)
    one.setAttribute('aria-label', `${label} ${who}`)
    one.dataset['key'] = `${label} ${id}`
    return one
  }
}

function doesWhat({ mode, via, attachedAt, lastInputAt, waiting }: ConsoleInfo, now: number): string {
  const does = { read: 'reads', write: 'may type', exclusive: 'types alone' }[mode]
  const typed = lastInputAt === null ? '' : `typed ${withAgo(ageInWords(lastInputAt, now))}`
  const place = waiting === null ? '' : `waits, number ${waiting}`
  return [does, place, typed, `${via} since ${clockTime(attachedAt)}`].filter(Boolean).join(' · ')
}

function withAgo(age: string): string {
  return age === 'now' ? 'just now' : `${age} ago`
}
