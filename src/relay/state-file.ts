/** Next hops that were changed while running, kept for the next start. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { cleanText, errorMessage, type Logger } from '../base/index.ts'
import { type Endpoint, formatEndpoint, parseEndpoint } from '../transport/index.ts'
import type { NextHop } from './next-hops.ts'

const VERSION = 1
const MAX_FILE_CHARACTERS = 1 << 20

/** What a hop was changed to, and what the configuration said at that time. */
export type ChangedHops = Map<string, { endpoint: Endpoint; configured: string }>

/** What the file holds; nothing of one that is not there or cannot be used, which is told. */
export function readStateFile(file: string, log: Logger): ChangedHops {
  const changed: ChangedHops = new Map()
  let text: string
  try {
    text = readFileSync(file, 'utf8').slice(0, MAX_FILE_CHARACTERS)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      log.error({ file, reason: errorMessage(error) }, 'state file cannot be read: next hops are as configured')
    }
    return changed
  }
  try {
    const { nextHops } = JSON.parse(text) as { nextHops: Record<string, { endpoint: string; configured: string }> }
    for (const [name, { endpoint, configured }] of Object.entries(nextHops)) {
      changed.set(name, { endpoint: parseEndpoint(endpoint, 'dial', 'relay'), configured })
    }
  } catch (error) {
    changed.clear()
    const reason = cleanText(errorMessage(error), 300)
    log.error({ file, reason }, 'state file is damaged: next hops are as configured')
  }
  return changed
}

/** Written whole beside the old one and put in its place, readable by this user only. */
export async function writeStateFile(file: string, hops: readonly NextHop[]): Promise<void> {
  const changed: Record<string, { endpoint: string; configured: string }> = {}
  for (const { name, endpoint, configured } of hops) {
    const texts = { endpoint: formatEndpoint(endpoint), configured: formatEndpoint(configured) }
    if (texts.endpoint !== texts.configured) changed[name] = texts
  }
  const fresh = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    const handle = await open(fresh, 'wx', 0o600)
    try {
      await handle.writeFile(`${JSON.stringify({ 'vspc-relay-state': VERSION, nextHops: changed }, null, 2)}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(fresh, file)
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  }
}
