/**
 * docs/configuration.md, made from the settings schema and the table of limits. test/app/config-docs.test.ts keeps the
 * file equal to it; `npx vitest run test/app/config-docs.test.ts -u` writes it anew.
 */
import { ALERTS_SCHEMA } from '../src/alerts/index.ts'
import { ACCESS_SECTION } from '../src/app/access/settings.ts'
import { flagName } from '../src/app/config.ts'
import { SettingsSchema } from '../src/app/config-schema.ts'
import { LOG_FILES_SCHEMA } from '../src/app/log-files/settings.ts'
import { TELNET_SCHEMA } from '../src/app/telnet/settings.ts'
import { GUESTINFO_SCHEMA, TRACK_SCHEMA, VSPHERE_SCHEMA, VSPHERE_VARIABLES } from '../src/appliance/index.ts'
import { LIMITS } from '../src/base/index.ts'
import { HOOKS_SCHEMA } from '../src/hooks/index.ts'

export const EXAMPLE = `# yaml-language-server: $schema=./vspc.schema.json
listen:
  - tcp://0.0.0.0:13370                                        # option 232, what ESXi speaks to a vSPC
  - tls://0.0.0.0:13380?cert=tls/vspc.crt&key=tls/vspc.key     # telnets:// on the VM's side
  - tcp://0.0.0.0:4001?protocol=raw&name=vm1                   # a network serial port without vSPC
dial:
  - tcp://esx1.example.org:2001?protocol=telnet&name=vm2       # the same in server mode: we dial
http: 127.0.0.1:13371
dataDir: /var/lib/vspc
serviceUris: [vspc]
allowDial: ["tcp://10.0.0.*:2379"]
writers: shared
logLevel: info
vsphere:                                                       # see tracking.md; the password: a systemd credential
  url: https://vcenter.example.org/sdk
  user: vspc@vsphere.local
track:
  appliance: vspc1
  vms: ['web*', folder:/DC/vm/prod]
  proxyUri: telnet://{host}:13370
guestinfo:                                                     # see guestinfo.md
  vms: '*'
telnet:                                                        # see telnet.md
  ports: 13400-13999
  menu: 127.0.0.1:13399
limits:
  historyBytes: 4194304
  dialMs: 5000
`

const FILE_HEAD = `<!-- Made by scripts/configuration-docs.ts from the settings schema and src/base/limits.ts; do not edit. -->
# Configuration

Everything has a default: \`vspc serve\` runs without any file. Settings come from flags, environment, file and defaults,
in this order of precedence; a list given on the command line replaces the one of the file.

- **Flags** have the names of the settings in kebab case: \`dataDir\` is \`--data-dir\`. Limits and the sections below can
  be set in the file only, but for those of which another flag is named there.
- **Environment**: \`VSPC_CONFIG\` names the file (as \`--config\` does), \`VSPC_LOG_LEVEL\` is \`logLevel\`; those of the
  section \`vsphere\` stand below.
- **File**: YAML 1.2. \`vspc config check FILE\` reports everything that is wrong with it as FILE:LINE:COLUMN;
  \`vspc config check --json FILE\` prints what would be in force; \`vspc config schema\` prints its JSON Schema for editors.

Relative paths, also those of certificates, are relative to the directory of the file they stand in, on the command line
to the working directory; \`~/\` is the home directory.

## Example

\`\`\`yaml
`

const ENDPOINTS = `## Endpoint URIs

| Form | Meaning |
|---|---|
| \`tcp://HOST:PORT\` | TCP. IPv6 addresses stand in brackets; port 0 listens on any free port, which is printed |
| \`tls://HOST:PORT\` | TLS over TCP, from the first byte |
| \`unix:///PATH\` | Unix socket, at most 107 bytes of path; created with mode 0600 |
| \`fifo:///PATH\` | a pair of named pipes: \`PATH.in\`, which the VM reads, and \`PATH.out\`, which it writes, as QEMU's \`-chardev pipe,path=PATH\` has them |
| \`vsock://CID:PORT\` | vSocket (AF_VSOCK). CID is a number or \`any\` (when listening), \`local\` (1), \`host\` (2); ports have 32 bits. Needs the optional package \`koffi\` |
| \`hvsock:///PATH:PORT\` | vSocket by the Unix sockets of a hypervisor (Firecracker, Cloud Hypervisor, vhost-device-vsock): dialling asks on \`PATH\` for the guest's port, listening takes what guests connect to on \`PATH_PORT\` |

Values are percent-encoded where needed (a space is \`%20\`). Parameters, after \`?\`, joined by \`&\`:

| Parameter | Where | Meaning |
|---|---|---|
| \`protocol=vmware\\|telnet\\|raw\` | VM endpoints | what is spoken: Telnet with VMware's option 232 (default), Telnet, or nothing but the bytes |
| \`name=NAME\` | VM and relay endpoints | name of the VM, where neither the stream nor a relay says it |
| \`mode=660\` | listeners on \`unix:\`, \`fifo:\`, \`hvsock:\` | permissions of the socket or pipes; default 600, only this user |
| \`label=LABEL\` | VM and relay endpoints | tells several ports of one VM apart: 1 to 64 of \`A-Z a-z 0-9 . _ -\`; what a relay announces counts more |
| \`proxy=v2\` | listeners, relays | every stream has to begin with a PROXY protocol v2 header, from one of \`trustedProxies\`: it says where the stream comes from and, where the stream itself does not, which VM and port it is. Relays that dial send it |
| \`resume=on\` | VM and relay endpoints, both ends | the stream survives its connections, see [link.md](link.md) |
| \`cert=FILE&key=FILE\` | listeners | certificate (with its chain) and key, PEM. On \`tcp:\` and \`unix:\` VM listeners TLS is then served beside plain, told apart by the first byte |
| \`cert=FILE&key=FILE\` | dialling \`tls:\` | client certificate |
| \`ca=FILE\` | dialling \`tls:\` | CA the peer's certificate must come from; default: those of Node.js |
| \`ca=FILE\` | \`tls:\` listeners | peers must show a certificate that comes from this CA and is in date |
| \`pin=sha256:HEX\` | \`tls:\` | the peer must show exactly this certificate; CA, date and name then count for nothing |
| \`servername=NAME\` | dialling \`tls:\` | name the certificate must have, where it is not that of the host |
| \`tlsMin=1.0\\|1.1\\|1.2\\|1.3\` | wherever TLS is | oldest version accepted, default 1.2; old ESXi hosts need 1.0 |

`

const SECTIONS = ['limits', 'vsphere', 'track', 'guestinfo', 'telnet', 'access', 'logFiles', 'alerts', 'hooks']

interface SettingNode {
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly string[]
  readonly type?: string
  readonly properties?: Readonly<Record<string, SettingNode>>
  /** Of a list. */
  readonly items?: object
}

export function configurationDocs(): string {
  return `${FILE_HEAD}${EXAMPLE}\`\`\`\n\n${settingsTable()}\n${sections()}${ENDPOINTS}${limitsTable()}`
}

function settingsTable(): string {
  let text = '## Settings\n\n| Setting | Flag | Default | Meaning |\n|---|---|---|---|\n'
  for (const [name, schema] of Object.entries(SettingsSchema.properties)) {
    if (SECTIONS.includes(name)) continue
    const node = schema as SettingNode
    const choices = node.enum ? ` One of ${node.enum.map((value) => `\`${value}\``).join(', ')}.` : ''
    text += row(`\`${name}\``, `\`${flagName(name)}\``, standard(node.default), `${node.description ?? ''}${choices}`)
  }
  return text
}

function sections(): string {
  return (
    section('vsphere', VSPHERE_SCHEMA, (name) => `\`${VSPHERE_VARIABLES[name]}\``) +
    section('track', TRACK_SCHEMA, null) +
    section('guestinfo', GUESTINFO_SCHEMA, null) +
    section('telnet', TELNET_SCHEMA, null) +
    section('access', ACCESS_SECTION, null) +
    section('logFiles', LOG_FILES_SCHEMA, null) +
    section('alerts', ALERTS_SCHEMA, null) +
    section(
      'hooks',
      { description: HOOKS_SCHEMA.description, properties: HOOKS_SCHEMA.items.properties },
      null,
      'hooks[]',
    )
  )
}

function section<Name extends string>(
  title: string,
  schema: { readonly description: string; readonly properties: { readonly [name in Name]: SettingNode } },
  variable: ((name: Name) => string) | null,
  path: string = title,
): string {
  const heads = ['Setting', ...(variable === null ? [] : ['Environment']), 'Meaning']
  let text = `## Section ${title}\n\n${schema.description}\n\n${row(...heads)}${row(...heads.map(() => '---'))}`
  for (const name of Object.keys(schema.properties) as Name[]) {
    const cells = variable === null ? [] : [variable(name)]
    const node = schema.properties[name]
    const of = node.properties ?? (node.items as SettingNode | undefined)?.properties
    text += row(`\`${path}.${name}\``, ...cells, `${node.description ?? ''}${usual(node)}`)
    for (const [inner, setting] of Object.entries(of ?? {})) {
      const at = node.properties === undefined ? `${name}[].${inner}` : `${name}.${inner}`
      text += row(`\`${path}.${at}\``, ...cells.map(() => ''), `${setting.description ?? ''}${usual(setting)}`)
    }
  }
  return `${text}\n`
}

/** What it is without, unless its description says that already. */
function usual({ default: value, description = '' }: SettingNode): string {
  const isEmpty = value === undefined || (Array.isArray(value) && value.length === 0)
  return isEmpty || /\bdefault/i.test(description) ? '' : ` Default: ${standard(value)}.`
}

function limitsTable(): string {
  let text =
    '## Limits\n\nEvery timer and cap, under `limits:`. Units are in the names: `Ms` milliseconds, `Bytes` bytes, ' +
    'otherwise a count.\n\n| Limit | Default | Accepted | Why |\n|---|---|---|---|\n'
  for (const [name, { default: value, min, max, why }] of Object.entries(LIMITS)) {
    text += row(`\`${name}\``, String(value), `${min} to ${max}`, why)
  }
  return text
}

function standard(value: unknown): string {
  if (value === undefined) return 'see right'
  return Array.isArray(value) && value.length === 0 ? 'none' : `\`${[value].flat().join(' ')}\``
}

function row(...cells: string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`
}
