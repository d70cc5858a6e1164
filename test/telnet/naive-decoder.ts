import type { TelnetAnomaly, Verb } from '../../src/telnet/index.ts'

/** One thing a decoder reports; `end` is the offset of its last byte. */
export type NaiveEvent = { readonly end: number } & (
  | { readonly kind: 'data'; readonly byte: number }
  | { readonly kind: 'command'; readonly code: number }
  | { readonly kind: 'negotiation'; readonly verb: Verb; readonly option: number }
  | { readonly kind: 'sub'; readonly option: number; readonly payload: readonly number[] }
  | { readonly kind: 'anomaly'; readonly anomaly: TelnetAnomaly }
)

/**
 * The slow, obvious decoder that the fast one is held against: the whole stream at once, one byte after the other,
 * straight from the table of states in our protocol notes. Written without a look at the fast one.
 */
export function naiveDecode(bytes: Uint8Array, maxSubnegotiationBytes: number): NaiveEvent[] {
  const events: NaiveEvent[] = []
  let state = 'DATA' as 'DATA' | 'IAC' | 'OPT' | 'SB' | 'SBIAC'
  let verb = 0
  let buffer: number[] = []
  const afterIac = (byte: number, end: number): void => {
    if (byte >= 251 && byte <= 254) {
      verb = byte
      state = 'OPT'
    } else if (byte === 250) {
      buffer = []
      state = 'SB'
    } else {
      state = 'DATA'
      if (byte === 240) events.push({ kind: 'anomaly', anomaly: 'stray-se', end })
      else events.push({ kind: 'command', code: byte, end })
    }
  }
  for (const [end, byte] of bytes.entries()) {
    switch (state) {
      case 'DATA':
        if (byte === 255) state = 'IAC'
        else events.push({ kind: 'data', byte, end })
        break
      case 'IAC':
        if (byte === 255) {
          events.push({ kind: 'data', byte, end })
          state = 'DATA'
        } else afterIac(byte, end)
        break
      case 'OPT':
        events.push({ kind: 'negotiation', verb: verb as Verb, option: byte, end })
        state = 'DATA'
        break
      case 'SB':
        if (byte === 255) state = 'SBIAC'
        else buffer.push(byte)
        break
      case 'SBIAC':
        if (byte === 255) {
          buffer.push(255)
          state = 'SB'
        } else if (byte === 240) {
          const [option, ...payload] = buffer
          if (buffer.length > maxSubnegotiationBytes) {
            events.push({ kind: 'anomaly', anomaly: 'subnegotiation-too-long', end })
          } else if (option === undefined) events.push({ kind: 'anomaly', anomaly: 'empty-subnegotiation', end })
          else events.push({ kind: 'sub', option, payload, end })
          state = 'DATA'
        } else {
          events.push({ kind: 'anomaly', anomaly: 'iac-in-subnegotiation', end })
          afterIac(byte, end)
        }
        break
    }
  }
  return events
}
