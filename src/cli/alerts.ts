import { text as readAll } from 'node:stream/consumers'
import { type Command, Option } from 'commander'
import type { AlertAnswer } from '../app/index.ts'
import { cleanText, VspcError } from '../base/index.ts'
import { EventStream, notOurs, ServerClient, VspcClient } from '../client/index.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { printData, printNote } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { type Column, formatTable } from './table.ts'

interface AlertsFlags extends ServerOptions {
  follow?: true
  output?: 'table' | 'json'
  json?: true
  rule?: string
  severity?: string
}

const SEVERITIES = ['critical', 'error', 'warning', 'info']

const HELP = `
The server holds the output of VMs against alert rules where its configuration has
a section alerts, as in  alerts: {}  which is enough for the rules that are built in:
kernel panic, oops, stall, oom-kill, I/O error, emergency mode, Windows stop.
PORT is the name of a VM, with all its ports, or one port as in other commands;
of a port that was removed, its id. Offsets are those of vspc log.

Exit codes: 0 also where there are none, 2 usage, 3 no such port or ambiguous,
4 not allowed, 6 server unreachable, 130 interrupted.

Examples:
  vspc alerts                            the last ones, at most 1000
  vspc alerts -f --severity error        and those to come
  vspc alerts web1 --rule kernel-panic
  vspc alerts --json | jq -r '.[].vm.name' | sort | uniq -c
  vspc alerts -f --json                  one line of JSON for each
`

export function registerAlerts(program: Command): void {
  const command = program
    .command('alerts')
    .argument('[port]', 'only those of this port, or VM')
    .option('-f, --follow', 'go on with those to come')
    .addOption(new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table'))
    .option('--json', 'short for -o json')
    .option('--rule <name>', 'only those of this rule')
    .addOption(new Option('--severity <least>', 'only those as grave as this, or graver').choices(SEVERITIES))
  addServerOptions(command).addHelpText('after', HELP).action(alerts)
}

async function alerts(text: string | undefined, flags: AlertsFlags): Promise<void> {
  const address = resolveServer(flags, process.env)
  const client = new ServerClient(address)
  const json = flags.json === true || flags.output === 'json'
  // Before the list, so that nothing falls between the two.
  const events = flags.follow === true ? await EventStream.open(client) : null
  let port = text
  let { list, rules } = await getAlerts(client, port, flags)
  if (list.length === 0 && rules > 0 && text !== undefined) {
    port = await portOf(new VspcClient(address), text, flags)
    if (port !== text) list = (await getAlerts(client, port, flags)).list
  }
  print(list, json, events !== null)
  if (rules === 0)
    printNote('no alert rules are in force: give the configuration a section  alerts: {}  (see vspc alerts --help)')
  else if (list.length === 0 && !json && events === null) printNote('no alerts')
  if (events === null) return
  exitOnInterrupt()
  let last = list.at(-1)?.id ?? 0
  for await (const event of events) {
    if (event.type !== 'alert' || event.alert.id <= last) continue
    last = event.alert.id
    const { id, vm, host } = event.port
    const alert = { ...event.alert, at: event.at, port: id, vm: { name: vm.name, uuid: vm.uuid }, host }
    if (isWanted(alert, port, flags)) print([alert], json, true)
  }
}

/** The id of the port that is meant, or `text` where it is the name of a VM; alerts know nothing of prefixes. */
async function portOf(client: VspcClient, text: string, { follow }: AlertsFlags): Promise<string> {
  try {
    return (await client.port(text)).id
  } catch (error) {
    if (!(error instanceof VspcError)) throw error
    if (error.code === 'VSPC_PORT_AMBIGUOUS' && (await client.ports()).some(({ vm }) => vm.name === text)) return text
    if (error.code !== 'VSPC_PORT_NOT_FOUND' || follow !== true) throw error
    // It may come.
    printNote(error.message)
    return text
  }
}

async function getAlerts(
  client: ServerClient,
  port: string | undefined,
  { rule, severity }: AlertsFlags,
): Promise<{ list: AlertAnswer[]; rules: number }> {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries({ port, rule, severity })) if (value !== undefined) query.set(name, value)
  const { headers, body } = await client.open(`/api/v1/alerts${query.size === 0 ? '' : `?${query}`}`)
  let list: unknown
  try {
    list = JSON.parse(await readAll(body))
  } catch (cause) {
    throw notOurs(client.address, 'its answer is no JSON', cause)
  }
  if (!Array.isArray(list)) throw notOurs(client.address, 'no list of alerts')
  return { list: list as AlertAnswer[], rules: Number(headers['x-vspc-alert-rules'] ?? 1) }
}

function isWanted(alert: AlertAnswer, port: string | undefined, { rule, severity }: AlertsFlags): boolean {
  if (port !== undefined && alert.port !== port && alert.vm.name !== port) return false
  if (rule !== undefined && alert.rule !== rule) return false
  return severity === undefined || SEVERITIES.indexOf(alert.severity) <= SEVERITIES.indexOf(severity)
}

function print(list: readonly AlertAnswer[], json: boolean, follows: boolean): void {
  if (json && !follows) printData(`${harmless(JSON.stringify(list, null, 2))}\n`)
  else if (json) for (const alert of list) printData(`${harmless(JSON.stringify(alert))}\n`)
  else if (follows) for (const alert of list) printData(`${formatAlert(alert)}\n`)
  else if (list.length > 0) {
    const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
    printData(`${formatAlerts(list, width).join('\n')}\n`)
  }
}

/** One line, for those that come one by one. */
export function formatAlert({ at, severity, rule, port, vm, line, suppressed }: AlertAnswer): string {
  const more = suppressed > 0 ? ` (+${suppressed})` : ''
  return cleanText(`${at} ${severity} ${rule} ${vm.name === '' ? port : vm.name}${more}: ${line}`, 2_000)
}

const COLUMNS: readonly Column[] = [
  { title: 'TIME' },
  { title: 'SEVERITY' },
  { title: 'RULE', min: 8 },
  { title: 'VM', min: 8 },
  { title: 'OFFSET', align: 'right' },
  { title: 'LINE', min: 20 },
]

export function formatAlerts(list: readonly AlertAnswer[], width: number): string[] {
  const rows = list.map(({ at, severity, rule, port, vm, offset, line }) => {
    return [at, severity, rule, vm.name === '' ? port : vm.name, String(offset), line]
  })
  return formatTable(COLUMNS, rows, width)
}

/** What JSON leaves alone and terminals obey is written as an escape. */
function harmless(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
