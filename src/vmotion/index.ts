export { type Cookie, CookieTable, drawSecret, type RandomBytes, SECRET_BYTES, sameBytes } from './cookies.ts'
export { Handover, type HandoverOwner, type HandoverReport } from './handover.ts'
export {
  type HandoverAction,
  type HandoverCell,
  type HandoverEvent,
  type HandoverState,
  TRANSITIONS,
  transition,
} from './states.ts'
