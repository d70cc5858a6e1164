/** One vMotion of a VM: all its ports together, as the source and the destination host play it. */
import type { Clock } from '../base/index.ts'
import type { Announcement } from './autopilot.ts'
import {
  type MigrationFailure,
  type MigrationOutcome,
  NO_VARIANT,
  type SourceFin,
  VARIANTS,
  type Variant,
} from './migration-variants.ts'
import { type BeginAnswer, PortMove, type PortMoveResult } from './port-move.ts'
import type { SimConnection } from './sim-connection.ts'
import type { SimPort } from './sim-port.ts'

/** A simulated ESXi host: a name, and where its connections come from. */
export interface SimHost {
  readonly name: string
  readonly localAddress?: string | undefined
}

export interface MigrateOptions {
  readonly to: SimHost
  /** Default 4 random bytes for each port. */
  readonly sequence?: Uint8Array | undefined
  /** Default `before-complete`, as captured. */
  readonly sourceFin?: SourceFin | undefined
  /** Time between GOAHEAD and the destination's connect; about 1 s in the capture. Default 0. */
  readonly stunMs?: number | undefined
  /** How long the host waits for an answer to BEGIN: `vmotionLimit`, 5000. */
  readonly goaheadLimitMs?: number | undefined
  /** How long it waits for PEER-OK, connecting included; the real limit is unknown. Default 5000. */
  readonly peerOkLimitMs?: number | undefined
  readonly failure?: MigrationFailure | undefined
  /** Awaited where the migration stands: every port has its GOAHEAD, or its PEER-OK. */
  readonly onStage?: ((stage: MigrationStage) => void | Promise<void>) | undefined
}

export type MigrationStage = 'goahead' | 'peer-ok'

export interface MigrationResult {
  readonly outcome: MigrationOutcome
  /** The outcome is the one a correct proxy leads to, and no bad cookie was accepted. */
  readonly asExpected: boolean
  readonly reason: string
  readonly from: string
  readonly to: string
  /** The slowest port's BEGIN to answer; null when a port got none. */
  readonly goaheadMs: number | null
  /** From BEGIN to COMPLETE or to the decision against it: the guest's downtime. */
  readonly stunnedMs: number
  readonly ports: readonly PortMoveResult[]
}

/** The VM, as a migration needs it. */
export interface MigratingVm {
  readonly name: string
  readonly host: SimHost
  readonly ports: readonly SimPort[]
  readonly clock: Clock
  readonly poweredOn: boolean
  connectFrom(host: SimHost, port: SimPort, announcement: Announcement): SimConnection
  /** The VM now runs on `host`. */
  moved(host: SimHost): void
  randomBytes(count: number): Uint8Array
  /** Resolves after `ms`, or as soon as the VM is powered off. */
  pause(ms: number): Promise<void>
  violation(port: SimPort, text: string): void
}

const DEFAULT_LIMIT_MS = 5_000

export class Migration {
  readonly #vm: MigratingVm
  readonly #options: MigrateOptions
  readonly #variant: Variant
  readonly #moves: PortMove[] = []
  readonly #from: string
  #beganAt = 0

  constructor(vm: MigratingVm, options: MigrateOptions) {
    this.#vm = vm
    this.#options = options
    this.#variant = options.failure ? VARIANTS[options.failure] : NO_VARIANT
    this.#from = vm.host.name
  }

  async run(): Promise<MigrationResult> {
    this.#beganAt = this.#vm.clock.now()
    for (const port of this.#vm.ports) {
      if (port.state !== 'attached' || !port.connection)
        return this.#end('not-connected', `port ${port.index} has no link`)
      const sequence = this.#options.sequence ?? this.#vm.randomBytes(4)
      const violation = (text: string) => this.#vm.violation(port, text)
      this.#moves.push(new PortMove(port, port.connection, sequence, violation))
    }
    return (await this.#begin()) ?? (await this.#leave()) ?? (await this.#peer()) ?? this.#complete()
  }

  /** BEGIN on every port; one refusal or timeout fails all of them. */
  async #begin(): Promise<MigrationResult | null> {
    const limitMs = this.#options.goaheadLimitMs ?? DEFAULT_LIMIT_MS
    let answers = await Promise.all(this.#moves.map((move) => move.begin(limitMs)))
    const again = this.#variant.beginAgain
    if (again && answers.every((answer) => answer === 'goahead')) {
      if (again === 'new') for (const move of this.#moves) move.sequence = this.#vm.randomBytes(4)
      answers = await Promise.all(this.#moves.map((move) => move.begin(limitMs)))
    }
    const failed = (['notnow', 'closed', 'timeout'] as const).find((answer) => answers.includes(answer))
    if (!failed) {
      await this.#options.onStage?.('goahead')
      return null
    }
    for (const [index, move] of this.#moves.entries()) if (answers[index] === 'goahead') move.source.abortVmotion()
    return this.#stay(...FAILED_BEGIN[failed])
  }

  /** Between GOAHEAD and the destination. */
  async #leave(): Promise<MigrationResult | null> {
    const { onGoahead, abortBeforePeer } = this.#variant
    if (onGoahead === 'ignore') {
      await this.#vm.pause(this.#options.goaheadLimitMs ?? DEFAULT_LIMIT_MS)
      return this.#stay('resumed', 'GOAHEAD came too late')
    }
    if (onGoahead === 'complete-on-source') {
      for (const move of this.#moves) move.source.complete(move.sequence)
      await Promise.all(this.#moves.map((move) => move.source.fence()))
    }
    await this.#vm.pause(this.#options.stunMs ?? 0)
    if (!this.#vm.poweredOn) return this.#stay('lost', 'powered off')
    if (onGoahead === 'abort') return this.#abort('asked to abort after GOAHEAD')
    if (onGoahead === 'lose-source') {
      for (const move of this.#moves) move.source.reset()
      await Promise.all(this.#moves.map((move) => move.source.closed))
      return this.#stay('lost', 'the source was lost')
    }
    if (abortBeforePeer) {
      for (const move of this.#moves) move.source.abortVmotion()
      await Promise.all(this.#moves.map((move) => move.source.fence()))
    }
    if (this.#sourceFin === 'before-peer') this.#finSources()
    return null
  }

  get #sourceFin(): SourceFin {
    // A destination that never completes takes over because its source has gone.
    return this.#options.sourceFin ?? (this.#variant.complete === 'never' ? 'after-peer' : 'before-complete')
  }

  async #peer(): Promise<MigrationResult | null> {
    const bad = this.#variant.peer
    const answers = await this.#connectDestinations((move) => bad?.(move.cookie, move.port.lastCookie) ?? move.cookie)
    const failed = answers.find((answer) => answer !== 'ok')
    if (failed)
      return this.#abort(failed === 'silent' ? 'no PEER-OK' : 'the destination could not connect or was closed')
    if (bad) return this.#abort('PEER-OK for a cookie that is not valid')
    await this.#options.onStage?.('peer-ok')
    return this.#onPeerOk()
  }

  async #onPeerOk(): Promise<MigrationResult | null> {
    const { onPeerOk } = this.#variant
    if (onPeerOk === 'abort') return this.#abort('asked to abort after PEER-OK')
    if (onPeerOk === 'drop-then-abort' || onPeerOk === 'drop-then-second') {
      for (const move of this.#moves) move.dropDestination()
    }
    if (onPeerOk === 'drop-then-abort') return this.#abort('the destination was lost')
    if (onPeerOk === 'drop-then-second' || onPeerOk === 'second') {
      const answers = await this.#connectDestinations((move) => move.cookie)
      if (answers.some((answer) => answer !== 'ok')) return this.#abort('no PEER-OK for the second destination')
    }
    if (onPeerOk === 'abort-on-destination' || onPeerOk === 'wrong-complete') {
      for (const move of this.#moves) {
        if (onPeerOk === 'wrong-complete') move.destination?.complete(move.sequence.map((byte) => byte ^ 0x55))
        else move.destination?.abortVmotion()
      }
      await Promise.all(this.#moves.map((move) => move.destination?.fence()))
    }
    return null
  }

  #connectDestinations(payload: (move: PortMove) => Uint8Array): Promise<('ok' | 'silent' | 'closed')[]> {
    const limitMs = this.#options.peerOkLimitMs ?? DEFAULT_LIMIT_MS
    const judge = this.#variant.peer ? 'fence' : 'limit'
    return Promise.all(
      this.#moves.map((move) => {
        const connect = (announcement: Announcement) => this.#vm.connectFrom(this.#options.to, move.port, announcement)
        const written = this.#sourceFin === 'after-peer' ? () => move.source.fin() : undefined
        return move.peer(connect, payload(move), limitMs, judge, written)
      }),
    )
  }

  #complete(): MigrationResult {
    if (!this.#vm.poweredOn) return this.#stay('lost', 'powered off')
    if (this.#moves.some((move) => move.destination?.isOpen !== true)) return this.#abort('a destination was closed')
    if (this.#sourceFin === 'before-complete') this.#finSources()
    this.#vm.moved(this.#options.to)
    for (const move of this.#moves) {
      const times = this.#variant.complete === 'never' ? 0 : this.#variant.complete === 'twice' ? 2 : 1
      for (let n = 0; n < times; n++) move.destination?.complete(move.sequence)
      move.port.lastCookie = move.cookie
      move.port.endStun('move')
    }
    if (this.#sourceFin === 'after-complete') this.#finSources()
    return this.#end('completed', 'COMPLETE')
  }

  #finSources(): void {
    for (const move of this.#moves) move.source.fin()
  }

  #abort(reason: string): MigrationResult {
    for (const move of this.#moves) {
      if (!this.#variant.abortBeforePeer) move.source.abortVmotion()
      move.port.setDestination(null)
      move.destination?.fin()
    }
    // A source that has sent FIN cannot say ABORT either.
    const gone = !this.#variant.abortBeforePeer && this.#moves.some((move) => !move.source.canSend)
    return this.#stay(gone ? 'lost' : 'aborted', reason)
  }

  /** The VM goes on where it was; ports whose link is gone dial afresh. */
  #stay(outcome: MigrationOutcome, reason: string): MigrationResult {
    for (const move of this.#moves) move.port.endStun('stay')
    return this.#end(outcome, reason)
  }

  #end(outcome: MigrationOutcome, reason: string): MigrationResult {
    const ports = this.#moves.map((move) => move.result())
    const badPeerAccepted = this.#variant.peer !== undefined && ports.some((port) => port.peerOk)
    const times = ports.map((port) => port.goaheadMs)
    return {
      outcome,
      asExpected: outcome === this.#variant.expected && !badPeerAccepted,
      reason,
      from: this.#from,
      to: this.#options.to.name,
      goaheadMs: times.length === 0 || times.includes(null) ? null : Math.max(...(times as number[])),
      stunnedMs: this.#vm.clock.now() - this.#beganAt,
      ports,
    }
  }
}

const FAILED_BEGIN: Record<Exclude<BeginAnswer, 'goahead'>, [MigrationOutcome, string]> = {
  notnow: ['refused', 'NOTNOW'],
  closed: ['lost', 'the source was closed before an answer to BEGIN'],
  timeout: ['timeout', 'no answer to BEGIN within the limit'],
}
