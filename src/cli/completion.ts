import { Argument, type Command } from 'commander'
import { type Clock, VspcError } from '../base/index.ts'
import { VspcClient } from '../client/index.ts'
import { type CommandNode, commandTree } from './command-tree.ts'
import { bashCompletion } from './completion-bash.ts'
import { fishCompletion } from './completion-fish.ts'
import { zshCompletion } from './completion-zsh.ts'
import { liveClock } from './live-clock.ts'
import { printData } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'

const HELP = `
Prints a script for the shell, which completes commands, options, their values,
files, and the names of ports: those it asks the server for, at --server or
VSPC_SERVER, and gives up after 1 s. "ports" prints these names, for scripts of
your own.

Examples:
  source <(vspc completion bash)            for this shell
  vspc completion bash > /etc/bash_completion.d/vspc
  vspc completion zsh > ~/.zfunc/_vspc      with ~/.zfunc in fpath before compinit
  vspc completion fish > ~/.config/fish/completions/vspc.fish
`

/** Longer than this nobody waits for a completion. */
const ANSWER_MS = 1_000

const SCRIPTS = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
} as const satisfies Record<string, (tree: CommandNode) => string>

/** @param whole the program with all its commands loaded. */
export function registerCompletion(program: Command, whole: () => Promise<Command>): void {
  const command = program
    .command('completion')
    .addArgument(new Argument('<shell>', 'the shell, or ports').choices([...Object.keys(SCRIPTS), 'ports']))
  addServerOptions(command)
    .addHelpText('after', HELP)
    .action(async (shell: keyof typeof SCRIPTS | 'ports', flags: ServerOptions) => {
      if (shell === 'ports') {
        const names = await portNames(new VspcClient(resolveServer(flags, process.env)), liveClock)
        printData(names.map((name) => `${name}\n`).join(''))
      } else {
        printData(SCRIPTS[shell](commandTree(await whole())))
      }
    })
}

/** Names to complete, sorted; NAME/LABEL where a VM has several ports, ids where names are not unique. */
async function portNames(client: VspcClient, clock: Clock): Promise<string[]> {
  const late = new AbortController()
  const timer = clock.after(ANSWER_MS, () => {
    late.abort(new VspcError('VSPC_SERVER_UNREACHABLE', `no answer from the server within ${ANSWER_MS} ms`))
  })
  try {
    const ports = await client.ports({ signal: late.signal })
    const named = ports.map(({ id, label, vm }) => ({
      id,
      name: vm.name === '' ? id : label === null ? vm.name : `${vm.name}/${label}`,
    }))
    const count = new Map<string, number>()
    for (const { name } of named) count.set(name, (count.get(name) ?? 0) + 1)
    return named.map(({ id, name }) => (count.get(name) === 1 ? name : id)).sort()
  } finally {
    timer.cancel()
  }
}
