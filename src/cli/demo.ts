import { realpathSync } from 'node:fs'
import { relative } from 'node:path'
import { type Command, Option } from 'commander'
import { createLogger, loadConfig, type RunningApp, start } from '../app/index.ts'
import { errorMessage, VspcError } from '../base/index.ts'
import { DEFAULT_SERVER } from '../client/index.ts'
import { findProgram, parseSimTarget, type Simulation, simulate } from '../sim/index.ts'
import { DemoGuest } from './demo-guest.ts'
import { parseDuration } from './duration.ts'
import { printData, printNote } from './output.ts'

interface DemoFlags {
  qemu?: true
  every: number
  duration?: number
  json?: true
}

const HELP = `
Starts a concentrator, two simulated ESXi hosts and three VMs in this process, on
loopback only, and moves each VM to the other host every few seconds. Needs no
configuration and leaves nothing behind. --qemu adds a real Linux guest; its parts
come with scripts/install-test-peers.sh.

Examples:
  vspc demo                      then, in another terminal: vspc attach vm-0001
  vspc demo --qemu               and: vspc attach linux
  vspc demo --every 1s           a vMotion per second
`

const VMS = 3

export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('Try it: a server and simulated VMs that migrate, in one process')
    .option('--qemu', 'add a real Linux guest in QEMU')
    .addOption(
      new Option('--every <duration>', 'pause between two vMotions').argParser(everyOption).default(2_000, '2s'),
    )
    .option('--duration <duration>', 'end by itself after this time', (text: string) =>
      parseDuration(text, '--duration'),
    )
    .option('--json', 'print where everything is as one line of JSON')
    .addHelpText('after', HELP)
    .action(demo)
}

function everyOption(text: string): number {
  const ms = parseDuration(text, '--every')
  if (ms < 100) throw new VspcError('VSPC_USAGE', `--every: "${text}" is too short: at least 100ms`)
  return ms
}

async function demo(flags: DemoFlags): Promise<void> {
  const stopRequested = untilToldToStop(flags.duration)
  const app = await startServer()
  let simulation: Simulation | null = null
  let guest: DemoGuest | null = null
  try {
    const target = app.listening[0] ?? ''
    simulation = simulate({
      targets: [parseSimTarget(target)],
      hosts: 2,
      vms: VMS,
      guests: [{ kind: 'echo' }, { kind: 'counter', intervalMs: 500 }, { kind: 'echo' }],
      vmotionsPerSecond: 1_000 / flags.every,
      stunMs: 100,
    })
    await simulation.started
    if (flags.qemu) guest = await DemoGuest.start({ name: 'linux', target, everyMs: flags.every * VMS })
    announce(app, flags)
    await stopRequested
  } finally {
    await simulation?.stop()
    await guest?.stop()
    await app.stop()
  }
  if (process.stderr.isTTY) printNote('demo ended, nothing left behind')
}

/** The usual addresses where they are free, so that `vspc attach` needs no option; any other one where not. */
async function startServer(): Promise<RunningApp> {
  const log = createLogger('warn', process.stderr.isTTY ? 'text' : 'json')
  const config = (http: string) =>
    loadConfig({ env: {}, flags: { listen: ['tcp://127.0.0.1:0'], http, history: 'memory', logLevel: 'warn' } })
  try {
    return await start(config('127.0.0.1:13371'), { log })
  } catch (error) {
    printNote(`${errorMessage(error)}; the demo takes another port`)
    return await start(config('127.0.0.1:0'), { log })
  }
}

function announce(app: RunningApp, flags: DemoFlags): void {
  const url = app.http?.url ?? ''
  const vms = [
    ['vm-0001', 'a shell: type help'],
    ['vm-0002', 'counts, whatever host it is on'],
    ...(flags.qemu ? [['linux', 'a real Linux; it boots for some three seconds']] : []),
  ] as const
  const lines = vms.map(([name, what]) => ({ name, what, command: attachCommand(name ?? '', url) }))
  if (flags.json) {
    const attach = Object.fromEntries(lines.map(({ name, command }) => [name, command]))
    printData(`${JSON.stringify({ http: url, listening: app.listening, attach })}\n`)
    return
  }
  const width = Math.max(...lines.map(({ command }) => command.length))
  printData(
    `${VMS + (flags.qemu ? 1 : 0)} VMs run on simulated ESXi hosts; one of them is moved every ${flags.every / 1000} s.\n\n`,
  )
  printData('In another terminal:\n')
  for (const { command, what } of lines) printData(`  ${command.padEnd(width)}   ${what}\n`)
  printData(`\nAll ports: ${url}/\nLeave a console with ^] and a dot; end the demo with Ctrl-C.\n`)
}

/** A line that works when pasted into a terminal here: by name if that name is us, else by path. */
function attachCommand(vm: string, url: string): string {
  const script = realpathSync(process.argv[1] ?? '')
  const named = findProgram('vspc')
  const us = named !== null && realpathSync(named) === script ? 'vspc' : `node ${relative(process.cwd(), script)}`
  return `${us} attach ${vm}${url === DEFAULT_SERVER ? '' : ` --server ${url}`}`
}

function untilToldToStop(durationMs: number | undefined): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve())
    if (durationMs !== undefined) setTimeout(resolve, durationMs)
  })
}
