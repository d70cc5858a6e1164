/** Search in the terminal's scrollback. */
import { button, make, setText } from './dom.ts'

export class FindBar {
  readonly element: HTMLElement
  readonly #input: HTMLInputElement
  readonly #count: HTMLElement

  constructor(find: (text: string, back: boolean, incremental: boolean) => void, closed: () => void) {
    this.#input = make('input', {
      type: 'search',
      attributes: { 'aria-label': 'Find in the output', spellcheck: 'false' },
    })
    this.#count = make('span', { className: 'count', attributes: { role: 'status' } })
    const close = () => {
      this.element.hidden = true
      closed()
    }
    // The newest output is at the bottom: the next one is above.
    const next = (back: boolean) => find(this.#input.value, back, false)
    this.#input.addEventListener('input', () => find(this.#input.value, true, true))
    this.#input.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') next(!event.shiftKey)
      else if (event.key === 'Escape') close()
      else return
      event.preventDefault()
    })
    this.element = make(
      'div',
      { className: 'strip', hidden: true, attributes: { role: 'search' } },
      this.#input,
      button('Up', '', () => next(true)),
      button('Down', '', () => next(false)),
      this.#count,
      button('Close', '', close),
    )
  }

  open(): void {
    this.element.hidden = false
    this.#input.focus()
    this.#input.select()
  }

  found(index: number, total: number): void {
    setText(this.#count, this.#input.value === '' ? '' : total === 0 ? 'not found' : `${index + 1} of ${total}`)
  }
}
