export { LineCutter, MAX_LINE_BYTES } from './line-cutter.ts'
export { plainText, shownText } from './plain.ts'
export { lineEnd, type PatternFlags, TextPattern, type TextRange } from './text-pattern.ts'
