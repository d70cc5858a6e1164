import { SUBOPTION } from './codes.ts'
import type { ProxyMessage } from './message.ts'

/** The payload of one proxy message: code byte and body, IAC not yet doubled (the session does that). */
export function encodeProxyMessage(message: ProxyMessage): Uint8Array {
  switch (message.kind) {
    case 'KNOWN-SUBOPTIONS-2':
      return withCode(SUBOPTION.KNOWN_SUBOPTIONS_2, message.codes)
    case 'UNKNOWN-SUBOPTION-RCVD-2':
      return Uint8Array.of(SUBOPTION.UNKNOWN_SUBOPTION_RCVD_2, message.code)
    case 'VMOTION-GOAHEAD':
      return withCode(SUBOPTION.VMOTION_GOAHEAD, message.sequence, message.secret)
    case 'VMOTION-NOTNOW':
      return withCode(SUBOPTION.VMOTION_NOTNOW, message.sequence)
    case 'VMOTION-PEER-OK':
      return withCode(SUBOPTION.VMOTION_PEER_OK, message.sequence)
    case 'WILL-PROXY':
      return Uint8Array.of(SUBOPTION.WILL_PROXY)
    case 'WONT-PROXY':
      return Uint8Array.of(SUBOPTION.WONT_PROXY)
    case 'GET-VM-VC-UUID':
      return Uint8Array.of(SUBOPTION.GET_VM_VC_UUID)
    case 'GET-VM-NAME':
      return Uint8Array.of(SUBOPTION.GET_VM_NAME)
    case 'GET-VM-BIOS-UUID':
      return Uint8Array.of(SUBOPTION.GET_VM_BIOS_UUID)
    case 'GET-VM-LOCATION-UUID':
      return Uint8Array.of(SUBOPTION.GET_VM_LOCATION_UUID)
  }
}

function withCode(code: number, first: Uint8Array, second?: Uint8Array): Uint8Array {
  const out = new Uint8Array(1 + first.length + (second?.length ?? 0))
  out[0] = code
  out.set(first, 1)
  if (second) out.set(second, 1 + first.length)
  return out
}
