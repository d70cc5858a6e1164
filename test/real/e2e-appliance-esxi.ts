/**
 * A double of one ESXi host, as far as network serial ports go: bundled, and run in the host's network namespace.
 *
 * The parent says by JSON lines on stdin what vCenter has made of a VM's port ({@link PortOrder}); the host does what
 * ESXi does: a port that is disconnected closes its connection, one that is connected dials the proxy of its backing and
 * negotiates option 232, one whose connection is lost dials again. In each VM a guest prints numbered lines. While its
 * port takes nothing, it waits with the line at hand: it is a guest that blocks, so no line may ever be missing.
 *
 * Prints JSON lines, too ({@link HostNews}).
 */
import { createInterface } from 'node:readline'
import {
  type CloseInfo,
  formatEsxUuid,
  parseSimTarget,
  SimConnection,
  type SimConnectionHandler,
  SUB,
} from '../../src/sim/index.ts'

export interface PortOrder {
  readonly vm: string
  /** Given back with all news that it leads to. */
  readonly turn: number
  /** Of vCenter, in any spelling. */
  readonly uuid: string
  readonly connected: boolean
  readonly proxyURI: string
}

/** `at`: milliseconds since 1970. */
export type HostNews =
  | {
      readonly kind: 'attached' | 'refused' | 'lost'
      readonly vm: string
      readonly turn: number
      readonly proxyURI: string
      readonly at: number
    }
  | { readonly kind: 'finished'; readonly vms: readonly GuestReport[] }

export interface GuestReport {
  readonly vm: string
  /** Printed from 1 to this. */
  readonly lines: number
  readonly dials: number
  /** Connections that ended without order. */
  readonly lost: number
  /** The longest time in which the guest could print nothing, and how long the others were, of those above 200 ms. */
  readonly stallsMs: readonly number[]
  readonly input: number
}

const TICK_MS = 10
const TICKS_PER_LINE = 10
/** ESXi is more patient. */
const REDIAL_MS = 200
const STALL_MS = 200

const say = (news: HostNews): void => void process.stdout.write(`${JSON.stringify(news)}\n`)

class GuestPort implements SimConnectionHandler {
  readonly #vm: string
  readonly #uuid: string
  #turn = 0
  #proxyURI = ''
  #connected = false
  #connection: SimConnection | null = null
  #attached = false
  #writable = false
  #redial: NodeJS.Timeout | null = null
  #lastAt = 0
  lines = 0
  #dials = 0
  #lost = 0
  #input = 0
  readonly #stallsMs: number[] = []

  constructor(vm: string, uuid: string) {
    this.#vm = vm
    this.#uuid = formatEsxUuid(Buffer.from(uuid.replaceAll('-', ''), 'hex'))
  }

  order({ turn, connected, proxyURI }: PortOrder): void {
    this.#turn = turn
    if (connected === this.#connected && proxyURI === this.#proxyURI) return
    this.#connected = connected
    this.#proxyURI = proxyURI
    this.#leave()
    if (connected) this.#dial()
  }

  /** The guest's chance to print. */
  tick(): void {
    if (!this.#attached || !this.#writable) return
    const now = performance.now()
    const silentMs = now - this.#lastAt
    if (this.#lastAt > 0 && silentMs > STALL_MS) this.#stallsMs.push(Math.round(silentMs))
    this.#lastAt = now
    this.lines++
    this.#writable = this.#connection?.data(Buffer.from(`${this.#vm} line ${this.lines}\r\n`)) ?? false
  }

  report(): GuestReport {
    return {
      vm: this.#vm,
      lines: this.lines,
      dials: this.#dials,
      lost: this.#lost,
      stallsMs: this.#stallsMs.sort((a, b) => b - a),
      input: this.#input,
    }
  }

  #leave(): void {
    if (this.#redial !== null) clearTimeout(this.#redial)
    this.#redial = null
    const connection = this.#connection
    this.#connection = null
    this.#attached = false
    if (connection === null) return
    // What the guest has printed is sent first.
    if (connection.isOpen) connection.fin()
    else connection.abort()
  }

  #dial(): void {
    this.#dials++
    this.#attached = false
    this.#connection = new SimConnection({
      target: parseSimTarget(this.#proxyURI),
      identity: { vcUuid: this.#uuid, name: this.#vm },
      announcement: { kind: 'do-proxy', direction: 'C', serviceURI: 'vspc' },
      noDelay: true,
      record: false,
      handler: this,
    })
  }

  // SimConnectionHandler

  sub(connection: SimConnection, _option: number, payload: Uint8Array): void {
    if (connection !== this.#connection) return
    if (payload[0] === SUB.WILL_PROXY) {
      this.#attached = true
      this.#writable = true
      say({ kind: 'attached', vm: this.#vm, turn: this.#turn, proxyURI: this.#proxyURI, at: Date.now() })
    } else if (payload[0] === SUB.WONT_PROXY) {
      say({ kind: 'refused', vm: this.#vm, turn: this.#turn, proxyURI: this.#proxyURI, at: Date.now() })
    }
  }

  data(_connection: SimConnection, bytes: Uint8Array): void {
    this.#input += bytes.length
  }

  writable(connection: SimConnection): void {
    if (connection === this.#connection) this.#writable = true
  }

  closed(connection: SimConnection, _info: CloseInfo): void {
    if (connection !== this.#connection) return
    this.#connection = null
    this.#attached = false
    this.#lost++
    say({ kind: 'lost', vm: this.#vm, turn: this.#turn, proxyURI: this.#proxyURI, at: Date.now() })
    this.#redial = setTimeout(() => this.#dial(), REDIAL_MS)
  }
}

const ports = new Map<string, GuestPort>()
let ticks = 0
const ticker = setInterval(() => {
  // One turn each, spread over the time.
  let at = 0
  for (const port of ports.values()) if ((at++ + ticks) % TICKS_PER_LINE === 0) port.tick()
  ticks++
}, TICK_MS)

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line === 'finish') {
      clearInterval(ticker)
      say({ kind: 'finished', vms: [...ports.values()].map((port) => port.report()) })
      return
    }
    const order = JSON.parse(line) as PortOrder
    let port = ports.get(order.vm)
    if (port === undefined) {
      port = new GuestPort(order.vm, order.uuid)
      ports.set(order.vm, port)
    }
    port.order(order)
  })
  .on('close', () => process.exit(0))
