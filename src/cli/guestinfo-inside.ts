/** `vspc guestinfo` inside a VM, through VMware's tools. */
import { VspcError } from '../base/index.ts'
import { checkGuestKey, checkWritableKey, GuestSide, type SetOutcome } from '../guestinfo/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import {
  type GuestinfoFlags,
  noteTrouble,
  noValueYet,
  printChanges,
  printValues,
  readWishes,
} from './guestinfo-values.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { printData, printNote } from './output.ts'

export async function getInside(keys: readonly string[], flags: GuestinfoFlags): Promise<void> {
  needKeys(keys)
  const guest = guestSide(flags)
  const values = new Map<string, string | null>()
  if (flags.wait === undefined) {
    for (const key of keys) values.set(key, await guest.get(key, { raw: flags.raw === true }))
  } else {
    await waitForValues(guest, keys, flags, values)
  }
  printValues(values, flags, values.size === 1)
}

/** Fills `values`; what is still missing at the end of the time is an error that names it. */
async function waitForValues(
  guest: GuestSide,
  keys: readonly string[],
  flags: GuestinfoFlags,
  values: Map<string, string | null>,
): Promise<void> {
  const { wait = 0 } = flags
  const missing = () => keys.filter((key) => (values.get(key) ?? null) === null)
  const deadline = endAfter(wait)
  exitOnInterrupt()
  const call = { raw: flags.raw === true, signal: deadline.signal, onTrouble: noteTrouble }
  try {
    for await (const changes of guest.watch(keys, call)) {
      for (const { key, after } of changes) values.set(key, after)
      if (missing().length === 0) return
    }
  } catch (error) {
    throw deadline.signal.aborted ? noValueYet(missing(), wait) : error
  } finally {
    deadline.cancel()
  }
}

export async function setInside(args: readonly string[], flags: GuestinfoFlags): Promise<void> {
  if (flags.prepare === true || flags.remove === true) {
    const option = flags.prepare === true ? '--prepare' : '--remove'
    throw new VspcError('VSPC_USAGE', `${option} is for the outside: a guest cannot do that; give VM and --vsphere`)
  }
  const guest = guestSide(flags)
  if (flags.stdin !== undefined) checkWritableKey(flags.stdin)
  const { values } = await readWishes(args, flags)
  // All or nothing, as far as that can be known before.
  for (const key of values.keys()) checkWritableKey(key)
  const outcomes: Record<string, SetOutcome> = {}
  for (const [key, value] of values) {
    outcomes[key] = await guest.set(key, value)
    if (outcomes[key] === 'created' && process.stderr.isTTY) {
      printNote(`${key} is new: it vanishes when the VM is switched off`)
    }
  }
  if (flags.json === true) printData(`${JSON.stringify(outcomes, null, 2)}\n`)
}

export async function watchInside(keys: readonly string[], flags: GuestinfoFlags): Promise<void> {
  if (flags.untilExit !== undefined) {
    throw new VspcError('VSPC_USAGE', '--until-exit is for the outside: give VM and --vsphere')
  }
  needKeys(keys)
  const guest = guestSide(flags)
  exitOnInterrupt()
  const deadline = endAfter(flags.timeout ?? Number.POSITIVE_INFINITY)
  const call = { raw: flags.raw === true, signal: deadline.signal, onTrouble: noteTrouble }
  try {
    for await (const changes of guest.watch(keys, call)) printChanges(changes, flags)
  } catch (error) {
    throw deadline.signal.aborted ? new CommandExit(EXIT.timedOut) : error
  } finally {
    deadline.cancel()
  }
  throw new CommandExit(EXIT.other, 'the watch ended')
}

function endAfter(ms: number): { readonly signal: AbortSignal; cancel(): void } {
  const stop = new AbortController()
  const timer = Number.isFinite(ms) ? liveClock.after(ms, () => stop.abort()) : null
  return { signal: stop.signal, cancel: () => timer?.cancel() }
}

/** One without the prefix may be meant for a VM. */
function needKeys(keys: readonly string[]): void {
  const [first] = keys
  if (first === undefined) throw new VspcError('VSPC_USAGE', 'which key? Give one or more, such as guestinfo.hostname')
  try {
    checkGuestKey(first)
  } catch (error) {
    if (!(error instanceof VspcError) || keys.length < 2) throw error
    const hint = 'for a VM seen from outside give --vsphere or VSPC_VSPHERE_URL'
    throw new VspcError(error.code, `${error.message} (${hint})`)
  }
}

function guestSide({ tool }: GuestinfoFlags): GuestSide {
  return new GuestSide({ clock: liveClock, ...(tool === undefined ? {} : { tool }) })
}
