/** The configuration file: YAML to plain values, and back from a value to its line and column. */
import { readFileSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLError,
} from 'yaml'
import { errorMessage, VspcError } from '../base/index.ts'
import { ConfigError, type ConfigProblem, type SettingPath, type SettingsSource } from './problems.ts'

/** No configuration is this long; YAML takes time and memory out of proportion to its length. */
const MAX_FILE_BYTES = 1 << 20
/**
 * The parser calls itself for each level, and a stack that overflows in the middle of a regular expression ends the
 * process. No setting is nested deeper than a few levels.
 */
const MAX_DEPTH = 100
/** A file that is no YAML at all has a mistake in every line, and nobody reads them all. */
const MAX_MISTAKES = 50
/** How often values may be repeated through aliases in all. */
const MAX_ALIASES = 100

const HINTS: Record<string, string> = {
  TAB_AS_INDENT: 'indent with spaces',
  DUPLICATE_KEY: 'each setting stands once',
  BAD_INDENT: 'settings of one level begin in the same column',
  BLOCK_AS_IMPLICIT_KEY: 'quote a value that contains ": "',
  IMPOSSIBLE: 'quote the value',
}

/**
 * Reads and parses one file.
 * @param file the path as the user gave it; it begins the messages.
 * @throws VspcError VSPC_CONFIG_READ; ConfigError VSPC_CONFIG_SYNTAX with every mistake.
 */
export function readConfigFile(file: string, directory: string): SettingsSource {
  const path = resolve(directory, file)
  return parseConfigText(file, readText(file, path), dirname(path))
}

function readText(file: string, path: string): string {
  let bytes: Uint8Array
  try {
    const { size } = statSync(path)
    if (size > MAX_FILE_BYTES) {
      throw new VspcError('VSPC_CONFIG_READ', `${file}: has ${size} bytes; at most ${MAX_FILE_BYTES} are read`)
    }
    bytes = readFileSync(path)
  } catch (error) {
    if (error instanceof VspcError) throw error
    const code = (error as NodeJS.ErrnoException).code
    const why =
      code === 'ENOENT'
        ? 'there is no such file; check --config and VSPC_CONFIG'
        : code === 'EACCES'
          ? 'this user may not read it'
          : code === 'EISDIR'
            ? 'it is a directory; name a file in it'
            : errorMessage(error)
    throw new VspcError('VSPC_CONFIG_READ', `${file}: ${why}`, { cause: error })
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new VspcError('VSPC_CONFIG_SYNTAX', `${file}: it is not UTF-8 text; save it as UTF-8`, { cause: error })
  }
}

/** @throws ConfigError VSPC_CONFIG_SYNTAX. */
export function parseConfigText(file: string, text: string, directory: string): SettingsSource {
  const lines = new LineCounter()
  const deep = tooDeepAt(text)
  if (deep !== null) {
    const before = text.slice(0, deep).split('\n')
    const line = before.length
    const column = (before.at(-1) ?? '').length + 1
    const message = `values are nested more than ${MAX_DEPTH} deep here; no setting is`
    throw new ConfigError([{ code: 'VSPC_CONFIG_SYNTAX', where: `${file}:${line}:${column}`, line, column, message }])
  }
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
    logLevel: 'error',
  })
  const at: Locator = (offset) => {
    const { line, col } = lines.linePos(offset)
    return { where: `${file}:${line}:${col}`, line, column: col }
  }
  // A warning is, for one, a tag nobody knows: the value would not be what its author thinks.
  const mistakes: YAMLError[] = [...document.errors, ...document.warnings]
  if (mistakes.length > 0) {
    throw new ConfigError(
      mistakes.slice(0, MAX_MISTAKES).map(({ code, message, pos }) => ({
        code: 'VSPC_CONFIG_SYNTAX',
        ...at(pos[0]),
        message:
          code === 'MULTIPLE_DOCS'
            ? 'a second document begins; one is accepted: remove the line "---"'
            : `${decapitalized(message)}${HINTS[code] ? `; ${HINTS[code]}` : ''}`,
      })),
    )
  }
  checkAliases(document, at)
  return {
    // An empty file, or one of comments.
    values: toValues(document, at) ?? {},
    directory,
    locate: (path, part) => at(offsetOf(document, path, part)),
  }
}

/** Offset of what may be nested too deep, by a rough count that also takes brackets in texts for such; or null. */
function tooDeepAt(text: string): number | null {
  let depth = 0
  for (const { 0: bracket, index } of text.matchAll(/[[\]{}]/g)) {
    depth = Math.max(0, depth + (bracket === '[' || bracket === '{' ? 1 : -1))
    if (depth > MAX_DEPTH) return index
  }
  const block = new RegExp(`(?:[-?:] +){${MAX_DEPTH}}|^ {${2 * MAX_DEPTH}}`, 'm').exec(text)
  return block?.index ?? null
}

type Locator = (offset: number) => Pick<ConfigProblem, 'where' | 'line' | 'column'>

/** Their place is only known here, not to toJS(), which would stumble over them. */
function checkAliases(document: Document.Parsed, at: Locator): void {
  let count = 0
  visit(document, {
    Alias(_key, alias) {
      const message =
        ++count > MAX_ALIASES
          ? `this is the ${MAX_ALIASES + 1}st alias; at most ${MAX_ALIASES} are accepted`
          : alias.resolve(document) === undefined
            ? `nothing above is marked &${alias.source}; quote the value if its "*" is no alias`
            : null
      if (message === null) return
      throw new ConfigError([{ code: 'VSPC_CONFIG_SYNTAX', ...at(start(alias) ?? 0), message }])
    },
  })
}

function toValues(document: Document.Parsed, at: Locator): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES })
  } catch (error) {
    const message = `${decapitalized(errorMessage(error))}; write repeated values out`
    throw new ConfigError([{ code: 'VSPC_CONFIG_SYNTAX', ...at(document.contents?.range[0] ?? 0), message }], {
      cause: error,
    })
  }
}

/** Where the value at `path` (or its key) begins; where the path breaks off, the last thing that is there. */
function offsetOf(document: Document.Parsed, path: SettingPath, part: 'key' | 'value'): number {
  let node: Node | null = document.contents
  let offset = start(node) ?? 0
  for (const [index, step] of path.entries()) {
    const target: Node | null | undefined = isAlias(node) ? node.resolve(document) : node
    if (!isCollection(target)) break
    let next: Node | null = null
    if (isMap<Node, Node | null>(target)) {
      const pair = target.items.find(({ key }) => isScalar(key) && String(key.value) === String(step))
      if (!pair) break
      const isLast = index === path.length - 1
      offset = start(pair.key) ?? offset
      if (isLast && part === 'key') return offset
      next = pair.value
    } else if (isSeq<Node>(target)) {
      next = target.items[Number(step)] ?? null
    }
    // A value that is not written has no place of its own: the key it belongs to shows it.
    if (next === null || next.range?.[0] === next.range?.[1]) break
    node = next
    offset = start(node) ?? offset
  }
  return offset
}

function start(node: Node | null): number | null {
  return node?.range?.[0] ?? null
}

function decapitalized(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
