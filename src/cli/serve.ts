import { type Command, Option } from 'commander'
import { type Config, createLogger, loadConfig, type RunningApp, type Settings, start } from '../app/index.ts'
import { errorMessage } from '../base/index.ts'
import { DEFAULT_SERVER } from '../client/index.ts'
import { printData, printNote } from './output.ts'
import { exitOnFault, onHangup, stayAlive, untilToldToStop } from './signals.ts'

interface ServeFlags {
  listen?: string[]
  dial?: string[]
  forward?: string[]
  http?: string
  httpCert?: string
  httpKey?: string
  httpClientCa?: string
  httpName?: string[]
  httpPlain?: true
  tokens?: string
  audit?: string
  telnet?: string
  telnetMenu?: string
  dataDir?: string
  history?: string
  config?: string
  capture?: string
  redact?: true
  serviceUri?: string[]
  allowDial?: string[]
  trustedProxy?: string[]
  writers?: string
  logLevel?: string
  json?: true
}

const HELP = `
URI is tcp://HOST:PORT, tls://HOST:PORT?cert=FILE&key=FILE, unix:///PATH, vsock://CID:PORT (any, host, local),
hvsock:///PATH:PORT or fifo:///PATH; port 0 is any free one, printed. Parameters on it: protocol=vmware|telnet|raw,
name=VM, label=L; cert=, key= for TLS beside plain; proxy=v2 behind relays that say where streams come from (see
--trusted-proxy); resume=on for streams that survive their connections; mode=660 on sockets and pipes.

Once ready, "listening on URI" and "http on URL" are printed, one a line; with --json one line of JSON.
Everything else goes to stderr: plain lines on a terminal, JSON otherwise.

SIGTERM and SIGINT drain and exit 0; a second one exits at once. SIGHUP reads the configuration again: applied
whole or not at all, no console is dropped. serviceUris, trustedProxies, writers, logLevel, access and nearly all
limits can change so; certificates are read again, for connections from then on.

With the sections vsphere and track in --config it follows the ESXi host it runs on, and points VMs at the relay
there: docs/tracking.md; try it first with  vspc track --config FILE --plan
With vsphere and guestinfo it keeps and tells what VMs publish (addresses, errors, how processes end): docs/guestinfo.md

HTTP is open to everybody on this machine, and served on loopback only, unless it is told who may use it: --tokens, or a
section access in --config (roles, rules, proxies, audit log), or --http-client-ca. Then all have to show a token or a
certificate, and other addresses may be listened on, with --http-cert and --http-key: docs/access.md

Examples:
  vspc serve --listen tcp://0.0.0.0:13370               for ESXi hosts
  vspc serve --listen 'tcp://0.0.0.0:13370?cert=/etc/vspc/crt.pem&key=/etc/vspc/key.pem'
  vspc serve --listen 'tcp://127.0.0.1:4001?protocol=raw&name=vm1'
      QEMU:  -serial tcp:127.0.0.1:4001
  vspc serve --dial 'tcp://esx1:2001?protocol=raw&name=vm1'     a serial port in server mode
  vspc serve --forward '*=unix:///run/vspc/{uuid}.sock'         a socket per port, for a program to connect to
  vspc serve --forward 'web*/com2=tcp://127.0.0.1:2379'         dialled when such a port comes online
  vspc serve --config /etc/vspc.yaml --http off
  vspc token add ops --role operator --tokens /etc/vspc/tokens.json >ops.token
  vspc serve --http 0.0.0.0:13371 --http-cert crt.pem --http-key key.pem --tokens /etc/vspc/tokens.json --audit audit.jsonl
  vspc serve --telnet 13400-13999 --telnet-menu 127.0.0.1:13399    consoles for Telnet clients
  vspc serve --capture /var/tmp/vspc --redact           record every VM connection, see vspc replay
`

export function registerServe(program: Command): void {
  program
    .command('serve')
    .description('Start the concentrator')
    .option('--listen <uri>', 'listen for VMs; several times for several (default tcp://127.0.0.1:13370)', collect)
    .option(
      '--dial <uri>',
      "dial a VM's serial port in server mode, and keep dialling; several times for several",
      collect,
    )
    .option(
      '--forward <pattern=uri>',
      'join matching ports to a program: a Unix socket to connect to, or an endpoint to dial',
      collect,
    )
    .option('--http <host:port>', 'where API, WebSockets and page are served, or off (default 127.0.0.1:13371)')
    .option('--http-cert <file>', 'certificate for HTTPS, PEM; read again when it changes')
    .option('--http-key <file>', 'its key, PEM')
    .option(
      '--http-client-ca <file>',
      'CA of client certificates (mutual TLS), PEM: who shows one need not have a token',
    )
    .option('--http-name <name>', "a name under which browsers reach it, such as a proxy's; may be repeated", collect)
    .option('--http-plain', 'plain HTTP for other machines, too: a proxy in front of it does TLS')
    .option('--tokens <file>', 'who may use HTTP: file of tokens, made by "vspc token" (env VSPC_TOKENS)')
    .option('--audit <file>', 'write down who did what, as JSON lines')
    .option('--telnet <ports>', 'a TCP port for Telnet clients per serial port, out of such a range: 13400-13999')
    .option('--telnet-menu <host:port>', 'a menu of all serial ports for Telnet clients, such as 127.0.0.1:13399')
    .option('--data-dir <dir>', 'directory for what is kept (default $XDG_STATE_HOME/vspc)')
    .addOption(
      new Option(
        '--history <where>',
        'where the output of VMs is kept: disk (default, in the data dir), memory or off',
      ),
    )
    .option('--config <file>', 'configuration file, YAML (env VSPC_CONFIG); flags override it')
    .option('--capture <dir>', 'record every VM connection into files there')
    .option('--redact', 'leave vMotion secrets out of recordings')
    .option('--service-uri <name>', 'answer only VMs that ask for this serviceURI; several times for several', collect)
    .option('--allow-dial <pattern>', 'what VMs with direction "client" may have dialled for them', collect)
    .option(
      '--trusted-proxy <source>',
      'whose PROXY headers count: address, network, unix, vsock:CID or certificate; several times for several',
      collect,
    )
    .addOption(new Option('--writers <policy>', 'may several consoles write at once? shared (default) or single'))
    .addOption(
      new Option('--log-level <level>', 'trace, debug, info (default), warn, error, silent (env VSPC_LOG_LEVEL)'),
    )
    .option('--json', 'print what is listened on as one line of JSON')
    .addHelpText('after', HELP)
    .action(serve)
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value]
}

async function serve(flags: ServeFlags): Promise<void> {
  const load = () =>
    loadConfig({
      env: process.env,
      flags: settingsOf(flags),
      ...(flags.config === undefined ? {} : { file: flags.config }),
    })
  const config = load()
  const log = createLogger(config.logLevel, process.stderr.isTTY ? 'text' : 'json')
  exitOnFault(log)
  // Before anything is announced: whoever reads that may signal at once.
  const stopRequested = untilToldToStop(log)
  let app: RunningApp | null = null
  const terminalGone = onHangup(() => {
    if (app !== null) reload(app, load)
  })
  const alive = stayAlive()
  try {
    app = await start(config, { log })
    announce(app, flags.json === true)
    await Promise.race([stopRequested, terminalGone])
    await app.stop()
  } finally {
    alive.end()
  }
}

/** Values are checked by the configuration, all in one place; here they only change their names. */
function settingsOf(flags: ServeFlags): Settings {
  const { serviceUri, trustedProxy, redact, config, json, telnet, telnetMenu, httpName, tokens, audit, ...same } = flags
  const access = {
    ...(tokens === undefined ? {} : { tokens }),
    ...(audit === undefined ? {} : { audit: { file: audit } }),
  }
  const telnetSection = {
    ...(telnet === undefined ? {} : { ports: telnet }),
    ...(telnetMenu === undefined ? {} : { menu: telnetMenu }),
  }
  return {
    ...same,
    ...(Object.keys(telnetSection).length === 0 ? {} : { telnet: telnetSection }),
    ...(Object.keys(access).length === 0 ? {} : { access }),
    ...(httpName === undefined ? {} : { httpNames: httpName }),
    ...(serviceUri === undefined ? {} : { serviceUris: serviceUri }),
    ...(trustedProxy === undefined ? {} : { trustedProxies: trustedProxy }),
    ...(redact === undefined ? {} : { captureRedact: redact }),
  } as Settings
}

function announce(app: RunningApp, json: boolean): void {
  const url = app.http?.url ?? null
  if (json) {
    const menu = app.telnetMenu === null ? {} : { telnetMenu: app.telnetMenu }
    printData(`${JSON.stringify({ listening: app.listening, http: url, ...menu })}\n`)
  } else {
    for (const uri of app.listening) printData(`listening on ${uri}\n`)
    if (url !== null) printData(`http on ${url}\n`)
    if (app.telnetMenu !== null) printData(`telnet menu on ${app.telnetMenu}\n`)
  }
  if (process.stderr.isTTY) for (const hint of hints(app)) printNote(hint)
}

/** For who started it by hand. */
function hints(app: RunningApp): string[] {
  const found: string[] = []
  const loopback = app.server.listening.every((one) => 'host' in one && /^(127\.|localhost$|::1$)/.test(one.host))
  if (app.listening.length > 0 && loopback) {
    found.push('only this machine reaches it; for ESXi hosts add --listen tcp://0.0.0.0:13370')
  }
  if (app.http !== null) {
    const { url } = app.http
    const where = url === DEFAULT_SERVER ? '' : ` --server ${url}`
    found.push(`list the VMs with "vspc ports${where}", open a console with "vspc attach${where} NAME", or see ${url}/`)
  }
  return found
}

function reload(app: RunningApp, load: () => Config): void {
  try {
    app.reload(load())
  } catch (error) {
    app.log.error({ reason: errorMessage(error) }, 'configuration not reloaded: it has mistakes')
  }
}
