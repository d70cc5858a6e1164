export type { WriterPolicy } from './arbitration.ts'
export type { Console } from './console.ts'
export type { Counters, OutputWatch } from './core.ts'
export { type ForwardRule, formatForward, parseForward } from './forward-rule.ts'
export { canonicalUuid } from './identity.ts'
export type { Port } from './port.ts'
export type { PortTable } from './port-table.ts'
export { MAX_REFUSALS, REFUSAL_REASONS, type Refusal, type RefusalReason, Refusals } from './refusals.ts'
export { Server, type ServerOptions } from './server.ts'
export type {
  AlertInfo,
  ConsoleAction,
  ConsoleClient,
  ConsoleInfo,
  ConsoleMessage,
  ConsoleMode,
  ConsolePermit,
  ConsoleRequest,
  ConsoleVia,
  PortEventType,
  PortInfo,
  PortState,
  ServerEvent,
  VmotionEventType,
  VmotionResult,
} from './types.ts'
