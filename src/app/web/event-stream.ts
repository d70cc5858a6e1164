/** Server-sent events over `fetch`: `EventSource` cannot send a header that says who asks. HTML standard, section 9.2. */

/** A line of the server's is a description of a port: far below this. */
const MAX_HELD = 1 << 20

export interface EventListener {
  event(type: string, data: string): void
  /** The stream is over. `status` 0: it was lost, or never there. */
  ended(status: number, detail: string): void
}

/** @returns what ends it; `ended` is not called then. */
export function readEvents(path: string, headers: Record<string, string>, listener: EventListener): () => void {
  const over = new AbortController()
  void run(path, headers, listener, over.signal)
  return () => over.abort()
}

async function run(
  path: string,
  headers: Record<string, string>,
  listener: EventListener,
  signal: AbortSignal,
): Promise<void> {
  try {
    const answer = await fetch(path, { headers, signal, cache: 'no-store' })
    if (!answer.ok || answer.body === null) {
      const problem = (await answer.json().catch(() => ({}))) as { detail?: unknown }
      listener.ended(answer.status, String(problem.detail ?? `the server answered ${answer.status}`))
      return
    }
    const parser = new EventParser((type, data) => {
      if (!signal.aborted) listener.event(type, data)
    })
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) parser.push(piece.value)
  } catch {
    // Lost, or ended by us: the same to whoever listens.
  }
  if (!signal.aborted) listener.ended(0, 'the server is away')
}

export class EventParser {
  readonly #found: (type: string, data: string) => void
  #held = ''
  #type = ''
  #data: string[] = []

  constructor(found: (type: string, data: string) => void) {
    this.#found = found
  }

  push(text: string): void {
    const lines = (this.#held + text).split(/\r\n|\n|\r(?!$)/)
    this.#held = lines.pop() ?? ''
    if (this.#held.length > MAX_HELD) this.#held = ''
    for (const line of lines) this.#line(line)
  }

  #line(line: string): void {
    if (line === '') {
      if (this.#data.length > 0) this.#found(this.#type || 'message', this.#data.join('\n'))
      this.#type = ''
      this.#data = []
      return
    }
    const colon = line.indexOf(':')
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (name === 'event') this.#type = value
    else if (name === 'data') this.#data.push(value)
  }
}
