import { type Command, Option } from 'commander'
import {
  ownSerial,
  readRelays,
  readTrackSection,
  TRACK_SCHEMA,
  type TrackConfig,
  type TrackSettings,
  trackingPlan,
} from '../appliance/index.ts'
import { VspcError } from '../base/index.ts'
import { ConfigError, type ConfigProblem, checkShape, readConfigFile } from '../config/index.ts'
import { parseDuration } from './duration.ts'
import { TRACK_HELP } from './track-help.ts'
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

const OWN_HINT = 'name the VM as --appliance NAME, its inventory path or UUID'

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
  if (flags.timeout !== undefined && flags.once !== true) {
    throw new VspcError('VSPC_USAGE', '--timeout belongs to --once')
  }
  const file = flags.config ?? process.env['VSPC_CONFIG']
  const config = layFlags(flags, file ? readTrack(file) : null, process.cwd())
  const job: TrackJob = {
    plan: trackingPlan(
      config,
      config.appliance ?? ownSerial(OWN_HINT),
      flags.nextHop === undefined ? 'track.nextHops' : '--next-hop',
    ),
    access: resolveVsphere(flags, process.env),
    mode: flags.plan === true ? 'plan' : flags.once === true ? 'once' : 'follow',
    timeoutMs: flags.timeout ?? 600_000,
    json: flags.json === true,
  }
  await runTrack(job)
}

/** What the server would do with that file, so that it can be tried first; of its other sections others judge. */
function readTrack(file: string): TrackConfig | null {
  const source = readConfigFile(file, process.cwd())
  const { values } = source
  if (typeof values !== 'object' || values === null || !('track' in values)) return null
  const schema = { type: 'object', properties: { track: TRACK_SCHEMA } }
  const problems: ConfigProblem[] = []
  const ours = { ...source, values: { track: values.track } }
  const { track: settings } = checkShape<{ track?: TrackSettings }>(schema, ours, problems)
  const config = settings === undefined ? null : readTrackSection(settings, source, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

function layFlags(flags: TrackFlags, file: TrackConfig | null, directory: string): TrackConfig {
  const { appliance, vms, proxyUri, serviceUri, port, relays, nextHop } = flags
  return {
    appliance: appliance ?? file?.appliance ?? null,
    vms: needed(vms ?? file?.vms, '--vms', "'web*'"),
    proxyUri: needed(proxyUri ?? file?.proxyUri, '--proxy-uri', "'telnet://{host}:13370'"),
    serviceUri: serviceUri ?? file?.serviceUri ?? null,
    ports: port?.map((one) => (/^\d{1,3}$/.test(one) ? Number(one) : one)) ?? file?.ports ?? null,
    relays: relays === undefined ? (file?.relays ?? {}) : Object.fromEntries(readRelays(relays, directory)),
    nextHops: nextHop ?? file?.nextHops ?? [],
    directory: nextHop === undefined ? (file?.directory ?? directory) : directory,
  }
}

function needed<T extends string | readonly string[]>(value: T | undefined, option: string, example: string): T {
  if (value !== undefined && value !== '') return value
  throw new VspcError('VSPC_USAGE', `${option} is missing, such as ${option} ${example}`)
}
