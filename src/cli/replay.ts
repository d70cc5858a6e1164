import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import type { Command } from 'commander'
import { LIMITS, VspcError } from '../base/index.ts'
import { captureLines, describeCapture, openCapture, type PlaySummary, playCapture } from '../capture/index.ts'
import { dial, formatEndpoint, parseEndpoint } from '../transport/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { cleanMessage, printData } from './output.ts'

interface ReplayFlags {
  to?: string
  speed?: number | 'max'
  json?: true
}

const HELP = `
Without --to, shows what a capture holds: time, stream, direction, offset, and
what was said in protocol words. With --to, plays the VMs' side of it against a
server: each connection is opened when it was recorded, says what the VM said,
and answers vMotion with the secret that the server really gives. Where the
server answers otherwise than the recorded one, this is told, and the exit code
is 1; it is 6 if there is no server.

'vspc serve --capture DIR' records captures. They hold console output, and,
unless --redact was given, the secrets of finished vMotions.

Examples:
  vspc replay session.jsonl                   show it
  vspc replay session.jsonl --json | jq -r 'select(.from == "vm") | .text'
  vspc replay session.jsonl --to tcp://127.0.0.1:13370 --speed 10
  vspc replay session.jsonl --to 'tls://vspc.example.com:13371?ca=ca.pem' --speed max
`

/** Lines of a dump that are written in one piece. */
const BATCH_CHARS = 65_536
const MAX_SPEED = 1_000_000

export function registerReplay(program: Command): void {
  program
    .command('replay')
    .description("Show a recorded session, or play its VMs' side against a server")
    .argument('<file>', 'a capture: JSON lines, as vspc serve --capture writes them')
    .option('--to <uri>', 'play against this server: tcp://, tls:// or unix://')
    .option('--speed <factor>', '1 as recorded, 10 ten times as fast, max as fast as the server answers', parseSpeed)
    .option('--json', 'JSON: one object a line, or the summary')
    .addHelpText('after', HELP)
    .action(replay)
}

/** @throws VspcError VSPC_USAGE quoting the text. */
export function parseSpeed(text: string): number | 'max' {
  if (text === 'max') return text
  const speed = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0
  if (speed > 0 && speed <= MAX_SPEED) return speed
  throw new VspcError('VSPC_USAGE', `--speed: "${text}" is neither a factor such as 1, 0.5 or 10 nor max`)
}

async function replay(file: string, flags: ReplayFlags): Promise<void> {
  exitOnInterrupt()
  if (flags.to !== undefined) {
    await play(file, flags.to, flags)
    return
  }
  if (flags.speed !== undefined) {
    throw new VspcError('VSPC_USAGE', '--speed only means something with --to URI: without it the capture is shown')
  }
  await show(file, flags.json === true)
}

async function show(file: string, json: boolean): Promise<void> {
  const capture = await openCapture(file)
  let batch = ''
  for await (const line of json ? captureLines(capture) : describeCapture(capture)) {
    batch += `${typeof line === 'string' ? line : JSON.stringify(line)}\n`
    if (batch.length < BATCH_CHARS) continue
    await printBatch(batch)
    batch = ''
  }
  await printBatch(batch)
}

/** Waits while stdout is full: a capture may be larger than memory. */
async function printBatch(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain')
}

async function play(file: string, to: string, flags: ReplayFlags): Promise<void> {
  const endpoint = parseEndpoint(to, 'dial', 'plain')
  const connect = async (signal: AbortSignal): Promise<Duplex> => {
    try {
      return (await dial(endpoint, { signal, timeoutMs: LIMITS.dialMs.default })).socket
    } catch (cause) {
      const nobody =
        cause instanceof VspcError &&
        (cause.code === 'VSPC_TRANSPORT_DIAL' || cause.code === 'VSPC_TRANSPORT_DIAL_TIMEOUT')
      throw nobody ? new VspcError('VSPC_SERVER_UNREACHABLE', cause.message, { cause }) : cause
    }
  }
  const began = performance.now()
  const summary = await playCapture(file, { dial: connect, speed: flags.speed ?? 1 })
  if (flags.json) printData(`${JSON.stringify({ target: formatEndpoint(endpoint), ...summary }, null, 2)}\n`)
  else printData(formatPlaySummary(summary, performance.now() - began))
  if (summary.mismatches.length === 0) return
  const count = summary.mismatches.length
  throw new CommandExit(
    EXIT.other,
    `VSPC_REPLAY_MISMATCH: the server deviates from the recording in ${count === 1 ? 'one place' : `${count} places`}`,
  )
}

/** The summary for people, with line ends. */
export function formatPlaySummary(summary: PlaySummary, ms: number): string {
  const lines = [
    `played ${plural(summary.streams, 'connection')} in ${(ms / 1000).toFixed(1)} s: ` +
      `${plural(summary.bytesSent, 'byte')} sent, ${summary.bytesReceived} received`,
  ]
  if (summary.skippedStreams > 0) {
    lines.push(`left out ${plural(summary.skippedStreams, 'connection')} that began in an earlier file`)
  }
  if (summary.gapBytes > 0) lines.push(`the recording itself lacks ${plural(summary.gapBytes, 'byte')}`)
  for (const { message } of summary.mismatches) lines.push(`  ${cleanMessage(message)}`)
  return `${lines.join('\n')}\n`
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
