/** A line above the terminal: something to know, and what can be done about it. Hidden while there is nothing. */
import { button, make } from './dom.ts'

export interface StripChoice {
  readonly label: string
  readonly kind?: 'danger' | 'main'
  run(): void
}

export class Strip {
  readonly element: HTMLElement
  #shown = ''

  /** @param urgent is read out at once. */
  constructor(urgent: boolean) {
    this.element = make('div', {
      className: 'strip',
      hidden: true,
      attributes: { role: urgent ? 'alert' : 'status' },
    })
  }

  /** Empty text = nothing. The same again changes nothing: what has the focus keeps it. */
  show(text: string, choices: readonly StripChoice[] = []): void {
    const key = [text, ...choices.map(({ label }) => label)].join('\n')
    if (key === this.#shown) return
    this.#shown = key
    this.element.hidden = text === ''
    this.element.replaceChildren(
      make('span', { className: 'words' }, text),
      ...choices.map(({ label, kind, run }) => button(label, kind ?? '', run)),
    )
  }

  hide(): void {
    this.show('')
  }
}
