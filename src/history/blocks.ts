/** The memory that the backlogs of a store lie in, and what it costs. */

/** Bytes; as much as Node reads from a socket at once. */
export const FULL_BLOCK = 65_536
/** Full-size blocks kept for later, while there is much to do: 32 MiB; and when there is nothing: 1 MiB. */
const SPARE_BLOCKS = 512
const SPARE_AT_REST = 16

export interface Block {
  readonly bytes: Uint8Array
  /** Of the backlog that lie in it. */
  pieces: number
  /** Views of it that readers have; counted for full-size ones. */
  lent: number
}

/** Costs of all backlogs of a store, and the blocks they share. */
export class BacklogTotals {
  pending = 0
  tail = 0
  readonly #spare: Uint8Array[] = []
  /** Full-size blocks that readers have views of, by their memory. */
  readonly #lent = new WeakMap<ArrayBufferLike, Block>()

  takeBlock(size: number): Uint8Array {
    if (size < FULL_BLOCK) return new Uint8Array(size)
    // Not cleared: it is filled before it is read. Of its own memory, not of Node's pool.
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(size)
  }

  /** A reader gets a view of the block. */
  lend(block: Block): void {
    if (block.bytes.length !== FULL_BLOCK) return
    block.lent++
    this.#lent.set(block.bytes.buffer, block)
  }

  /** A view that was lent is not needed any more. To be said once for each. */
  giveBack(view: Uint8Array): void {
    const block = this.#lent.get(view.buffer)
    if (block === undefined) return
    block.lent--
    this.release(block)
  }

  /** The block can be used again, if nobody has it any more. */
  release({ bytes, pieces, lent }: Block): void {
    if (pieces > 0 || lent > 0) return
    this.#lent.delete(bytes.buffer)
    if (bytes.length === FULL_BLOCK && this.#spare.length < SPARE_BLOCKS) this.#spare.push(bytes)
  }

  /** There is nothing to do: gives memory back. */
  rest(): void {
    if (this.#spare.length > SPARE_AT_REST) this.#spare.length = SPARE_AT_REST
  }
}
