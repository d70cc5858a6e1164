/** All checks of `vspc doctor`, in the order in which they are told. Pure. */

import { firewall } from './doctor-checks-firewall.ts'
import { HEALTH_CHECKS } from './doctor-checks-health.ts'
import { PORT_CHECKS } from './doctor-checks-port.ts'
import { SEEN_CHECKS } from './doctor-checks-seen.ts'
import type { Facts } from './doctor-facts.ts'
import { type Check, fail, note, ok, type Said, warn } from './doctor-finding.ts'
import { formatAge } from './table.ts'

/** One per VM and console, and some for files: below this a small site may run out. */
const FEW_OPEN_FILES = 4_096
const CLOCK_AHEAD_MS = 60_000
const PERSIST = 'config.vpxd.SerialPort.PersistNetworkBacking'

const MACHINE_CHECKS: readonly Check<Facts>[] = [
  {
    id: 'node-version',
    section: 'machine',
    run: ({ local: { node, neededNode } }) =>
      isAtLeast(node, neededNode)
        ? ok(`Node ${node}`)
        : fail(`Node ${node} is too old`, `install Node ${neededNode} or newer`),
  },
  {
    id: 'open-files',
    section: 'machine',
    run: ({ local: { openFiles } }) => {
      if (openFiles === null) return note('the limit of open files is not known, or there is none')
      if (openFiles >= FEW_OPEN_FILES) return ok(`up to ${openFiles} open files`)
      const raise = "raise it: 'ulimit -n 65536', or LimitNOFILE=65536 in the unit of systemd"
      return warn(`only ${openFiles} open files: each VM and each console takes one`, raise)
    },
  },
  {
    id: 'vsock',
    section: 'machine',
    run: ({ local: { vsock } }) =>
      vsock.ok ? ok('vsock: endpoints can be used') : note(`no vsock: endpoints here: ${vsock.message}`),
  },
  {
    id: 'configuration',
    section: 'machine',
    run: ({ local: { config } }) => {
      if (!config.ok) return fail(config.message, "see 'vspc config check'")
      const { file } = config.value
      return ok(file === null ? 'no file: defaults and flags alone' : `${file} has no mistakes`)
    },
  },
  {
    id: 'tls-files',
    section: 'machine',
    run: ({ local: { config } }) => {
      if (!config.ok) return null
      const { tls } = config.value
      if (!tls.ok) return fail(tls.message, "'vspc config check' tells all at once; docs/tls.md makes a certificate")
      if (tls.value === null) return null
      if (tls.value.length === 0) return ok('certificates and keys of the listeners fit')
      return tls.value.map((warning) => warn(warning, 'replace the files'))
    },
  },
  {
    id: 'data-dir',
    section: 'machine',
    run: ({ local: { config } }) => {
      if (!config.ok) return null
      const { dataDir, dataDirUsable, keepsHistory } = config.value
      if (!keepsHistory) return null
      if (dataDirUsable.ok) return ok(`${dataDir} can be written`)
      const next = 'give its user the folder, or name another with --data-dir (history keeps what VMs print there)'
      return warn(`this user cannot write ${dataDir}: ${dataDirUsable.message}`, next)
    },
  },
]

const SERVER_CHECKS: readonly Check<Facts>[] = [
  {
    id: 'server',
    section: 'server',
    run: ({ server: { url, ready, ports } }) => {
      if (ready.ok && ports.ok) {
        const online = ports.value.filter(({ state }) => state === 'online').length
        return ok(`${url} is ready: ${ports.value.length} ports, ${online} of them online`)
      }
      if (ready.ok && !ports.ok) return fail(ports.message, null)
      if (ready.ok) return null
      if (ready.code === 'VSPC_SERVER_STARTING') {
        return warn('it is starting: not every listener is up', 'look at its log when this lasts')
      }
      return fail(ready.message, null)
    },
  },
  { id: 'listeners', section: 'server', run: listeners },
]

const LOOPBACK_URI = /^(?:tcp|tls):\/\/(?:127\.|localhost:|\[::1\])/

/** They are what the server says, or, where it does not, what the configuration here says. */
function listeners({ local: { config }, server }: Facts): Said[] | null {
  if (!server.ready.ok || (!server.health.ok && !config.ok)) return null
  const said = server.health.ok
  const next = said
    ? 'look at its log; does a firewall on this machine stand between?'
    : 'it is what the configuration here says; was the server started with other flags? see its log'
  const tried = [...server.listeners].map(([uri, accepts]) =>
    accepts.ok ? ok('takes connections', uri) : warn(`takes no connections: ${accepts.message}`, next, uri),
  )
  const isThatServer = tried.length > 0 && tried.every(({ level }) => level === 'ok')
  const all = server.health.ok ? server.health.value.info.listeners.map(({ uri }) => uri) : [...server.listeners.keys()]
  if (!isThatServer || !all.every((uri) => LOOPBACK_URI.test(uri))) return tried
  const elsewhere = "where ESXi hosts are to reach it: vspc serve --listen tcp://0.0.0.0:13370 (or behind 'vspc relay')"
  return [...tried, warn(`only this machine itself reaches ${all.join(', ')}`, elsewhere)]
}

const VSPHERE_CHECKS: readonly Check<Facts>[] = [
  {
    id: 'vsphere',
    section: 'vsphere',
    run: ({ vsphere, wanted }) => {
      if (vsphere === null) {
        if (wanted === null) return null
        const next = 'give --vsphere, --user and --password-file to have the VM itself looked at'
        return warn('vSphere is not given: only the server is asked about the VM', next)
      }
      if (!vsphere.ok)
        return fail(vsphere.message, NEXT_OF[vsphere.code ?? ''] ?? 'check URL, user, password and trust')
      const { url, user, product, isVcenter } = vsphere.value
      if (isVcenter) return ok(`${product} at ${url}, as ${user}`)
      const next = 'name the vCenter instead, if there is one'
      return warn(`${url} is a single host (${product}): it cannot tell where a VM moves to`, next)
    },
  },
  {
    id: 'password-file',
    section: 'vsphere',
    run: ({ vsphere }) => {
      const warning = vsphere?.ok ? vsphere.value.passwordWarning : null
      return warning === null ? null : warn(warning, 'chmod 600 the file')
    },
  },
  {
    id: 'clock',
    section: 'vsphere',
    run: ({ vsphere }) => {
      if (!vsphere?.ok) return null
      const { clock } = vsphere.value
      if (!clock.ok) return note(`what time it is at the server is not known: ${clock.message}`)
      const { aheadMs, tookMs } = clock.value
      if (Math.abs(aheadMs) <= CLOCK_AHEAD_MS + tookMs) return ok('its clock and ours agree within a minute')
      const which = aheadMs > 0 ? 'ahead of' : 'behind'
      const by = formatAge(Math.abs(aheadMs)).replace(' ago', '')
      return warn(`its clock is ${by} ${which} ours`, 'set both by NTP: certificates and logs go by the clock')
    },
  },
  {
    id: 'persist-backing',
    section: 'vsphere',
    run: ({ vsphere }) => {
      if (!vsphere?.ok || !vsphere.value.isVcenter) return null
      const { persistBacking } = vsphere.value
      if (!persistBacking.ok) return note(`vCenter's setting ${PERSIST} is not known: ${persistBacking.message}`)
      if (persistBacking.value?.toLowerCase() === 'true') return ok(`${PERSIST} is true`)
      const now = persistBacking.value === null ? 'not set' : persistBacking.value
      return warn(
        `vCenter's setting ${PERSIST} is ${now}: VMs lose their network serial ports when it restarts`,
        'set it to true: vCenter, Configure, Advanced Settings',
      )
    },
  },
]

const NEXT_OF: Readonly<Record<string, string>> = {
  VSPC_USAGE: 'correct what it names',
  VSPC_VSPHERE_LOGIN: 'check --user and the password in its file',
  VSPC_VSPHERE_PERMISSION: 'give the user System.View and System.Read',
  VSPC_VSPHERE_UNREACHABLE: 'check --vsphere, and firewalls in between',
  VSPC_TRANSPORT_DIAL: 'check --vsphere, and firewalls in between',
  VSPC_TLS_PIN_MISMATCH: 'compare the certificate with --pin',
  VSPC_TLS_HANDSHAKE: 'trust its certificate: --ca, or --pin sha256:HEX',
}

/** `20.19` is older than `20.19.1` and than `22.0.0`. */
function isAtLeast(version: string, needed: string): boolean {
  const parts = (text: string): number[] => text.split('.').map(Number)
  const [have, want] = [parts(version), parts(needed)]
  for (let i = 0; i < want.length; i++) {
    const difference = (have[i] ?? 0) - (want[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return true
}

export const CHECKS: readonly Check<Facts>[] = [
  ...MACHINE_CHECKS,
  ...SERVER_CHECKS,
  ...HEALTH_CHECKS,
  ...VSPHERE_CHECKS,
  ...PORT_CHECKS,
  { id: 'firewall', section: 'vm', run: firewall },
  ...SEEN_CHECKS,
]
