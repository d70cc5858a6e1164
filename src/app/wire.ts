/** The composition root: makes every part from the configuration, and starts and stops them in order. */
import { randomBytes, randomFillSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { passwordFileWarning, type VsphereAccess } from '../appliance/index.ts'
import { errorMessage, systemClock, VspcError } from '../base/index.ts'
import { type CaptureRecorder, openRecorder } from '../capture/index.ts'
import type { HistoryStore } from '../history/index.ts'
import { formatEndpoint, parseTrustedSources } from '../transport/index.ts'
import { Server } from '../vspc/index.ts'
import { bindingWarnings, checkBinding } from './access/binding.ts'
import { AccessControl } from './access/control.ts'
import { addAccessMetrics } from './access/metrics.ts'
import { Alerts } from './alerts.ts'
import { ApplianceTracker } from './appliance.ts'
import type { Config } from './config.ts'
import { GuestinfoFollower } from './guestinfo.ts'
import { type HealthSources, HistoryTroubles, readHealth } from './health.ts'
import type { HealthInfo } from './health-view.ts'
import { closeHistories, openHistories } from './histories.ts'
import { EventHooks } from './hooks.ts'
import { HttpServer } from './http.ts'
import { LogFiles } from './log-files/log-files.ts'
import { type AppLogger, createLogger } from './logger.ts'
import { Metrics } from './metrics.ts'
import { addAlertMetrics } from './metrics-alerts.ts'
import { addApplianceMetrics } from './metrics-appliance.ts'
import { addGuestinfoMetrics } from './metrics-guestinfo.ts'
import { addHookMetrics } from './metrics-hooks.ts'
import { addDiskMetrics } from './metrics-process.ts'
import { planReload, type ReloadPlan } from './reload.ts'
import type { Readiness } from './routes-health.ts'
import { TelnetAccess } from './telnet/access.ts'
import { telnetFaults } from './telnet/binding.ts'
import { addTelnetMetrics } from './telnet/metrics.ts'
import type { TelnetConfig } from './telnet/settings.ts'

export interface StartOptions {
  /** Default: pino on stderr, JSON, at the configured level. */
  readonly log?: AppLogger
}

/** A concentrator that runs: VM listeners, and the operators' side unless it is switched off. */
export class RunningApp {
  readonly server: Server
  readonly log: AppLogger
  readonly #parts: Parts
  #config: Config
  #readiness: Readiness = 'starting'
  #http: HttpServer | null = null
  #telnet: TelnetAccess | null = null
  #logFiles: LogFiles | null = null
  #telnetStarting: Promise<void> | null = null
  #stopped: Promise<void> | null = null

  private constructor(config: Config, parts: Parts) {
    this.#config = config
    this.#parts = parts
    this.server = parts.server
    this.log = parts.log
  }

  /** See {@link start}. */
  static async start(config: Config, options: StartOptions): Promise<RunningApp> {
    const app = new RunningApp(config, await makeParts(config, options))
    try {
      await app.#open(config)
    } catch (error) {
      await app.stop()
      throw error
    }
    return app
  }

  /** Where the API is; null when it is off. */
  get http(): Pick<HttpServer, 'host' | 'tcpPort' | 'url' | 'routes'> | null {
    return this.#http
  }

  /** `HOST:PORT` of the Telnet menu; null when it is off. */
  get telnetMenu(): string | null {
    return this.#telnet?.menu ?? null
  }

  /** VM endpoints really listened on, as URIs. */
  get listening(): string[] {
    return this.server.listening.map(formatEndpoint)
  }

  /** How it is, as `GET /api/v1/health` tells it. */
  health(): Promise<HealthInfo> {
    const { metrics } = this.#parts
    const sources: HealthSources = {
      ...this.#parts,
      version: productVersion(),
      config: () => this.#config,
      readiness: () => this.#readiness,
      loop: metrics.loop,
      http: this.#http,
    }
    return readHealth(sources)
  }

  /**
   * Takes over a new configuration, or changes nothing: when anything in it needs a restart, nothing of it counts.
   * No connection is touched. Certificates are read again in any case; the log says how that went. VMs that follow the
   * appliance are looked at again.
   */
  reload(next: Config): ReloadPlan {
    // They change on their own: what else is new does not matter.
    void this.server.reloadCertificates()
    void this.#telnet?.reloadCertificates()
    void this.#http?.reloadCertificate()
    const plan = planReload(this.#config, next)
    if (plan.needRestart.length > 0) {
      this.log.error({ needRestart: plan.needRestart }, 'configuration not reloaded: it changes what needs a restart')
      return plan
    }
    this.#config = next
    this.server.reconfigure({ ...next, trusted: parseTrustedSources(next.trustedProxies) })
    this.#parts.access.reload(next.access)
    this.#http?.applyLimits()
    this.#reloadTelnet(next)
    this.log.info({ changed: plan.changed }, 'configuration reloaded')
    this.log.setLevel(next.logLevel)
    this.#parts.tracker?.check()
    if (plan.changed.includes('alerts')) this.#parts.alerts.use(next.alerts)
    if (plan.changed.includes('hooks')) this.#parts.hooks.use(next.hooks)
    return plan
  }

  /**
   * VMs and consoles are told and closed, what is on its way gets `drainMs`; then everything is closed. Never rejects;
   * calling it again waits for the same end.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #open(config: Config): Promise<void> {
    const { server, access, metrics, tracker, guestinfo, alerts, log } = this.#parts
    for (const warning of bindingWarnings(config)) log.warn({}, warning)
    addAccessMetrics(metrics.registry, access)
    this.#parts.hooks.use(config.hooks)
    if (config.alerts !== null) alerts.use(config.alerts)
    await server.start()
    if (config.logFiles !== null && server.histories.persistent) {
      this.#logFiles = new LogFiles(config.logFiles, server, log)
    }
    if (config.http !== null) {
      this.#http = await HttpServer.start({
        address: config.http,
        https: config.https,
        names: config.httpNames,
        access,
        server,
        metrics,
        log,
        version: productVersion(),
        readiness: () => this.#readiness,
        health: () => this.health(),
        tracker,
        guestinfo,
        alerts,
      })
      metrics.alsoShows(() => this.#http)
      log.info({ url: this.#http.url }, 'serving HTTP')
    }
    if (config.telnet !== null) await this.#startTelnet(config.telnet)
    if (config.vsphere !== null && (tracker ?? guestinfo) !== null) warnOfPassword(config.vsphere, log)
    // VMs may be pointed at us from now on.
    tracker?.start()
    guestinfo?.start()
    this.#readiness = 'ready'
    metrics.loop.start()
  }

  async #startTelnet(config: TelnetConfig): Promise<void> {
    const { server, access, metrics, log } = this.#parts
    const { dataDir } = this.#config
    this.#telnet = await TelnetAccess.start({ config, server, access, dataDir, log })
    addTelnetMetrics(metrics.registry, this.#telnet)
  }

  #reloadTelnet({ telnet }: Config): void {
    if (this.#telnet !== null) {
      this.#telnet.reconfigure(telnet)
    } else if (telnet !== null && this.#telnetStarting === null) {
      const failed = (error: unknown) => this.log.error({ reason: errorMessage(error) }, 'telnet: not served')
      const starting = this.#startTelnet(telnet).catch(failed)
      this.#telnetStarting = starting.finally(() => {
        this.#telnetStarting = null
        // It may have been reloaded again meanwhile.
        this.#telnet?.reconfigure(this.#config.telnet)
      })
    }
  }

  async #stop(): Promise<void> {
    const { server, access, histories, metrics, recorder, tracker, guestinfo, alerts, log } = this.#parts
    const { drainMs } = server.limits
    this.#readiness = 'stopping'
    const steps = [
      () => this.#telnetStarting,
      // The tracker's session, which guestinfo may use, comes after it.
      () => Promise.all([server.stop(), this.#telnet?.stop(), guestinfo?.stop(drainMs), tracker?.stop(drainMs)]),
      () => this.#http?.stop(),
      () => alerts.close(),
      // Who is told of the end, too.
      () => this.#parts.hooks.stop(drainMs),
      () => recorder?.close(drainMs),
      () => access.close(),
      () => this.#logFiles?.close(drainMs),
      () => closeHistories(histories, server.limits, log),
      () => metrics.close(),
    ]
    for (const step of steps) {
      try {
        await step()
      } catch (error) {
        log.error({ error: errorMessage(error) }, 'while stopping')
      }
    }
    log.info({}, 'stopped')
  }
}

/**
 * Starts everything: VM listeners first, then HTTP. A failure closes what was open.
 * @throws VspcError VSPC_TRANSPORT_LISTEN, VSPC_TLS_FILES, VSPC_CAPTURE_WRITE, VSPC_HTTP_UNSAFE_BIND,
 * VSPC_HISTORY_OPEN, VSPC_HISTORY_LOCKED, VSPC_USAGE.
 */
export function start(config: Config, options: StartOptions = {}): Promise<RunningApp> {
  return RunningApp.start(config, options)
}

interface Parts {
  readonly server: Server
  readonly access: AccessControl
  readonly histories: HistoryStore
  readonly troubles: HistoryTroubles
  readonly metrics: Metrics
  readonly recorder: CaptureRecorder | null
  readonly tracker: ApplianceTracker | null
  readonly guestinfo: GuestinfoFollower | null
  readonly alerts: Alerts
  readonly hooks: EventHooks
  readonly log: AppLogger
}

async function makeParts(config: Config, options: StartOptions): Promise<Parts> {
  // A configuration may come from elsewhere than from `loadConfig`: this one rule is not left to it alone.
  checkBinding(config)
  const [fault] = config.telnet === null ? [] : telnetFaults(config.telnet, config.access)
  if (fault !== undefined) throw new VspcError('VSPC_CONFIG_INVALID', fault.message)
  const log = options.log ?? createLogger(config.logLevel, 'json')
  const access = await AccessControl.open({ access: config.access, audit: config.audit, clock: systemClock, log })
  try {
    return { ...(await makeServer(config, log)), access }
  } catch (error) {
    await access.close()
    throw error
  }
}

async function makeServer(config: Config, log: AppLogger): Promise<Omit<Parts, 'access'>> {
  const tracker = makeTracker(config, log)
  const troubles = new HistoryTroubles()
  const histories = await openHistories(config, log, (problem) => troubles.take(problem, systemClock.wall()))
  const recorder = config.capture === null ? null : await openCaptures(config, config.capture, log, histories)
  const metrics = new Metrics(productVersion(), log)
  const server = new Server({
    listen: config.listen,
    dial: config.dial,
    forward: config.forward,
    serviceUris: config.serviceUris,
    allowDial: config.allowDial,
    trusted: parseTrustedSources(config.trustedProxies),
    writers: config.writers,
    limits: config.limits,
    clock: systemClock,
    log,
    random: pooledRandom(),
    observeGoahead: (ms) => metrics.observeGoahead(ms),
    observeVmotion: (result, ms) => metrics.observeVmotion(result, ms),
    histories,
    ...(recorder === null ? {} : { tap: recorder }),
  })
  metrics.watch(server)
  if (histories.persistent) addDiskMetrics(metrics.registry, config.dataDir)
  if (tracker !== null) addApplianceMetrics(metrics.registry, tracker)
  const guestinfo = makeFollower(config, tracker, server, log)
  if (guestinfo !== null) addGuestinfoMetrics(metrics.registry, guestinfo)
  const alerts = new Alerts(server, log)
  addAlertMetrics(metrics.registry, alerts)
  const sources = [tracker, guestinfo].filter((one) => one !== null)
  const hooks = new EventHooks(server, sources, log, productVersion())
  addHookMetrics(metrics.registry, hooks.hooks)
  return { server, histories, troubles, metrics, recorder, tracker, guestinfo, alerts, hooks, log }
}

function makeTracker({ track, vsphere }: Config, log: AppLogger): ApplianceTracker | null {
  if (track === null || vsphere === null) return null
  return new ApplianceTracker({ track, access: vsphere, clock: systemClock, log, random: Math.random })
}

function makeFollower(
  { guestinfo, vsphere, dataDir }: Config,
  tracker: ApplianceTracker | null,
  server: Server,
  log: AppLogger,
): GuestinfoFollower | null {
  if (guestinfo === null || vsphere === null) return null
  return new GuestinfoFollower({
    config: guestinfo,
    access: vsphere,
    tracker,
    dataDir,
    isLocked: server.histories.persistent,
    server,
    clock: systemClock,
    log,
    random: Math.random,
  })
}

function warnOfPassword(access: VsphereAccess, log: AppLogger): void {
  try {
    const warning = passwordFileWarning(access)
    if (warning !== null) log.warn({}, warning)
  } catch {
    // The login will tell what is wrong with the file.
  }
}

async function openCaptures(
  config: Config,
  dir: string,
  log: AppLogger,
  histories: HistoryStore,
): Promise<CaptureRecorder> {
  const { captureFileBytes, captureFiles, capturePendingBytes } = config.limits
  try {
    return await openRecorder({
      dir,
      source: `vspc ${productVersion()}`,
      redact: config.captureRedact,
      maxFileBytes: captureFileBytes,
      maxFiles: captureFiles,
      maxPendingBytes: capturePendingBytes,
      onError: (error) => log.error({ code: error.code, reason: error.message }, 'recording failed; it is tried again'),
    })
  } catch (error) {
    await closeHistories(histories, config.limits, log)
    throw error
  }
}

const POOL_BYTES = 4_096

/** Random bytes from the system, asked for in batches; what was given out is wiped from the pool. */
function pooledRandom(): (length: number) => Uint8Array {
  const pool = new Uint8Array(POOL_BYTES)
  let used = POOL_BYTES
  return (length) => {
    if (length > POOL_BYTES) return randomBytes(length)
    if (used + length > POOL_BYTES) {
      randomFillSync(pool)
      used = 0
    }
    const bytes = pool.slice(used, used + length)
    pool.fill(0, used, used + length)
    used += length
    return bytes
  }
}

let version: string | null = null

export function productVersion(): string {
  version ??= (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string })
    .version
  return version
}
