import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import {
  ACCESS_SCHEMA,
  type AccessRules,
  type AccessSettings,
  ANONYMOUS,
  type PortFacts,
  readAccessSection,
  type Subject,
} from '../../src/access/index.ts'
import type { Logger } from '../../src/base/index.ts'
import { ConfigError, type ConfigProblem, checkShape, parseConfigText } from '../../src/config/index.ts'

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-access-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The section `access` of a file, as the server reads it. @throws ConfigError. */
export function accessOf(yaml: string): AccessRules {
  const source = parseConfigText('vspc.yaml', yaml, '/')
  const problems: ConfigProblem[] = []
  const schema = { type: 'object', properties: { access: ACCESS_SCHEMA } }
  const { access = {} } = checkShape<{ access?: AccessSettings }>(schema, source, problems)
  const rules = readAccessSection(access as never, source, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  if (rules === null) throw new Error('no rules, and no problem that says why')
  return rules
}

export const person = (user: string, ...groups: string[]): Subject => ({
  ...ANONYMOUS,
  user,
  groups,
  via: 'certificate',
})

export const UUID = '564d1234-5678-9abc-def0-112233445566'

export const port = (facts: Partial<PortFacts> = {}): PortFacts => ({
  id: UUID,
  name: 'web1',
  uuid: UUID,
  host: '10.0.0.7',
  ...facts,
})

export interface LoggedLine {
  readonly level: string
  readonly message: string
  readonly fields: Record<string, unknown>
}

export function loggerInto(lines: LoggedLine[]): Logger {
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, message, fields: fields as Record<string, unknown> })
  }
  const log: Logger = {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  }
  return log
}
