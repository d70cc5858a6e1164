/** Checks values against a schema of settings, and says in plain words what does not fit. */
import { cleanText, nearest } from '../base/index.ts'
import { type ConfigProblem, formatPath, type SettingPath, type SettingsSource } from './problems.ts'

/** What is read of a schema node (JSON Schema, and `accepts`: see the settings) to check a value and say what is accepted. */
export interface SchemaNode {
  readonly type?: string
  readonly enum?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
  readonly accepts?: string
  readonly properties?: Readonly<Record<string, SchemaNode>>
  /** Of a table whose names are free; a boolean is for other readers of the schema. */
  readonly additionalProperties?: SchemaNode | boolean
  readonly items?: SchemaNode
  /** The first that is of the value's kind counts. */
  readonly anyOf?: readonly SchemaNode[]
}

/** More names than this are not listed in a message. */
const MAX_LISTED = 40

/**
 * The settings of `schema` as far as they fit: what does not is reported to `problems` and left out, an item of a list becomes
 * null, so that the others keep their places.
 *
 * By hand, over the few kinds of schema that settings use: typebox's own check stops after eight errors.
 */
export function checkShape<Settings>(
  schema: SchemaNode,
  source: SettingsSource,
  problems: ConfigProblem[],
): PartialSettings<Settings> {
  if (!isRecord(source.values)) {
    problems.push({
      code: 'VSPC_CONFIG_INVALID',
      ...source.locate([], 'value'),
      message: `the file holds ${describe(source.values)}; accepted are settings, one a line, such as "http: 127.0.0.1:13371"`,
    })
    return {} as PartialSettings<Settings>
  }
  return new ShapeChecker(source, problems).fitting(schema, source.values, []) as PartialSettings<Settings>
}

/** Settings in whose lists wrong items are null. */
export type PartialSettings<Settings> = {
  [Name in keyof Settings]: Settings[Name] extends string[] | undefined ? (string | null)[] | undefined : Settings[Name]
}

class ShapeChecker {
  readonly #source: SettingsSource
  readonly #problems: ConfigProblem[]

  constructor(source: SettingsSource, problems: ConfigProblem[]) {
    this.#source = source
    this.#problems = problems
  }

  /** `value` without what does not fit `node`; undefined if nothing of it does. */
  fitting(node: SchemaNode, value: unknown, path: SettingPath): unknown {
    const one = node.anyOf?.find((choice) => isOfKind(choice, value))
    if (one !== undefined) return this.fitting(one, value, path)
    const { additionalProperties: entry } = node
    if (typeof entry === 'object' && isRecord(value)) return this.#table(entry, value, path)
    if (node.properties !== undefined && isRecord(value)) return this.#section(node.properties, value, path)
    if (node.items !== undefined && Array.isArray(value)) {
      const { items } = node
      return value.map((item, index) => this.fitting(items, item, [...path, index]) ?? null)
    }
    if (isScalarOf(node, value)) return value
    this.#misfit(node, value, path)
    return undefined
  }

  #section(
    properties: Readonly<Record<string, SchemaNode>>,
    section: Readonly<Record<string, unknown>>,
    path: SettingPath,
  ): Record<string, unknown> {
    const fitting: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(section)) {
      const node = Object.hasOwn(properties, name) ? properties[name] : undefined
      if (node === undefined) {
        this.#unknownName(Object.keys(properties), [...path, name], name)
        continue
      }
      const fit = this.fitting(node, value, [...path, name])
      if (fit !== undefined) fitting[name] = fit
    }
    return fitting
  }

  #table(entry: SchemaNode, table: Readonly<Record<string, unknown>>, path: SettingPath): Record<string, unknown> {
    const fits = Object.entries(table).map(([name, value]) => [name, this.fitting(entry, value, [...path, name])])
    return Object.fromEntries(fits.filter(([, fit]) => fit !== undefined)) as Record<string, unknown>
  }

  #unknownName(accepted: readonly string[], path: SettingPath, name: string): void {
    const near = nearest(name, accepted)
    const list = accepted.length <= MAX_LISTED ? accepted.join(', ') : 'those of "vspc config schema"'
    this.#report(
      path,
      'key',
      `"${cleanText(formatPath(path))}" is not a setting; accepted are ${list}${near ? `; did you mean ${near}?` : ''}`,
    )
  }

  #misfit(node: SchemaNode, value: unknown, path: SettingPath): void {
    const near = node.enum && typeof value === 'string' ? nearest(value, node.enum) : null
    const isEmpty = value === null || value === undefined
    this.#report(
      path,
      'value',
      `${formatPath(path)} ${isEmpty ? 'has no value' : `is ${describe(value)}`}; accepted is ${accepts(node)}` +
        (isEmpty ? '; give one, or remove the line' : '') +
        (near ? `; did you mean ${near}?` : ''),
    )
  }

  #report(path: SettingPath, part: 'key' | 'value', message: string): void {
    this.#problems.push({ code: 'VSPC_CONFIG_INVALID', ...this.#source.locate(path, part), message })
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isOfKind(node: SchemaNode, value: unknown): boolean {
  if (isRecord(value)) return node.type === 'object'
  return Array.isArray(value) ? node.type === 'array' : isScalarOf(node, value)
}

function isScalarOf(node: SchemaNode, value: unknown): boolean {
  if (node.enum !== undefined) return node.enum.some((accepted) => accepted === value)
  switch (node.type) {
    case 'string':
      return typeof value === 'string'
    case 'boolean':
      return typeof value === 'boolean'
    case 'integer':
      return (
        Number.isInteger(value) &&
        Number(value) >= (node.minimum ?? -Infinity) &&
        Number(value) <= (node.maximum ?? Infinity)
      )
    default:
      return false
  }
}

function accepts(node: SchemaNode): string {
  if (node.accepts !== undefined) return node.accepts
  if (node.enum) return `one of ${node.enum.join(', ')}`
  switch (node.type) {
    case 'integer':
      return `a whole number from ${node.minimum} to ${node.maximum}`
    case 'boolean':
      return 'true or false'
    case 'array':
      return 'a list'
    case 'object':
      return 'a section with settings of its own, indented below it'
    default:
      return 'text'
  }
}

/** A value in words; long text is cut. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (typeof value === 'string') return `the text "${cleanText(value, 80)}"`
  if (typeof value === 'object') return Array.isArray(value) ? 'a list' : 'a section'
  return String(value)
}
