import type { Command } from 'commander'
import { cleanText, VspcError } from '../base/index.ts'
import { VspcClient } from '../client/index.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { printNote } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'

interface KickFlags extends ServerOptions {
  reason?: string
}

const HELP = `
CONSOLE is the ID that 'vspc who' shows. It is told who ended it and why, and
'vspc attach' there does not come back by itself. The others at the port are
told, too. To type without putting anybody out: 'vspc attach -f', or wait for
the keyboard with 'vspc attach --queue'.

Exit codes: 0 ended, 2 usage, 3 no such port or console, 4 not allowed,
6 server unreachable.

Examples:
  vspc who web1
  vspc kick web1 12 --reason 'maintenance until 6'
`

export function registerKick(program: Command): void {
  const command = program
    .command('kick')
    .argument('<port>', 'VM name, NAME/LABEL, UUID, port id, or a unique prefix of one')
    .argument('<console>', 'number of the console, see vspc who')
    .option('--reason <text>', 'why; told to it, and to the others')
  addServerOptions(command).addHelpText('after', HELP).action(kick)
}

async function kick(port: string, console: string, flags: KickFlags): Promise<void> {
  if (!/^\d{1,15}$/.test(console)) {
    const text = `"${cleanText(console, 50)}" is no number of a console: take the ID that 'vspc who' shows`
    throw new VspcError('VSPC_USAGE', text)
  }
  exitOnInterrupt()
  await new VspcClient(resolveServer(flags, process.env)).kick(port, Number(console), flags.reason ?? '')
  printNote(`console ${console} of ${port} has been ended`)
}
