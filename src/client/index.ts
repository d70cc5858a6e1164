/** For programs that speak to a `vspc serve`: ports, consoles, history, events. Exported as `vspc/client`. */
export { CODES, type ErrorCode, VspcError } from '../base/index.ts'
export type {
  ConsoleAction,
  ConsoleInfo,
  ConsoleMessage,
  ConsoleMode,
  ConsoleRequest,
  PortInfo,
  PortState,
  ServerEvent,
} from '../vspc/index.ts'
export { type ClientIdentity, checkToken, DEFAULT_SERVER, parseServerUrl, type ServerAddress } from './address.ts'
export { AnsiScanner, type AnsiSink, MAX_SEQUENCE } from './ansi.ts'
export {
  type ConsoleConnection,
  type ConsoleListener,
  type ConsoleTarget,
  consoleUrl,
  type OpenConsole,
  webSocketConsoles,
} from './console-connection.ts'
export { type Attached, parseConsoleMessage } from './console-message.ts'
export type { ConsoleNotice, ConsoleOptions } from './console-options.ts'
export type { ConsoleEncoding } from './console-text.ts'
export { EventStream } from './event-stream.ts'
export { EXPECT_DEFAULTS, ExpectError, type ExpectMatch, type ExpectOptions } from './expectation.ts'
export { ConsoleFeed, type FeedListener } from './feed.ts'
export { chunksOf, type HistoryStream, openHistory, readHistory } from './history.ts'
export { jsonLines } from './json-lines.ts'
export type { SendOptions } from './pacing.ts'
export { RemoteConsole } from './remote-console.ts'
export {
  type Answer,
  endpointPath,
  notOurs,
  portSegment,
  readProblem,
  requestHeaders,
  ServerClient,
  unreachable,
} from './requests.ts'
export { type SearchOptions, type SearchRecord, searchHistory } from './search.ts'
export { TIMING as CLIENT_TIMING } from './timing.ts'
export type { ModeOptions } from './turns.ts'
export {
  type ConnectOptions,
  connect,
  type LogOptions,
  type PortLog,
  type RequestOptions,
  VspcClient,
} from './vspc-client.ts'
export { waitForPort } from './wait-for-port.ts'
