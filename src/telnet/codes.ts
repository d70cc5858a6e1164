/** Telnet's bytes and option numbers, spelt as in the RFCs and IANA's registry. */

/** RFC 1184 commands, sent by clients that were told to send signals. */
export const EOF = 236
export const SUSP = 237
export const ABORT = 238
/** RFC 854 commands. */
export const SE = 240
export const NOP = 241
export const DM = 242
export const BRK = 243
export const IP = 244
export const AO = 245
export const AYT = 246
export const EC = 247
export const EL = 248
export const GA = 249
export const SB = 250
export const WILL = 251
export const WONT = 252
export const DO = 253
export const DONT = 254
export const IAC = 255

export type Verb = typeof WILL | typeof WONT | typeof DO | typeof DONT

/** Telnet options this product knows; every other one is refused. */
export const OPTION = {
  /** RFC 856. */
  BINARY: 0,
  /** RFC 857. */
  ECHO: 1,
  /** SUPPRESS-GO-AHEAD, RFC 858. */
  SGA: 3,
  /** RFC 2941. */
  AUTHENTICATION: 37,
  /** COM-PORT-OPTION, RFC 2217. */
  COM_PORT: 44,
  /** VMware's extension: not registered, no RFC. [seen] */
  VMWARE_TELNET_EXT: 232,
} as const

const COMMAND_NAMES: Record<number, string> = {
  [EOF]: 'EOF',
  [SUSP]: 'SUSP',
  [ABORT]: 'ABORT',
  [SE]: 'SE',
  [NOP]: 'NOP',
  [DM]: 'DM',
  [BRK]: 'BRK',
  [IP]: 'IP',
  [AO]: 'AO',
  [AYT]: 'AYT',
  [EC]: 'EC',
  [EL]: 'EL',
  [GA]: 'GA',
  [SB]: 'SB',
  [WILL]: 'WILL',
  [WONT]: 'WONT',
  [DO]: 'DO',
  [DONT]: 'DONT',
  [IAC]: 'IAC',
}

const OPTION_NAMES: Record<number, string> = {
  0: 'BINARY',
  1: 'ECHO',
  3: 'SGA',
  24: 'TERMINAL-TYPE',
  31: 'NAWS',
  32: 'TERMINAL-SPEED',
  33: 'REMOTE-FLOW-CONTROL',
  34: 'LINEMODE',
  35: 'X-DISPLAY-LOCATION',
  37: 'AUTHENTICATION',
  38: 'ENCRYPT',
  39: 'NEW-ENVIRON',
  44: 'COM-PORT',
  232: 'VMWARE-TELNET-EXT',
}

/** `WILL`, `BRK`, ...; the number for what RFC 854 does not name. */
export function commandName(code: number): string {
  return COMMAND_NAMES[code] ?? String(code)
}

/** `BINARY`, `COM-PORT`, ...; the number for options without a name here. */
export function optionName(option: number): string {
  return OPTION_NAMES[option] ?? String(option)
}
