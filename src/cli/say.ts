import type { Command } from 'commander'
import { VspcError } from '../base/index.ts'
import { VspcClient } from '../client/index.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { printData, printNote } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'

interface SayFlags extends ServerOptions {
  all?: true
  json?: true
}

const HELP = `
People see one line, in 'vspc attach', the web page or Telnet; the VM gets
nothing of it. At most 500 characters. To type into a VM: 'vspc send'.

Examples:
  vspc say web1 rebooting in five minutes
  vspc say --all 'the console server restarts at 18:00'
`

export function registerSay(program: Command): void {
  const command = program
    .command('say')
    .argument('[words...]', 'a port (VM name, NAME/LABEL, UUID, port id, or a unique prefix) and the text')
    .usage('[options] (<port> | --all) <text...>')
    .option('--all', 'to the consoles of all ports; all words are the text')
    .option('--json', 'print how many consoles were told')
  addServerOptions(command).addHelpText('after', HELP).action(say)
}

async function say(words: string[], flags: SayFlags): Promise<void> {
  const port = flags.all ? null : (words[0] ?? '')
  const text = words.slice(flags.all ? 0 : 1).join(' ')
  if (port === '' || text.trim() === '') {
    throw new VspcError(
      'VSPC_USAGE',
      "give a port and what to say: vspc say web1 'rebooting', or vspc say --all 'rebooting'",
    )
  }
  exitOnInterrupt()
  const consoles = await new VspcClient(resolveServer(flags, process.env)).say(port, text)
  if (flags.json) printData(`${JSON.stringify({ consoles })}\n`)
  else printNote(consoles === 0 ? 'nobody is attached' : `told ${consoles} console${consoles === 1 ? '' : 's'}`)
}
