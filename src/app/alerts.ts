/** Alerts of the running server: hands output to the rules, and tells, logs, counts and keeps what they find. */
import { parseSelector, type Selector, selects } from '../access/index.ts'
import { type AlertRule, type AlertsConfig, type Hit, OutputWatcher, type WatcherCounters } from '../alerts/index.ts'
import { cleanText, type Logger } from '../base/index.ts'
import type { AlertInfo, Port, Server } from '../vspc/index.ts'

/** The last ones that `GET /api/v1/alerts` shows. */
const MAX_KEPT = 1_000
const MAX_LINE_CHARACTERS = 500
/** Of all rules and ports together: what everyone who is told can bear. Beyond it they are counted. */
const MAX_PER_MINUTE = 600
const MINUTE_MS = 60_000

/** An alert of a port, as it was then. */
export interface AlertAnswer extends AlertInfo {
  /** ISO 8601. */
  at: string
  /** Id of the port. */
  port: string
  vm: { name: string; uuid: string | null }
  host: string | null
}

export interface AlertCounters extends Readonly<WatcherCounters> {
  /** By rule. */
  readonly byRule: ReadonlyMap<string, number>
}

interface ActiveRule {
  readonly rule: AlertRule
  /** Null: all ports. */
  readonly selectors: readonly Selector[] | null
}

export class Alerts {
  readonly #server: Server
  readonly #log: Logger
  readonly #watcher: OutputWatcher
  readonly #byRule = new Map<string, number>()
  readonly #kept: AlertAnswer[] = []
  #rules: readonly ActiveRule[] = []
  #ports = new Map<number, Port>()
  #last = 0
  #overflow = 0
  #minuteFrom = Number.NEGATIVE_INFINITY
  #inMinute = 0

  constructor(server: Server, log: Logger) {
    this.#server = server
    this.#log = log
    this.#watcher = new OutputWatcher({
      clock: server.clock,
      log,
      maxBytes: server.limits.alertBufferBytes,
      tell: (hit) => this.#hit(hit),
    })
  }

  /** Output is looked at. */
  get active(): boolean {
    return this.#watcher.active
  }

  get counters(): AlertCounters {
    const { counters } = this.#watcher
    return { ...counters, suppressed: counters.suppressed + this.#overflow, byRule: this.#byRule }
  }

  /** The last ones, the oldest first. */
  get recent(): readonly AlertAnswer[] {
    return this.#kept
  }

  /** In force. */
  get rules(): readonly AlertRule[] {
    return this.#rules.map(({ rule }) => rule)
  }

  /** Takes over the rules of a configuration; null: none. */
  use(config: AlertsConfig | null): void {
    const rules = config?.rules ?? []
    this.#rules = rules.map((rule) => ({ rule, selectors: rule.ports?.map(parseSelector) ?? null }))
    for (const { name } of rules) if (!this.#byRule.has(name)) this.#byRule.set(name, 0)
    this.#watcher.watch(rules)
    this.#server.watch = this.active ? this.#watcher : null
  }

  /** What is not looked at yet will not be. */
  async close(): Promise<void> {
    this.#server.watch = null
    await this.#watcher.close()
  }

  #hit({ rule: index, serial, offset, line, suppressed }: Hit): void {
    const active = this.#rules[index]
    const port = this.#portOf(serial)
    if (active === undefined || port === null) return
    const { id, name, vcUuid, biosUuid, lastSession } = port
    const facts = { id, name, uuid: vcUuid ?? biosUuid, host: lastSession?.peer.address ?? null }
    const { rule, selectors } = active
    if (selectors !== null && !selectors.some((one) => selects(one, facts))) return
    if (!this.#hasRoom()) return
    this.#byRule.set(rule.name, (this.#byRule.get(rule.name) ?? 0) + 1)
    const shown = cleanText(line.replaceAll('\t', ' '), MAX_LINE_CHARACTERS)
    const alert: AlertInfo = {
      id: ++this.#last,
      rule: rule.name,
      severity: rule.severity,
      line: shown,
      offset,
      suppressed,
    }
    const at = new Date(this.#server.clock.wall()).toISOString()
    this.#kept.push({ ...alert, at, port: id, vm: { name, uuid: facts.uuid }, host: facts.host })
    if (this.#kept.length > MAX_KEPT) this.#kept.shift()
    this.#log.warn({ port: id, vm: name, rule: rule.name, severity: rule.severity, offset }, 'alert')
    this.#server.emit(() => ({ type: 'alert', at, port: port.info(), alert }))
  }

  #hasRoom(): boolean {
    const now = this.#server.clock.now()
    if (now - this.#minuteFrom >= MINUTE_MS) {
      this.#minuteFrom = now
      this.#inMinute = 0
    }
    this.#inMinute++
    if (this.#inMinute <= MAX_PER_MINUTE) return true
    this.#overflow++
    if (this.#inMinute === MAX_PER_MINUTE + 1) {
      this.#log.error({ perMinute: MAX_PER_MINUTE }, 'too many alerts: the others of this minute are only counted')
    }
    return false
  }

  /** Hits are few, and name their ports by number: the table is gone through once for many of them. */
  #portOf(serial: number): Port | null {
    const known = this.#ports.get(serial)
    const { table } = this.#server
    if (known !== undefined && table.get(known.id) === known) return known
    this.#ports = new Map()
    for (const port of table) this.#ports.set(port.serial, port)
    return this.#ports.get(serial) ?? null
  }
}
