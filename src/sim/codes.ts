/**
 * Numbers of Telnet (RFC 854, 855) and of VMware's option 232, written down a second time on purpose: the simulator
 * shares no line with `src/telnet`, so that one wrong belief cannot sit on both ends of a test.
 */
export const IAC = 255
export const DONT = 254
export const DO = 253
export const WONT = 252
export const WILL = 251
export const SB = 250
export const BRK = 243
export const SE = 240

export const OPTION = { BINARY: 0, ECHO: 1, SGA: 3, AUTHENTICATION: 37, COM_PORT: 44, VMWARE: 232 } as const

/** Codes of option 232. `_1` is what the VM sends, `_2` what the proxy sends. */
export const SUB = {
  KNOWN_SUBOPTIONS_1: 0,
  KNOWN_SUBOPTIONS_2: 1,
  UNKNOWN_SUBOPTION_RCVD_1: 2,
  UNKNOWN_SUBOPTION_RCVD_2: 3,
  VMOTION_BEGIN: 40,
  VMOTION_GOAHEAD: 41,
  VMOTION_NOTNOW: 43,
  VMOTION_PEER: 44,
  VMOTION_PEER_OK: 45,
  VMOTION_COMPLETE: 46,
  VMOTION_ABORT: 48,
  DO_PROXY: 70,
  WILL_PROXY: 71,
  WONT_PROXY: 73,
  VM_VC_UUID: 80,
  GET_VM_VC_UUID: 81,
  VM_NAME: 82,
  GET_VM_NAME: 83,
  VM_BIOS_UUID: 84,
  GET_VM_BIOS_UUID: 85,
  VM_LOCATION_UUID: 86,
  GET_VM_LOCATION_UUID: 87,
} as const

/** The VM's KNOWN-SUBOPTIONS-1 in the order of the capture [seen: frame 20]. */
export const KNOWN_BY_VM: readonly number[] = [
  0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 84, 85, 86, 87, 82, 83,
]

const SUB_NAMES = new Map<number, string>(
  Object.entries(SUB).map(([name, code]) => [code, name.replaceAll('_', '-')] as const),
)

const OPTION_NAMES = new Map<number, string>([
  [OPTION.BINARY, 'BINARY'],
  [OPTION.ECHO, 'ECHO'],
  [OPTION.SGA, 'SGA'],
  [OPTION.AUTHENTICATION, 'AUTHENTICATION'],
  [OPTION.COM_PORT, 'COM-PORT'],
  [OPTION.VMWARE, 'VMWARE-TELNET-EXT'],
])

const COMMAND_NAMES = new Map<number, string>([
  [240, 'SE'],
  [241, 'NOP'],
  [242, 'DM'],
  [243, 'BRK'],
  [244, 'IP'],
  [245, 'AO'],
  [246, 'AYT'],
  [247, 'EC'],
  [248, 'EL'],
  [249, 'GA'],
])

export type Verb = 'WILL' | 'WONT' | 'DO' | 'DONT'

const VERB_NAMES: Record<number, Verb> = { [WILL]: 'WILL', [WONT]: 'WONT', [DO]: 'DO', [DONT]: 'DONT' }

export function verbName(verb: number): Verb {
  return VERB_NAMES[verb] ?? 'DONT'
}

export function optionName(option: number): string {
  return OPTION_NAMES.get(option) ?? `option ${option}`
}

export function commandName(command: number): string {
  return COMMAND_NAMES.get(command) ?? `command ${command}`
}

/** `VMOTION-GOAHEAD`, or `suboption 42` for a code that nobody has assigned. */
export function subName(code: number): string {
  return SUB_NAMES.get(code) ?? `suboption ${code}`
}
