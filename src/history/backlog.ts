/**
 * The bytes of one port that are in memory: first those that are on disk too (the tail), then those that are not yet
 * (pending), in order of their offsets, with holes where something was dropped.
 *
 * Everything is copied into blocks, so that what is held costs about its size whatever the chunking, and the caller may
 * use its buffer again. Full-size blocks are used again too: at a high rate the garbage collector has more work with
 * fresh ones than copying costs. Costs are counted in memory, overhead of a piece included: a cap on cost is one on
 * pieces too.
 */

import { type BacklogTotals, type Block, FULL_BLOCK } from './blocks.ts'

/** Of a piece and a block: their objects, a view, places in lists. */
const PIECE_COST = 224
const FIRST_BLOCK = 256
/** Pieces in one write: IOV_MAX. */
const MAX_PIECES = 1024

interface Piece {
  readonly block: Block
  /** Where in the block the piece begins. */
  readonly at: number
  readonly start: number
  /** Grows while small chunks are packed behind. */
  end: number
  readonly cost: number
}

export class Backlog {
  readonly #totals: BacklogTotals
  #list: Piece[] = []
  /** First in #list that counts. */
  #head = 0
  /** First in #list that is not wholly settled. */
  #unsettled = 0
  /** Pieces from #unsettled on that are being written. */
  #flying = 0
  #pendingCost = 0
  #tailCost = 0
  #block: Block | null = null
  #used = 0

  constructor(totals: BacklogTotals) {
    this.#totals = totals
  }

  get empty(): boolean {
    return this.#head === this.#list.length
  }

  get pendingCost(): number {
    return this.#pendingCost
  }

  get tailCost(): number {
    return this.#tailCost
  }

  /** Offset of the oldest byte held; null when there is none. */
  get start(): number | null {
    return this.#list[this.#head]?.start ?? null
  }

  /** A copy of `bytes`, which begin at `offset`, at or after the end of what was appended before. */
  append(bytes: Uint8Array, offset: number): void {
    for (let done = 0; done < bytes.length; ) {
      const room = this.#block === null ? 0 : this.#block.bytes.length - this.#used
      const length = Math.min(room, bytes.length - done)
      if (length === 0) this.#nextBlock(bytes.length - done)
      else if (length === bytes.length) this.#pack(bytes, offset)
      else this.#pack(bytes.subarray(done, done + length), offset + done)
      done += length
    }
  }

  /** Up to `maxBytes` at `offset`, none at `end` or beyond, as a view; null when nothing is held there. */
  read(offset: number, end: number, maxBytes: number): Uint8Array | null {
    const piece = this.#list[this.#indexOf(offset)]
    if (piece === undefined) return null
    const until = Math.min(piece.end, end, offset + maxBytes)
    if (until <= offset || offset < piece.start) return null
    this.#totals.lend(piece.block)
    return view(piece, offset, until)
  }

  /** Where the first piece after `offset` begins; null when there is none. For an offset that is not held. */
  startAfter(offset: number): number | null {
    const index = this.#indexOf(offset)
    const here = this.#list[index]
    if (here !== undefined && here.start > offset) return here.start
    return this.#list[index + 1]?.start ?? null
  }

  /** Where the oldest byte is that is not below `written`; null when there is none. */
  pendingStart(written: number): number | null {
    const piece = this.#list[this.#unsettled]
    return piece === undefined ? null : Math.max(piece.start, written)
  }

  /**
   * Fills `views` with what comes next to be written: about `maxBytes` of pending bytes, without a hole. They stay here
   * until `settle`, or go back to pending with `landed`.
   * @returns their number.
   */
  take(written: number, maxBytes: number, views: Uint8Array[]): number {
    let bytes = 0
    let expected = this.pendingStart(written) ?? written
    let index = this.#unsettled
    for (; index < this.#list.length && views.length < MAX_PIECES; index++) {
      const piece = this.#list[index] as Piece
      const from = Math.max(piece.start, written)
      if (from !== expected || (bytes > 0 && bytes + piece.end - from > maxBytes)) break
      views.push(view(piece, from, piece.end))
      bytes += piece.end - from
      expected = piece.end
    }
    this.#flying = index - this.#unsettled
    return bytes
  }

  /** The write is over, however it ended. */
  landed(): void {
    this.#flying = 0
  }

  /** Everything below `written` is on disk: it is tail from now on. */
  settle(written: number): void {
    for (; this.#unsettled < this.#list.length; this.#unsettled++) {
      const piece = this.#list[this.#unsettled] as Piece
      if (piece.end > written) return
      this.#pending(-piece.cost)
      this.#tail(piece.cost)
    }
  }

  /**
   * Gives up the oldest pending piece that is not being written, the newest of all only if `evenNewest`.
   * @returns how many bytes that were not below `written` went; 0 when there is no such piece.
   */
  dropOldest(written: number, evenNewest: boolean): number {
    const index = this.#unsettled + this.#flying
    if (index >= this.#list.length - (evenNewest ? 0 : 1)) return 0
    const piece = this.#list[index] as Piece
    this.#pending(-piece.cost)
    if (index === this.#head) {
      this.#dropHead()
      this.#unsettled = Math.max(this.#unsettled, this.#head)
    } else {
      this.#list.splice(index, 1)
      this.#release(piece)
    }
    return piece.end - Math.max(piece.start, written)
  }

  /** Lets go of the oldest pieces of the tail, as long as the last `keep` bytes remain. */
  evict(keep: number): void {
    const end = this.#list.at(-1)?.end ?? 0
    while (this.#head < this.#unsettled) {
      const rest = this.#list[this.#head + 1]?.start ?? end
      if (end - rest < keep) return
      this.#tail(-(this.#list[this.#head] as Piece).cost)
      this.#dropHead()
    }
  }

  /** Lets go of everything, and of its costs. */
  clear(): void {
    // What is being written is still in the hands of the disk.
    if (this.#flying === 0) while (this.#head < this.#list.length) this.#dropHead()
    this.#pending(-this.#pendingCost)
    this.#tail(-this.#tailCost)
    this.#list = []
    this.#head = 0
    this.#unsettled = 0
    this.#flying = 0
    this.#block = null
  }

  /** For `length` bytes or more; grows with what comes. */
  #nextBlock(length: number): void {
    const grown = this.#block === null ? FIRST_BLOCK : this.#block.bytes.length * 4
    let size = FIRST_BLOCK
    while (size < FULL_BLOCK && (size < length || size < grown)) size *= 2
    this.#block = { bytes: this.#totals.takeBlock(size), pieces: 0, lent: 0 }
    this.#used = 0
  }

  /** Into the block, which has room for it. */
  #pack(bytes: Uint8Array, offset: number): void {
    const block = this.#block as Block
    const used = this.#used
    block.bytes.set(bytes, used)
    this.#used = used + bytes.length
    const last = this.#list.length - 1
    const tail = last >= this.#head ? this.#list[last] : undefined
    if (tail?.block !== block || tail.end !== offset || tail.at + tail.end - tail.start !== used) {
      const cost = block.pieces === 0 ? block.bytes.length + PIECE_COST : PIECE_COST
      block.pieces++
      this.#list.push({ block, at: used, start: offset, end: offset + bytes.length, cost })
      this.#pending(cost)
      return
    }
    tail.end += bytes.length
    if (last >= this.#unsettled) return
    // It was settled as it was: what was packed behind makes it pending again.
    this.#unsettled = last
    this.#tail(-tail.cost)
    this.#pending(tail.cost)
  }

  #release({ block }: Piece): void {
    // What follows must not be packed behind bytes that are gone: its cost would be, too.
    if (block === this.#block) this.#block = null
    block.pieces--
    this.#totals.release(block)
  }

  #pending(cost: number): void {
    this.#pendingCost += cost
    this.#totals.pending += cost
  }

  #tail(cost: number): void {
    this.#tailCost += cost
    this.#totals.tail += cost
  }

  #dropHead(): void {
    this.#release(this.#list[this.#head] as Piece)
    // What is dropped must not stay in memory until the list is made anew.
    this.#list[this.#head] = GONE
    this.#head++
    if (this.#head < 32 || this.#head * 2 < this.#list.length) return
    this.#list = this.#list.slice(this.#head)
    this.#unsettled = Math.max(0, this.#unsettled - this.#head)
    this.#head = 0
  }

  /** Index of the last piece that begins at or before `offset`, or of the first piece. */
  #indexOf(offset: number): number {
    let low = this.#head
    let high = this.#list.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#list[middle] as Piece).start <= offset) low = middle
      else high = middle - 1
    }
    return low
  }
}

const GONE: Piece = { block: { bytes: new Uint8Array(0), pieces: 1, lent: 0 }, at: 0, start: 0, end: 0, cost: 0 }

function view(piece: Piece, from: number, until: number): Uint8Array {
  const { at, start } = piece
  const { bytes } = piece.block
  const begin = at + from - start
  const end = at + until - start
  return begin === 0 && end === bytes.length ? bytes : bytes.subarray(begin, end)
}
