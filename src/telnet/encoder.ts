import { IAC, SB, SE, type Verb } from './codes.ts'

/**
 * Serial data for the wire: every IAC doubled (RFC 854), nothing else changed.
 * @returns `bytes` itself when there is nothing to double, else a new array.
 */
export function encodeData(bytes: Uint8Array): Uint8Array {
  let at = bytes.indexOf(IAC)
  if (at < 0) return bytes
  let extra = 0
  for (let i = at; i >= 0; i = bytes.indexOf(IAC, i + 1)) extra++
  const out = new Uint8Array(bytes.length + extra)
  let read = 0
  let write = 0
  while (at >= 0) {
    out.set(bytes.subarray(read, at + 1), write)
    write += at + 1 - read
    out[write++] = IAC
    read = at + 1
    at = bytes.indexOf(IAC, read)
  }
  out.set(bytes.subarray(read), write)
  return out
}

/** `IAC verb option`: three bytes. The option byte is never doubled, 255 included (RFC 854). */
export function encodeNegotiation(verb: Verb, option: number): Uint8Array {
  return Uint8Array.of(IAC, verb, option)
}

/** `IAC SB option payload IAC SE`, IAC in the payload doubled (RFC 855). */
export function encodeSubnegotiation(option: number, payload: Uint8Array): Uint8Array {
  const body = encodeData(payload)
  const out = new Uint8Array(body.length + 5)
  out[0] = IAC
  out[1] = SB
  out[2] = option
  out.set(body, 3)
  out[out.length - 2] = IAC
  out[out.length - 1] = SE
  return out
}

/** `IAC code`: two bytes, for BRK, NOP, AYT, ... */
export function encodeCommand(code: number): Uint8Array {
  return Uint8Array.of(IAC, code)
}
