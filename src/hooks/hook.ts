/** What hooks are, and what they get. Plain data. */
import type { Glob, Selector } from '../access/index.ts'

interface HookBase {
  readonly name: string
  /** Patterns of types of events, any of which. */
  readonly events: readonly Glob[]
  /** Null: all, and what is about no port. */
  readonly ports: readonly Selector[] | null
  /** Of alerts only those as grave as this or graver; null = all. */
  readonly severity: string | null
  /** For one attempt. */
  readonly timeoutMs: number
  /** An event that could not be delivered so long is given up. */
  readonly expireMs: number
  /** Deliveries at the same time; 1 keeps events in order. */
  readonly parallel: number
}

export interface Webhook extends HookBase {
  readonly kind: 'webhook'
  readonly url: URL
  /** PEM file of the authorities to trust instead of the system's. */
  readonly ca: string | null
  /** SHA-256 of the server's certificate, 64 lower-case hex digits: it alone decides. */
  readonly pin: string | null
  /** File with what signs; null: not signed. */
  readonly secretFile: string | null
  /** Files whose first line is the value of a header. */
  readonly headerFiles: Readonly<Record<string, string>>
}

export interface ExecHook extends HookBase {
  readonly kind: 'exec'
  readonly program: string
  readonly args: readonly string[]
}

export type Hook = Webhook | ExecHook

/** An event on its way: made once, whoever gets it. */
export interface Delivery {
  /** The same in each attempt. */
  readonly id: string
  readonly type: string
  /** JSON. */
  readonly body: string
  /** Environment variables, cleaned. */
  readonly variables: Readonly<Record<string, string>>
}

/** How one attempt went. `retry`: it may go better later, at the earliest after `afterMs`. */
export type Outcome =
  | { readonly kind: 'delivered'; readonly detail: string }
  | { readonly kind: 'retry'; readonly detail: string; readonly afterMs?: number }
  | { readonly kind: 'failed'; readonly detail: string }

/** Never rejects; ends soon once the signal is aborted. */
export type Deliver = (delivery: Delivery, signal: AbortSignal) => Promise<Outcome>
