/** The side of a resumable stream that dials, again and again if need be. */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { Backoff, type Clock, type Limits, type Timer, VspcError } from '../base/index.ts'
import { ID_BYTES } from '../link/index.ts'
import type { ByteStream } from './byte-stream.ts'
import type { ResumeLimit } from './contracts.ts'
import type { LinkTable } from './link-acceptor.ts'
import { type LinkKeeper, LinkStream } from './link-stream.ts'
import { reset } from './reset.ts'

export interface DialLinkOptions {
  /** Connects to wherever the other end is by now. Deadlines are its own business; aborting makes it reject. */
  readonly dialLeg: (signal?: AbortSignal) => Promise<ByteStream>
  readonly limits: Pick<Limits, ResumeLimit | 'redialMinMs' | 'redialMaxMs'>
  readonly clock: Clock
  /** Ends the first dial only: once the stream is there, it is ended by destroying its socket. */
  readonly signal?: AbortSignal
  /** Where the stream is to be found while it lives. Not that of listeners: one may be dialled by its own process. */
  readonly links?: LinkTable
}

/**
 * Begins a resumable stream: dials, and resolves once the other end has taken it; the caller owns it. From then on lost
 * connections are dialled again, at once the first time, then with growing pauses, until `resumeMs` are over.
 * @throws what `dialLeg` throws; VspcError VSPC_LINK_REFUSED, VSPC_LINK_PROTOCOL or VSPC_LINK_LOST if the other end says
 * no, speaks something else, or nothing within `resumeDeadMs`; or the signal's reason.
 */
export async function dialLink(options: DialLinkOptions): Promise<ByteStream> {
  const { signal } = options
  signal?.throwIfAborted()
  const first = await options.dialLeg(signal)
  if (signal?.aborted) {
    reset(first.socket)
    throw signal.reason
  }
  const link = await new LinkDialler(options).begin(first)
  return { ...first, socket: link, link }
}

/**
 * The next hop has changed: a resumable stream on its way there makes sure that its connection is still good, and if it
 * has none, dials now. Nothing happens to any other stream.
 */
export function probeLink(socket: Duplex): void {
  if (socket instanceof LinkStream) socket.probe()
}

class LinkDialler implements LinkKeeper {
  readonly #options: DialLinkOptions
  readonly #link: LinkStream
  /** Settles `begin`; null afterwards. */
  #begun: { resolve(link: LinkStream): void; reject(error: unknown): void } | null = null
  #attempt: AbortController | null = null
  #pause: Timer | null = null
  readonly #backoff: Backoff
  /** The first dial after a good connection is not put off. */
  #isFirst = true
  #joinedAt = 0

  constructor(options: DialLinkOptions) {
    this.#options = options
    const { limits, clock } = options
    this.#backoff = new Backoff(limits, Math.random)
    const id = randomBytes(ID_BYTES)
    this.#link = new LinkStream({ role: 'dialler', id, limits, clock, keeper: this })
    options.links?.set(id.toString('latin1'), this.#link)
  }

  begin(first: ByteStream): Promise<LinkStream> {
    const { signal } = this.#options
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#fail(signal?.reason)
      const settle = (): void => signal?.removeEventListener('abort', onAbort)
      this.#begun = {
        resolve: (link) => {
          settle()
          resolve(link)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      signal?.addEventListener('abort', onAbort)
      this.#link.dialled(first.socket)
    })
  }

  joined(): void {
    this.#joinedAt = this.#options.clock.now()
    this.#begun?.resolve(this.#link)
    this.#begun = null
  }

  legLost(): void {
    if (this.#begun !== null) {
      const text =
        'the connection was lost, or silent, before the other end took the resumable stream; is "resume=on" set there?'
      this.#fail(new VspcError('VSPC_LINK_LOST', text))
      return
    }
    // One that breaks as soon as it is made must not be dialled in a circle.
    if (this.#options.clock.now() - this.#joinedAt >= this.#options.limits.redialMinMs) this.#forgetFailures()
    this.#redial()
  }

  hurry(): void {
    if (this.#begun !== null) return
    this.#forgetFailures()
    this.#attempt?.abort()
    this.#attempt = null
    // A connection whose HELLO is not answered yet leads to where the other end was.
    this.#link.dropUnanswered()
    if (this.#attempt === null) this.#redial()
  }

  over(link: LinkStream, error: Error | null): void {
    this.#options.links?.delete(link)
    this.#pause?.cancel()
    this.#pause = null
    this.#attempt?.abort()
    this.#attempt = null
    this.#begun?.reject(error ?? new VspcError('VSPC_LINK_LOST', 'resumable stream: closed before it was open'))
    this.#begun = null
  }

  #fail(error: unknown): void {
    const begun = this.#begun
    this.#begun = null
    this.#link.destroy()
    begun?.reject(error)
  }

  #redial(): void {
    if (this.#link.over) return
    this.#pause?.cancel()
    this.#pause = null
    if (this.#isFirst) {
      this.#isFirst = false
      this.#dial()
      return
    }
    this.#pause = this.#options.clock.after(this.#backoff.next(), () => {
      this.#pause = null
      this.#dial()
    })
  }

  #forgetFailures(): void {
    this.#isFirst = true
    this.#backoff.reset()
  }

  #dial(): void {
    const attempt = new AbortController()
    this.#attempt = attempt
    this.#options.dialLeg(attempt.signal).then(
      (stream) => {
        if (attempt.signal.aborted) reset(stream.socket)
        else {
          this.#attempt = null
          this.#link.dialled(stream.socket)
        }
      },
      () => {
        // Why is the business of whoever dials; what counts here is that there is still time.
        if (attempt.signal.aborted) return
        this.#attempt = null
        this.#redial()
      },
    )
  }
}
