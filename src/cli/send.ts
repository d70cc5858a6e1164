import { createReadStream, openSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { isatty } from 'node:tty'
import type { Command } from 'commander'
import { VspcError } from '../base/index.ts'
import { type RemoteConsole, VspcClient } from '../client/index.ts'
import { parseInputText, withEnter } from './input-text.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { printData } from './output.ts'
import { EnterKeys } from './piped-input.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { unreadable } from './unreadable.ts'
import {
  addWriteOptions,
  awaitPort,
  requireOnline,
  sendOptions,
  type WriteFlags,
  writeAccess,
} from './write-options.ts'

interface SendFlags extends ServerOptions, WriteFlags {
  file?: string
  rawInput?: true
  break?: true
  json?: true
}

const HELP = `
The words of TEXT are joined by spaces, and Enter (CR) is added unless they end
with \\r or \\n. Escapes: \\r \\n \\t \\b \\a \\e \\0 \\\\ and \\xHH for any byte; UTF-8
otherwise. What comes from a file or a pipe is sent with its line ends as the
Enter key, and nothing is added.

Ends once the server has accepted all of it, which a slow VM may delay. No
answer is waited for: see 'vspc expect'. With --json the offset of the output
at which sending began is printed, for 'vspc expect --from' or 'vspc log --from'.

Exit codes: 0 sent, 2 usage, 3 no such port, 4 not allowed, 5 held by someone
else, 6 server unreachable or lost: some may not have been sent, 7 the VM is
gone or offline, 124 --wait-port timed out, 130 interrupted.

Examples:
  vspc send web1 systemctl reboot         a line and Enter
  vspc send web1 --no-enter '\\x03'        Ctrl-C
  vspc send web1 --break --no-enter h     SysRq h: a break, then the letter
  vspc send web1 --line-delay 200ms --file setup.txt
  echo uptime | vspc send web1
`

export function registerSend(program: Command): void {
  const command = program
    .command('send')
    .argument('<port>', 'VM name, NAME/LABEL, UUID, port id, or a unique prefix of one')
    .argument('[text...]', 'what to type; without it, --file or a pipe')
    .option('--file <file>', 'send a file; - for standard input')
    .option('--raw-input', 'file and pipe: send line feeds as they are')
    .option('--break', 'send a break first')
    .option('--json', 'print port, bytes sent and offset')
  addServerOptions(addWriteOptions(command)).addHelpText('after', HELP).action(send)
}

async function send(port: string, words: string[], flags: SendFlags): Promise<void> {
  const source = inputOf(words, flags)
  const client = new VspcClient(resolveServer(flags, process.env))
  exitOnInterrupt()
  const target = await awaitPort(client, port, flags)
  const console = await client.console(target, {
    ...writeAccess(flags),
    unread: 'drop',
  })
  try {
    requireOnline(console)
    const { offset } = console
    if (flags.break) await console.break()
    const bytes = await sendAll(console, source, flags)
    await console.flush()
    if (flags.json) printData(`${JSON.stringify({ port: console.port, bytes, offset })}\n`)
  } finally {
    await console.close()
  }
}

/** Bytes, or a stream of a file or pipe. @throws VspcError VSPC_USAGE. */
function inputOf(words: readonly string[], flags: SendFlags): Uint8Array | Readable {
  if (words.length > 0) {
    if (flags.file !== undefined) {
      throw new VspcError('VSPC_USAGE', 'TEXT and --file contradict each other: give one of them')
    }
    return withEnter(parseInputText(words.join(' '), 'TEXT'), flags.enter ?? null)
  }
  if (flags.file !== undefined && flags.file !== '-') return openFile(flags.file)
  if (flags.file === undefined && flags.break) return new Uint8Array(0)
  if (flags.file === undefined && isatty(0)) {
    throw new VspcError('VSPC_USAGE', "nothing to send: give TEXT, --file or a pipe; to type yourself: 'vspc attach'")
  }
  return process.stdin
}

/** Number of bytes sent. */
async function sendAll(console: RemoteConsole, input: Uint8Array | Readable, flags: SendFlags): Promise<number> {
  const options = sendOptions(flags)
  if (input instanceof Uint8Array) {
    await console.send(input, options)
    return input.length
  }
  const keys = flags.rawInput ? null : new EnterKeys()
  let sent = 0
  for await (const chunk of input as AsyncIterable<Buffer>) {
    const bytes = keys ? keys.convert(chunk) : chunk
    await console.send(bytes, options)
    sent += bytes.length
  }
  if (flags.enter === true) await console.send('\r')
  return sent + (flags.enter === true ? 1 : 0)
}

/** Opened at once: a file that is not there is no reason to attach. */
function openFile(path: string): Readable {
  try {
    return createReadStream(path, { fd: openSync(path, 'r') })
  } catch (cause) {
    throw unreadable('--file', path, cause)
  }
}
