import { Readable } from 'node:stream'

/**
 * What is described at a time: 20,000 ports at once would hold up every VM for a hundred milliseconds, this many take
 * about one.
 */
export const LIST_SLICE = 250
/** So much of what VMs publish takes about one, too: some have a thousand times as much to tell as others. */
const SLICE_CHARACTERS = 16 << 10

export interface JsonListOptions {
  /** What comes before and after the array. */
  readonly around?: readonly [start: string, end: string]
  /** Of one slice, about; for what is made faster, or slower. */
  readonly characters?: number
}

/** A JSON array, a slice per turn of the event loop, and only as fast as it is read. */
export class JsonListBody<Item> extends Readable {
  readonly #items: readonly Item[]
  readonly #describe: (item: Item) => string | null
  readonly #end: string
  readonly #characters: number
  #start: string
  #isFirst = true
  #at = 0

  /** @param describe as JSON; null for what is gone meanwhile. */
  constructor(items: readonly Item[], describe: (item: Item) => string | null, options: JsonListOptions = {}) {
    super()
    const { around = ['', ''], characters = SLICE_CHARACTERS } = options
    this.#items = items
    this.#describe = describe
    this.#start = `${around[0]}[`
    this.#end = `]${around[1]}`
    this.#characters = characters
  }

  override _read(): void {
    setImmediate(() => this.#pushSlice())
  }

  #pushSlice(): void {
    if (this.destroyed) return
    let text = this.#start
    this.#start = ''
    const end = Math.min(this.#at + LIST_SLICE, this.#items.length)
    while (this.#at < end && text.length < this.#characters) {
      const one = this.#describe(this.#items[this.#at++] as Item)
      if (one === null) continue
      text += this.#isFirst ? one : `,${one}`
      this.#isFirst = false
    }
    const isLast = this.#at >= this.#items.length
    if (isLast) text += this.#end
    // All of a slice may be gone: an empty push would not ask for the next one.
    if (text !== '') this.push(text)
    else setImmediate(() => this.#pushSlice())
    if (isLast) this.push(null)
  }
}
