/** `vspc token check`: who a token is, and what it may; from the server's files, or asked of the server itself. */
import {
  ACTIONS,
  type Action,
  BUILT_IN_ROLES,
  capabilitiesOn,
  digestOf,
  explain,
  formatSelector,
  type Grant,
  grantsOf,
  loadTokens,
  type Policy,
  type PortFacts,
  parseSelector,
  type Subject,
  secretFault,
  TOKEN_PREFIX,
  TokenTable,
} from '../access/index.ts'
import type { Config } from '../app/index.ts'
import { cleanText, liveClock, VspcError } from '../base/index.ts'
import { checkToken, ServerClient } from '../client/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { printData } from './output.ts'
import { resolveServer, resolveToken, type ServerOptions } from './server-address.ts'

export interface CheckFlags extends ServerOptions {
  vm?: string
  uuid?: string
  host?: string
  json?: true
}

/** One for each capability, in words that people know. */
const ASKED: readonly Action[] = [
  'port.list',
  'log.read',
  'console.write',
  'console.break',
  'console.kick',
  'port.remove',
]

/** @param input what came from standard input; asked for where nothing else gives a token. */
export async function checkTokenRights(
  flags: CheckFlags,
  path: string,
  config: Config | null,
  input: () => Promise<string>,
): Promise<void> {
  const token = resolveToken(flags, process.env) ?? checkToken(await input(), 'what came from standard input')
  if (flags.server !== undefined) {
    await askServer(flags, token)
    return
  }
  const fault = secretFault(TOKEN_PREFIX, token)
  if (fault !== null) throw new CommandExit(EXIT.notAllowed, `this is no token of "vspc token add": ${fault}`)
  const records = await loadTokens(path)
  if (records === null) throw new VspcError('VSPC_ACCESS_FILE', `there is no ${path}: "vspc token add" makes it`)
  const rules = config?.access?.rules ?? null
  const table = new TokenTable(records, rules?.roles ?? new Map(Object.entries(BUILT_IN_ROLES)))
  const match = table.find(digestOf(token), liveClock.wall())
  if (match.kind === 'unknown') {
    throw new CommandExit(EXIT.notAllowed, `${path} does not have it: it was removed, or is another server's`)
  }
  if (match.kind === 'expired') throw new CommandExit(EXIT.notAllowed, `the token ${match.name} has expired`)
  const policy = rules?.policy ?? { rules: [] }
  const record = records.find(({ name }) => name === match.subject.user)
  tell(match.subject, policy, record?.expires ?? null, portOf(flags), flags.json === true)
}

function portOf({ vm, uuid, host }: CheckFlags): PortFacts | null {
  if (vm === undefined && uuid === undefined && host === undefined) return null
  const selector = uuid === undefined ? null : parseSelector(`uuid:${uuid}`)
  const canonical = selector?.kind === 'uuid' ? selector.uuid : null
  return { id: vm ?? canonical ?? 'of that host', name: vm ?? '', uuid: canonical, host: host ?? null }
}

function tell(subject: Subject, policy: Policy, expires: string | null, port: PortFacts | null, json: boolean): void {
  const grants = grantsOf(policy, subject)
  if (json) {
    const shown = grants.map(({ capabilities, ports, source }) => ({
      capabilities,
      ports: ports.map(formatSelector),
      source,
    }))
    const here = port === null ? {} : { here: capabilitiesOn(policy, subject, port) }
    const { user, groups } = subject
    const answer = {
      who: user,
      via: subject.via,
      groups,
      expires,
      everywhere: capabilitiesOn(policy, subject, null),
      ...here,
      grants: shown,
    }
    printData(`${JSON.stringify(answer, null, 2)}\n`)
    return
  }
  const lines = [
    `token ${subject.user}, ${expires === null ? 'never expires' : `good until ${expires}`}`,
    `groups: ${subject.groups.map((group) => cleanText(group, 128)).join(', ') || 'none'}`,
    `on all ports: ${capabilitiesOn(policy, subject, null).join(', ') || 'nothing'}`,
    ...grants.map(lineOf),
  ]
  if (grants.length === 0) lines.push('no rule is for it, and it has no role: it may do nothing')
  if (port !== null) {
    const name = port.name === '' ? 'that VM' : cleanText(port.name, 128)
    lines.push(`on ${name}: ${capabilitiesOn(policy, subject, port).join(', ') || 'nothing'}`)
    for (const action of ASKED) lines.push(...explained(policy, subject, action, port))
  }
  printData(`${lines.join('\n')}\n`)
}

function lineOf({ capabilities, ports, source }: Grant): string {
  return `  ${capabilities.join(', ')} on ${ports.map(formatSelector).join(', ')} (${source})`
}

function explained(policy: Policy, subject: Subject, action: Action, port: PortFacts): string[] {
  const [verdict = '', ...why] = explain(policy, subject, action, port)
  return [`${ACTIONS[action].needs}: ${cleanText(verdict, 300)}`, ...why.map((line) => `  ${cleanText(line, 300)}`)]
}

async function askServer(flags: CheckFlags, token: string): Promise<void> {
  const address = { ...resolveServer(flags, process.env), token }
  const query = flags.vm === undefined ? '' : `?port=${encodeURIComponent(flags.vm)}`
  const answer = (await new ServerClient(address).getJson(`/api/v1/whoami${query}`)) as Record<string, unknown>
  if (flags.json === true) {
    printData(`${JSON.stringify(answer, null, 2)}\n`)
    return
  }
  if (answer['accessControl'] === false) {
    printData('this server has no access control: everybody who reaches it may do everything\n')
    return
  }
  const list = (value: unknown) =>
    Array.isArray(value) ? value.map((one) => cleanText(String(one), 128)).join(', ') : ''
  const where = flags.vm === undefined ? 'all ports' : cleanText(flags.vm, 128)
  printData(
    `${cleanText(String(answer['via']), 32)} ${cleanText(String(answer['who']), 128)}\n` +
      `groups: ${list(answer['groups']) || 'none'}\non ${where}: ${list(answer['capabilities']) || 'nothing'}\n`,
  )
}
