import { type Command, Option } from 'commander'
import { errorMessage, VspcError } from '../base/index.ts'
import { createRelayLogger, loadRelayConfig, Relay, type RelayPlan, type RelaySettings } from '../relay/index.ts'
import { printData } from './output.ts'
import { RELAY_HELP } from './relay-help.ts'
import { stderrLines } from './relay-log.ts'
import { addNextHop } from './relay-next-hop.ts'
import { addStatus } from './relay-status.ts'
import { exitOnFault, onHangup, stayAlive, untilToldToStop } from './signals.ts'

interface RelayFlags {
  listen?: string[]
  dial?: string[]
  nextHop?: string[]
  control?: string
  config?: string
  whenAway?: string
  name?: string
  label?: string
  stateFile?: string
  trustedProxy?: string[]
  logLevel?: string
  json?: true
}

export function registerRelay(program: Command): void {
  addRelay(program.command('relay'), 'vspc relay')
}

/** Makes `command` the relay: as a command of `vspc`, or as a program of its own. @param called how people call it. */
export function addRelay(command: Command, called: string): void {
  command
    .description('Join endpoints: pass streams of VMs on to where the server is')
    .option('--listen <uri>', 'listen on this side', collect)
    .option('--dial <uri>', 'dial this side: a URI, or next-hop:NAME', collect)
    .option('--next-hop <name=uri>', 'where next-hop:NAME leads to; can be changed while running', collect)
    .option('--control <uri>', 'where status is shown and next hops are changed: unix:///PATH, or tls:// with ca=')
    .option('--config <file>', 'configuration file, YAML: any number of routes; flags override it')
    .addOption(new Option('--when-away <how>', 'a stream whose dialled side is away: hold (default) or refuse'))
    .option('--name <vm>', 'VM announced to proxy=v2 endpoints; {peer} stands for where the stream comes from')
    .option('--label <label>', 'which of its serial ports')
    .option('--state-file <file>', 'keeps changed next hops for the next start')
    .option(
      '--trusted-proxy <address>',
      'whose PROXY headers are believed: address, network, unix, vsock:CID, certificate',
      collect,
    )
    .addOption(
      new Option('--log-level <level>', 'trace, debug, info (default), warn, error, silent (env VSPC_LOG_LEVEL)'),
    )
    .option('--json', 'print what is relayed as one line of JSON')
    .addHelpText('after', RELAY_HELP.replaceAll('vspc relay', called))
    .action(relay)
  addNextHop(command, called)
  addStatus(command, called)
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value]
}

async function relay(flags: RelayFlags): Promise<void> {
  const load = (): RelayPlan =>
    loadRelayConfig({
      env: process.env,
      flags: settingsOf(flags),
      ...(flags.config === undefined ? {} : { file: flags.config }),
      ...(flags.name === undefined ? {} : { vmName: flags.name }),
      ...(flags.label === undefined ? {} : { label: flags.label }),
    })
  const plan = load()
  const log = createRelayLogger(plan.logLevel, process.stderr.isTTY ? 'text' : 'json', stderrLines())
  exitOnFault(log)
  // Before anything is announced: whoever reads that may signal at once.
  const stopRequested = untilToldToStop(log)
  const running = new Relay(plan, { log })
  let started = false
  const terminalGone = onHangup(() => {
    if (!started) return
    const reloaded = async (): Promise<void> => {
      const next = load()
      await running.reload(next)
      log.setLevel(next.logLevel)
    }
    reloaded().catch((error: unknown) => {
      log.error({ reason: errorMessage(error) }, 'configuration not reloaded: it has mistakes')
    })
  })
  const alive = stayAlive()
  try {
    await running.start()
    started = true
    announce(running, flags.json === true)
    await Promise.race([stopRequested, terminalGone])
    await running.stop()
  } finally {
    alive.end()
  }
}

/** Values are checked by the configuration, all in one place; here they only change their names. */
function settingsOf(flags: RelayFlags): RelaySettings {
  const { listen, dial, whenAway, nextHop, control, stateFile, trustedProxy, logLevel } = flags
  const hasRoute = listen !== undefined || dial !== undefined
  if (!hasRoute && whenAway !== undefined) {
    throw new VspcError('VSPC_USAGE', '--when-away belongs to a route of --listen and --dial; in a file it is whenAway')
  }
  const route = {
    ...(listen === undefined ? {} : { listen }),
    ...(dial === undefined ? {} : { dial }),
    ...(whenAway === undefined ? {} : { whenAway }),
  }
  return {
    ...(hasRoute ? { routes: [route] } : {}),
    ...(nextHop === undefined ? {} : { nextHops: Object.fromEntries(nextHop.map(nextHopPair)) }),
    ...(control === undefined ? {} : { control }),
    ...(stateFile === undefined ? {} : { stateFile }),
    ...(trustedProxy === undefined ? {} : { trustedProxies: trustedProxy }),
    ...(logLevel === undefined ? {} : { logLevel }),
  } as RelaySettings
}

function nextHopPair(text: string): [string, string] {
  const equals = text.indexOf('=')
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)]
  throw new VspcError(
    'VSPC_USAGE',
    `--next-hop "${text}" is not NAME=URI, such as --next-hop appliance=tls://10.0.0.7:13370`,
  )
}

function announce(relay: Relay, json: boolean): void {
  const { relaying, control } = relay
  if (json) {
    const shown = relaying.map(({ name, from, to }) => ({ name, from, to }))
    printData(`${JSON.stringify({ relaying: shown, control })}\n`)
    return
  }
  for (const { from, to, bothListen } of relaying) printData(`relaying ${from} ${bothListen ? '<->' : '->'} ${to}\n`)
  if (control !== null) printData(`control on ${control}\n`)
}
