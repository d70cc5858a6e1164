/** What an end of a resumable stream takes and gives. */
import type { RemoteProtocolError } from '../base/index.ts'
import type { Over, Refusal } from './codec.ts'

/** Why a stream is over. Only `done` means that every byte has arrived in both directions. */
export type LinkClose =
  | { readonly why: 'done' | 'aborted' | 'expired' | 'unknown' }
  | { readonly why: 'refused'; readonly refusal: Refusal | null }
  /** The other end said OVER. */
  | { readonly why: 'peerGone'; readonly over: Over }
  | { readonly why: 'fault'; readonly error: RemoteProtocolError }

/** Performs what the machine decides. It may call the machine back from any of these but `writeLeg` and `dropLeg`. */
export interface LinkOwner<Leg> {
  /** Writes `head`, then `body`, which are not changed afterwards. False: enough for now, `legDrained` will follow. */
  writeLeg(leg: Leg, head: Uint8Array, body: Uint8Array | null): boolean
  /** Closes a leg. `flush`: what was written still goes out. What it brings is not to be told any more. */
  dropLeg(leg: Leg, how: 'flush' | 'abort'): void
  /** Frames flow from now on. */
  joined(): void
  /** @param bytes a view of what came; whoever keeps it copies it, unless the chunk was made for it. */
  deliver(bytes: Uint8Array): void
  /** No more will be delivered. */
  deliverEnd(): void
  /** `send` takes bytes again, after it had not taken all. */
  canSend(): void
  /** Last call. */
  linkClosed(close: LinkClose): void
}

export interface LinkOptions {
  readonly role: 'dialler' | 'acceptor'
  /** 16 random bytes; kept. */
  readonly id: Uint8Array
  /** What is kept of what was sent, and what the other end may send ahead of our owner: 1 to 2^31 - 1. */
  readonly windowBytes: number
}
