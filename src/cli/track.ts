import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { VspcError } from '../base/index.ts'
import { readConfigFile } from '../config/index.ts'
import {
  fillProxyTemplate,
  type PortChoice,
  parseProxyTemplate,
  parseVmTerm,
  type RelayTable,
  type VmTerm,
} from '../vmotion/index.ts'
import { parseUuid } from '../vsphere/index.ts'
import { parseDuration } from './duration.ts'
import { TRACK_HELP } from './track-help.ts'
import { NextHops } from './track-next-hops.ts'
import { runTrack, type TrackJob } from './track-run.ts'
import { addVsphereOptions, resolveVsphere, type VsphereFlags } from './vsphere-options.ts'

interface TrackFlags extends VsphereFlags {
  appliance?: string
  vms?: string[]
  proxyUri?: string
  nextHop?: string[]
  relays?: string
  port?: string[]
  serviceUri?: string
  plan?: true
  once?: true
  timeout?: number
  json?: true
}

/** Of a VM: what VMware makes of its BIOS UUID. */
const DMI_SERIAL = '/sys/class/dmi/id/product_serial'

export function registerTrack(program: Command): void {
  const command = program
    .command('track')
    .option('--appliance <vm>', "the appliance's own VM: name, path or UUID (default: this one)")
    .option('--vms <pattern...>', 'VMs to re-point: see below')
    .option('--proxy-uri <template>', "what their ports are to name: 'telnet://{host}:13370'")
    .option('--next-hop <uri...>', 'a next hop of a peer relay that follows: see below')
    .option('--relays <file>', 'YAML file with the address of the relay of each host, for {relay}')
    .option('--port <port...>', 'number or label of the ports (default: all that have a proxy)')
    .option('--service-uri <pattern>', 'only ports whose serviceURI fits')
    .addOption(new Option('--plan', 'print what would change, and change nothing').conflicts('once'))
    .option('--once', 'bring all into line, and end')
    .option('--timeout <duration>', 'of --once: give up after this (default 10m)', (text) =>
      parseDuration(text, '--timeout'),
    )
    .option('--json', 'print JSON')
  addVsphereOptions(command).addHelpText('after', TRACK_HELP).action(track)
}

async function track(flags: TrackFlags): Promise<void> {
  const relays = flags.relays === undefined ? new Map<string, string>() : readRelays(flags.relays)
  const template = parseProxyTemplate(needed(flags.proxyUri, '--proxy-uri', "'telnet://{host}:13370'"))
  if (flags.timeout !== undefined && flags.once !== true) {
    throw new VspcError('VSPC_USAGE', '--timeout belongs to --once')
  }
  const nextHop = flags.nextHop ?? []
  const job: TrackJob = {
    access: resolveVsphere(flags, process.env),
    appliance: flags.appliance ?? ownSerial(DMI_SERIAL),
    terms: terms(flags.vms),
    choice: choice(flags),
    proxyURI: (place) => fillProxyTemplate(template, place, relays),
    nextHops: nextHop.length === 0 ? null : new NextHops(nextHop, relays),
    mode: flags.plan === true ? 'plan' : flags.once === true ? 'once' : 'follow',
    timeoutMs: flags.timeout ?? 600_000,
    json: flags.json === true,
  }
  await runTrack(job)
}

function needed(value: string | undefined, option: string, example: string): string {
  if (value !== undefined && value !== '') return value
  throw new VspcError('VSPC_USAGE', `${option} is missing, such as ${option} ${example}`)
}

function terms(texts: readonly string[] | undefined): VmTerm[] {
  if (texts === undefined) throw new VspcError('VSPC_USAGE', "--vms is missing, such as --vms 'web*'")
  return texts.map(parseVmTerm)
}

function choice({ port, serviceUri }: TrackFlags): PortChoice {
  return {
    ...(port === undefined ? {} : { ports: port.map((one) => (/^\d{1,3}$/.test(one) ? Number(one) : one)) }),
    ...(serviceUri === undefined ? {} : { serviceURI: serviceUri }),
  }
}

/** @throws VspcError VSPC_USAGE where this is no VM of VMware's, or only root may know. */
export function ownSerial(file: string): string {
  const hint = 'name the VM as --appliance NAME, its inventory path or UUID'
  let text: string
  try {
    text = readFileSync(file, 'utf8').trim()
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'EACCES' ? 'only root may read which VM this is' : null
    throw new VspcError('VSPC_USAGE', `${why ?? 'this is no VM that knows its own UUID'}: ${hint}`, { cause })
  }
  if (/^VMware-/i.test(text) && parseUuid(text) !== null) return text
  throw new VspcError('VSPC_USAGE', `this is no VM of VMware's: ${hint}`)
}

/** @throws VspcError VSPC_CONFIG_READ, VSPC_CONFIG_INVALID; ConfigError. */
export function readRelays(file: string): RelayTable {
  const source = readConfigFile(file, process.cwd())
  const { values } = source
  const accepted = 'accepted are lines HOST: ADDRESS, such as "esx1.example.com: 10.0.0.1"'
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw new VspcError('VSPC_CONFIG_INVALID', `${file}: it is no table; ${accepted}`)
  }
  const table = new Map<string, string>()
  for (const [host, address] of Object.entries(values)) {
    if (typeof address !== 'string' || address === '') {
      const { where } = source.locate([host], 'value')
      throw new VspcError('VSPC_CONFIG_INVALID', `${where}: there is no address; ${accepted}`)
    }
    table.set(host, address)
  }
  return table
}
