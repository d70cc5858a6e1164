import { type Command, Option } from 'commander'
import type { PortAnswer } from '../app/index.ts'
import { VspcError } from '../base/index.ts'
import { type ServerAddress, ServerClient, VspcClient } from '../client/index.ts'
import { parseDuration } from './duration.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { printData } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { type Column, formatAge, formatBytes, formatTable } from './table.ts'

interface PortsFlags extends ServerOptions {
  output?: 'table' | 'json'
  json?: true
  /** Milliseconds between two looks. */
  watch?: number
}

const HELP = `
STATE is online, offline (the VM's host is not connected) or migrating (between
two hosts). OUT is what the VM has sent in all. NAME, NAME/LABEL, ID, or a
unique beginning of one, names the port in other commands.
Where the server follows guestinfo, ADDRESS is what the VM says it has, +N that
there are more; the rest of what it says is in the JSON.

Examples:
  vspc ports                       a table of all ports
  vspc ports --server https://vspc.example.com --token-file ~/.vspc
  vspc ports --json | jq -r '.[] | select(.state == "online") | .id'
  vspc ports --json | jq '.[] | {vm: .vm.name, exits: .guestinfo.exits}'
  vspc ports --watch=5s            again every 5 s
`

export function registerPorts(program: Command): void {
  const command = program
    .command('ports')
    .alias('ls')
    .addOption(new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table'))
    .option('--json', 'short for -o json')
    .option('--watch [=duration]', 'show it again and again, every 2s unless told otherwise', parseWatch)
  addServerOptions(command).addHelpText('after', HELP).action(ports)
}

function parseWatch(text: string): number {
  const ms = text === '' ? 2_000 : parseDuration(text, '--watch')
  if (ms < 100) throw new VspcError('VSPC_USAGE', `--watch: "${text}" is too often: at least 100ms`)
  return ms
}

async function ports(flags: PortsFlags): Promise<void> {
  const address = resolveServer(flags, process.env)
  const client = new VspcClient(address)
  const look = async (again: boolean) => {
    const json = flags.json === true || flags.output === 'json'
    const list = sortPorts(await client.ports())
    const hint = json || list.length > 0 ? '' : await emptyHint(address)
    printPorts(list, json, hint, again)
  }
  const every = flags.watch
  if (every === undefined) {
    await look(false)
    return
  }
  exitOnInterrupt()
  for (;;) {
    await look(true)
    await new Promise<void>((resolve) => liveClock.after(every, resolve))
  }
}

function printPorts(list: PortAnswer[], json: boolean, hint: string, again: boolean): void {
  if (json) {
    printData(`${formatPortsJson(list)}\n`)
    return
  }
  const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
  // Home and clear below, rather than clear and draw, so that nothing flickers.
  if (again && process.stdout.isTTY) printData('\x1b[H\x1b[J')
  if (list.length > 0) printData(`${formatPorts(list, Date.now(), width).join('\n')}\n`)
  else process.stderr.write(hint)
}

/** By name, then id, in an order that does not depend on the locale. A copy. */
export function sortPorts(list: readonly PortAnswer[]): PortAnswer[] {
  const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
  return [...list].sort((a, b) => compare(a.vm.name, b.vm.name) || compare(a.id, b.id))
}

const COLUMNS: readonly Column[] = [
  { title: 'NAME', min: 8 },
  { title: 'LABEL', min: 5 },
  { title: 'STATE' },
  { title: 'HOST', min: 8 },
  { title: 'CONSOLES', align: 'right' },
  { title: 'OUT', align: 'right' },
  { title: 'LAST OUTPUT' },
  { title: 'ID', min: 9 },
]
/** Shown where any is known. */
const ADDRESS: Column = { title: 'ADDRESS', min: 8 }
const ADDRESS_AT = COLUMNS.length - 1

/** @param wall now, milliseconds since 1970. @param width of the terminal; infinite when there is none. */
export function formatPorts(list: readonly PortAnswer[], wall: number, width: number): string[] {
  const rows = list.map((port) => [
    port.vm.name,
    port.label ?? '',
    String(port.state),
    port.host ?? '',
    String(port.consoles ?? ''),
    Number.isFinite(port.bytesFromVm) ? formatBytes(port.bytesFromVm) : '',
    port.lastOutputAt ? formatAge(Math.max(0, wall - Date.parse(port.lastOutputAt))) : 'never',
    port.id,
  ])
  const addresses = list.map(addressOf)
  if (addresses.every((one) => one === '')) return formatTable(COLUMNS, rows, width)
  for (const [at, row] of rows.entries()) row.splice(ADDRESS_AT, 0, addresses[at] ?? '')
  return formatTable(COLUMNS.toSpliced(ADDRESS_AT, 0, ADDRESS), rows, width)
}

/** The one that others can most likely use; empty where none is known. */
function addressOf({ guestinfo }: PortAnswer): string {
  const all = guestinfo?.addresses?.map(({ address }) => address) ?? []
  const best = all.find((one) => !/^(?:169\.254\.|fe[89ab])/i.test(one)) ?? all[0] ?? ''
  return all.length > 1 ? `${best} +${all.length - 1}` : best
}

/** Also harmless on a terminal: what JSON leaves alone and terminals obey is written as an escape. */
export function formatPortsJson(list: readonly object[]): string {
  return JSON.stringify(list, null, 2).replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

async function emptyHint(address: ServerAddress): Promise<string> {
  if (!(await seesAll(address))) {
    const check = `vspc token check --server ${address.url.origin}`
    return `vspc: there is no port that you may see ("${check}" says what you may)\n`
  }
  const host = address.url.hostname
  return `vspc: no VM has connected to this server yet. To point one at it, give the VM a
serial port that is connected over the network, with "use virtual serial port
concentrator" and
  vSPC URI:  telnet://${host}:13370
             (the server as the VM's ESXi host reaches it: 'vspc serve --listen')
  port URI:  any text, such as vspc
and allow "VM serial port connected to vSPC" in the ESXi host's firewall.
'vspc sim' plays VMs without any ESXi.
`
}

/** Whether an empty list means that there are none. It does for servers that do not tell. */
async function seesAll(address: ServerAddress): Promise<boolean> {
  const answer = (await new ServerClient(address).getJson('/api/v1/whoami').catch(() => ({}))) as WhoAmI
  return answer.accessControl !== true || (answer.capabilities ?? ['list']).includes('list')
}

interface WhoAmI {
  readonly accessControl?: boolean
  readonly capabilities?: readonly string[]
}
