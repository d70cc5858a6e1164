/** Tokens made, removed and hashed. The text of a token goes to standard output and nowhere else. */
import {
  BUILT_IN_ROLES,
  changeTokens,
  digestOf,
  isPrincipal,
  newSecret,
  parseSelector,
  secretFault,
  TOKEN_NAME,
  TOKEN_NAME_ACCEPTS,
  TOKEN_PREFIX,
  type TokenRecord,
} from '../access/index.ts'
import { cleanText, liveClock, VspcError } from '../base/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { printData, printNote } from './output.ts'
import type { AddFlags } from './token.ts'

const MAX_INPUT_BYTES = 4_096

export async function addToken(name: string, flags: AddFlags, path: string): Promise<void> {
  const { role: roles = [], group: groups = [], ports = ['*'], expires } = flags
  if (!TOKEN_NAME.test(name)) {
    throw new VspcError('VSPC_USAGE', `"${cleanText(name, 64)}" is no name; accepted is ${TOKEN_NAME_ACCEPTS}`)
  }
  for (const group of groups) {
    if (!isPrincipal(group))
      throw new VspcError('VSPC_USAGE', `--group: "${cleanText(group, 64)}" is no name of a group`)
  }
  for (const text of ports) parseSelector(text)
  if (flags.ports !== undefined && roles.length === 0) {
    throw new VspcError('VSPC_USAGE', '--ports says where --role counts: give --role, too')
  }
  const now = liveClock.wall()
  const token = newSecret(TOKEN_PREFIX)
  const record: TokenRecord = {
    name,
    sha256: digestOf(token),
    groups: [...new Set(groups)],
    roles: [...new Set(roles)],
    ports,
    created: new Date(now).toISOString(),
    expires: expires === undefined ? null : new Date(parseExpiry(expires, now)).toISOString(),
  }
  await changeTokens(path, liveClock, (records) => {
    if (records.some((one) => one.name === name)) {
      throw new VspcError(
        'VSPC_USAGE',
        `there is a token ${name} already: choose another name, or remove that one first`,
      )
    }
    return [...records, record]
  })
  if (flags.json === true) printData(`${JSON.stringify({ ...record, token }, null, 2)}\n`)
  else printData(`${token}\n`)
  for (const role of roles) {
    if (Object.hasOwn(BUILT_IN_ROLES, role)) continue
    printNote(
      `warning: ${cleanText(role, 64)} is no built-in role: it gives nothing unless the configuration defines it`,
    )
  }
  if (roles.length === 0 && groups.length === 0) {
    printNote(`note: it may do nothing until a rule of the configuration is for token:${name}`)
  }
  if (process.stdout.isTTY) printNote('keep it now: it is not shown again')
}

export async function removeTokens(names: readonly string[], path: string): Promise<void> {
  await changeTokens(path, liveClock, (records) => {
    const unknown = names.filter((name) => !records.some((record) => record.name === name))
    if (unknown.length > 0) {
      const list = unknown.map((name) => cleanText(name, 64)).join(', ')
      throw new CommandExit(
        EXIT.noSuchPort,
        `there is no token ${list} in ${path} (see "vspc token list"); nothing was removed`,
      )
    }
    return records.filter(({ name }) => !names.includes(name))
  })
}

/** Whole, in one line. @throws VspcError VSPC_USAGE. */
export async function readSecret(): Promise<string> {
  if (process.stdin.isTTY) printNote('paste the token, then press Enter and Ctrl-D')
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer)
    bytes += (chunk as Buffer).length
    if (bytes > MAX_INPUT_BYTES)
      throw new VspcError('VSPC_USAGE', 'what comes from standard input is no token: it is too long')
  }
  return Buffer.concat(chunks).toString('latin1').trim()
}

export async function hashToken(): Promise<void> {
  const token = await readSecret()
  const fault = token === '' ? 'nothing came from standard input' : secretFault(TOKEN_PREFIX, token)
  if (fault !== null) throw new VspcError('VSPC_USAGE', `this is no token of "vspc token add": ${fault}`)
  printData(`${digestOf(token)}\n`)
}

const UNIT_MS = { h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const
/** Ten years: longer, `never` is more honest. */
const MAX_LIFE_MS = 3_660 * UNIT_MS.d

/**
 * Milliseconds since 1970. A day without time ends with it, in UTC.
 * @throws VspcError VSPC_USAGE.
 */
export function parseExpiry(text: string, now: number): number {
  const [, count, unit] = /^(\d{1,6})([hdw])$/.exec(text) ?? []
  const at = unit === undefined ? dateOf(text) : now + Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS]
  const shown = cleanText(text, 64)
  if (Number.isNaN(at)) {
    throw new VspcError(
      'VSPC_USAGE',
      `--expires: "${shown}" is no time; write 12h, 90d, 8w, 2030-01-31 or 2030-01-31T12:00Z`,
    )
  }
  if (at <= now) throw new VspcError('VSPC_USAGE', `--expires: ${shown} is over already`)
  if (at - now > MAX_LIFE_MS) {
    throw new VspcError(
      'VSPC_USAGE',
      `--expires: ${shown} is more than ten years away; leave it out for a token that does not expire`,
    )
  }
  return at
}

function dateOf(text: string): number {
  const [, day, time] = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(?::\d\d)?Z)?$/.exec(text) ?? []
  if (day === undefined) return Number.NaN
  const start = Date.parse(`${day}T00:00:00Z`)
  // A 31st of a shorter month would be taken for a day of the next one.
  if (Number.isNaN(start) || new Date(start).toISOString().slice(0, 10) !== day) return Number.NaN
  return time === undefined ? start + UNIT_MS.d : Date.parse(`${day}${time}`)
}
