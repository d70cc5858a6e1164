/** Guestinfo as the guest has it: single keys, by name. There is no list of them, and no news: whoever waits, polls. */
import { Backoff, type Clock, pause, systemClock, VspcError } from '../base/index.ts'
import { applyChanges, diffSnapshots, type GuestChange, type GuestSnapshot } from './diff.ts'
import { checkGuestKey, checkWritableKey } from './keys.ts'
import { type GuestinfoLimits, guestinfoLimits } from './limits.ts'
import { formatRecord, type GuestRecord } from './records.ts'
import { RpcTool, type RpcToolOptions } from './rpctool.ts'
import { decodeValue, encodeValue, getMessage, setMessage } from './values.ts'

export interface GuestSideOptions extends RpcToolOptions {
  /** From 0 to 1, as Math.random: guests of one host do not poll in step. */
  readonly random?: () => number
}

export interface GuestCall {
  /** Ends the tool, or the waiting for it; the call rejects with its reason. */
  readonly signal?: AbortSignal
  /** Values as they are on the wire, not decoded. */
  readonly raw?: boolean
}

/** `created` = there was no such key: what is made so vanishes when the VM is switched off. [doc: vmware/vic#1337] */
export type SetOutcome = 'created' | 'changed' | 'unchanged'

export interface WatchCall extends GuestCall {
  /** A look that failed and is repeated; once until one is good again. */
  readonly onTrouble?: (error: VspcError) => void
}

/**
 * Reads and writes the guestinfo of the VM this runs in. All failures are VspcError with VSPC_GUESTINFO_KEY, _NO_TOOL,
 * _NOT_IN_VM, _DENIED, _TIMEOUT or _FAILED, and for writing also _READ_ONLY or _TOO_LONG.
 */
export class GuestSide {
  readonly #tool: RpcTool
  readonly #clock: Clock
  readonly #limits: GuestinfoLimits
  readonly #random: () => number

  constructor(options: GuestSideOptions = {}) {
    this.#tool = new RpcTool(options)
    this.#clock = options.clock ?? systemClock
    this.#limits = guestinfoLimits(options.limits)
    this.#random = options.random ?? Math.random
  }

  /** Null when the key has no value; empty for one that was set to nothing. */
  async get(key: string, call: GuestCall = {}): Promise<string | null> {
    checkGuestKey(key)
    const value = await this.#read(key, call.signal)
    return value === null || call.raw === true ? value : decodeValue(value)
  }

  /** Looks first, and sets only what is another value. Anything can be set that fits into one message. */
  async set(key: string, value: string, { signal }: Pick<GuestCall, 'signal'> = {}): Promise<SetOutcome> {
    checkWritableKey(key)
    return this.#write(key, encodeValue(value), signal)
  }

  /** Sets the key of a record; see records.ts for names. */
  async publish(record: GuestRecord, { signal }: Pick<GuestCall, 'signal'> = {}): Promise<SetOutcome> {
    const [key, value] = formatRecord(record)
    checkWritableKey(key)
    return this.#write(key, value, signal)
  }

  /**
   * Yields first what the keys have, all at once, then what changes; never an empty list. Looks again after
   * `pollMinMs`, and after longer and longer pauses up to `pollMaxMs` while nothing changes. What one look cannot read
   * for a reason that may pass is as it was. Ends by its signal or by leaving the loop.
   * @param keys at most `maxWatchKeys`, duplicates count once.
   * @throws what a call throws; retryable ones only from the first look.
   */
  async *watch(keys: Iterable<string>, call: WatchCall = {}): AsyncGenerator<readonly GuestChange[], void, undefined> {
    const watched = [...new Set(keys)]
    for (const key of watched) checkGuestKey(key)
    if (watched.length > this.#limits.maxWatchKeys) {
      const text = `${watched.length} keys are too many to watch: ${this.#limits.maxWatchKeys} are possible`
      throw new VspcError('VSPC_GUESTINFO_KEY', text)
    }
    const { pollMinMs, pollMaxMs } = this.#limits
    const backoff = new Backoff({ redialMinMs: pollMinMs, redialMaxMs: pollMaxMs }, this.#random)
    let last: GuestSnapshot | null = null
    let troubled = false
    for (;;) {
      let now: GuestSnapshot
      try {
        now = await this.#look(watched, call)
        troubled = false
      } catch (error) {
        if (last === null || !isPassing(error)) throw error
        if (!troubled) call.onTrouble?.(error)
        troubled = true
        now = last
      }
      const changes: readonly GuestChange[] =
        last === null ? watched.map((key) => first(key, now)) : diffSnapshots(last, now)
      last = last === null ? now : applyChanges(last, changes)
      if (changes.length > 0) {
        backoff.reset()
        yield changes
      }
      await pause(this.#clock, backoff.next(), call.signal)
    }
  }

  async #look(keys: readonly string[], call: GuestCall): Promise<GuestSnapshot> {
    const values = new Map<string, string>()
    for (const key of keys) {
      const value = await this.get(key, call)
      if (value !== null) values.set(key, value)
    }
    return values
  }

  async #write(key: string, value: string, signal?: AbortSignal): Promise<SetOutcome> {
    const message = setMessage(key, value)
    const before = await this.#readIfAllowed(key, signal)
    if (before === value) return 'unchanged'
    await this.#tool.call({ verb: 'set', key }, message, signal)
    return before === null ? 'created' : 'changed'
  }

  async #read(key: string, signal?: AbortSignal): Promise<string | null> {
    try {
      return await this.#tool.call({ verb: 'get', key }, getMessage(key), signal)
    } catch (error) {
      if (error instanceof VspcError && error.code === 'VSPC_GUESTINFO_NO_VALUE') return null
      throw error
    }
  }

  /** Reading may be denied where writing is not. */
  async #readIfAllowed(key: string, signal?: AbortSignal): Promise<string | null | undefined> {
    try {
      return await this.#read(key, signal)
    } catch (error) {
      if (error instanceof VspcError && error.code === 'VSPC_GUESTINFO_DENIED') return undefined
      throw error
    }
  }
}

function first(key: string, now: GuestSnapshot): GuestChange {
  return { key, before: null, after: now.get(key) ?? null }
}

/** A denial may pass too: with secure calls vmtoolsd is denied now and then. [doc: open-vm-tools issue 692] */
function isPassing(error: unknown): error is VspcError {
  return error instanceof VspcError && (error.retryable || error.code === 'VSPC_GUESTINFO_DENIED')
}
