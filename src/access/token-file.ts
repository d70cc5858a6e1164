/**
 * The file of tokens: read whole, replaced whole.
 *
 * It holds no secrets, but whoever can write it can let themselves in: so one that others may write is refused. Commands that
 * change it take turns by a lock file, which holds the new content and becomes the file by its rename: there is always a
 * whole file in place. A lock left by kill -9 is not taken away: its owner may be slow, not dead, and a person can tell.
 *
 * It is written as JSON, which is YAML, too. A running server reads it beside its consoles, and YAML takes a second for what
 * JSON takes milliseconds: so that is asked only for short files, and for the place of a mistake.
 */
import { constants } from 'node:fs'
import * as nodeFs from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Clock, errorMessage, VspcError } from '../base/index.ts'
import { ConfigError, type ConfigProblem, checkShape, parseConfigText, type SettingsSource } from '../config/index.ts'
import { readTokens, TOKENS_SCHEMA, type TokenRecord } from './tokens.ts'

const MAX_FILE_BYTES = 1 << 20
/** Some 250 tokens. */
const MAX_YAML_BYTES = 65_536
const FILE_MODE = 0o600
/** What an existing file keeps of its mode: nobody but the owner ever writes. */
const KEPT_MODE = 0o644
const WRITABLE_BY_OTHERS = 0o022
const LOCK_WAIT_MS = 5_000
const LOCK_LOOK_MS = 50
// Without O_NONBLOCK opening a named pipe would wait for its other end.
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK

/**
 * @returns null when there is no such file.
 * @throws VspcError VSPC_ACCESS_FILE; ConfigError with every mistake and its place.
 */
export async function loadTokens(path: string): Promise<TokenRecord[] | null> {
  const text = await readText(path)
  return text === null ? null : parseTokens(path, text)
}

/** @param path begins the messages. @throws ConfigError VSPC_CONFIG_SYNTAX, VSPC_CONFIG_INVALID. */
export function parseTokens(path: string, text: string): TokenRecord[] {
  const source = sourceOf(path, text)
  const problems: ConfigProblem[] = []
  const settings = checkShape<Parameters<typeof readTokens>[0]>(TOKENS_SCHEMA, source, problems)
  const records = readTokens(settings as Parameters<typeof readTokens>[0], source, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  return records
}

/**
 * Replaces the file by what `change` makes of its records; it may throw, and then nothing happens. One that is missing is made.
 * @throws as {@link loadTokens}.
 */
export async function changeTokens(
  path: string,
  clock: Clock,
  change: (records: readonly TokenRecord[]) => readonly TokenRecord[],
): Promise<void> {
  const target = await realPath(path)
  const lock = `${target}.lock`
  const handle = await takeLock(lock, clock)
  let placed = false
  try {
    const text = formatTokens(change((await loadTokens(target)) ?? []))
    await place(handle, text, target)
    placed = true
  } finally {
    await handle.close().catch(() => {})
    if (!placed) await nodeFs.rm(lock, { force: true }).catch(() => {})
  }
}

/** @param handle of the lock file of `target`. */
async function place(handle: nodeFs.FileHandle, text: string, target: string): Promise<void> {
  if (Buffer.byteLength(text) > MAX_FILE_BYTES)
    throw fileError(`${target} would be larger than ${MAX_FILE_BYTES} bytes`)
  try {
    await keepOwner(handle, target)
    await handle.writeFile(text)
    await handle.sync()
    await nodeFs.rename(`${target}.lock`, target)
  } catch (error) {
    throw fileError(`${target} cannot be written: ${errorMessage(error)}`, error)
  }
  await syncFolder(dirname(target))
}

function sourceOf(path: string, text: string): SettingsSource {
  let values: unknown
  try {
    values = JSON.parse(text)
  } catch (error) {
    if (text.length > MAX_YAML_BYTES) throw notJson(path, text, errorMessage(error))
    return parseConfigText(path, text, '/')
  }
  let yaml: SettingsSource | null = null
  return {
    values,
    directory: '/',
    locate: (at, part) => {
      yaml ??= parseConfigText(path, text, '/')
      return yaml.locate(at, part)
    },
  }
}

function notJson(path: string, text: string, message: string): ConfigError {
  const [, position] = / at position (\d+)/.exec(message) ?? []
  const before = text.slice(0, position === undefined ? text.length : Number(position)).split('\n')
  const line = before.length
  const column = (before.at(-1) ?? '').length + 1
  return new ConfigError([
    {
      code: 'VSPC_CONFIG_SYNTAX',
      where: `${path}:${line}:${column}`,
      line,
      column,
      // V8 quotes the text around it, which may be anything.
      message: `this is no JSON; files of more than ${MAX_YAML_BYTES} bytes have to be`,
    },
  ])
}

/** One token a line, so that it can be looked through, and compared by line. */
export function formatTokens(records: readonly TokenRecord[]): string {
  const lines = records.map(({ expires, ...record }) =>
    JSON.stringify({ ...record, ...(expires === null ? {} : { expires }) }),
  )
  return `{"version": 1, "tokens": [\n${lines.join(',\n')}\n]}\n`
}

/** What changes when the file does; null when there is none. @throws VSPC_ACCESS_FILE. */
export async function fingerprintOf(path: string): Promise<string | null> {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = await nodeFs.stat(path)
    return [dev, ino, size, mtimeMs, ctimeMs].join(' ')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw fileError(`${path} cannot be read: ${errorMessage(error)}`, error)
  }
}

async function readText(path: string): Promise<string | null> {
  let handle: nodeFs.FileHandle
  try {
    handle = await nodeFs.open(path, READ_FLAGS)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return null
    const why = code === 'EACCES' ? 'this user may not read it' : errorMessage(error)
    throw fileError(`${path} cannot be read: ${why}`, error)
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) throw fileError(`${path} is no file`)
    if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) {
      throw fileError(
        `${path} may be written by others than its owner, who could let themselves in: chmod go-w ${path}`,
      )
    }
    const us = process.geteuid?.() ?? stats.uid
    if (stats.uid !== 0 && stats.uid !== us) {
      throw fileError(
        `${path} belongs to another user (${stats.uid}), who could let themselves in: chown it to this one or root`,
      )
    }
    if (stats.size > MAX_FILE_BYTES)
      throw fileError(`${path} has ${stats.size} bytes; at most ${MAX_FILE_BYTES} are read`)
    return decode(path, await handle.readFile())
  } catch (error) {
    if (error instanceof VspcError) throw error
    throw fileError(`${path} cannot be read: ${errorMessage(error)}`, error)
  } finally {
    await handle.close().catch(() => {})
  }
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new VspcError('VSPC_CONFIG_SYNTAX', `${path}: it is not UTF-8 text; save it as UTF-8`, { cause: error })
  }
}

/** A rename would replace a symbolic link, and leave the file behind it as it was. */
async function realPath(path: string): Promise<string> {
  try {
    return await nodeFs.realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return path
    throw fileError(`${path} cannot be read: ${errorMessage(error)}`, error)
  }
}

async function takeLock(lock: string, clock: Clock): Promise<nodeFs.FileHandle> {
  const start = clock.now()
  for (;;) {
    try {
      return await nodeFs.open(lock, 'wx', FILE_MODE)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') throw fileError(`${dirname(lock)} does not exist: make it first`, error)
      if (code !== 'EEXIST') throw fileError(`${lock} cannot be made: ${errorMessage(error)}`, error)
      if (clock.now() - start >= LOCK_WAIT_MS) {
        throw fileError(`another command is changing the tokens; if none is, one was killed: remove ${lock}`, error)
      }
    }
    await new Promise<void>((resolve) => clock.after(LOCK_LOOK_MS, resolve))
  }
}

/** Root changes the file of a server that runs as another user: it must stay readable there. */
async function keepOwner(handle: nodeFs.FileHandle, target: string): Promise<void> {
  let stats: Awaited<ReturnType<typeof nodeFs.stat>>
  try {
    stats = await nodeFs.stat(target)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  const ours = await handle.stat()
  if (ours.uid !== stats.uid || ours.gid !== stats.gid) await handle.chown(stats.uid, stats.gid)
  await handle.chmod(stats.mode & KEPT_MODE)
}

async function syncFolder(directory: string): Promise<void> {
  try {
    const handle = await nodeFs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch {
    // Not every file system can; the file itself is in place.
  }
}

function fileError(message: string, cause?: unknown): VspcError {
  return new VspcError('VSPC_ACCESS_FILE', `tokens: ${message}`, { cause })
}
