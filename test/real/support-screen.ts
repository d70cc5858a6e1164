/**
 * What a terminal of 24 by 80 shows after `output`: enough of a VT100 for vi, less and top of busybox, nothing more.
 * @returns its rows, without trailing spaces.
 */
export function screenOf(output: string, rows = 24, columns = 80): string[] {
  const screen = Array.from({ length: rows }, () => ' '.repeat(columns))
  let [row, column] = [0, 0]
  const put = (text: string) => {
    const line = screen[row] ?? ''
    screen[row] = (line.slice(0, column) + text + line.slice(column + text.length)).slice(0, columns)
  }
  const clear = (from: number, to: number) => {
    for (let line = from; line < to; line++) screen[line] = ' '.repeat(columns)
  }
  for (const [text, parameters, final] of output.matchAll(
    /\x1b\[([\d;?]*)([a-zA-Z])|\x1b.|[\x00-\x1f]|[^\x00-\x1f]/g,
  )) {
    const [first = 0, second = 0] = (parameters ?? '').split(';').map(Number)
    if (final === 'H') [row, column] = [Math.max(first, 1) - 1, Math.max(second, 1) - 1]
    else if (final === 'J') {
      put(' '.repeat(columns))
      clear(row + 1, rows)
    } else if (final === 'K') put(' '.repeat(columns))
    else if (final === 'A') row = Math.max(0, row - Math.max(first, 1))
    else if (final === 'C') column = Math.min(columns - 1, column + Math.max(first, 1))
    else if (text === '\r') column = 0
    else if (text === '\b') column = Math.max(0, column - 1)
    else if (text === '\n') {
      if (row < rows - 1) row++
      else screen.push(' '.repeat(columns), ...screen.splice(0, 1).slice(1))
      if (screen.length > rows) screen.shift()
    } else if (text.length === 1 && text >= ' ') {
      put(text)
      column = Math.min(columns - 1, column + 1)
    }
  }
  return screen.map((line) => line.trimEnd())
}
