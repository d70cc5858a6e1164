/** Where in the files an offset is. */
export interface Place {
  /** The segment's first offset, which names its file. */
  readonly segment: number
  /** Where it ends, going by what was written. */
  readonly end: number
}

/**
 * The segment that holds `offset`, or would if it was not lost; null when no file can have it.
 * @param first offset of the oldest segment; -1 = there is none. @param others first offsets of those after it.
 */
export function findPlace(
  first: number,
  others: readonly number[] | null,
  written: number,
  offset: number,
): Place | null {
  if (first < 0 || offset < first || offset >= written) return null
  if (others === null) return { segment: first, end: written }
  let low = -1
  let high = others.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if ((others[middle] as number) <= offset) low = middle
    else high = middle - 1
  }
  return { segment: low < 0 ? first : (others[low] as number), end: others[low + 1] ?? written }
}
