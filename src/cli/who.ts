import { type Command, Option } from 'commander'
import { type ConsoleInfo, type PortInfo, VspcClient } from '../client/index.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { printData, printNote } from './output.ts'
import { formatPortsJson, sortPorts } from './ports.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { type Column, formatAge, formatTable } from './table.ts'

interface WhoFlags extends ServerOptions {
  output?: 'table' | 'json'
  json?: true
}

const HELP = `
MODE is read, write or exclusive. QUEUE is the place of one that waits for the
keyboard, LAST INPUT when it has typed something. ID is what 'vspc kick'
and ^] h in 'vspc attach' want.

Examples:
  vspc who                         everybody, on all ports
  vspc who web1                    only on web1
  vspc who --json | jq '.[] | select(.mode == "exclusive")'
`

/** Asked for at a time, where there is no list of all. */
const AT_ONCE = 8

export function registerWho(program: Command): void {
  const command = program
    .command('who')
    .argument('[port]', 'VM name, NAME/LABEL, UUID, port id, or a unique prefix of one')
    .addOption(new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table'))
    .option('--json', 'short for -o json')
  addServerOptions(command).addHelpText('after', HELP).action(who)
}

/** A console, and where it is attached. */
interface Attached extends ConsoleInfo {
  readonly port: string
  readonly vm: string
}

async function who(port: string | undefined, flags: WhoFlags): Promise<void> {
  exitOnInterrupt()
  const client = new VspcClient(resolveServer(flags, process.env))
  const ports = port === undefined ? await client.ports() : [await client.port(port)]
  const busy = sortPorts(ports).filter(({ consoles }) => consoles > 0)
  const all: Attached[] = []
  for (let at = 0; at < busy.length; at += AT_ONCE) {
    const lists = await Promise.all(busy.slice(at, at + AT_ONCE).map((one) => attachedTo(client, one)))
    all.push(...lists.flat())
  }
  if (flags.json || flags.output === 'json') {
    printData(`${formatPortsJson(all)}\n`)
    return
  }
  const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
  if (all.length > 0) printData(`${formatConsoles(all, Date.now(), width).join('\n')}\n`)
  else printNote(port === undefined ? 'nobody is attached' : `nobody is attached to ${port}`)
}

async function attachedTo(client: VspcClient, { id, vm, label }: PortInfo): Promise<Attached[]> {
  const name = vm.name === '' ? id : label === null ? vm.name : `${vm.name}/${label}`
  return (await client.consoles(id)).map((console) => ({ port: id, vm: name, ...console }))
}

const COLUMNS: readonly Column[] = [
  { title: 'PORT', min: 8 },
  { title: 'ID', align: 'right' },
  { title: 'WHO', min: 8 },
  { title: 'FROM', min: 8 },
  { title: 'VIA' },
  { title: 'MODE' },
  { title: 'QUEUE', align: 'right' },
  { title: 'LAST INPUT' },
  { title: 'ATTACHED' },
]

/** @param wall now, milliseconds since 1970. @param width of the terminal; infinite when there is none. */
export function formatConsoles(list: readonly Attached[], wall: number, width: number): string[] {
  const age = (at: string | null | undefined) => (at ? formatAge(Math.max(0, wall - Date.parse(at))) : '')
  const rows = list.map((one) => [
    one.vm,
    String(one.id),
    one.who,
    one.address ?? '',
    String(one.via ?? ''),
    one.mode,
    one.waiting ? String(one.waiting) : '',
    age(one.lastInputAt),
    age(one.attachedAt),
  ])
  // Only where people have names is it news where they come from.
  if (list.some(({ address }) => address !== undefined)) return formatTable(COLUMNS, rows, width)
  return formatTable(
    COLUMNS.filter(({ title }) => title !== 'FROM'),
    rows.map((row) => row.toSpliced(3, 1)),
    width,
  )
}
