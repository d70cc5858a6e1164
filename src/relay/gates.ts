/** Listeners, opened together or not at all, which outlive the routes that use them. */
import { errorMessage } from '../base/index.ts'
import {
  type ByteStream,
  type Endpoint,
  formatEndpoint,
  type Listening,
  type ListenOptions,
  type ListenProblem,
  type listen,
} from '../transport/index.ts'
import { ignoreError } from './held.ts'
import { isAnyPort, placeOf } from './places.ts'
import type { ProblemLog } from './problem-log.ts'

/** Streams that came before it was known who gets them; opening several listeners takes a moment. */
const MAX_EARLY = 1_024

/** A listener, and who gets its streams. */
export class Gate {
  readonly #name: string
  readonly #configured: Endpoint
  #listening: Listening | null = null
  #take: ((stream: ByteStream) => void) | null = null
  #early: ByteStream[] = []

  /** @param name of the route, for log lines. */
  constructor(name: string, configured: Endpoint) {
    this.#name = name
    this.#configured = configured
  }

  /** @param owner tells listeners on any free port apart. */
  static keyOf(endpoint: Endpoint, owner: string): string {
    return isAnyPort(endpoint) ? `${formatEndpoint(endpoint)} ${owner}` : formatEndpoint(endpoint)
  }

  async open({ listen: open, options, problems }: GateGround): Promise<void> {
    const problem = (one: ListenProblem): void => report(problems, this.#name, this.#configured, one)
    this.#listening = await open(this.#configured, { stream: (stream) => this.#accept(stream), problem }, options)
  }

  /** As bound. */
  get endpoint(): Endpoint {
    return this.#listening?.endpoint ?? this.#configured
  }

  get configured(): Endpoint {
    return this.#configured
  }

  handOver(take: (stream: ByteStream) => void): void {
    this.#take = take
    for (const stream of this.#early.splice(0)) take(stream)
  }

  #accept(stream: ByteStream): void {
    if (this.#take !== null) {
      this.#take(stream)
      return
    }
    stream.socket.on('error', ignoreError)
    if (this.#early.length >= MAX_EARLY) stream.socket.destroy()
    else this.#early.push(stream)
  }

  async reload(): Promise<void> {
    await this.#listening?.reload()
  }

  async close(): Promise<void> {
    for (const { socket } of this.#early.splice(0)) socket.destroy()
    await this.#listening?.close()
  }
}

export interface GateWish {
  readonly key: string
  /** Of the route, for log lines. */
  readonly name: string
  readonly endpoint: Endpoint
}

export interface GateGround {
  readonly listen: typeof listen
  readonly options: ListenOptions
  readonly problems: ProblemLog
}

/**
 * Opens what is wished for and not among `open`, and has the others read their certificates again. One that stands
 * where another one is to be is closed for it, and opened again should something fail.
 * @returns a gate for each wish; those of `open` that are in the way are closed.
 * @throws what the first failure says; `open` is as before.
 */
export async function openGates(
  wishes: readonly GateWish[],
  open: ReadonlyMap<string, Gate>,
  ground: GateGround,
): Promise<ReadonlyMap<string, Gate>> {
  const gates = new Map<string, Gate>()
  const wanted = new Set(wishes.map(({ key }) => key))
  const fresh: Gate[] = []
  const cleared: Gate[] = []
  try {
    for (const { key, endpoint } of wishes) {
      const there = open.get(key)
      if (there === undefined || formatEndpoint(there.configured) !== formatEndpoint(endpoint)) continue
      await there.reload()
      gates.set(key, there)
    }
    for (const { key, name, endpoint } of wishes) {
      if (gates.has(key)) continue
      for (const [otherKey, gate] of open) {
        const inTheWay = !isAnyPort(endpoint) && placeOf(gate.configured) === placeOf(endpoint)
        if (!inTheWay || wanted.has(otherKey) || cleared.includes(gate)) continue
        await gate.close()
        cleared.push(gate)
      }
      const gate = new Gate(name, endpoint)
      await gate.open(ground)
      fresh.push(gate)
      gates.set(key, gate)
    }
    return gates
  } catch (error) {
    await Promise.all(fresh.map((gate) => gate.close()))
    for (const gate of cleared) await gate.open(ground)
    throw error
  }
}

function report(problems: ProblemLog, route: string, endpoint: Endpoint, problem: ListenProblem): void {
  const { kind, peer, error } = problem
  const fields = {
    route,
    endpoint: formatEndpoint(endpoint),
    code: error.code,
    ...(peer === null ? {} : { peer: peer.display }),
    reason: errorMessage(error),
  }
  problems.warn(`${kind} ${route} ${peer?.address ?? ''} ${error.code}`, fields, MESSAGES[kind])
}

const MESSAGES: Record<ListenProblem['kind'], string> = {
  accept: 'a connection could not be accepted',
  handshake: 'a peer failed the TLS handshake',
  certificate: 'peers will object to the certificate',
  proxy: 'a peer was turned away for its PROXY header',
  resume: 'a resumable stream could not be begun or gone on with',
}
