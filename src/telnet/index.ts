export {
  ABORT,
  AO,
  AYT,
  BRK,
  commandName,
  DM,
  DO,
  DONT,
  EC,
  EL,
  EOF,
  GA,
  IAC,
  IP,
  NOP,
  OPTION,
  optionName,
  SB,
  SE,
  SUSP,
  type Verb,
  WILL,
  WONT,
} from './codes.ts'
export { type ComPortEvent, ComPortServer, type LineSettings } from './com-port.ts'
export { Decoder, type DecoderSink, type TelnetAnomaly } from './decoder.ts'
export { encodeCommand, encodeData, encodeNegotiation, encodeSubnegotiation } from './encoder.ts'
export { NvtInput, NvtOutput } from './nvt.ts'
export {
  type OptionPolicy,
  OptionStates,
  type OptionStep,
  PERSON_NVT_POLICY,
  PERSON_POLICY,
  type Side,
  TELNET_POLICY,
  VMWARE_POLICY,
} from './options.ts'
export { Q_METHOD, type QCell, type QEvent, type QState, qStep } from './qmethod.ts'
export { type TelnetOwner, TelnetSession } from './session.ts'
export {
  decodeVmMessage,
  encodeProxyMessage,
  PROXY_KNOWN_SUBOPTIONS,
  type ProxyMessage,
  SUBOPTION,
  type SuboptionCode,
  type SuboptionName,
  suboptionName,
  type VmMessage,
  type VmwareAnomaly,
} from './vmware/index.ts'
