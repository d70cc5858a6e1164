/**
 * Keeps what a VM prints from occupying a terminal emulator: xterm.js repeats some operations as often as their
 * parameter says, up to 2^31 times, and one `CSI 2147483647 M` takes hours. Used by the screen worker and by the page.
 */

/** More than this no screen has rows or columns; programs that want "as far as possible" write 999 or 9999. */
const MAX_COUNT = 10_000

/**
 * REP repeats all that a cell holds, in one piece of memory of four bytes a character, and a VM may put thousands of
 * combining characters into one. No language has this many.
 */
const MAX_REPEATED = 8

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
export interface GuardedTerminal {
  readonly parser: {
    registerCsiHandler(id: CsiId, handler: (params: (number | number[])[]) => boolean): unknown
  }
  readonly buffer: {
    readonly active: {
      readonly baseY: number
      readonly cursorX: number
      readonly cursorY: number
      getLine(y: number): { getCell(x: number): { getChars(): string } | undefined } | undefined
    }
  }
}

/** From now on operations that ask for an absurd number of repetitions, or to repeat an absurd text, do nothing. */
export function guardTerminal(terminal: GuardedTerminal): void {
  const { parser } = terminal
  for (const id of COUNTED) {
    parser.registerCsiHandler(id, (params) => params.some((param) => typeof param === 'number' && param > MAX_COUNT))
  }
  parser.registerCsiHandler({ final: 'b' }, () => charactersBefore(terminal) > MAX_REPEATED)
}

/** In the cell before the cursor; of a wide character it is the one before that which has them. */
function charactersBefore({ buffer: { active } }: GuardedTerminal): number {
  const { baseY, cursorX, cursorY } = active
  const line = active.getLine(baseY + cursorY)
  const at = (x: number): number => line?.getCell(x)?.getChars().length ?? 0
  return Math.max(at(cursorX - 1), at(cursorX - 2))
}
