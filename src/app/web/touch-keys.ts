/** Keys that a phone's keyboard does not have. Shown where there is no better pointer than a finger. */
import { button, make } from './dom.ts'

/** Cursor keys: their final byte; the introducer depends on the terminal's mode. */
const KEYS: readonly (readonly [label: string, name: string, sends: string])[] = [
  ['Esc', 'Esc', '\x1b'],
  ['Tab', 'Tab', '\t'],
  ['^C', 'Control C', '\x03'],
  ['^D', 'Control D', '\x04'],
  ['^Z', 'Control Z', '\x1a'],
  ['↑', 'Up', 'A'],
  ['↓', 'Down', 'B'],
  ['←', 'Left', 'D'],
  ['→', 'Right', 'C'],
]

/** @param press what is typed; for a cursor key its final byte alone. */
export function touchKeys(press: (sends: string, cursor: boolean) => void): HTMLElement {
  const keys = KEYS.map(([label, name, sends]) => {
    const key = button(label, '', () => press(sends, /^[A-D]$/.test(sends)))
    key.setAttribute('aria-label', name)
    // The keyboard on the screen stays, since the terminal keeps the focus.
    key.addEventListener('pointerdown', (event) => event.preventDefault())
    return key
  })
  return make('div', { className: 'touch-keys', attributes: { role: 'group', 'aria-label': 'Keys' } }, ...keys)
}
