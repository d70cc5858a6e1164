/** One VM's turn of `vspc point`: looked at, planned, disconnected, pointed, read back. */
import { Backoff, type Clock, errorMessage, pause, VspcError } from '../base/index.ts'
import {
  addSerialPort,
  editSerialPort,
  reconfigureVm,
  type SerialPort,
  type SerialPortChange,
  type VsphereSession,
} from '../vsphere/index.ts'
import {
  ADD_WHILE_ON,
  type ChangeStep,
  type PointChoice,
  type PointStep,
  type PointVm,
  planPoint,
  portName,
  type WantedPort,
} from './point-plan.ts'
import { readPointVm, type SelectedVm } from './point-vms.ts'

export interface PointWork {
  readonly session: VsphereSession
  readonly wanted: WantedPort
  readonly choice: PointChoice
  readonly clock: Clock
  readonly signal: AbortSignal
}

export interface Pointed {
  readonly step: PointStep
  /** As it is afterwards. */
  readonly vm: PointVm
  /** The same; null where nothing could be done. */
  readonly port: SerialPort | null
  /** What is wrong with it all the same. */
  readonly fault: string | null
}

const ATTEMPTS = 5
const RETRY = { redialMinMs: 300, redialMaxMs: 3_000 }
/** For how long a server that went away is waited for while a port is disconnected: that is what a restart takes. */
const AWAY_MS = 180_000
/** For how long a port that has just been connected may be `untried`. */
const STATUS_MS = 3_000
const STATUS_POLL_MS = 250

/** A port that was disconnected for its change, until it has been made. */
interface Cut {
  port: SerialPort | null
  /** Of the clock. */
  since: number
}

/** @throws what the last attempt failed with. A port that was disconnected is connected again as it was, if possible. */
export async function pointVm(work: PointWork, selected: SelectedVm): Promise<Pointed> {
  const backoff = new Backoff(RETRY, Math.random)
  const cut: Cut = { port: null, since: 0 }
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptOnce(work, selected, cut)
    } catch (error) {
      const mayPass = (isBusy(error) && attempt < ATTEMPTS) || isAway(work, cut, error)
      if (!mayPass) throw await connectAgain(work, selected, cut, error)
      await pause(work.clock, backoff.next(), work.signal)
    }
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof VspcError && error.code === 'VSPC_VSPHERE_BUSY'
}

/** Whatever became of the change, the VM is looked at anew. Who has cut nothing need not wait. */
function isAway({ clock }: PointWork, { port, since }: Cut, error: unknown): boolean {
  return (
    port !== null && error instanceof VspcError && error.retryable && !isBusy(error) && clock.now() - since < AWAY_MS
  )
}

async function attemptOnce(work: PointWork, selected: SelectedVm, cut: Cut): Promise<Pointed> {
  const vm = await readPointVm(work.session, selected, work)
  const step = planPoint(vm, work.wanted, work.choice)
  if (step.do === 'cannot') return { step, vm, port: null, fault: step.message }
  if (step.do === 'keep') return { step, vm, port: step.port, fault: portFault(vm, step.port) }
  if (step.do === 'add') await addPort(work, vm)
  else await changePort(work, vm, step, cut)
  return readBack(work, vm, step)
}

async function addPort({ session, wanted, signal }: PointWork, vm: PointVm): Promise<void> {
  const { serviceURI, proxyURI, direction } = wanted
  try {
    await reconfigureVm(session, vm.ref, { devices: [addSerialPort({ serviceURI, proxyURI, direction })] }, { signal })
  } catch (error) {
    const refused = error instanceof VspcError && REFUSALS.has(error.code)
    if (!refused || !vm.poweredOn) throw error
    throw new VspcError(error.code, `${error.message}; ${ADD_WHILE_ON}: switch it off first`, { cause: error })
  }
}

/** Of a change that the server will not make, whoever asks. */
const REFUSALS = new Set(['VSPC_VSPHERE_STATE', 'VSPC_VSPHERE_FAULT'])

async function changePort(work: PointWork, vm: PointVm, step: ChangeStep, cut: Cut): Promise<void> {
  const { serviceURI, direction, proxyURI } = work.wanted
  let port = step.port
  if (step.disconnect) {
    cut.port = port
    cut.since = work.clock.now()
    await edit(work, vm, port, { connected: false })
    // Read afresh: an edit echoes the whole device, and the server may have changed more of it.
    port = await portNow(work, vm, port.key)
  }
  await edit(work, vm, port, {
    ...(step.newBacking ? { backing: { serviceURI, direction, proxyURI } } : {}),
    startConnected: true,
    ...(step.connect ? { connected: true } : {}),
  })
  cut.port = null
}

/** @returns the error, with what has become of a port that was disconnected. */
async function connectAgain(work: PointWork, vm: SelectedVm, cut: Cut, error: unknown): Promise<unknown> {
  if (cut.port === null || !(error instanceof VspcError)) return error
  let left = 'it is connected as before'
  try {
    await edit(work, vm, await portNow(work, vm, cut.port.key), { connected: true })
  } catch (second) {
    left = `it is left DISCONNECTED (${errorMessage(second)})`
  }
  const text = `${error.message}; ${portName(cut.port)} was disconnected for the change: ${left}`
  return new VspcError(error.code, text, { cause: error })
}

function edit(
  { session, signal }: PointWork,
  vm: SelectedVm,
  port: SerialPort,
  change: SerialPortChange,
): Promise<void> {
  return reconfigureVm(session, vm.ref, { devices: [editSerialPort(port, change)] }, { signal })
}

async function portNow(work: PointWork, vm: SelectedVm, key: number): Promise<SerialPort> {
  const now = await readPointVm(work.session, vm, work)
  const port = now.ports.find((one) => one.key === key)
  if (port === undefined) throw new VspcError('VSPC_VSPHERE_STATE', 'the port has been removed meanwhile')
  return port
}

/** What the server says is there, not what it was told; and whether the host could use it. */
async function readBack(
  work: PointWork,
  before: PointVm,
  step: PointStep & { do: 'add' | 'change' },
): Promise<Pointed> {
  const until = work.clock.now() + STATUS_MS
  for (;;) {
    const vm = await readPointVm(work.session, before, work)
    const port = step.do === 'change' ? portByKey(vm, step.port.key) : newPort(before, vm)
    const untried = vm.poweredOn && port?.status === 'untried'
    if (untried && work.clock.now() < until) {
      await pause(work.clock, STATUS_POLL_MS, work.signal)
      continue
    }
    if (port === null) return { step, vm, port, fault: 'the server says that it is done, but the port is not there' }
    const { serviceURI, direction, proxyURI } = work.wanted
    const { backing } = port
    const isRight =
      backing.kind === 'uri' &&
      backing.serviceURI === serviceURI &&
      backing.direction === direction &&
      backing.proxyURI === proxyURI
    const fault = isRight ? portFault(vm, port) : 'the server says that it is done, but the port reads otherwise'
    return { step, vm, port, fault }
  }
}

function portByKey(vm: PointVm, key: number): SerialPort | null {
  return vm.ports.find((port) => port.key === key) ?? null
}

/** The server gives it its key. */
function newPort(before: PointVm, after: PointVm): SerialPort | null {
  const old = new Set(before.ports.map(({ key }) => key))
  return after.ports.findLast(({ key }) => !old.has(key)) ?? null
}

function portFault({ poweredOn }: PointVm, { connected, status }: SerialPort): string | null {
  if (!poweredOn) return null
  if (status === 'unrecoverableError') {
    return 'the host has given up to connect it (unrecoverableError): it cannot use one of the two URIs, or reach the proxy'
  }
  return connected ? null : 'it is not connected, although the VM is on and it was told to be'
}
