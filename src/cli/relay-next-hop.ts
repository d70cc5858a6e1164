import type { Command } from 'commander'
import { cleanText, VspcError } from '../base/index.ts'
import { ControlClient, type NextHopInfo } from '../relay/index.ts'
import { printData } from './output.ts'
import { formatTable } from './table.ts'

interface NextHopFlags {
  control?: string
  json?: true
}

const HELP = `
A next hop is a named endpoint that routes dial (dial: next-hop:NAME). Once it
is changed, new streams go to the new endpoint at once; streams with resume=on
follow, others stay where they are until they break.

Examples:
  vspc relay next-hop get --control unix:///run/vspc/relay.sock
  vspc relay next-hop set appliance tls://esx2:13371 --control unix:///run/vspc/relay.sock
`

export function addNextHop(relay: Command, called: string): void {
  const help = HELP.replaceAll('vspc relay', called)
  const command = relay.command('next-hop').description('Show or change where a running relay passes streams on to')
  command.addHelpText('after', help)
  command
    .command('get')
    .description('Show one next hop, or all')
    .argument('[name]', 'of the next hop')
    .option('--control <uri>', "the relay's control endpoint")
    .option('--json', 'print JSON')
    .addHelpText('after', help)
    .action(get)
  command
    .command('set')
    .description('Send streams elsewhere')
    .argument('<name>', 'of the next hop')
    .argument('<uri>', 'the endpoint to dial from now on')
    .option('--control <uri>', "the relay's control endpoint")
    .option('--json', 'print JSON')
    .addHelpText('after', help)
    .action(set)
}

async function get(name: string | undefined, _own: NextHopFlags, command: Command): Promise<void> {
  const flags = command.optsWithGlobals<NextHopFlags>()
  const client = new ControlClient(flags.control)
  if (name === undefined) {
    const hops = (await client.get('/api/v1/next-hops')) as NextHopInfo[]
    if (flags.json === true) printData(`${JSON.stringify(hops, null, 2)}\n`)
    else if (hops.length > 0) printData(`${table(hops)}\n`)
    return
  }
  const hop = (await client.get(path(name))) as NextHopInfo
  printData(flags.json === true ? `${JSON.stringify(hop, null, 2)}\n` : `${cleanText(hop.endpoint, 2_000)}\n`)
}

async function set(name: string, uri: string, _own: NextHopFlags, command: Command): Promise<void> {
  const flags = command.optsWithGlobals<NextHopFlags>()
  const client = new ControlClient(flags.control)
  const hop = (await client.put(path(name), { endpoint: uri })) as NextHopInfo
  if (flags.json === true) printData(`${JSON.stringify(hop, null, 2)}\n`)
}

function path(name: string): string {
  if (name === '' || name === '.' || name === '..') {
    throw new VspcError('VSPC_RELAY_NEXT_HOP', `there is no next hop "${name}"; see next-hop get`)
  }
  return `/api/v1/next-hops/${encodeURIComponent(name)}`
}

function table(hops: readonly NextHopInfo[]): string {
  const columns = [{ title: 'NAME' }, { title: 'ENDPOINT', min: 20 }, { title: 'CONFIGURED', min: 20 }]
  const rows = hops.map(({ name, endpoint, configured }) => [
    name,
    endpoint,
    configured === endpoint ? 'the same' : configured,
  ])
  return formatTable(columns, rows, process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY).join('\n')
}
