export { parseConfigText, readConfigFile } from './file.ts'
export { ConfigError, type ConfigProblem, formatPath, type SettingPath, type SettingsSource } from './problems.ts'
export { checkShape, type PartialSettings, type SchemaNode } from './shape.ts'
