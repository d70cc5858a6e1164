export { PROXY_KNOWN_SUBOPTIONS, SUBOPTION, type SuboptionCode, type SuboptionName, suboptionName } from './codes.ts'
export { decodeVmMessage } from './decode.ts'
export { encodeProxyMessage } from './encode.ts'
export type { ProxyMessage, VmMessage, VmwareAnomaly } from './message.ts'
