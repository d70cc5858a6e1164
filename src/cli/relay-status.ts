import type { Command } from 'commander'
import { ControlClient, type RouteStatus } from '../relay/index.ts'
import { printData } from './output.ts'
import { formatBytes, formatTable } from './table.ts'

interface StatusFlags {
  control?: string
  json?: true
}

const HELP = `
STREAMS are joined now, HELD wait for their other side, FORWARD and BACK is
what was read on the first and on the second side.

Examples:
  vspc relay status --control unix:///run/vspc/relay.sock
  vspc relay status --control unix:///run/vspc/relay.sock --json | jq '.[].streams'
`

export function addStatus(relay: Command, called: string): void {
  relay
    .command('status')
    .description('Show the routes of a running relay')
    .option('--control <uri>', "the relay's control endpoint")
    .option('--json', 'print JSON')
    .addHelpText('after', HELP.replaceAll('vspc relay', called))
    .action(status)
}

async function status(_own: StatusFlags, command: Command): Promise<void> {
  // The relay has options of the same names, which are taken for its own.
  const flags = command.optsWithGlobals<StatusFlags>()
  const routes = (await new ControlClient(flags.control).get('/api/v1/routes')) as RouteStatus[]
  if (flags.json === true) {
    printData(`${JSON.stringify(routes, null, 2)}\n`)
    return
  }
  const columns = [
    { title: 'ROUTE', min: 6 },
    { title: 'FROM', min: 16 },
    { title: 'TO', min: 16 },
    { title: 'STREAMS', align: 'right' as const },
    { title: 'HELD', align: 'right' as const },
    { title: 'FORWARD', align: 'right' as const },
    { title: 'BACK', align: 'right' as const },
    { title: 'LAST ERROR', min: 10 },
  ]
  const rows = routes.map((route) => [
    route.name,
    route.from,
    route.away ? `${route.to} (away)` : route.to,
    String(route.streams),
    String(route.held),
    formatBytes(route.bytesForward),
    formatBytes(route.bytesBack),
    route.lastError === null ? '' : `${route.lastError.at} ${route.lastError.message}`,
  ])
  const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
  printData(`${formatTable(columns, rows, width).join('\n')}\n`)
}
