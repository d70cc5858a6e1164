import { once } from 'node:events'
import type { Duplex } from 'node:stream'

export {
  QEMU_PROMPT as GUEST_PROMPT,
  type QemuGuest as Guest,
  type QemuGuestOptions as GuestOptions,
  startQemuGuest as startGuest,
} from '../../src/sim/index.ts'

/** What came out of a stream so far, to wait for a text in it. Starts the stream flowing. */
export class Transcript {
  readonly #stream: Duplex
  #text = ''
  /** Where the next `until` starts to look. */
  #from = 0

  constructor(stream: Duplex) {
    this.#stream = stream
    // One character per byte: what is searched for may stand beside binary output.
    stream.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
    })
    stream.on('error', () => {})
  }

  /** All of it, one character per byte. */
  get text(): string {
    return this.#text
  }

  /** Sends `line` and Enter, as a terminal does. */
  enter(line: string): void {
    this.#stream.write(`${line}\r`)
  }

  /** Waits for `text` behind the last one waited for; resolves with all from there up to and including it. */
  async until(text: string, timeoutMs = 15_000): Promise<string> {
    const signal = AbortSignal.timeout(timeoutMs)
    const closed = new AbortController()
    const onClose = () => closed.abort()
    this.#stream.once('close', onClose)
    try {
      for (;;) {
        const at = this.#text.indexOf(text, this.#from)
        if (at >= 0) {
          const end = at + text.length
          const found = this.#text.slice(this.#from, end)
          this.#from = end
          return found
        }
        await once(this.#stream, 'data', { signal: AbortSignal.any([signal, closed.signal]) })
      }
    } catch {
      // Aborted, for one of two reasons.
      const why = closed.signal.aborted ? 'the stream closed' : `${timeoutMs} ms passed`
      const tail = JSON.stringify(this.#text.slice(this.#from).slice(-500))
      throw new Error(`${why} before ${JSON.stringify(text)} came; what came: ${tail}`)
    } finally {
      this.#stream.removeListener('close', onClose)
    }
  }
}
