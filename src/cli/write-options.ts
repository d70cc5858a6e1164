import { type Command, Option } from 'commander'
import { VspcError } from '../base/index.ts'
import type { ConsoleMode, ConsoleOptions, RemoteConsole, SendOptions, VspcClient } from '../client/index.ts'
import { parseDuration } from './duration.ts'
import { printNote } from './output.ts'

/** Options that `send` and `expect` have in common. */
export interface WriteFlags {
  force?: true
  exclusive?: true
  /** Milliseconds; may be infinite. */
  queue?: number
  /** Undefined: Enter behind every text that does not end with one. */
  enter?: boolean
  charDelay?: number
  lineDelay?: number
  /** Milliseconds; may be infinite. */
  waitPort?: number
}

export function addWriteOptions(command: Command): Command {
  return command
    .option('-f, --force', 'write even if someone holds the port')
    .option('-x, --exclusive', 'write as the only one')
    .option(
      '--queue [=duration]',
      'where someone holds the port, wait until it is your turn; --queue=5m gives up then',
      (text) => (text === '' ? Number.POSITIVE_INFINITY : parseDuration(text, '--queue')),
    )
    .option('--enter', 'Enter behind the text, also where it ends with one')
    .option('--no-enter', 'no Enter behind the text')
    .addOption(duration('--char-delay <duration>', 'pause after each byte, for slow UARTs'))
    .addOption(duration('--line-delay <duration>', 'pause after each line'))
    .option(
      '--wait-port [=duration]',
      'wait until the port is there and online; --wait-port=5m gives up then',
      (text) => (text === '' ? Number.POSITIVE_INFINITY : parseDuration(text, '--wait-port')),
    )
}

function duration(flags: string, summary: string): Option {
  return new Option(flags, summary).argParser((text) => parseDuration(text, flags.split(' ')[0] ?? flags))
}

export function sendOptions({ charDelay, lineDelay }: WriteFlags): SendOptions {
  return {
    ...(charDelay === undefined ? {} : { charDelayMs: charDelay }),
    ...(lineDelay === undefined ? {} : { lineDelayMs: lineDelay }),
  }
}

function writeMode(flags: WriteFlags): ConsoleMode {
  return flags.exclusive ? 'exclusive' : 'write'
}

/** What a console for these is opened with. */
export function writeAccess(flags: WriteFlags): Pick<ConsoleOptions, 'mode' | 'force' | 'waitMs'> {
  const { force, queue } = flags
  return { mode: writeMode(flags), force: force === true, ...(queue === undefined ? {} : { waitMs: queue }) }
}

/** The port to attach to: as given, or its id once it is there. @throws VspcError VSPC_WAIT_TIMEOUT. */
export async function awaitPort(client: VspcClient, port: string, flags: WriteFlags): Promise<string> {
  if (flags.waitPort === undefined) return port
  return (await client.waitForPort(port, { timeoutMs: flags.waitPort, onWait: printNote })).id
}

/** The server would keep input for a VM that is offline, and type it into whatever runs there later. */
export function requireOnline(console: RemoteConsole): void {
  if (console.state !== 'offline') return
  const text = `${console.name || console.port} is offline, no input was sent: --wait-port waits for it`
  throw new VspcError('VSPC_PORT_OFFLINE', text)
}
