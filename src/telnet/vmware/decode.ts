import { SUBOPTION, suboptionName } from './codes.ts'
import type { VmMessage, VmwareAnomaly } from './message.ts'

const DIRECTION_SERVER = 0x53 // 'S'
const DIRECTION_CLIENT = 0x43 // 'C'

/**
 * Reads one subnegotiation of option 232 as sent by a VM.
 * @param payload code byte and what follows, IAC already halved. Byte fields of the result are copies.
 * @returns never throws: what is not a good message comes back as an anomaly. Null for an empty payload.
 */
export function decodeVmMessage(payload: Uint8Array): VmMessage | VmwareAnomaly | null {
  const code = payload[0]
  if (code === undefined) return null
  // Not slice(): that of a Buffer is no copy, and would keep the whole read buffer alive.
  const rest = new Uint8Array(payload.subarray(1))
  switch (code) {
    case SUBOPTION.KNOWN_SUBOPTIONS_1:
      return { kind: 'KNOWN-SUBOPTIONS-1', codes: rest }
    case SUBOPTION.UNKNOWN_SUBOPTION_RCVD_1: {
      const unknown = rest[0]
      return unknown === undefined
        ? malformed(code, 'no code in it')
        : { kind: 'UNKNOWN-SUBOPTION-RCVD-1', code: unknown }
    }
    case SUBOPTION.UNKNOWN_SUBOPTION_RCVD_2:
      // Only a proxy sends it, but "unknown" would invite an answer, and complaints are never answered.
      return malformed(code, 'only a proxy sends it')
    case SUBOPTION.VMOTION_BEGIN:
      return rest.length === 0 ? malformed(code, 'no sequence') : { kind: 'VMOTION-BEGIN', sequence: rest }
    case SUBOPTION.VMOTION_PEER:
      return rest.length === 0 ? malformed(code, 'no sequence and secret') : { kind: 'VMOTION-PEER', cookie: rest }
    case SUBOPTION.VMOTION_COMPLETE:
      return rest.length === 0 ? malformed(code, 'no sequence') : { kind: 'VMOTION-COMPLETE', sequence: rest }
    case SUBOPTION.VMOTION_ABORT:
      return { kind: 'VMOTION-ABORT' }
    case SUBOPTION.DO_PROXY: {
      const letter = rest[0]
      if (letter !== DIRECTION_SERVER && letter !== DIRECTION_CLIENT) {
        return malformed(code, letter === undefined ? 'empty' : `direction byte ${letter} is neither 'S' nor 'C'`)
      }
      const direction = letter === DIRECTION_SERVER ? 'server' : 'client'
      return { kind: 'DO-PROXY', direction, serviceURI: rest.subarray(1) }
    }
    case SUBOPTION.VM_VC_UUID:
      return { kind: 'VM-VC-UUID', text: rest }
    case SUBOPTION.VM_BIOS_UUID:
      return { kind: 'VM-BIOS-UUID', text: rest }
    case SUBOPTION.VM_LOCATION_UUID:
      return { kind: 'VM-LOCATION-UUID', text: rest }
    case SUBOPTION.VM_NAME:
      return { kind: 'VM-NAME', text: rest }
    default:
      return { kind: 'unknown', code }
  }
}

function malformed(code: number, reason: string): VmwareAnomaly {
  return { kind: 'malformed', code, reason: `${suboptionName(code)}: ${reason}` }
}
