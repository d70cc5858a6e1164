export {
  decodeHello,
  encodeHello,
  encodeRefusal,
  HELLO_BYTES,
  type Hello,
  ID_BYTES,
  type Over,
  Preamble,
  type Refusal,
  VERSION,
  versionOf,
} from './codec.ts'
export type { LinkClose, LinkOptions, LinkOwner } from './contracts.ts'
export { Link } from './machine.ts'
export type { LinkState } from './states.ts'
