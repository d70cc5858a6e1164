import { type Command, Option } from 'commander'
import type { ConsoleMode } from '../app/index.ts'
import { readHistory, ServerClient, waitForPort, webSocketConsoles } from '../client/index.ts'
import { runAttach } from './attach-session.ts'
import { parseDuration } from './duration.ts'
import { DEFAULT_ESCAPE, parseEscapeChar } from './escape.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { parseOffset } from './offset.ts'
import { printNote } from './output.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { TIMING } from './timing.ts'
import { processTerminal } from './tty.ts'

interface AttachFlags extends ServerOptions {
  spy?: true
  force?: true
  exclusive?: true
  escape?: string
  /** Milliseconds; may be infinite. */
  wait?: number
  /** Milliseconds; may be infinite. */
  queue?: number
  from?: number
  linger?: number
  rawInput?: true
  quiet?: true
}

const HELP = `
In a terminal, every key goes to the VM as it is: Enter as CR, Ctrl-C and arrows
included. Ctrl-] opens a command: ^] . leaves, ^] ? lists all, ^] ^] sends one
Ctrl-]. The terminal is put back in every case.

When the connection is lost, attach reconnects and goes on where the output
stopped. What is typed meanwhile is discarded with a bell: it is never kept and
sent into whatever runs there later. Keys sent in the moment of the loss may be
lost too.

All who are attached see who types: ^] w lists them, ^] q waits for the
keyboard, ^] y hands it over, ^] f takes it, ^] b says something to all, ^] k
ends a console. Nobody is made to write without having asked.

Piped input is sent with its line ends as the Enter key. After its end, output
is shown until the guest has been quiet for --linger. There are no escapes in
piped input, and a lost connection ends it.

Exit codes: 0 left, 2 usage, 3 no such port, 4 not allowed, 5 held by someone
else, 6 server unreachable, 7 the VM is gone or offline, 124 --wait or --queue
timed out, 129 window closed, 130 interrupted, 143 terminated.

Examples:
  vspc attach web1                        type on web1's console
  vspc attach -s web1/com2                only watch the port labelled com2
  vspc attach -f web1                     take over from whoever holds it
  vspc attach --queue=10m web1            watch until it is your turn to type
  vspc attach --from -4096 web1           show the last 4096 bytes first
  vspc attach --wait=2m web1              wait for the VM to come up first
  echo uptime | vspc attach web1          send one command, print the answer
  vspc attach --linger 10s web1 < setup   send a script, wait 10 s
`

export function registerAttach(program: Command): void {
  const command = program
    .command('attach')
    .argument('<port>', 'VM name, NAME/LABEL, UUID, port id, or a unique prefix of one')
    .addOption(new Option('-s, --spy', 'read only').conflicts(['force', 'exclusive']))
    .option('-f, --force', 'write even if someone holds the port')
    .option('-x, --exclusive', 'write as the only one')
    .addOption(
      new Option(
        '--queue [=duration]',
        'where someone holds the port, watch until it is your turn; --queue=5m gives up then',
      )
        .argParser((text: string) => (text === '' ? Number.POSITIVE_INFINITY : parseDuration(text, '--queue')))
        .conflicts(['spy', 'force']),
    )
    .option('-e, --escape <char>', 'escape character: ^X, one character, or none (env VSPC_ESCAPE; default ^])')
    .option('--wait [=duration]', 'wait until the port is there and online; --wait=30s gives up then', parseWait)
    .option('--from <offset>', 'begin with the output at this offset; negative counts from the end', (text) =>
      parseOffset(text, '--from'),
    )
    .option('--linger <duration>', 'piped input: leave once the guest was quiet this long (default 1s)', (text) =>
      parseDuration(text, '--linger'),
    )
    .option('--raw-input', 'piped input: send line feeds as they are')
    .option('-q, --quiet', 'no [vspc] lines, except answers to escape commands')
  addServerOptions(command).addHelpText('after', HELP).action(attach)
}

/** Milliseconds; infinite without a value. */
function parseWait(text: string): number {
  return text === '' ? Number.POSITIVE_INFINITY : parseDuration(text, '--wait')
}

function consoleMode(flags: AttachFlags): ConsoleMode {
  if (flags.exclusive) return 'exclusive'
  return flags.spy ? 'read' : 'write'
}

async function attach(port: string, flags: AttachFlags): Promise<void> {
  const escapeText = flags.escape ?? process.env['VSPC_ESCAPE']
  const options = {
    mode: consoleMode(flags),
    force: flags.force === true,
    queueMs: flags.queue ?? null,
    from: flags.from ?? null,
    quiet: flags.quiet === true,
    escape: escapeText ? parseEscapeChar(escapeText, flags.escape ? '-e' : 'VSPC_ESCAPE') : DEFAULT_ESCAPE,
    rawInput: flags.rawInput === true,
    lingerMs: flags.linger ?? TIMING.lingerMs,
  }
  const address = resolveServer(flags, process.env)
  const client = new ServerClient(address)
  const note = options.quiet ? () => {} : printNote
  const restoreInterrupt = exitOnInterrupt()
  const target = flags.wait === undefined ? port : (await waitForPort(client, port, flags.wait, liveClock, note)).id
  restoreInterrupt()
  await runAttach(
    { ...options, port: target },
    {
      open: webSocketConsoles(address, liveClock),
      terminal: processTerminal(),
      clock: liveClock,
      random: Math.random,
      history: (id, from, to) => readHistory(client, id, from, to),
    },
  )
  // Now, although the terminal may have stalled with output still to come.
  throw new CommandExit(EXIT.ok)
}
