import type { Socket } from 'node:net'
import { VspcError } from '../base/index.ts'
import { concatBytes } from './wire.ts'

/**
 * How writes are cut, to try a proxy's decoder: `{ at: n }` cuts each write after n bytes, `{ every: n }` into pieces
 * of n, `bytes` into single bytes, `glue` joins all writes of one turn of the event loop into one.
 */
export type WriteSplit = 'bytes' | 'glue' | { readonly at: number } | { readonly every: number }

/**
 * Parses `bytes`, `glue`, `at:N` (each write cut once, after N bytes) or `every:N`.
 * @throws VspcError VSPC_USAGE for anything else.
 */
export function parseSplit(text: string): WriteSplit {
  if (text === 'bytes' || text === 'glue') return text
  const match = /^(at|every):([1-9]\d{0,6})$/.exec(text)
  if (!match) throw new VspcError('VSPC_USAGE', `unknown split "${text}"; accepted: bytes, glue, at:N, every:N`)
  const count = Number(match[2])
  return match[1] === 'at' ? { at: count } : { every: count }
}

/**
 * Writes pieces one by one, each after the kernel has taken the one before and a turn of the event loop has passed, so
 * that the peer has a chance to read them apart. TCP may still join them; no test may rely on the pieces.
 */
export class SplitWriter {
  readonly #socket: Socket
  readonly #split: WriteSplit
  #pieces: Uint8Array[] = []
  #busy = false
  #onIdle: (() => void)[] = []

  constructor(socket: Socket, split: WriteSplit) {
    this.#socket = socket
    this.#split = split
    // Without this Nagle's algorithm would join what was just cut.
    socket.setNoDelay(true)
  }

  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    for (const piece of this.#cut(bytes)) this.#pieces.push(piece)
    if (this.#busy) return
    this.#busy = true
    if (this.#split === 'glue') setImmediate(this.#next)
    else this.#next()
  }

  /** Calls `run` once everything written so far is in the kernel. */
  whenIdle(run: () => void): void {
    if (this.#busy) this.#onIdle.push(run)
    else run()
  }

  readonly #next = (): void => {
    if (this.#socket.destroyed || this.#pieces.length === 0) {
      this.#pieces = []
      this.#busy = false
      const idle = this.#onIdle
      this.#onIdle = []
      for (const run of idle) run()
      return
    }
    const piece = this.#split === 'glue' ? concatBytes(...this.#pieces.splice(0)) : (this.#pieces.shift() as Uint8Array)
    this.#socket.write(piece, () => setImmediate(this.#next))
  }

  #cut(bytes: Uint8Array): Uint8Array[] {
    const split = this.#split
    if (split === 'glue') return [bytes.slice()]
    if (split !== 'bytes' && 'at' in split) {
      if (split.at <= 0 || split.at >= bytes.length) return [bytes]
      return [bytes.subarray(0, split.at), bytes.subarray(split.at)]
    }
    const size = split === 'bytes' ? 1 : Math.max(1, split.every)
    const pieces: Uint8Array[] = []
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size))
    return pieces
  }
}
