import type { Command } from 'commander'
import { cleanText, VspcError } from '../base/index.ts'
import { checkWritableKey, type GuestChange, GuestSide, type SetOutcome } from '../guestinfo/index.ts'
import { parseDuration } from './duration.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { cleanMessage, printData, printNote } from './output.ts'

interface GuestinfoFlags {
  vsphere?: string
  user?: string
  passwordFile?: string
  ca?: string
  pin?: string
  dial?: string
  tool?: string
  json?: true
  raw?: true
  wait?: number
  stdin?: string
}

const HELP = `
Inside a VM, through vmware-rpctool or vmtoolsd of VMware Tools. Keys begin
with guestinfo.; those with a slash can only be read.

Records that the appliance understands:
  guestinfo.vspc.address.NETWORK   10.0.0.7/24 gateway=10.0.0.1 dns=10.0.0.2
  guestinfo.vspc.error.COMPONENT   what is wrong, on one line; empty = nothing
  guestinfo.vspc.process.ID        running started=SECONDS
                                   exited code=3 stopped=SECONDS
                                   failed code=127 error=text

A key that is new vanishes when the VM is switched off: what is to last has to
be there before it is switched on.

Exit codes: 2 usage or too long, 3 a key has no value, 4 read-only or not
allowed, 6 no VMware host or tool, 124 timed out, 1 anything else.

Examples:
  vspc guestinfo get guestinfo.hostname
  vspc guestinfo get --wait=2m guestinfo.vice./repo
  vspc guestinfo set "guestinfo.vspc.process.main=exited code=$? stopped=$(date +%s)"
  vspc guestinfo set --stdin guestinfo.report < report.txt
  vspc guestinfo watch guestinfo.hostname guestinfo.command
`

export function registerGuestinfo(program: Command): void {
  const guestinfo = program.command('guestinfo').addHelpText('after', HELP)
  leaf(guestinfo, 'get')
    .description('Print the values of keys')
    .argument('<key...>', 'guestinfo.NAME; several are printed as KEY=VALUE')
    .option('--raw', 'as the host keeps it: do not decode <nil> and vspc-base64:')
    .option('--wait [=duration]', 'until all keys have a value; --wait=30s gives up then', (text) =>
      text === '' ? Number.POSITIVE_INFINITY : parseDuration(text, '--wait'),
    )
    .action(get)
  leaf(guestinfo, 'set')
    .description('Set keys')
    .argument('[key=value...]', 'an empty value is kept as <nil>')
    .option('--stdin <key>', 'set this key to what comes from standard input')
    .action(set)
  leaf(guestinfo, 'watch')
    .description('Print the values of keys, and each change')
    .argument('<key...>', 'guestinfo.NAME')
    .option('--raw', 'as the host keeps it: do not decode <nil> and vspc-base64:')
    .action(watch)
}

function leaf(guestinfo: Command, name: string): Command {
  return guestinfo
    .command(name)
    .option('--tool <path>', 'of vmware-rpctool or vmtoolsd; by default it is searched for')
    .option('--json', 'print JSON')
    .option('--vsphere <url>', 'from outside, over the vSphere API: not in this version')
    .option('--user <name>', 'not in this version')
    .option('--password-file <file>', 'not in this version')
    .option('--ca <file>', 'not in this version')
    .option('--pin <sha256:hex>', 'not in this version')
    .option('--dial <uri>', 'not in this version')
    .addHelpText('after', HELP)
}

async function get(keys: string[], flags: GuestinfoFlags): Promise<void> {
  const guest = guestSide(flags)
  const values = new Map<string, string | null>()
  if (flags.wait === undefined) {
    for (const key of keys) values.set(key, await guest.get(key, { raw: flags.raw === true }))
  } else {
    await waitForValues(guest, keys, flags, values)
  }
  const missing = [...values].filter(([, value]) => value === null).map(([key]) => key)
  if (flags.json === true) {
    printData(`${JSON.stringify(Object.fromEntries(values), null, 2)}\n`)
  } else {
    for (const [key, value] of values) {
      if (value !== null) printData(values.size === 1 ? `${shown(value)}\n` : `${key}=${shown(value)}\n`)
    }
  }
  if (missing.length > 0) {
    throw new VspcError('VSPC_GUESTINFO_NO_VALUE', `${missing.join(', ')}: no value`)
  }
}

/** Fills `values`; what is still missing at the end of the time is an error that names it. */
async function waitForValues(
  guest: GuestSide,
  keys: readonly string[],
  flags: GuestinfoFlags,
  values: Map<string, string | null>,
): Promise<void> {
  const { wait = 0 } = flags
  const missing = () => keys.filter((key) => (values.get(key) ?? null) === null)
  const stop = new AbortController()
  const timer = Number.isFinite(wait) ? liveClock.after(wait, () => stop.abort()) : null
  exitOnInterrupt()
  try {
    for await (const changes of guest.watch(keys, { raw: flags.raw === true, signal: stop.signal, onTrouble })) {
      for (const { key, after } of changes) values.set(key, after)
      if (missing().length === 0) return
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error
    const text = `${missing().join(', ')}: no value yet; gave up after ${wait / 1_000} s`
    throw new VspcError('VSPC_WAIT_TIMEOUT', text)
  } finally {
    timer?.cancel()
  }
}

async function set(pairs: string[], flags: GuestinfoFlags): Promise<void> {
  const guest = guestSide(flags)
  const values = new Map(pairs.map(parsePair))
  if (values.size < pairs.length) throw new VspcError('VSPC_USAGE', 'a key is given twice')
  if (flags.stdin !== undefined) {
    if (values.has(flags.stdin)) throw new VspcError('VSPC_USAGE', 'a key is given twice')
    checkWritableKey(flags.stdin)
    values.set(flags.stdin, await readInput())
  }
  if (values.size === 0) throw new VspcError('VSPC_USAGE', 'nothing to set: give KEY=VALUE, or --stdin KEY')
  // All or nothing, as far as that can be known before.
  for (const key of values.keys()) checkWritableKey(key)
  const outcomes: Record<string, SetOutcome> = {}
  for (const [key, value] of values) {
    outcomes[key] = await guest.set(key, value)
    if (outcomes[key] === 'created' && process.stderr.isTTY) {
      printNote(`${key} is new: it vanishes when the VM is switched off`)
    }
  }
  if (flags.json === true) printData(`${JSON.stringify(outcomes, null, 2)}\n`)
}

async function watch(keys: string[], flags: GuestinfoFlags): Promise<void> {
  const guest = guestSide(flags)
  exitOnInterrupt()
  for await (const changes of guest.watch(keys, { raw: flags.raw === true, onTrouble })) {
    printData(
      changes.map((change) => `${flags.json === true ? JSON.stringify(change) : changeLine(change)}\n`).join(''),
    )
  }
  throw new CommandExit(EXIT.other, 'the watch ended')
}

/** One line each, for people; `--json` is exact. */
function changeLine({ key, after }: GuestChange): string {
  return after === null ? `${key} has no value` : `${key}=${cleanText(after.replaceAll(/\s+/g, ' '), 100_000)}`
}

function onTrouble(error: VspcError): void {
  printNote(`${error.message}; trying again`)
}

/** Values come from whoever may edit the VM. */
function shown(value: string): string {
  return process.stdout.isTTY ? cleanMessage(value) : value
}

function parsePair(text: string): [key: string, value: string] {
  const equals = text.indexOf('=')
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)]
  const hint = 'give KEY=VALUE (a VM is named only together with --vsphere, which is not in this version)'
  throw new VspcError('VSPC_USAGE', `"${cleanText(text)}" is not KEY=VALUE: ${hint}`)
}

function guestSide(flags: GuestinfoFlags): GuestSide {
  const outside = (['vsphere', 'user', 'passwordFile', 'ca', 'pin', 'dial'] as const).some((name) => flags[name])
  if (outside || process.env['VSPC_VSPHERE_URL']) {
    const how = outside ? 'these options' : 'VSPC_VSPHERE_URL'
    const text = `guestinfo over the vSphere API is not in this version: without ${how} it works inside the VM`
    throw new VspcError('VSPC_USAGE', text)
  }
  return new GuestSide({ clock: liveClock, ...(flags.tool === undefined ? {} : { tool: flags.tool }) })
}

/** Standard input as UTF-8, without the line feed at its end. More than a message has room for is not read. */
async function readInput(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > 65_536) throw new VspcError('VSPC_GUESTINFO_TOO_LONG', 'standard input has more than 64 KiB')
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
}
