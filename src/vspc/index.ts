export type { WriterPolicy } from './arbitration.ts'
export type { Console } from './console.ts'
export type { Counters, OutputWatch } from './core.ts'
export { type ForwardRule, formatForward, parseForward } from './forward-rule.ts'
export { canonicalUuid } from './identity.ts'
export type { Port } from './port.ts'
export type { PortTable } from './port-table.ts'
export { MAX_REFUSALS, REFUSAL_REASONS, type Refusal, type RefusalReason, Refusals } from './refusals.ts'
export { Server, type ServerOptions } from './server.ts'
export {
  type AlertInfo,
  CONSOLE_ACTIONS,
  type ConsoleAction,
  type ConsoleClient,
  type ConsoleInfo,
  type ConsoleMessage,
  type ConsoleMode,
  type ConsolePermit,
  type ConsoleRequest,
  type ConsoleVia,
  type PortEventType,
  type PortInfo,
  type PortState,
  type ServerEvent,
  type VmotionEventType,
  type VmotionResult,
} from './types.ts'
