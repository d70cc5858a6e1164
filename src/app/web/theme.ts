/** Light or dark: as the system is set, unless somebody chose. */
import type { ITheme } from '@xterm/xterm'

const KEY = 'vspc.theme'
const dark = window.matchMedia('(prefers-color-scheme: dark)')
const watchers = new Set<() => void>()

/** What was chosen; null = as the system is set. Storage may be forbidden. */
function chosen(): string | null {
  try {
    const value = localStorage.getItem(KEY)
    return value === 'light' || value === 'dark' ? value : null
  } catch {
    // Private windows may have no storage: then the system decides.
    return null
  }
}

export function isDark(): boolean {
  return (document.documentElement.dataset['theme'] ?? (dark.matches ? 'dark' : 'light')) === 'dark'
}

export function startTheme(): void {
  apply(chosen())
  dark.addEventListener('change', tell)
}

/** The other one from now on; what the system is set to is not stored. */
export function toggleTheme(): void {
  const next = isDark() ? 'light' : 'dark'
  const stored = next === (dark.matches ? 'dark' : 'light') ? null : next
  try {
    if (stored === null) localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, stored)
  } catch {
    // As above: it holds for this page only.
  }
  apply(stored)
  tell()
}

export function watchTheme(changed: () => void): () => void {
  watchers.add(changed)
  return () => watchers.delete(changed)
}

function apply(theme: string | null): void {
  if (theme === null) delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = theme
}

function tell(): void {
  for (const changed of watchers) changed()
}

/** Sixteen colours that can be read on their background. */
const DARK: ITheme = {
  background: '#0f1214',
  foreground: '#d3d7da',
  cursor: '#d3d7da',
  cursorAccent: '#0f1214',
  selectionBackground: '#35506e',
  selectionInactiveBackground: '#35506e',
  black: '#30363c',
  red: '#f0776c',
  green: '#77c37d',
  yellow: '#d9b04f',
  blue: '#76aef0',
  magenta: '#c792d8',
  cyan: '#5fc1c5',
  white: '#c8ccd0',
  brightBlack: '#7d858d',
  brightRed: '#ff9489',
  brightGreen: '#96dd9b',
  brightYellow: '#f0cb74',
  brightBlue: '#9cc7ff',
  brightMagenta: '#dfb1ed',
  brightCyan: '#85dcdf',
  brightWhite: '#f4f6f8',
}

const LIGHT: ITheme = {
  background: '#fdfdfc',
  foreground: '#24282c',
  cursor: '#24282c',
  cursorAccent: '#fdfdfc',
  selectionBackground: '#bcd7f5',
  selectionInactiveBackground: '#bcd7f5',
  black: '#24282c',
  red: '#b3261e',
  green: '#1c7332',
  yellow: '#7d5b00',
  blue: '#1258a8',
  magenta: '#84349b',
  cyan: '#0b6b70',
  white: '#6a7076',
  brightBlack: '#59606a',
  brightRed: '#c93a30',
  brightGreen: '#217f3a',
  brightYellow: '#8a6500',
  brightBlue: '#1c67bf',
  brightMagenta: '#9642ae',
  brightCyan: '#0d787e',
  brightWhite: '#3c4248',
}

export function terminalTheme(): ITheme {
  return isDark() ? DARK : LIGHT
}

/** Behind a line that is pointed at. */
export function pointColour(): string {
  return isDark() ? '#4a3c10' : '#fff0b8'
}
