/**
 * The settings, in one schema: it types them here, checks the file, is printed by `vspc config schema`, and
 * docs/configuration.md is made from it. Names in the file are those of the flags in camelCase.
 */
import { type Static, type TInteger, type TObject, type TOptional, type TUnsafe, Type } from 'typebox'
import { ALERTS_SCHEMA, type AlertsSettings } from '../alerts/index.ts'
import {
  GUESTINFO_SCHEMA,
  type GuestinfoSettings,
  TRACK_SCHEMA,
  type TrackSettings,
  VSPHERE_SCHEMA,
  type VsphereSettings,
} from '../appliance/index.ts'
import { LIMITS, type LimitName } from '../base/index.ts'
import type { SchemaNode } from '../config/index.ts'
import { HOOKS_SCHEMA, type HookSettings } from '../hooks/index.ts'
import { DEFAULT_TRUSTED_PROXIES } from '../transport/index.ts'
import { ACCESS_SECTION, type AccessSettings } from './access/settings.ts'
import { LOG_FILES_SCHEMA, type LogFilesSettings } from './log-files/settings.ts'
import { TELNET_SCHEMA, type TelnetSettings } from './telnet/settings.ts'

export const WRITER_POLICIES = ['shared', 'single'] as const
export type WriterPolicy = (typeof WRITER_POLICIES)[number]

export const HISTORY_KINDS = ['disk', 'memory', 'off'] as const
export type HistoryKind = (typeof HISTORY_KINDS)[number]

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

export const DEFAULT_LISTEN = ['tcp://127.0.0.1:13370']
export const DEFAULT_HTTP = '127.0.0.1:13371'

/** `accepts` finishes the sentence "accepted is ...", where type and range do not say it. */
type Described = {
  readonly description: string
  readonly accepts: string
}

function optionalText(described: Described & { default?: string }) {
  return Type.Optional(Type.String({ ...described }))
}

function optionalList(described: Described & { default: string[] }, item: string) {
  return Type.Optional(Type.Array(Type.String({ accepts: item }), { ...described }))
}

function limitsSchema(): TObject<{ [name in LimitName]: TOptional<TInteger> }> {
  const properties: Record<string, TOptional<TInteger>> = {}
  for (const [name, { default: standard, min, max, why }] of Object.entries(LIMITS)) {
    properties[name] = Type.Optional(
      Type.Integer({ default: standard, minimum: min, maximum: max, description: capitalized(why) }),
    )
  }
  return Type.Object(properties as { [name in LimitName]: TOptional<TInteger> }, {
    additionalProperties: false,
    description: 'Timers and caps. Units are in the names: Ms milliseconds, Bytes bytes, otherwise a count.',
  })
}

/** A section that others read, too, and so is described elsewhere. */
function section<Content>(schema: SchemaNode): TUnsafe<Content> & SchemaNode {
  return Type.Unsafe<Content>(schema)
}

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

export const SettingsSchema = Type.Object(
  {
    listen: optionalList(
      {
        default: DEFAULT_LISTEN,
        description: 'Where ESXi hosts connect to: VM listeners, each an endpoint URI.',
        accepts: 'a list of endpoint URIs, such as [tcp://0.0.0.0:13370]',
      },
      'an endpoint URI, such as tcp://0.0.0.0:13370',
    ),
    dial: optionalList(
      {
        default: [],
        description: 'Serial ports in server mode, which are dialled and dialled again: endpoint URIs.',
        accepts: 'a list of endpoint URIs, such as [tcp://esx1:2001?protocol=raw&name=vm1]',
      },
      'an endpoint URI, such as tcp://esx1:2001?protocol=raw&name=vm1',
    ),
    forward: optionalList(
      {
        default: [],
        description:
          'Ports joined to programs, see docs/forward.md: PATTERN=URI rules, of which the first that matches a port ' +
          'counts. Empty: none.',
        accepts: 'a list of PATTERN=URI rules, such as ["*=unix:///run/vspc/{uuid}.sock"]',
      },
      'a PATTERN=URI rule, such as "*=unix:///run/vspc/{uuid}.sock"',
    ),
    http: optionalText({
      default: DEFAULT_HTTP,
      description:
        'Where the API, WebSockets and the web page are served. Addresses that other machines reach need `access`, and a ' +
        'certificate (or `httpPlain`); see docs/access.md.',
      accepts: '"HOST:PORT" or "off"',
    }),
    httpCert: optionalText({
      description: 'Certificate, with its chain, for HTTPS, PEM; read again when it changes. Default: plain HTTP.',
      accepts: 'the path of a file',
    }),
    httpKey: optionalText({ description: 'Its key, PEM, without passphrase.', accepts: 'the path of a file' }),
    httpClientCa: optionalText({
      description:
        'CA of client certificates (mutual TLS), PEM. Who shows one is the user it names, see `access.certificates`; ' +
        'who shows none needs a token.',
      accepts: 'the path of a file',
    }),
    httpNames: optionalList(
      {
        default: [],
        description:
          'Names under which browsers reach this server, beside those of its certificate: behind a proxy those of the ' +
          'proxy. Pages of these may use it.',
        accepts: 'a list of names, such as [vspc.example.com, "vspc.example.com:8443"]',
      },
      'a name, and a port where it is not the usual one: vspc.example.com:8443',
    ),
    httpPlain: Type.Optional(
      Type.Boolean({
        default: false,
        description: 'Plain HTTP on addresses that other machines reach: where a proxy in front of it does TLS.',
      }),
    ),
    dataDir: optionalText({
      description: 'Directory for what is kept. Default: $XDG_STATE_HOME/vspc, or ~/.local/state/vspc.',
      accepts: 'the path of a directory',
    }),
    history: Type.Optional(
      Type.Enum([...HISTORY_KINDS], {
        default: 'disk',
        description:
          'Where the output of VMs is kept: on disk below dataDir, in memory (the end of it, until the server stops), ' +
          'or not at all but for what attached consoles have yet to read.',
      }),
    ),
    logFiles: Type.Optional(section<LogFilesSettings>(LOG_FILES_SCHEMA)),
    capture: optionalText({
      description:
        'Directory in which every VM connection is recorded (see vspc replay). Default: nothing is recorded.',
      accepts: 'the path of a directory',
    }),
    captureRedact: Type.Optional(
      Type.Boolean({ default: false, description: 'Leave vMotion secrets out of recordings.' }),
    ),
    serviceUris: optionalList(
      {
        default: [],
        description: 'The serviceURIs that VMs may ask for; a VM with another one is refused. Empty: any.',
        accepts: 'a list of serviceURIs',
      },
      'a serviceURI: 1 to 1024 visible characters',
    ),
    allowDial: optionalList(
      {
        default: [],
        description:
          'Endpoints that VMs with direction "client" may have dialled for them: URIs in which * stands for any ' +
          'characters, such as tcp://10.0.0.*:2379. Empty: none.',
        accepts: 'a list of endpoint patterns, such as [tcp://10.0.0.*:2379]',
      },
      'an endpoint pattern, such as tcp://10.0.0.*:2379',
    ),
    trustedProxies: optionalList(
      {
        default: [...DEFAULT_TRUSTED_PROXIES],
        description:
          'Whose word counts about where a stream comes from and which VM it is: listeners with proxy=v2 take streams ' +
          'from these only. Addresses, networks, unix (Unix sockets), vsock:CID, vsock:*, certificate (who has shown ' +
          'one that the listener asks for).',
        accepts: 'a list of sources, such as [10.0.0.0/8, unix, vsock:2, certificate]',
      },
      'an address, a network, unix, vsock:CID, vsock:* or certificate',
    ),
    writers: Type.Optional(
      Type.Enum([...WRITER_POLICIES], {
        default: 'shared',
        description: 'May several consoles write to one port at once, or a single one?',
      }),
    ),
    logLevel: Type.Optional(
      Type.Enum([...LOG_LEVELS], { default: 'info', description: 'The least important messages that are logged.' }),
    ),
    vsphere: Type.Optional(section<VsphereSettings>(VSPHERE_SCHEMA)),
    track: Type.Optional(section<TrackSettings>(TRACK_SCHEMA)),
    guestinfo: Type.Optional(section<GuestinfoSettings>(GUESTINFO_SCHEMA)),
    telnet: Type.Optional(section<TelnetSettings>(TELNET_SCHEMA)),
    access: Type.Optional(section<AccessSettings>(ACCESS_SECTION)),
    alerts: Type.Optional(section<AlertsSettings>(ALERTS_SCHEMA)),
    hooks: Type.Optional(section<HookSettings[]>(HOOKS_SCHEMA)),
    limits: Type.Optional(limitsSchema()),
  },
  { additionalProperties: false, title: 'Configuration of vspc' },
)

/** What a file, or the flags, may say. */
export type Settings = Static<typeof SettingsSchema>

/** The JSON Schema that `vspc config schema` prints: plain data, of standard keywords only. */
export function configSchema(): object {
  const plain = JSON.stringify(SettingsSchema, (key, value: unknown) => (key === 'accepts' ? undefined : value))
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', ...(JSON.parse(plain) as object) }
}
