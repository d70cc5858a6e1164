import { cleanText } from '../base/index.ts'

export interface Column {
  readonly title: string
  readonly align?: 'right'
  /** May be cut, with an ellipsis, down to this many terminal columns when the table is too wide. */
  readonly min?: number
}

const GAP = '  '

/**
 * Lines of an aligned table, each at most `width` terminal columns wide as far as the columns can be cut, without
 * trailing blanks. Cells are cleaned of control characters. Pure.
 */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[], width: number): string[] {
  const cells = [columns.map((column) => column.title), ...rows.map((row) => row.map((cell) => cleanText(cell) || '-'))]
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => displayWidth(row[index] ?? ''))))
  shrink(columns, widths, width)
  return cells.map((row) => {
    const parts = columns.map((column, index) => {
      const room = widths[index] ?? 0
      const text = cut(row[index] ?? '', room)
      const padding = ' '.repeat(Math.max(0, room - displayWidth(text)))
      return column.align === 'right' ? padding + text : text + padding
    })
    return parts.join(GAP).trimEnd()
  })
}

/** Takes from the widest column that may still be cut, until the table fits or none is left. */
function shrink(columns: readonly Column[], widths: number[], width: number): void {
  let excess = widths.reduce((sum, each) => sum + each, 0) + GAP.length * (widths.length - 1) - width
  while (excess > 0) {
    let widest = -1
    for (let i = 0; i < columns.length; i++) {
      const min = columns[i]?.min ?? Number.POSITIVE_INFINITY
      const current = widths[i] ?? 0
      if (current > min && current > (widths[widest] ?? 0)) widest = i
    }
    if (widest < 0) return
    widths[widest] = (widths[widest] ?? 0) - 1
    excess--
  }
}

function cut(text: string, room: number): string {
  if (displayWidth(text) <= room) return text
  let kept = ''
  let used = 0
  for (const character of text) {
    const next = used + characterWidth(character)
    if (next > room - 1) break
    kept += character
    used = next
  }
  return `${kept}…`
}

/** Terminal columns of a text without control characters. */
export function displayWidth(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character)
  return width
}

const COMBINING = /^\p{M}$/u
/** East Asian wide and full-width blocks, and emoji: UAX #11, by block rather than by character. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]$/u

function characterWidth(character: string): number {
  if (character < '\u0300') return 1
  if (COMBINING.test(character)) return 0
  return WIDE.test(character) ? 2 : 1
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** `0 B`, `999 B`, `1.2 kB`, `35 MB`: decimal, two digits where there are any. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  // 999.5 would be shown as 1000.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  const text = unit > 0 && value < 9.95 ? value.toFixed(1) : String(Math.round(value))
  return `${text} ${UNITS[unit]}`
}

/** How long ago, in its largest unit: `now`, `5s ago`, `3m ago`, `2h ago`, `8d ago`. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  if (seconds < 1) return 'now'
  if (seconds < 60) return `${seconds}s ago`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h ago`
  return `${Math.floor(seconds / 86_400)}d ago`
}
