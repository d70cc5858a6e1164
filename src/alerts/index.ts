export {
  ALERTS_SCHEMA,
  type AlertsConfig,
  type AlertsSettings,
  alertsSettings,
  readAlertsSection,
} from './alerts-config.ts'
export { BUILT_IN_RULES } from './built-in.ts'
export type { Hit } from './line-watch.ts'
export { type AlertRule, SEVERITIES, type Severity } from './rule.ts'
export { OutputWatcher, type WatcherCounters } from './watcher.ts'
