export { ConfigError, type ConfigProblem } from '../config/index.ts'
export type {
  ConsoleInfo,
  ConsoleMessage,
  ConsoleMode,
  ConsoleRequest,
  PortInfo,
  PortState,
  ServerEvent,
} from '../vspc/index.ts'
export { defaultTokens } from './access/settings.ts'
export type { AlertAnswer } from './alerts.ts'
export type { ApplianceEvent, ApplianceInfo, PlanInfo } from './appliance-view.ts'
export { type Config, type ConfigInputs, effectiveSettings, loadConfig } from './config.ts'
export { configSchema, LOG_LEVELS, type LogLevel, type Settings, WRITER_POLICIES } from './config-schema.ts'
export { checkTlsFiles } from './config-tls.ts'
export type { GuestinfoAnswer, GuestinfoEvent, PortAnswer, PortGuestinfo } from './guestinfo-view.ts'
export type { HealthInfo, RefusalInfo } from './health-view.ts'
export { testHook } from './hooks.ts'
export type { HttpAddress } from './http-address.ts'
export { type ListenerInfo, listenerInfo } from './listener-info.ts'
export { type AppLogger, createLogger } from './logger.ts'
export type { ReloadPlan } from './reload.ts'
export { productVersion, type RunningApp, type StartOptions, start } from './wire.ts'
