/** `vspc guestinfo` over the vSphere API. */
import { cleanText, silentLogger, VspcError } from '../base/index.ts'
import {
  ApplianceSide,
  type ChangeResult,
  checkKey,
  decodeValue,
  type GuestSnapshot,
  isHiddenFromGuest,
  isSecret,
  type ProcessRecord,
  recordKey,
  reportOf,
  type VmLook,
} from '../guestinfo/index.ts'
import { findVm, type VmIdentity } from '../vsphere/index.ts'
import { CommandExit, EXIT, type ExitCode } from './exit-codes.ts'
import {
  type GuestinfoFlags,
  noteTrouble,
  noValueYet,
  printChanges,
  printValues,
  readWishes,
} from './guestinfo-values.ts'
import { liveClock } from './live-clock.ts'
import { printData, printNote } from './output.ts'
import { connectVsphere, passwordFileWarning, resolveVsphere } from './vsphere-options.ts'

interface Outside {
  readonly side: ApplianceSide
  readonly vm: VmIdentity
  readonly signal: AbortSignal
}

/** What is said when the time is over. */
interface Deadline {
  readonly ms: number
  over(): Error
}

/** VIC's guest writes the time of an end before its status: what comes within this belongs to it. [guess] */
const VIC_SETTLE_MS = 1_000

export async function getOutside(vm: string, keys: readonly string[], flags: GuestinfoFlags): Promise<void> {
  for (const key of keys) checkKey(key)
  const { wait } = flags
  let values: ReadonlyMap<string, string | null> = new Map()
  const missing = (): string[] => keys.filter((key) => (values.get(key) ?? null) === null)
  const deadline = wait === undefined ? null : { ms: wait, over: () => noValueYet(missing(), wait) }
  await outside(vm, flags, deadline, async ({ side, vm: { ref }, signal }) => {
    if (wait === undefined) {
      values = pick((await side.read(ref, { signal })).values, keys, flags)
      return
    }
    if (keys.length === 0) throw new VspcError('VSPC_USAGE', '--wait needs the keys to wait for')
    for await (const look of side.watch(ref, { signal, onTrouble: noteTrouble })) {
      values = pick(look.values, keys, flags)
      if (missing().length === 0) return
    }
  })
  printValues(values, flags, keys.length === 1)
}

export async function setOutside(vm: string, args: readonly string[], flags: GuestinfoFlags): Promise<void> {
  const { values, keys } = await readWishes(args, flags)
  const outcomes: Record<string, string> = {}
  await outside(vm, flags, null, async ({ side, vm: { ref, name }, signal }) => {
    const call = { signal, onTrouble: noteTrouble }
    const results: ChangeResult[] = []
    // Prepared first: a value that is set then is one of a key that lasts.
    if (flags.prepare === true) results.push(await side.prepareKeys(ref, keys, call))
    if (flags.remove === true) results.push(await side.remove(ref, keys, call))
    if (values.size > 0) results.push(await side.set(ref, values, call))
    for (const result of results) {
      for (const [key, outcome] of result.outcomes) outcomes[key] = outcome
    }
    warnOf(
      results.flatMap(({ volatileKeys }) => volatileKeys),
      name,
      flags,
    )
  })
  for (const key of values.keys()) {
    if (isHiddenFromGuest(key)) printNote(`${key} does not begin with guestinfo.: the guest does not see it`)
  }
  if (flags.json === true) printData(`${JSON.stringify(outcomes, null, 2)}\n`)
}

function warnOf(volatileKeys: readonly string[], name: string, flags: GuestinfoFlags): void {
  if (volatileKeys.length === 0 || (flags.prepare !== true && process.stderr.isTTY !== true)) return
  const which = volatileKeys.length === 1 ? volatileKeys[0] : `${volatileKeys.length} keys`
  const advice = 'to make them last, switch the VM off, and prepare them before it is switched on again'
  printNote(`warning: ${cleanText(name, 100)} is on: ${which} will vanish when it is switched off; ${advice}`)
}

export async function watchOutside(vm: string, keys: readonly string[], flags: GuestinfoFlags): Promise<void> {
  for (const key of keys) checkKey(key)
  const { untilExit, timeout } = flags
  if (untilExit === undefined) {
    const deadline = timeout === undefined ? null : { ms: timeout, over: () => new CommandExit(EXIT.timedOut) }
    await outside(vm, flags, deadline, (all) => followKeys(all, keys, flags))
    return
  }
  const [key] = keys
  if (key !== undefined) {
    const meant = untilExit === '' && isHiddenFromGuest(key) ? `; did you mean --until-exit=${key}?` : ''
    throw new VspcError('VSPC_USAGE', `with --until-exit no keys are shown: name none${meant}`)
  }
  const what = untilExit === '' ? 'no process has ended' : `process ${cleanText(untilExit)} has not ended`
  const over = () => new VspcError('VSPC_WAIT_TIMEOUT', `${what} within ${(timeout ?? 0) / 1_000} s`)
  await outside(vm, flags, timeout === undefined ? null : { ms: timeout, over }, async (all) => {
    printExit(await exitOf(all, untilExit), all.vm, flags)
  })
}

async function followKeys(
  { side, vm, signal }: Outside,
  keys: readonly string[],
  flags: GuestinfoFlags,
): Promise<never> {
  const wanted = new Set(keys)
  const isWanted = (key: string): boolean => (wanted.size === 0 ? !isHiddenFromGuest(key) : wanted.has(key))
  let power: boolean | null = null
  for await (const look of side.watch(vm.ref, { signal, onTrouble: noteTrouble })) {
    if (!look.first && look.poweredOn !== power) printNote(`${shownName(vm)} ${look.poweredOn ? 'is on' : 'is off'}`)
    power = look.poweredOn
    const shownOf = (key: string, value: string | null): string | null =>
      value === null ? null : shownValue(key, value, wanted.has(key), flags)
    const changes = look.changes
      .filter(({ key }) => isWanted(key))
      .map(({ key, before, after }) => ({ key, before: shownOf(key, before), after: shownOf(key, after) }))
    const missing = look.first ? keys.filter((key) => !look.values.has(key)) : []
    printChanges([...changes, ...missing.map((key) => ({ key, before: null, after: null }))], flags)
  }
  throw new CommandExit(EXIT.other, 'the watch ended')
}

async function exitOf({ side, vm, signal }: Outside, process: string): Promise<ProcessRecord> {
  let toldOff = false
  for await (const look of side.watch(vm.ref, { signal, onTrouble: noteTrouble })) {
    const ended = endedIn(look, process)
    if (ended !== null) {
      if (look.values.has(recordKey(ended))) return ended
      await new Promise<void>((resolve) => liveClock.after(VIC_SETTLE_MS, resolve))
      const now = await side.read(vm.ref, { signal }).catch(() => look)
      return endedIn(now, ended.name) ?? ended
    }
    if (look.poweredOn === false && !toldOff)
      printNote(`${shownName(vm)} is off, and there is no exit status yet; waiting`)
    toldOff = look.poweredOn === false
  }
  throw new CommandExit(EXIT.other, 'the watch ended')
}

function endedIn({ values }: Pick<VmLook, 'values'>, process: string): ProcessRecord | null {
  for (const record of reportOf(values).records.values()) {
    if (record.kind !== 'process' || record.state === 'running') continue
    if (process === '' || record.name === process) return record
  }
  return null
}

function printExit(record: ProcessRecord, vm: VmIdentity, flags: GuestinfoFlags): void {
  const { name, state, exitCode, error } = record
  if (flags.json === true) {
    const { kind: _kind, name: process, ...rest } = record
    printData(`${JSON.stringify({ vm: { name: vm.name, uuid: vm.instanceUuid }, process, ...rest })}\n`)
  } else if (exitCode !== null) {
    printData(`${exitCode}\n`)
  }
  if (state === 'failed')
    throw new CommandExit(EXIT.other, `process ${name} did not start: ${error ?? 'no reason given'}`)
  if (exitCode === null)
    throw new CommandExit(EXIT.other, `process ${name} has ended, and the VM does not say with what`)
}

/** Whoever may rename a VM must not write to the terminal of who looks at it. */
function shownName({ name }: Pick<VmIdentity, 'name'>): string {
  return cleanText(name, 100)
}

/** Without keys all that the guest sees; of those the secret ones are not shown. */
function pick(all: GuestSnapshot, keys: readonly string[], flags: GuestinfoFlags): Map<string, string | null> {
  const names = keys.length > 0 ? keys : [...all.keys()].filter((key) => !isHiddenFromGuest(key)).sort()
  return new Map(
    names.map((key) => {
      const value = all.get(key)
      return [key, value === undefined ? null : shownValue(key, value, keys.length > 0, flags)]
    }),
  )
}

function shownValue(key: string, value: string, named: boolean, flags: GuestinfoFlags): string {
  if (isSecret(key) && !named) return '***'
  return flags.raw === true ? value : decodeValue(value)
}

/** Logs in, finds the VM, and logs out whatever happens: also when interrupted, or when the time is over. */
async function outside(
  selector: string,
  flags: GuestinfoFlags,
  deadline: Deadline | null,
  run: (all: Outside) => Promise<void>,
): Promise<void> {
  const access = resolveVsphere(flags, process.env)
  const warning = passwordFileWarning(access)
  if (warning !== null) printNote(`warning: ${warning}`)
  const stop = new AbortController()
  const endBy = (name: NodeJS.Signals, code: ExitCode): (() => void) => {
    const end = (): void => stop.abort(new CommandExit(code))
    // A second one ends the process at once.
    process.once(name, end)
    return () => process.off(name, end)
  }
  const undo = [endBy('SIGINT', EXIT.interrupted), endBy('SIGTERM', EXIT.terminated)]
  const ms = deadline?.ms ?? Number.POSITIVE_INFINITY
  const timer = Number.isFinite(ms) ? liveClock.after(ms, () => stop.abort(deadline?.over())) : null
  try {
    const { signal } = stop
    const session = await connectVsphere(access, { signal, clock: liveClock, log: silentLogger })
    try {
      const vm = await findVm(session, selector, { signal })
      const side = new ApplianceSide({ session, clock: liveClock })
      await run({ side, vm, signal }).catch((error: unknown) => {
        const isGone = error instanceof VspcError && error.code === 'VSPC_VSPHERE_NOT_FOUND'
        if (isGone) throw new CommandExit(EXIT.gone, `VM ${shownName(vm)} is gone, or may no longer be seen`)
        throw error
      })
    } finally {
      await session.close()
    }
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error
  } finally {
    timer?.cancel()
    for (const off of undo) off()
  }
}
