/** The relay as a program of its own: what `vspc-relay`, one file that runs with Node alone, begins with. */
import { Command } from 'commander'
import { addRelay } from './relay.ts'
import { runProgram } from './run.ts'
import { productVersion } from './version.ts'

process.exitCode = await runProgram('vspc-relay', async () => {
  const program = new Command('vspc-relay')
    .version(productVersion(), '-V, --version')
    .exitOverride()
    .showHelpAfterError("(try 'vspc-relay --help')")
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'vspc-relay: ')) })
  addRelay(program, 'vspc-relay')
  await program.parseAsync(process.argv)
})
