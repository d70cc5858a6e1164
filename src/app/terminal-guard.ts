/**
 * Keeps what a VM prints from occupying a terminal emulator: xterm.js repeats some operations as often as their
 * parameter says, up to 2^31 times, and one `CSI 2147483647 M` takes hours. Used by the screen worker and by the page.
 */

/** More than this no screen has rows or columns; programs that want "as far as possible" write 999 or 9999. */
const MAX_COUNT = 10_000

/** Operations whose cost is their parameter: ECMA-48 ICH, CHT, IL, DL, DCH, SU, SD, ECH, CBT, REP, SL, SR; DECIC, DECDC. */
const COUNTED: readonly CsiId[] = [
  ...['@', 'I', 'L', 'M', 'P', 'S', 'T', 'X', 'Z', 'b'].map((final) => ({ final })),
  { intermediates: ' ', final: '@' },
  { intermediates: ' ', final: 'A' },
  { intermediates: "'", final: '}' },
  { intermediates: "'", final: '~' },
]

interface CsiId {
  readonly intermediates?: string
  readonly final: string
}

/** What both builds of xterm.js have. */
export interface GuardedParser {
  registerCsiHandler(id: CsiId, handler: (params: (number | number[])[]) => boolean): unknown
}

/** From now on operations that ask for an absurd number of repetitions do nothing. */
export function guardParser(parser: GuardedParser): void {
  for (const id of COUNTED) {
    parser.registerCsiHandler(id, (params) => params.some((param) => typeof param === 'number' && param > MAX_COUNT))
  }
}
