/** Checks of what a server tells of itself (GET /api/v1/health). Pure. */
import type { HealthInfo, RefusalInfo } from '../app/index.ts'
import type { Facts, HealthFacts } from './doctor-facts.ts'
import { type Check, fail, note, ok, type Said, warn } from './doctor-finding.ts'
import { formatAge, formatBytes } from './table.ts'

/** Of files and connections: from here on it is time to raise the limit. */
const NEARLY_FULL = 0.8
const FEW_OPEN_FILES = 4_096
const DAY_MS = 86_400_000
const EXPIRES_SOON_MS = 30 * DAY_MS
const CLOCK_AHEAD_MS = 60_000
const LITTLE_ROOM_BYTES = 1e9
const NO_ROOM_BYTES = 50e6
const FEW_FILES = 10_000
/** What is older says nothing of now. */
const RECENT_MS = 3_600_000
const LATE_P99_MS = 250
const LATE_MAX_MS = 1_000
/** Peers named of one reason. */
const SHOWN_PEERS = 3

function check(
  id: string,
  run: (health: HealthInfo, facts: HealthFacts) => Said | readonly Said[] | null,
): Check<Facts> {
  return {
    id,
    section: 'server',
    run: ({ server: { health } }) => (health.ok ? run(health.value.info, health.value) : null),
  }
}

export const HEALTH_CHECKS: readonly Check<Facts>[] = [
  {
    id: 'health',
    section: 'server',
    run: ({ server: { ready, health } }) => {
      if (!ready.ok || health.ok) return null
      return note(
        `how the server itself is, is not known: ${health.message}`,
        'it takes list on all ports: docs/access.md',
      )
    },
  },
  check('server-files', serverFiles),
  check('connections', ({ connections: { open, max } }) => {
    if (open < NEARLY_FULL * max) return ok(`${open} of ${max} VM connections are open`)
    return warn(`${open} of ${max} VM connections are open`, 'raise limits.maxConnections, and reload (SIGHUP)')
  }),
  check('certificates', certificates),
  check('server-clock', serverClock),
  check('disk', disk),
  check('history', history),
  check('refused', refused),
  check('vmotions', ({ vmotions: { completed, timedOut, refused: notNow } }) => {
    const next = "the server's log has a line for each: vmotion-timeout, vmotion-refused"
    if (timedOut + notNow > 0)
      return note(
        `since its start ${completed} vMotions went well, ${timedOut} timed out, ${notNow} were refused`,
        next,
      )
    return ok(`since its start ${completed} vMotions went well, and none did not`)
  }),
  check('event-loop', ({ eventLoop: { p99Ms, maxMs } }) => {
    const said = `in the last minutes it was ${rounded(p99Ms)} ms late at most, but for one in a hundred; ${rounded(maxMs)} ms once`
    if (p99Ms >= LATE_P99_MS)
      return warn(said, 'is the machine out of CPU or memory? else spread the VMs over two servers')
    return maxMs >= LATE_MAX_MS ? note(said) : ok(said)
  }),
  check('lost', lost),
  check('following', following),
]

function rounded(ms: number): number {
  return ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)
}

function serverFiles({ openFiles: { open, max }, connections }: HealthInfo): Said {
  if (max === null || open === null) return note('its limit of open files is not known, or there is none')
  const said = `${open} of ${max} files are open`
  const raise = 'LimitNOFILE=65536 in the unit of systemd, or ulimit -n; it takes a restart'
  if (open >= NEARLY_FULL * max) return warn(said, raise)
  if (max < FEW_OPEN_FILES) return warn(`${said}: each VM and each console takes one`, raise)
  if (max < connections.max) return ok(`${said}; that is the limit before maxConnections (${connections.max})`)
  return ok(said)
}

function certificates({ at, listeners, http }: HealthInfo): Said[] {
  const now = Date.parse(at)
  const all = [
    ...listeners.map(({ uri, certificate }) => ({
      uri,
      certificate,
      next: 'replace the files, reload (SIGHUP), and see docs/tls.md where VMs pin it',
    })),
    ...(http === null ? [] : [{ uri: http.url, certificate: http.certificate, next: 'replace the files' }]),
  ]
  return all.flatMap(({ uri, certificate, next }) => {
    if (certificate === null) return []
    const { subject, validFrom, validTo } = certificate
    const day = validTo.slice(0, 10)
    if (Date.parse(validTo) < now) return [warn(`its certificate (${subject}) expired on ${day}`, next, uri)]
    if (Date.parse(validFrom) > now)
      return [warn(`its certificate (${subject}) is valid only from ${validFrom}`, next, uri)]
    if (Date.parse(validTo) - now < EXPIRES_SOON_MS)
      return [warn(`its certificate (${subject}) expires on ${day}`, next, uri)]
    return [ok(`its certificate (${subject}) is good until ${day}`, uri)]
  })
}

function serverClock({ clock }: HealthInfo, { aheadMs, tookMs }: HealthFacts): Said[] {
  const next = 'set both by NTP: certificates, history and logs go by the clock'
  const found: Said[] = []
  if (Math.abs(aheadMs) > CLOCK_AHEAD_MS + tookMs) {
    const by = formatAge(Math.abs(aheadMs)).replace(' ago', '')
    found.push(warn(`its clock is ${by} ${aheadMs > 0 ? 'ahead of' : 'behind'} ours`, next))
  }
  if (clock.jumps > 0 && clock.lastByMs !== null) {
    const by = `${clock.lastByMs > 0 ? 'ahead' : 'back'} by ${Math.round(Math.abs(clock.lastByMs) / 1_000)} s`
    const message = `its clock has jumped ${times(clock.jumps)}, last ${by} at ${clock.lastAt ?? '?'}`
    found.push(warn(message, 'is NTP running? was the machine suspended?'))
  }
  return found.length > 0 ? found : [ok('its clock agrees with ours, and has not jumped')]
}

function disk({ history: { wanted, persistent, usedBytes, budgetBytes, disk: found } }: HealthInfo): Said[] | Said {
  if (!persistent) {
    if (wanted !== 'disk') return note(`history is kept ${wanted === 'off' ? 'nowhere' : 'in memory'}, as configured`)
    return fail(
      'history is kept in memory only: the disk could not be used at the start',
      'the first lines of its log say why; mend it and restart',
    )
  }
  if (found === null) return note('its disk is not known')
  const { path, freeBytes, freeFiles, writable } = found
  if (!writable)
    return fail(
      `${path} cannot be written any more`,
      'is it mounted read-only, or does it belong to somebody else now?',
    )
  const makeRoom = 'make room, or lower limits.historyTotalBytes and reload'
  const said: Said[] = []
  if (freeBytes !== null) {
    const left = `${formatBytes(freeBytes)} free in ${path}`
    const more = Math.max(0, budgetBytes - usedBytes)
    if (freeBytes < NO_ROOM_BYTES) said.push(fail(`only ${left}: output of VMs will be lost`, makeRoom))
    else if (freeBytes < LITTLE_ROOM_BYTES) said.push(warn(`only ${left}`, makeRoom))
    else if (budgetBytes > 0 && freeBytes < more)
      said.push(warn(`${left}, but history may still grow by ${formatBytes(more)} (historyTotalBytes)`, makeRoom))
    else said.push(ok(`${left}; history takes ${formatBytes(usedBytes)}`))
  }
  if (freeFiles !== null && freeFiles < FEW_FILES) {
    said.push(
      warn(
        `only ${freeFiles} more files can be made in ${path}`,
        'each port takes some: delete files, or make a file system with more inodes',
      ),
    )
  }
  return said.length > 0 ? said : note(`how much room there is in ${path} is not known`)
}

const BAD_TROUBLES = ['write', 'dropped', 'lock']

function history({ at, history: { troubles, troubledPorts, pendingBytes } }: HealthInfo): Said[] {
  const now = Date.parse(at)
  const said = troubles.map(({ kind, message, since }) => {
    const text = `since ${formatAge(now - Date.parse(since)).replace(' ago', '')}: ${message}`
    return BAD_TROUBLES.includes(kind) ? fail(text, null) : warn(text, null)
  })
  if (said.length > 0) return said
  if (troubledPorts > 0)
    return [
      warn(`${troubledPorts} ports are late: ${formatBytes(pendingBytes)} wait for the disk`, 'is the disk slow?'),
    ]
  return [ok('history keeps up, and is in no trouble')]
}

interface RefusalWords {
  readonly what: string
  readonly next: string
  /** It is mostly no VM. */
  readonly harmless?: true
}

/** What to do about each. */
const REFUSALS: { readonly [reason in RefusalInfo['reason']]: RefusalWords } = {
  'service-uri': {
    what: 'VMs with a serviceURI that is not accepted',
    next: "set the VM's serviceURI (vspc point), or add it to serviceUris and reload",
  },
  'not-vmware': {
    what: 'peers that do not speak to a vSPC',
    next: 'a health check, a person with telnet, or a VM without a proxyURI: that one needs a listener with protocol=telnet',
    harmless: true,
  },
  'no-agreement': {
    what: 'peers that said nothing we know in time',
    next: 'a health check, or TLS in front that nobody ends: is the proxyURI telnets:// and the listener without certificate?',
  },
  'no-announcement': {
    what: 'hosts that asked for nothing in time',
    next: 'record them: vspc serve --capture, and look',
  },
  'vmotion-peer': {
    what: 'vMotions that began at another server, or before a restart',
    next: 'do all hosts reach the same server? move the VM again, or reconnect its port',
  },
  left: {
    what: 'peers that left before they said who they are',
    next: 'a health check, a port scan, this command itself; over TLS a host that does not take the certificate: compare vspc uri with the proxyURI',
    harmless: true,
  },
  'no-room': {
    what: 'VMs for which there was no room',
    next: 'raise limits.maxPorts, or find out who makes so many labels',
  },
  connections: { what: 'connections beyond maxConnections', next: 'raise limits.maxConnections, and reload (SIGHUP)' },
  accept: {
    what: 'connections that could not be accepted',
    next: 'LimitNOFILE=65536 in the unit of systemd, and restart',
  },
  tls: {
    what: 'TLS handshakes that failed',
    next: 'does the proxyURI pin this certificate (vspc uri)? does the host know its CA? old hosts need tlsMin=1.0',
  },
  proxy: {
    what: 'streams without a PROXY header that counts',
    next: 'is the relay in trustedProxies, and sends it proxy=v2? hosts themselves need a listener without proxy=v2',
  },
  resume: {
    what: 'resumable streams that could not go on',
    next: 'have both ends resume=on? was one of them restarted?',
  },
}

function refused({ at, refusals: { recent } }: HealthInfo): Said[] {
  const now = Date.parse(at)
  const byReason = new Map<RefusalInfo['reason'], RefusalInfo[]>()
  for (const one of recent) byReason.set(one.reason, [...(byReason.get(one.reason) ?? []), one])
  if (byReason.size === 0) return [ok('no VM was refused since its start')]
  return [...byReason].map(([reason, entries]) => {
    // One that this program does not know: a server that is newer.
    const words: RefusalWords = REFUSALS[reason] ?? { what: `refused: ${reason}`, next: "see the server's log" }
    const last = Math.max(...entries.map(({ lastAt }) => Date.parse(lastAt)))
    const count = entries.reduce((sum, one) => sum + one.count, 0)
    const message = `${words.what}: ${times(count)}, last ${formatAge(Math.max(0, now - last))}, ${peersOf(entries)}`
    return words.harmless || now - last > RECENT_MS ? note(message, words.next) : warn(message, words.next)
  })
}

/** `from 10.0.0.7 (its serviceURI ...)`, the newest first. */
function peersOf(entries: readonly RefusalInfo[]): string {
  const shown = entries.slice(0, SHOWN_PEERS).map(({ peer, detail }) => `${peer ?? 'somebody'} (${detail})`)
  const more = entries.length - shown.length
  return `from ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

function lost({
  lost: { historyBytes, consoleBytes, preAttachBytes, captureBytes, logLines, internalErrors },
}: HealthInfo): Said[] {
  const said: Said[] = []
  if (internalErrors > 0)
    said.push(
      warn(`${internalErrors} faults of vspc itself`, 'please report them, with the lines of level error in its log'),
    )
  if (historyBytes > 0)
    said.push(
      warn(
        `${formatBytes(historyBytes)} of output never got to the disk: history has gaps`,
        'see disk and history above',
      ),
    )
  const small = [
    [consoleBytes, 'that consoles were too slow for'],
    [preAttachBytes, 'that VMs sent before they said who they are'],
    [captureBytes ?? 0, 'of recordings that the disk was too slow for'],
  ] as const
  for (const [bytes, what] of small) if (bytes > 0) said.push(note(`${formatBytes(bytes)} are lost ${what}`))
  if (logLines > 0) said.push(note(`${logLines} log lines are missing: whoever reads the log did not keep up`))
  return said.length > 0 ? said : [ok('nothing was lost since its start')]
}

function following({ vsphere, appliance, guestinfo }: HealthInfo): Said[] {
  const said: Said[] = []
  if (vsphere !== null) {
    const why = vsphere.trouble === null ? '' : `: ${vsphere.trouble}`
    if (!vsphere.reachable)
      said.push(warn(`it cannot use the vSphere API${why}`, "see 'vspc doctor --vsphere ...' with the same user"))
    else if (vsphere.trouble !== null) said.push(warn(`it is in trouble with vSphere${why}`, null))
    else said.push(ok('it is logged in to the vSphere API'))
  }
  if (appliance !== null) {
    const { host, stuckVms, nextHopsOpen, settled } = appliance
    const where = host === null ? 'where it runs is not known yet' : `it runs on ${host}`
    const next = 'GET /api/v1/appliance says why, vspc track --plan what would be changed'
    if (stuckVms > 0) said.push(warn(`${where}; ${stuckVms} VMs could not be pointed there`, next))
    else if (nextHopsOpen > 0) said.push(warn(`${where}; ${nextHopsOpen} peer relays have not heard of it`, next))
    else if (host === null || !settled) said.push(note(`${where}; VMs are still being looked at`))
    else said.push(ok(`${where}, and the VMs point there`))
  }
  if (guestinfo !== null) {
    const why = guestinfo.trouble === null ? '' : `: ${guestinfo.trouble}`
    if (!guestinfo.following) said.push(warn(`it does not hear what VMs publish${why}`, null))
    else if (guestinfo.trouble !== null) said.push(warn(`what VMs publish is not kept${why}`, null))
    else said.push(ok('it hears what VMs publish'))
  }
  return said
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`
}
