import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { errorMessage, VspcError } from '../base/index.ts'
import {
  IDENTITY_KINDS,
  type IdentityKind,
  OPENINGS,
  type Opening,
  parseGuests,
  parseSimScript,
  parseSimTarget,
  parseSplit,
  type Simulation,
  type SimulationEvent,
  simulate,
  type WriteSplit,
} from '../sim/index.ts'
import { parseDuration } from './duration.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { cleanMessage, printData, printNote } from './output.ts'
import { runCheck } from './sim-check.ts'
import { formatProgress, formatSummary, simVerdict } from './sim-report.ts'

interface SimFlags {
  target?: string[]
  hosts: number
  vms: number
  ports: number
  vmotions: number
  guest: string
  script?: string
  backend?: string
  duration?: number
  seed: number
  stun: number
  serviceUri: string
  opening: Opening | 'mixed'
  identity: IdentityKind
  split?: WriteSplit
  json?: true
  check?: true
  console?: string
  only?: string[]
  migrations: number
}

const HELP = `
Plays N VMs on M ESXi hosts that connect to a concentrator as real ones do, and
migrates them. Towards a loopback address of Linux each host has an address of
its own (127.0.1.1 and on). Ends after --duration or at Ctrl-C with a summary;
the exit code is 1 if console input was lost, a vMotion failed that should not
have, or no VM ever got through, and 6 if there is no server.

GUEST, or several in turn separated by commas:
  echo            a shell: prompt, echo, a few commands (try help)
  counter[:MS]    prints 000001, 000002, ... every MS (1000)
  pattern[:MS]    prints all 256 byte values, numbered, every MS (100)
  silent          nothing
  mixed           echo, counter and silent in turn

SCRIPT is a YAML or JSON list of steps, at so many seconds:
  - { at: 2, vm: vm-0001, do: migrate, to: esx-02, sourceFin: before-peer }
  - { at: 5, every: 10, vm: 'vm-*', do: migrate, failure: peer-wrong }
  - { at: 8, vm: vm-0002, do: abort }        (also drop, power-off, power-on,
  - { at: 9, vm: vm-0002, do: print, text: "hello\\r\\n" }   rename, stall)
  - { at: 9, vm: vm-0002, do: send, hex: 'ff fc 03 ff fe 03', times: 1000 }
  - { at: 9, vm: vm-0002, do: suboption, code: 99, bytes: 1048576 }
docs/sim.md lists every step and every way a vMotion can fail.

--check makes no load: it tries one thing after the other that a concentrator
has to do and prints a verdict for each, with its id in docs/conformance.md:
handshake, escaping, floods, GOAHEAD latency, secrets, wrong cookies, and, with
consoles, that every byte arrives once and in order in every kind of vMotion.
It judges any vSPC. --console is http://HOST:PORT for one of ours (the server
at its usual address is found by itself) or tcp://HOST:PORT[?protocol=raw] for
a telnet or raw console port of another, of the VM named vspc-check. The exit
code is 0 if all checks passed, 1 if one failed, 6 if there is no server.

Examples:
  vspc sim                                   ten VMs with a shell each
  vspc sim --vms 500 --hosts 8 --vmotions 20 --duration 60s --json
  vspc sim --guest counter:100 --target 'tls://vspc.example.com:13371?pin=sha256:...'
  vspc sim --vms 1 --backend unix:///tmp/qemu-serial.sock --vmotions 1
      QEMU:  -serial unix:/tmp/qemu-serial.sock,server=on
  vspc sim --check                           judge the server on this machine
  vspc sim --check --target tcp://10.0.0.5:13370 --only C29,C31 --json
`

export function registerSim(program: Command): void {
  program
    .command('sim')
    .description('Play ESXi hosts with VMs that connect, print, echo and migrate')
    .option('--target <uri>', 'where to connect: tcp://, tls:// or unix:// (default tcp://127.0.0.1:13370)', collect)
    .option('--hosts <n>', 'simulated ESXi hosts', whole('--hosts', 1, 60_000), 2)
    .option('--vms <n>', 'VMs, spread over the hosts', whole('--vms', 1, 100_000), 10)
    .option('--ports <n>', 'serial ports for each VM', whole('--ports', 1, 32), 1)
    .option('--vmotions <rate>', 'random vMotions a second, over all VMs', rate, 0)
    .option('--guest <kind>', 'what runs in the VMs, see below', 'echo')
    .option('--script <file>', 'steps to act out, see below')
    .option('--backend <uri>', "a real serial line for vm-0001, or for each VM if it contains '{vm}'")
    .option('--duration <time>', 'end after so long: 30, 30s, 5m', seconds)
    .option('--seed <n>', 'another seed, other UUIDs and other moves', whole('--seed', 0, 0xffff_ffff), 1)
    .option('--stun <ms>', "a vMotion's pause between two hosts", whole('--stun', 0, 600_000), 0)
    .option('--service-uri <text>', 'the serviceURI that the VMs ask for', 'vSPC.py')
    .addOption(
      new Option('--opening <mode>', 'who negotiates first').choices([...OPENINGS, 'mixed']).default('reactive'),
    )
    .addOption(new Option('--identity <kind>', 'how VMs tell who they are').choices(IDENTITY_KINDS).default('normal'))
    .option('--split <how>', 'cut every write: bytes, glue, at:N or every:N', parseSplit)
    .option('--check', 'judge the server instead: see below')
    .option('--console <uri>', 'for --check: how to reach consoles, http://... (a server of ours) or tcp://...')
    .option('--only <ids>', 'for --check: these statements or checks, as in C29,C31,escaping', words)
    .option('--migrations <n>', 'for --check: vMotions for latency and secrets', whole('--migrations', 1, 100_000), 100)
    .option('--json', 'the summary, or the verdicts, as JSON')
    .addHelpText('after', HELP)
    .action(sim)
}

function collect(uri: string, before: string[] = []): string[] {
  return [...before, uri]
}

function words(text: string): string[] {
  return text.split(',').map((word) => word.trim())
}

function whole(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= min && value <= max) return value
    throw new VspcError('VSPC_USAGE', `${option}: "${text}" is not a whole number from ${min} to ${max}`)
  }
}

function rate(text: string): number {
  const value = Number(text)
  if (text !== '' && value >= 0 && value <= 100_000) return value
  throw new VspcError('VSPC_USAGE', `--vmotions: "${text}" is not a number of vMotions a second, such as 0.5 or 20`)
}

/** Bare numbers are seconds. */
function seconds(text: string): number {
  return parseDuration(/^\d+(\.\d+)?$/.test(text) && text !== '0' ? `${text}s` : text, '--duration')
}

async function sim(flags: SimFlags): Promise<void> {
  if (flags.check === true) return runCheck(flags)
  const targets = flags.target ?? ['tcp://127.0.0.1:13370']
  const notes = new Notes()
  const simulation = simulate({
    targets: targets.map(parseSimTarget),
    hosts: flags.hosts,
    vms: flags.vms,
    portsPerVm: flags.ports,
    vmotionsPerSecond: flags.vmotions,
    guests: parseGuests(flags.guest),
    serviceURI: flags.serviceUri,
    opening: flags.opening,
    identity: flags.identity,
    ...(flags.split !== undefined ? { split: flags.split } : {}),
    seed: flags.seed,
    stunMs: flags.stun,
    onEvent: (event) => notes.event(event),
    ...(flags.backend !== undefined ? { backend: flags.backend } : {}),
    ...(flags.script !== undefined ? { script: parseSimScript(readScript(flags.script), flags.script) } : {}),
  })
  try {
    await runUntilEnd(simulation, flags.duration)
  } catch (error) {
    if (!(error instanceof VspcError) || error.code !== 'VSPC_SERVER_UNREACHABLE') throw error
    const hint = "is 'vspc serve' running there? --target names another one"
    throw new VspcError('VSPC_SERVER_UNREACHABLE', `${error.message}; ${hint}`, { cause: error })
  }
  const statistics = simulation.statistics()
  await simulation.stop()
  notes.end()
  printData(flags.json === true ? `${JSON.stringify(statistics, null, 2)}\n` : formatSummary(statistics))
  const fault = simVerdict(statistics)
  if (fault !== null) throw new CommandExit(EXIT.other, fault)
}

function readScript(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new VspcError('VSPC_SIM_SCRIPT', `cannot read the script "${file}": ${errorMessage(cause)}`, { cause })
  }
}

/** Until the duration is over or a signal comes; a second signal ends the process at once. */
async function runUntilEnd(simulation: Simulation, durationMs: number | undefined): Promise<void> {
  const progress = showProgress(simulation)
  let end = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.once(signal, end)
  if (durationMs !== undefined) setTimeout(end, durationMs).unref()
  try {
    await Promise.race([simulation.started, ended])
    await ended
  } finally {
    progress.stop()
    for (const signal of signals) process.off(signal, end)
  }
}

const TERMINAL_PROGRESS_MS = 500
const LINE_PROGRESS_MS = 5_000

/** On stderr: one line kept up to date on a terminal, else a line every few seconds if there is news. */
function showProgress(simulation: Simulation): { stop(): void } {
  const terminal = process.stderr.isTTY
  let last = ''
  const show = () => {
    const text = formatProgress(simulation.statistics())
    if (text === last) return
    last = text
    if (terminal) process.stderr.write(`\r\x1b[K${text.slice(0, Math.max(20, process.stderr.columns - 1))}`)
    else printNote(text)
  }
  // It also keeps the process alive while every VM is between two dials.
  const timer = setInterval(show, terminal ? TERMINAL_PROGRESS_MS : LINE_PROGRESS_MS)
  return {
    stop() {
      clearInterval(timer)
      if (terminal) process.stderr.write('\r\x1b[K')
    },
  }
}

const MAX_NOTES = 20

/** What went wrong, on stderr; not ten thousand times. */
class Notes {
  #count = 0

  event(event: SimulationEvent): void {
    const text = noteText(event)
    if (text === null) return
    this.#count++
    if (this.#count > MAX_NOTES) return
    const more = this.#count === MAX_NOTES ? ' (further such messages are only counted)' : ''
    const clear = process.stderr.isTTY ? '\r\x1b[K' : ''
    process.stderr.write(`${clear}vspc: ${cleanMessage(text)}${more}\n`)
  }

  end(): void {
    if (this.#count > MAX_NOTES) printNote(`${this.#count - MAX_NOTES} more messages like these`)
  }
}

/** null: nothing worth a line. */
function noteText(event: SimulationEvent): string | null {
  if (event.type === 'note') return event.text
  const { result } = event
  if (result.asExpected) return null
  return `${event.vm}: vMotion ${result.from} to ${result.to} ${result.outcome}: ${result.reason}`
}
