/**
 * What the proxy of a recording said, against what the server says now: compared by kind, never byte for byte. Lists of
 * known suboptions, secrets, the order of offers and answers to COM-PORT may all differ between good proxies. Pure.
 */
import { formatHex } from '../base/index.ts'
import { commandName, OPTION, optionName, SUBOPTION, suboptionName, WILL, WONT } from '../telnet/index.ts'
import type { TelnetItem } from './items.ts'
import type { Sequences } from './sequences.ts'

export interface ProxySaying {
  /** Sayings with one key answer the same question. */
  readonly key: string
  /** In protocol words, without secrets. */
  readonly words: string
  /** A good proxy has to say it; the others are habits (which identities it asks for, what it offers). */
  readonly required: boolean
  /** Saying it again means nothing new. */
  readonly repeatable: boolean
  /** Said where the recording has nothing of the kind, it is a deviation. */
  readonly notable: boolean
}

/** What one item from the proxy says; null for what a replay does not look at (serial data, COM-PORT settings). */
export function proxySaying(item: TelnetItem, sequences: Sequences): ProxySaying | null {
  if (item.kind === 'negotiation') {
    const half = item.verb === WILL || item.verb === WONT ? 'proxy' : 'vm'
    const words = `${commandName(item.verb)} ${optionName(item.option)}`
    return { key: `${half} half of ${item.option}`, words, required: false, repeatable: true, notable: false }
  }
  if (item.kind !== 'sub' || item.option !== OPTION.VMWARE_TELNET_EXT) return null
  const [code] = item.payload
  return code === undefined ? null : vmwareSaying(code, item.payload.subarray(1), sequences)
}

function vmwareSaying(code: number, body: Uint8Array, sequences: Sequences): ProxySaying | null {
  const name = suboptionName(code)
  switch (code) {
    case SUBOPTION.KNOWN_SUBOPTIONS_2:
      return { key: name, words: name, required: true, repeatable: true, notable: false }
    case SUBOPTION.UNKNOWN_SUBOPTION_RCVD_2: {
      const words = `${name} ${formatHex(body)}`.trimEnd()
      return { key: words, words, required: false, repeatable: true, notable: true }
    }
    case SUBOPTION.VMOTION_GOAHEAD:
    case SUBOPTION.VMOTION_NOTNOW: {
      const sequence = code === SUBOPTION.VMOTION_NOTNOW ? body : body.subarray(0, sequences.lengthIn(body) ?? 0)
      const hex = formatHex(sequence)
      return {
        key: `answer to VMOTION-BEGIN ${hex}`,
        words: `${name} ${hex}`,
        required: true,
        repeatable: false,
        notable: true,
      }
    }
    case SUBOPTION.VMOTION_PEER_OK: {
      const words = `${name} ${formatHex(body)}`
      return { key: words, words, required: true, repeatable: false, notable: true }
    }
    case SUBOPTION.WILL_PROXY:
    case SUBOPTION.WONT_PROXY:
      return { key: 'answer to DO-PROXY', words: name, required: true, repeatable: true, notable: false }
    default:
      return { key: name, words: name, required: false, repeatable: true, notable: false }
  }
}

/** A saying of the recording, and when. */
interface Recorded {
  readonly saying: ProxySaying
  readonly t: number
}

export interface Deviation {
  /** Time of the recording where it showed. */
  readonly t: number
  readonly expected: string | null
  readonly got: string | null
}

/** Both sides of one stream. */
export class Expectations {
  readonly #recorded = new Map<string, Recorded[]>()
  readonly #heard = new Map<string, ProxySaying[]>()

  /** The recording's proxy said this. */
  expect(saying: ProxySaying, t: number): void {
    append(this.#recorded, saying.key, { saying, t })
  }

  /** The server said this. */
  hear(saying: ProxySaying): void {
    append(this.#heard, saying.key, saying)
  }

  heard(key: string): boolean {
    return this.#heard.has(key)
  }

  /** Sayings recorded so far that the server has not come up with, by key. */
  missing(): ProxySaying[] {
    const found: ProxySaying[] = []
    for (const [key, recorded] of this.#recorded) {
      const [first] = recorded
      if (!first) continue
      const wanted = first.saying.repeatable ? 1 : recorded.length
      if ((this.#heard.get(key)?.length ?? 0) < wanted) found.push(first.saying)
    }
    return found
  }

  /** Where the server said something else than the recording, did not say it, or said what is not in there. */
  deviations(end: number): Deviation[] {
    const found: Deviation[] = []
    for (const [key, recorded] of this.#recorded) {
      for (const [i, { saying, t }] of recorded.entries()) {
        if (!saying.required) continue
        const heard = this.#heard.get(key) ?? []
        const got = heard[saying.repeatable ? Math.min(i, heard.length - 1) : i]
        if (got?.words !== saying.words) found.push({ t, expected: saying.words, got: got?.words ?? null })
      }
    }
    for (const [key, heard] of this.#heard) {
      for (const saying of heard.slice(this.#recorded.get(key)?.length ?? 0)) {
        if (saying.notable) found.push({ t: end, expected: null, got: saying.words })
      }
    }
    return found
  }
}

function append<T>(lists: Map<string, T[]>, key: string, value: T): void {
  const list = lists.get(key)
  if (list) list.push(value)
  else lists.set(key, [value])
}
