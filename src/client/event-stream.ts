import type { IncomingMessage } from 'node:http'
import { StringDecoder } from 'node:string_decoder'
import { errorMessage, VspcError } from '../base/index.ts'
import type { ServerEvent } from '../vspc/index.ts'
import { notOurs, type ServerClient } from './requests.ts'
import { TIMING } from './timing.ts'

/** An event longer than this is none of ours. */
const MAX_EVENT_CHARS = 1 << 20

/**
 * What happens at the server from the moment this was opened: list the ports after that, and nothing is missed.
 *
 * Iterating ends when {@link close} is called or the loop is left; it throws VSPC_SERVER_UNREACHABLE when the connection
 * is lost, which also happens to those who do not read. Events in between are not kept: open it again, list again.
 * Whoever opened it closes it.
 */
export class EventStream implements AsyncIterable<ServerEvent> {
  readonly #body: IncomingMessage
  readonly #events: AsyncGenerator<ServerEvent, void, void>
  #closed = false

  private constructor(client: ServerClient, body: IncomingMessage, signal: AbortSignal | undefined) {
    this.#body = body
    this.#events = this.#read(client, signal)
  }

  /** Resolves once the server has said hello: from then on events are seen. */
  static async open(client: ServerClient, signal?: AbortSignal): Promise<EventStream> {
    const { body } = await client.open('/api/v1/events', signal)
    const stream = new EventStream(client, body, signal)
    // The generator takes the hello for itself and stops behind it.
    await stream.#events.next()
    return stream
  }

  [Symbol.asyncIterator](): AsyncGenerator<ServerEvent, void, void> {
    return this.#events
  }

  close(): void {
    this.#closed = true
    this.#body.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  async *#read(client: ServerClient, signal: AbortSignal | undefined): AsyncGenerator<ServerEvent, void, void> {
    // The server says something every 15 s, events or not.
    this.#body.socket.setTimeout(TIMING.deadConnectionMs, () => this.#body.destroy(new Error('it is silent')))
    try {
      for await (const { event, data } of serverSentEvents(this.#body)) yield parsed(client, event, data)
    } catch (error) {
      if (this.#closed) return
      signal?.throwIfAborted()
      if (error instanceof VspcError) throw error
      throw lost(errorMessage(error), error)
    } finally {
      this.#body.destroy()
    }
    if (!this.#closed) throw lost('the server ended it')
  }
}

/** The hello is no event of ours, and only told to `open`. */
function parsed(client: ServerClient, event: string, data: string): ServerEvent {
  try {
    const value: unknown = JSON.parse(data)
    if (typeof value === 'object' && value !== null) return value as ServerEvent
  } catch (cause) {
    throw notOurs(client.address, `the event "${event}" is no JSON`, cause)
  }
  throw notOurs(client.address, `the event "${event}" is no object`)
}

function lost(reason: string, cause?: unknown): VspcError {
  return new VspcError('VSPC_SERVER_UNREACHABLE', `the stream of events is lost: ${reason}`, { cause })
}

/** HTML standard, section 9.2.6, as far as our server uses it: fields `event` and `data`, comments, LF as line end. */
export async function* serverSentEvents(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ event: string; data: string }, void, void> {
  const decoder = new StringDecoder('utf8')
  let text = ''
  for await (const chunk of chunks) {
    text += decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = text.slice(0, end).split('\n')
      text = text.slice(end + 2)
      const of = (name: string) =>
        fields
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).replace(/^ /, ''))
      const data = of('data')
      if (data.length > 0) yield { event: of('event').at(-1) ?? 'message', data: data.join('\n') }
    }
    if (text.length > MAX_EVENT_CHARS) throw new VspcError('VSPC_SERVER_ANSWER', 'an event of the server has no end')
  }
}
