/** The library: a concentrator to build into something else. `vspc/telnet`, `vspc/sim` and `vspc/capture` stand beside it. */
export {
  type AppLogger,
  type Config,
  ConfigError,
  type ConfigInputs,
  createLogger,
  loadConfig,
  productVersion,
  type RunningApp,
  type Settings,
  type StartOptions,
  start,
} from './app/index.ts'
export type { ConnectionTap, Tap, TapConnection } from './base/index.ts'
export {
  type Clock,
  CODES,
  type ErrorCode,
  LIMITS,
  type LimitName,
  type Limits,
  type Logger,
  limitsWith,
  silentLogger,
  systemClock,
  VspcError,
} from './base/index.ts'
export {
  type Endpoint,
  type EndpointPattern,
  formatEndpoint,
  parseEndpoint,
  parseEndpointPattern,
} from './transport/index.ts'
export type {
  ConsoleClient,
  ConsoleInfo,
  ConsoleMessage,
  ConsoleMode,
  ConsoleRequest,
  PortInfo,
  PortState,
  ServerEvent,
  WriterPolicy,
} from './vspc/index.ts'
export { type Console, type Port, type PortTable, Server, type ServerOptions } from './vspc/index.ts'
