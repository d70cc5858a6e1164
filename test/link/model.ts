/**
 * Two ends of a resumable stream and the network between them, for tests: legs are queues of bytes that can be cut
 * anywhere, held up, or go silent. Everything that must hold at all times is checked as it happens.
 */
import {
  decodeHello,
  encodeRefusal,
  HELLO_BYTES,
  Link,
  type LinkClose,
  type LinkOwner,
  Preamble,
} from '../../src/link/index.ts'

export const ID = Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i)

/** A connection. What one side writes waits in a queue until the world moves it. */
export class Leg {
  readonly number: number
  readonly to: { A: number[]; D: number[] } = { A: [], D: [] }
  /** Bytes that ever arrived. */
  readonly arrived = { A: 0, D: 0 }
  /** No byte leaves it any more. */
  cut = false
  /** Has been closed by: the other side sees its end once it has read what came before. */
  readonly closedBy = { A: false, D: false }
  /** The side was told, or has closed it itself. */
  readonly gone = { A: false, D: false }
  hello: Preamble | null = new Preamble(HELLO_BYTES)

  constructor(number: number) {
    this.number = number
  }
}

export type Side = 'A' | 'D'
export const other = (side: Side): Side => (side === 'A' ? 'D' : 'A')

/** The byte at a position of a direction: no two neighbouring positions look alike. */
export const byteAt = (side: Side, position: number): number =>
  (position * 7 + (position >> 8) * 13 + (side === 'A' ? 101 : 3)) & 0xff

/** An owner that checks what it is given. */
export class End implements LinkOwner<Leg> {
  readonly side: Side
  readonly world: World
  readonly link: Link<Leg>
  /** Wanted to be written, taken by the machine, and arrived. */
  written = 0
  taken = 0
  got = 0
  ended = false
  wantsEnd = false
  gotEnd = 0
  close: LinkClose | null = null
  /** Consumes only when told to. */
  stalled = false
  unconsumed = 0
  writesInSend = 0

  constructor(side: Side, world: World) {
    this.side = side
    this.world = world
    this.link = new Link<Leg>(this, {
      role: side === 'D' ? 'dialler' : 'acceptor',
      id: ID,
      windowBytes: world.window[side],
    })
  }

  write(count: number): void {
    if (this.wantsEnd) return
    this.written += count
    this.feed()
  }

  end(): void {
    this.wantsEnd = true
    this.feed()
  }

  feed(): void {
    while (this.taken < this.written && this.close === null) {
      const size = Math.min(this.written - this.taken, this.world.chunk)
      const bytes = Uint8Array.from({ length: size }, (_, i) => byteAt(this.side, this.taken + i))
      const count = this.link.send(bytes)
      this.taken += count
      if (count < size) break
    }
    if (this.wantsEnd && !this.ended && this.taken === this.written && this.close === null) {
      this.ended = true
      this.link.end()
    }
    this.check()
  }

  consume(count = this.unconsumed): void {
    const some = Math.min(count, this.unconsumed)
    this.unconsumed -= some
    if (some > 0) this.link.consumed(some)
  }

  writeLeg(leg: Leg, head: Uint8Array, body: Uint8Array | null): boolean {
    if (leg.gone[this.side]) this.world.fault(`${this.side} wrote to a leg that is gone`)
    const queue = leg.to[other(this.side)]
    if (!leg.cut) {
      for (const byte of head) queue.push(byte)
      for (const byte of body ?? []) queue.push(byte)
    }
    return queue.length < this.world.legBytes
  }

  dropLeg(leg: Leg, how: 'flush' | 'abort'): void {
    if (leg.gone[this.side]) this.world.fault(`${this.side} dropped a leg twice`)
    leg.gone[this.side] = true
    leg.closedBy[this.side] = true
    if (how === 'abort') leg.to[other(this.side)].length = 0
  }

  joined(): void {}

  deliver(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte !== byteAt(other(this.side), this.got)) this.world.fault(`${this.side} got a wrong byte at ${this.got}`)
      this.got++
    }
    if (this.gotEnd > 0) this.world.fault(`${this.side} got bytes after the end`)
    this.unconsumed += bytes.length
    if (!this.stalled) this.consume()
    this.check()
  }

  deliverEnd(): void {
    this.gotEnd++
    const peer = this.world.end[other(this.side)]
    if (this.gotEnd > 1) this.world.fault(`${this.side} got the end twice`)
    if (!peer.ended || this.got !== peer.written) this.world.fault(`${this.side} got the end at ${this.got}`)
  }

  canSend(): void {
    const before = this.taken
    this.feed()
    if (this.taken === before && this.taken < this.written && this.close === null) {
      this.world.fault(`${this.side} was told to send and could not`)
    }
  }

  linkClosed(close: LinkClose): void {
    if (this.close !== null) this.world.fault(`${this.side} was closed twice`)
    this.close = close
    if (close.why === 'fault') this.world.fault(`${this.side}: ${close.error.message}`)
  }

  check(): void {
    const { window } = this.world
    const most = Math.min(window.A, window.D)
    const { keptBytes, keptPieces } = this.link
    if (keptBytes > most) this.world.fault(`${this.side} keeps ${keptBytes} bytes`)
    if (keptPieces > 4 + keptBytes / 512)
      this.world.fault(`${this.side} keeps ${keptBytes} bytes in ${keptPieces} pieces`)
    if (this.unconsumed > window[this.side]) this.world.fault(`${this.side} holds ${this.unconsumed} unread bytes`)
  }
}

export interface WorldOptions {
  readonly window: { readonly A: number; readonly D: number }
  /** Of the writes of both owners. */
  readonly chunk: number
  /** What a leg takes before it says enough. */
  readonly legBytes: number
}

export class World {
  readonly window: { readonly A: number; readonly D: number }
  readonly chunk: number
  readonly legBytes: number
  readonly end: { A: End; D: End }
  readonly faults: string[] = []
  /** Those that somebody still has. */
  readonly legs: Leg[] = []
  dials = 0
  /** The acceptor has the stream in its table. */
  known = false

  constructor(options: Partial<WorldOptions> = {}) {
    this.window = options.window ?? { A: 64, D: 64 }
    this.chunk = options.chunk ?? 1000
    this.legBytes = options.legBytes ?? 1 << 20
    this.end = { A: new End('A', this), D: new End('D', this) }
  }

  fault(what: string): void {
    this.faults.push(what)
  }

  /** The dialler has reached somebody. */
  dial(): Leg {
    const leg = new Leg(this.dials++)
    this.legs.push(leg)
    this.end.D.link.dialled(leg)
    return leg
  }

  /** Moves up to `count` bytes to `side`; then, if nothing is left, it sees what became of the leg. */
  carry(leg: Leg, side: Side, count = Number.POSITIVE_INFINITY): boolean {
    const queue = leg.to[side]
    if (leg.gone[side]) {
      queue.length = 0
      return false
    }
    if (queue.length > 0 && count > 0) {
      const wasFull = queue.length >= this.legBytes
      const bytes = Uint8Array.from(queue.splice(0, Math.min(count, queue.length)))
      leg.arrived[side] += bytes.length
      if (side === 'A') this.#toAcceptor(leg, bytes)
      else this.end.D.link.legBytes(leg, bytes)
      if (wasFull && queue.length < this.legBytes) this.end[other(side)].link.legDrained(leg)
      return true
    }
    if (queue.length > 0 || !(leg.cut || leg.closedBy[other(side)])) return false
    this.lose(leg, side)
    return true
  }

  /** `side` notices that the leg is dead. */
  lose(leg: Leg, side: Side): void {
    if (leg.gone[side]) return
    this.end[side].link.legLost(leg)
    leg.gone[side] = true
  }

  /** What is under way is lost; both sides will notice. */
  cutLeg(leg: Leg): void {
    leg.cut = true
    leg.to.A.length = 0
    leg.to.D.length = 0
  }

  #toAcceptor(leg: Leg, bytes: Uint8Array): void {
    const { A } = this.end
    if (leg.hello === null) {
      A.link.legBytes(leg, bytes)
      return
    }
    const rest = bytes.subarray(leg.hello.push(bytes))
    if (!leg.hello.complete) return
    const hello = decodeHello(leg.hello.bytes)
    leg.hello = null
    const refuse = (answer: Uint8Array): void => {
      leg.to.D.push(...answer)
      leg.gone.A = true
      leg.closedBy.A = true
    }
    if (A.close !== null || (hello.kind === 'resume' && !this.known)) {
      refuse(encodeRefusal('unknown', 'none'))
      return
    }
    this.known = true
    const refusal = A.link.accepted(leg, hello)
    if (refusal === null) A.link.legBytes(leg, rest)
    else refuse(encodeRefusal('refused', refusal))
  }

  /** Lets everything run until nothing moves; dials again whenever the dialler has no leg. */
  settle(): void {
    for (let round = 0; round < 10_000; round++) {
      let moved = false
      for (const side of ['A', 'D'] as const) {
        const end = this.end[side]
        end.stalled = false
        end.consume()
        end.link.acknowledge()
        end.feed()
      }
      if (this.end.D.close === null && this.end.D.link.leg === null) this.dial()
      for (const leg of this.legs) {
        moved = this.carry(leg, 'A') || moved
        moved = this.carry(leg, 'D') || moved
      }
      while ((this.legs[0]?.gone.A ?? false) && this.legs[0]?.gone.D) this.legs.shift()
      if (!moved) return
    }
    this.fault('never comes to rest')
  }

  /** After both have ended and everything was settled: nothing may be missing. */
  checkDone(): void {
    for (const side of ['A', 'D'] as const) {
      const end = this.end[side]
      const peer = this.end[other(side)]
      if (end.got !== peer.written) this.fault(`${side} got ${end.got} of ${peer.written}`)
      if (end.gotEnd !== 1) this.fault(`${side} got the end ${end.gotEnd} times`)
      // The acceptor whose peer is through, and whose last leg broke just then, only learns it from time.
      if (end.close === null && side === 'A' && this.end.D.close?.why === 'done') end.link.expire()
      if (end.close?.why !== 'done') this.fault(`${side} closed: ${end.close?.why ?? 'not at all'}`)
      if (end.link.keptBytes > 0) this.fault(`${side} still keeps ${end.link.keptBytes}`)
    }
  }
}
