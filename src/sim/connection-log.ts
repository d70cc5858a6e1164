import type { Clock } from '../base/index.ts'
import { ByteLog, findBytes } from './byte-log.ts'
import { describeItem, ItemSink, type WireItem } from './item.ts'
import { DEFAULT_WAIT_MS, Waiting } from './waiting.ts'
import { toBytes, WireParser } from './wire.ts'

/** A protocol word (`VMOTION-GOAHEAD`, `DO BINARY`, `BRK`), or a test on the item. */
export type ItemMatch = string | ((item: WireItem) => boolean)

export interface WaitOptions {
  readonly timeoutMs?: number
}

/** Everything that went over one simulated connection, and waiting for what is still to come. */
export class ConnectionLog {
  /** Serial bytes from the proxy, undoubled, in order. */
  readonly received = new ByteLog()
  /** Raw bytes to the proxy. */
  readonly sent = new ByteLog()
  readonly sink = new ItemSink((bytes) => this.received.append(bytes))
  readonly #taken = new Set<WireItem>()
  readonly #waiting: Waiting
  readonly #title: () => string
  #receivedFrom = 0

  constructor(clock: Clock, title: () => string) {
    this.#waiting = new Waiting(clock)
    this.#title = title
  }

  get items(): readonly WireItem[] {
    return this.sink.items
  }

  /**
   * Resolves with the oldest matching item that no earlier `expect` got; so the same word twice means two items, and
   * the order of two calls does not matter. Data items never match a word.
   * @throws VspcError VSPC_SIM_EXPECT after `timeoutMs` (default 5000) or when the connection has closed.
   */
  expect(match: ItemMatch, options: WaitOptions = {}): Promise<WireItem> {
    const matches = typeof match === 'string' ? (item: WireItem) => item.name === match : match
    const attempt = () => {
      const item = this.items.find((candidate) => !this.#taken.has(candidate) && matches(candidate))
      if (item) this.#taken.add(item)
      return item
    }
    const what = typeof match === 'string' ? match : 'a matching item'
    return this.#waiting.wait(what, attempt, options.timeoutMs ?? DEFAULT_WAIT_MS, () => this.dump())
  }

  /** Resolves once the serial bytes contain `wanted` behind the place where the last such call found its own. */
  expectData(wanted: string | Uint8Array, options: WaitOptions = {}): Promise<void> {
    const needle = toBytes(wanted)
    const attempt = () => {
      const at = findBytes(this.received.bytes, needle, this.#receivedFrom)
      if (at < 0) return undefined
      this.#receivedFrom = at + needle.length
      return null
    }
    const what = `serial data ${JSON.stringify(wanted)}`
    const wait = this.#waiting.wait(what, attempt, options.timeoutMs ?? DEFAULT_WAIT_MS, () => this.dump())
    return wait.then(() => undefined)
  }

  /** Items of that name so far. */
  count(name: string): number {
    return this.items.filter((item) => item.name === name).length
  }

  /** Something arrived. */
  poke(): void {
    this.#waiting.poke()
  }

  end(why: string): void {
    this.#waiting.end(why)
  }

  /** Both directions in protocol words, one item a line. */
  dump(): string {
    const mine = new ByteLog()
    const sent = new ItemSink((bytes) => mine.append(bytes))
    new WireParser().push(this.sent.bytes, sent)
    const lines = (items: readonly WireItem[], data: ByteLog) =>
      items.map((item) => `  ${String(item.at).padStart(6)} ${describeItem(item, data.bytes)}`).slice(-200)
    return [
      this.#title(),
      ' proxy -> VM:',
      ...lines(this.items, this.received),
      ' VM -> proxy:',
      ...lines(sent.items, mine),
    ].join('\n')
  }
}
