import { notOurs, type ServerClient } from './requests.ts'

/** Of a line of JSON: the longest line of output, all of it escaped. */
const MAX_RECORD = 1 << 20

/** Lines of an answer in ndjson, as they come. @throws VspcError when it is none. */
export async function* jsonLines(
  client: ServerClient,
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder()
  let held = ''
  for await (const chunk of chunks) {
    held += decoder.decode(chunk, { stream: true })
    let at = 0
    for (let end = held.indexOf('\n'); end >= 0; end = held.indexOf('\n', at)) {
      yield held.slice(at, end)
      at = end + 1
    }
    held = held.slice(at)
    if (held.length > MAX_RECORD) throw notOurs(client.address, 'a line without end')
  }
}
