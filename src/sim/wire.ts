/**
 * The simulator's own Telnet writer and reader (RFC 854, 855).
 *
 * Encoding returns fresh arrays. The parser is one switch over five states that survive any chunk border; it reports
 * what it finds through a sink, in order. A subnegotiation past {@link MAX_SUB_BYTES} is reported as malformed and
 * skipped to IAC SE, so that a broken proxy cannot make a simulator of 10,000 VMs grow.
 */
import { DO, DONT, IAC, KNOWN_BY_VM, OPTION, SB, SE, SUB, WILL, WONT } from './codes.ts'

const MAX_SUB_BYTES = 65_536

/** Doubles every 0xFF. Returns `bytes` itself when there is none. */
export function doubleIac(bytes: Uint8Array): Uint8Array {
  let count = 0
  for (let at = bytes.indexOf(IAC); at >= 0; at = bytes.indexOf(IAC, at + 1)) count++
  if (count === 0) return bytes
  const out = new Uint8Array(bytes.length + count)
  let to = 0
  for (let from = 0; from < bytes.length; from++) {
    const byte = bytes[from] as number
    out[to++] = byte
    if (byte === IAC) out[to++] = IAC
  }
  return out
}

export function encodeVerb(verb: number, option: number): Uint8Array {
  return Uint8Array.of(IAC, verb, option)
}

/** `IAC SB option payload IAC SE`, 0xFF in the payload doubled; an option of 255 is not supported. */
export function encodeSub(option: number, payload: Uint8Array): Uint8Array {
  const body = doubleIac(payload)
  const frame = new Uint8Array(body.length + 5)
  frame[0] = IAC
  frame[1] = SB
  frame[2] = option
  frame.set(body, 3)
  frame[frame.length - 2] = IAC
  frame[frame.length - 1] = SE
  return frame
}

/** One suboption of option 232. The code is escaped too: 255 is a legal, if unassigned, code. */
export function encodeVmware(code: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return encodeSub(OPTION.VMWARE, concatBytes(Uint8Array.of(code), ...parts))
}

export function encodeKnown(codes: readonly number[] = KNOWN_BY_VM): Uint8Array {
  return encodeVmware(SUB.KNOWN_SUBOPTIONS_1, Uint8Array.from(codes))
}

const TEXT = new TextEncoder()

/** Text as UTF-8; bytes as they are, for names and URIs that are deliberately not UTF-8. */
export function toBytes(value: string | Uint8Array): Uint8Array {
  return typeof value === 'string' ? TEXT.encode(value) : value
}

/** DO-PROXY: one direction letter ('S' or 'C' on real hosts), then the serviceURI, nothing between. */
export function encodeDoProxy(direction: string, serviceURI: string | Uint8Array): Uint8Array {
  return encodeVmware(SUB.DO_PROXY, toBytes(direction), toBytes(serviceURI))
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const all = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  if (bytes.length < prefix.length) return false
  for (let i = 0; i < prefix.length; i++) if (bytes[i] !== prefix[i]) return false
  return true
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && startsWith(a, b)
}

/** Receives what a {@link WireParser} finds. `at` is the offset of the item's first byte in the whole stream. */
export interface WireSink {
  /** Serial bytes, undoubled; a view into the pushed chunk, valid only during the call. */
  onData(bytes: Uint8Array, at: number): void
  onVerb(verb: number, option: number, at: number): void
  /** The payload without the option byte, undoubled; the sink may keep it. */
  onSub(option: number, payload: Uint8Array, at: number): void
  onCommand(command: number, at: number): void
  onMalformed(what: string, at: number): void
}

type State = 'DATA' | 'IAC' | 'OPT' | 'SB' | 'SBIAC'

/** After a byte that was not plain data: still inside a command, done with it, or the byte is data itself. */
type Step = 'inside' | 'done' | 'literal'

export class WireParser {
  #state: State = 'DATA'
  #offset = 0
  #verb = 0
  #itemAt = 0
  #sub: number[] | null = null

  /** Bytes seen so far. */
  get offset(): number {
    return this.#offset
  }

  push(chunk: Uint8Array, sink: WireSink): void {
    const base = this.#offset
    // Start of the run of data not yet reported; -1 outside of state DATA.
    let run = this.#state === 'DATA' ? 0 : -1
    let i = 0
    while (i < chunk.length) {
      if (this.#state === 'DATA') {
        const iac = chunk.indexOf(IAC, i)
        const end = iac < 0 ? chunk.length : iac
        if (iac < 0) break
        if (end > run) sink.onData(chunk.subarray(run, end), base + run)
        this.#itemAt = base + iac
        this.#state = 'IAC'
        run = -1
        i = iac + 1
        continue
      }
      const byte = chunk[i] as number
      const next = this.#step(byte, sink)
      if (next !== 'inside') run = next === 'literal' ? i : i + 1
      i++
    }
    if (run >= 0 && run < chunk.length) sink.onData(chunk.subarray(run), base + run)
    this.#offset = base + chunk.length
  }

  /** One byte in a state other than DATA. */
  #step(byte: number, sink: WireSink): Step {
    switch (this.#state) {
      case 'DATA':
        return 'literal'
      case 'IAC':
        return this.#afterIac(byte, sink)
      case 'OPT':
        this.#state = 'DATA'
        sink.onVerb(this.#verb, byte, this.#itemAt)
        return 'done'
      case 'SB':
        if (byte === IAC) this.#state = 'SBIAC'
        else this.#collect(byte)
        return 'inside'
      case 'SBIAC':
        if (byte === IAC) {
          this.#collect(IAC)
          this.#state = 'SB'
          return 'inside'
        }
        if (byte === SE) {
          this.#state = 'DATA'
          this.#dispatch(sink)
          return 'done'
        }
        // RFC 855 leaves it open; like the reference table: drop the buffer and take the command as if outside.
        this.#sub = null
        sink.onMalformed(`IAC ${byte} inside SB`, this.#itemAt)
        this.#state = 'IAC'
        return this.#afterIac(byte, sink)
    }
  }

  #afterIac(byte: number, sink: WireSink): Step {
    if (byte === IAC) {
      this.#state = 'DATA'
      return 'literal'
    }
    if (byte === WILL || byte === WONT || byte === DO || byte === DONT) {
      this.#verb = byte
      this.#state = 'OPT'
      return 'inside'
    }
    if (byte === SB) {
      this.#sub = []
      this.#state = 'SB'
      return 'inside'
    }
    this.#state = 'DATA'
    sink.onCommand(byte, this.#itemAt)
    return 'done'
  }

  #collect(byte: number): void {
    if (this.#sub === null) return
    if (this.#sub.length <= MAX_SUB_BYTES) this.#sub.push(byte)
  }

  #dispatch(sink: WireSink): void {
    const sub = this.#sub
    this.#sub = null
    if (sub === null) return
    if (sub.length === 0) sink.onMalformed('empty SB', this.#itemAt)
    else if (sub.length > MAX_SUB_BYTES) sink.onMalformed('SB too long', this.#itemAt)
    else sink.onSub(sub[0] as number, Uint8Array.from(sub.slice(1)), this.#itemAt)
  }
}
