import { formatHex } from '../base/index.ts'
import { commandName, OPTION, optionName, subName, type Verb, verbName } from './codes.ts'
import type { WireSink } from './wire.ts'

/**
 * One thing the proxy sent, in order. `name` is its protocol word (`DO BINARY`, `VMOTION-GOAHEAD`, `BRK`, `data`);
 * `at` the offset of its first byte in the received stream.
 */
export type WireItem =
  /** Adjacent serial bytes are one item whatever the segments; `from` is their offset in the decoded bytes. */
  | { readonly kind: 'data'; readonly name: 'data'; readonly at: number; readonly from: number; length: number }
  | { readonly kind: 'verb'; readonly name: string; readonly at: number; readonly verb: Verb; readonly option: number }
  /** `code` is the first payload byte for options 232 and 44 (`payload` is the rest), null for others. */
  | {
      readonly kind: 'sub'
      readonly name: string
      readonly at: number
      readonly option: number
      readonly code: number | null
      readonly payload: Uint8Array
    }
  | { readonly kind: 'command'; readonly name: string; readonly at: number; readonly command: number }
  | { readonly kind: 'malformed'; readonly name: string; readonly at: number }

export function verbItem(verb: number, option: number, at: number): WireItem {
  return { kind: 'verb', name: `${verbName(verb)} ${optionName(option)}`, at, verb: verbName(verb), option }
}

export function subItem(option: number, payload: Uint8Array, at: number): WireItem {
  const code = payload[0]
  if (code === undefined || (option !== OPTION.VMWARE && option !== OPTION.COM_PORT)) {
    return { kind: 'sub', name: `SB ${optionName(option)}`, at, option, code: null, payload }
  }
  const name = option === OPTION.VMWARE ? subName(code) : `SB COM-PORT ${code}`
  return { kind: 'sub', name, at, option, code, payload: payload.subarray(1) }
}

export function commandItem(command: number, at: number): WireItem {
  return { kind: 'command', name: commandName(command), at, command }
}

/** `VMOTION-GOAHEAD 44 da 87 f1 3c e6 4d ab`; data show up to 32 bytes as text. */
export function describeItem(item: WireItem, received: Uint8Array): string {
  if (item.kind === 'data') {
    const shown = received.subarray(item.from, item.from + Math.min(item.length, 32))
    const text = Array.from(shown, (b) => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '.')).join('')
    return `data ${item.length} bytes "${text}"${item.length > 32 ? '...' : ''}`
  }
  if (item.kind === 'sub' && item.payload.length > 0) {
    const shown = formatHex(item.payload.subarray(0, 48))
    return `${item.name} ${shown}${item.payload.length > 48 ? ` ... ${item.payload.length} bytes` : ''}`
  }
  return item.name
}

/** A sink that keeps items, merging data; `append` gets the data bytes. */
export class ItemSink implements WireSink {
  readonly items: WireItem[] = []
  readonly #append: (bytes: Uint8Array) => void
  #dataLength = 0

  constructor(append: (bytes: Uint8Array) => void) {
    this.#append = append
  }

  onData(bytes: Uint8Array, at: number): void {
    const last = this.items[this.items.length - 1]
    if (last?.kind === 'data') last.length += bytes.length
    else this.items.push({ kind: 'data', name: 'data', at, from: this.#dataLength, length: bytes.length })
    this.#dataLength += bytes.length
    this.#append(bytes)
  }

  onVerb(verb: number, option: number, at: number): void {
    this.items.push(verbItem(verb, option, at))
  }

  onSub(option: number, payload: Uint8Array, at: number): void {
    this.items.push(subItem(option, payload, at))
  }

  onCommand(command: number, at: number): void {
    this.items.push(commandItem(command, at))
  }

  onMalformed(what: string, at: number): void {
    this.items.push({ kind: 'malformed', name: what, at })
  }
}
