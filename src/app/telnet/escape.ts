/**
 * Takes commands out of what is typed at a console: two keys that a Telnet client does not keep for itself (`^E c`, as in
 * conserver), then a letter. Pure; the same for any chunking.
 *
 * After the first key nothing is known yet: it is held, and goes on with the next key, or when whoever owns this says so
 * (the guest has to see a `^E` that was meant for it). The first key instead of a letter sends the two keys themselves.
 */
import { VspcError } from '../../base/index.ts'

export interface EscapeSequence {
  readonly first: number
  readonly second: number
}

export const DEFAULT_ESCAPE: EscapeSequence = { first: 0x05, second: 0x63 }

const ESC = 0x1b

export interface EscapeSink {
  /** For the VM; nobody changes the bytes. */
  data(bytes: Uint8Array): void
  /** @returns false: the rest of the keys is not for the console any more. */
  run(byte: number): boolean
}

export class ConsoleEscape {
  readonly #sequence: EscapeSequence | null
  #state: 'text' | 'first' | 'command' = 'text'

  /** @param sequence null: there are no commands. */
  constructor(sequence: EscapeSequence | null) {
    this.#sequence = sequence
  }

  /** The first key was typed, and nothing since. */
  get isHolding(): boolean {
    return this.#state === 'first'
  }

  /** @returns how many of `keys` were used: all, unless the sink said so. */
  push(keys: Uint8Array, sink: EscapeSink): number {
    if (this.#sequence === null) {
      sink.data(keys)
      return keys.length
    }
    const { first, second } = this.#sequence
    let at = 0
    while (at < keys.length) {
      if (this.#state === 'text') {
        const found = keys.indexOf(first, at)
        const end = found < 0 ? keys.length : found
        if (end > at) sink.data(keys.subarray(at, end))
        if (found >= 0) this.#state = 'first'
        at = end + 1
        continue
      }
      const key = keys[at] as number
      if (this.#state === 'first') {
        if (key === second) {
          this.#state = 'command'
          at++
        } else {
          this.release(sink)
        }
        continue
      }
      at++
      this.#state = 'text'
      if (key === first) sink.data(Uint8Array.of(first, second))
      else if (!sink.run(key)) return at
    }
    return keys.length
  }

  /** What is held goes to the VM. */
  release(sink: Pick<EscapeSink, 'data'>): void {
    if (this.#state !== 'first' || this.#sequence === null) return
    this.#state = 'text'
    sink.data(Uint8Array.of(this.#sequence.first))
  }
}

/**
 * `^Ec`: a control key, then another key; `off` (null) for none.
 * @throws VspcError VSPC_CONFIG_INVALID.
 */
export function parseEscape(text: string, name: string): EscapeSequence | null {
  if (text === 'off') return null
  const [, control, second] = /^\^([@-_a-z])([!-~])$/.exec(text) ?? []
  const first = control === undefined ? null : control.toUpperCase().charCodeAt(0) & 0x1f
  if (first === null || second === undefined || first === 0x0d || first === 0x0a || first === ESC || first === 0) {
    const why = first === null ? '' : ': that control key is Enter, the beginning of every arrow key, or nothing'
    throw new VspcError(
      'VSPC_CONFIG_INVALID',
      `telnet.${name} "${text}" cannot begin a command${why}; accepted is a control key and another one, such as "^Ec", or "off"`,
    )
  }
  return { first, second: second.charCodeAt(0) }
}

export function formatEscape(sequence: EscapeSequence | null): string {
  if (sequence === null) return 'off'
  return `^${String.fromCharCode(sequence.first + 0x40)}${String.fromCharCode(sequence.second)}`
}
