/** What has to become of a VM's serial ports so that one of them leads to the concentrator. Pure. */
import { cleanText, VspcError } from '../base/index.ts'
import type { Direction, ManagedRef, SerialPort, UriBacking } from '../vsphere/index.ts'
import {
  labelOfServiceUri,
  proxyUriFault,
  proxyUriHints,
  serviceUriFault,
  serviceUriHints,
  withLabel,
} from './point-uris.ts'

/** Of one VM, since virtual hardware version 11. [doc] */
export const MAX_SERIAL_PORTS = 32

export interface WantedPort {
  /** With the label in it. */
  readonly serviceURI: string
  readonly proxyURI: string
  readonly direction: Direction
  readonly label: string | null
}

export interface WantedFlags {
  readonly serviceUri: string
  readonly proxyUri: string
  readonly direction: Direction
  readonly label?: string
}

/** @throws VspcError VSPC_USAGE, before anything is asked of anybody. */
export function wantedPort({ serviceUri, proxyUri, direction, label }: WantedFlags): WantedPort {
  const wrongService = serviceUriFault(serviceUri)
  if (wrongService !== null) throw fault('--service-uri', serviceUri, wrongService)
  const wrongProxy = proxyUriFault(proxyUri)
  if (wrongProxy !== null) {
    const accepted = 'write telnet://HOST:PORT or telnets://HOST:PORT, such as telnet://vspc.example.com:13370'
    throw fault('--proxy-uri', proxyUri, `${wrongProxy}; ${accepted}`)
  }
  const serviceURI = label === undefined ? serviceUri : withLabel(serviceUri, label)
  return { serviceURI, proxyURI: proxyUri, direction, label: labelOfServiceUri(serviceURI) }
}

/** What is possible, but seldom meant. */
export function wantedHints({ serviceURI, proxyURI, direction }: WantedPort): string[] {
  return [
    ...serviceUriHints(serviceURI),
    ...proxyUriHints(proxyURI),
    ...(direction === 'client'
      ? [
          'with --direction client the server dials the serviceURI where its allowDial permits; consoles attach all the same',
        ]
      : []),
  ]
}

function fault(option: string, text: string, wrong: string): VspcError {
  return new VspcError('VSPC_USAGE', `${option} "${cleanText(text, 300)}": ${wrong}`)
}

/** Which port of a VM. */
export interface PointChoice {
  /** Number, from 1, in the order of keys; or the device's label. */
  readonly port: number | string | null
  /** Always a new one. */
  readonly add: boolean
}

export interface PointVm {
  readonly ref: ManagedRef
  readonly name: string
  readonly instanceUuid: string | null
  readonly poweredOn: boolean
  /** In the order of their keys. */
  readonly ports: readonly SerialPort[]
}

export interface AddStep {
  readonly do: 'add'
  readonly changes: readonly string[]
  readonly hints: readonly string[]
}

export interface ChangeStep {
  readonly do: 'change'
  readonly port: SerialPort
  /** For people: `proxyURI telnet://a:1 -> telnet://b:1`. Never none. */
  readonly changes: readonly string[]
  readonly hints: readonly string[]
  readonly newBacking: boolean
  /** First, in a change of its own: the backing of a connected port may not change. */
  readonly disconnect: boolean
  readonly connect: boolean
}

export interface KeepStep {
  readonly do: 'keep'
  readonly port: SerialPort
  readonly hints: readonly string[]
}

export interface CannotStep {
  readonly do: 'cannot'
  readonly why: 'no-such-port' | 'ambiguous' | 'not-network' | 'too-many'
  /** For people. */
  readonly message: string
}

export type PointStep = AddStep | ChangeStep | KeepStep | CannotStep

export function planPoint(vm: PointVm, wanted: WantedPort, choice: PointChoice): PointStep {
  const chosen = choosePort(vm, wanted, choice)
  if (chosen === null) return planAdd(vm, wanted)
  return 'do' in chosen ? chosen : planChange(vm, chosen, wanted)
}

type NetworkPort = SerialPort & { readonly backing: UriBacking }

function isNetwork(port: SerialPort): port is NetworkPort {
  return port.backing.kind === 'uri'
}

/** Null: a new one. */
function choosePort({ ports }: PointVm, { label }: WantedPort, choice: PointChoice): NetworkPort | CannotStep | null {
  if (choice.add) return null
  if (choice.port !== null) return namedPort(ports, choice.port)
  const network = ports.filter(isNetwork)
  if (label === null) return network[0] ?? null
  const same = network.find(({ backing }) => labelOfServiceUri(backing.serviceURI) === label)
  const unlabelled = network.find(({ backing }) => labelOfServiceUri(backing.serviceURI) === null)
  const found = same ?? unlabelled
  if (found !== undefined) return found
  if (network.length === 0) return null
  const names = network.map(
    (port) => `${portName(port)} (${cleanText(labelOfServiceUri(port.backing.serviceURI) ?? '', 64)})`,
  )
  const message = `its ports have other labels: ${names.join(', ')}; name one by --port, or add another with --add`
  return { do: 'cannot', why: 'ambiguous', message }
}

function namedPort(ports: readonly SerialPort[], wanted: number | string): NetworkPort | CannotStep {
  const port = typeof wanted === 'number' ? ports[wanted - 1] : ports.find(({ label }) => label === wanted)
  if (port === undefined) {
    const shown = typeof wanted === 'number' ? String(wanted) : `"${cleanText(wanted, 80)}"`
    const there = ports.map((one, at) => `${at + 1} (${portName(one)})`).join(', ')
    const message = `it has no serial port ${shown}; it has ${there || 'none: leave out --port to add one'}`
    return { do: 'cannot', why: 'no-such-port', message }
  }
  if (isNetwork(port)) return port
  const is =
    port.backing.kind === 'pipe' ? 'a pipe' : cleanText(port.backing.kind === 'other' ? port.backing.type : '', 60)
  const message = `${portName(port)} is no network port (${is}): remove it, or add another with --add`
  return { do: 'cannot', why: 'not-network', message }
}

function planAdd(vm: PointVm, wanted: WantedPort): AddStep | CannotStep {
  if (vm.ports.length >= MAX_SERIAL_PORTS) {
    const message = `it has ${vm.ports.length} serial ports, which is the limit: name one of them by --port`
    return { do: 'cannot', why: 'too-many', message }
  }
  const { serviceURI, proxyURI, direction } = wanted
  return {
    do: 'add',
    changes: [`new port: serviceURI ${serviceURI}, direction ${direction}, proxyURI ${proxyURI}`],
    hints: [...sameUriHint(vm, null, wanted), ...(vm.poweredOn ? [ADD_WHILE_ON] : [])],
  }
}

/** [doc] of the Automation API: creating a serial port is refused unless the VM is off. */
export const ADD_WHILE_ON = 'vSphere adds serial ports only to a VM that is off, and this one is on'

function planChange(vm: PointVm, port: NetworkPort, wanted: WantedPort): ChangeStep | KeepStep {
  const { backing } = port
  const hints = sameUriHint(vm, port, wanted)
  const edits = [
    edit('serviceURI', backing.serviceURI, wanted.serviceURI),
    edit('direction', backing.direction, wanted.direction),
    edit('proxyURI', backing.proxyURI ?? 'none', wanted.proxyURI),
  ].flat()
  const newBacking = edits.length > 0
  const gaveUp = vm.poweredOn && port.status === 'unrecoverableError'
  const changes = [
    ...edits,
    ...(port.startConnected ? [] : ['connects at power-on']),
    ...(vm.poweredOn && !port.connected ? ['connects it'] : []),
    ...(gaveUp && port.connected ? ['connects it again: the host had given up'] : []),
  ]
  if (changes.length === 0) return { do: 'keep', port, hints }
  const disconnect = vm.poweredOn && port.connected && (newBacking || gaveUp)
  return { do: 'change', port, changes, hints, newBacking, disconnect, connect: vm.poweredOn }
}

function edit(what: string, from: string, to: string): string[] {
  return from === to ? [] : [`${what} ${cleanText(from, 300) || 'none'} -> ${to}`]
}

/** The server tells the ports of a VM apart by their labels alone. */
function sameUriHint({ ports }: PointVm, own: SerialPort | null, { label }: WantedPort): string[] {
  const other = ports.find(
    (port) =>
      port.key !== own?.key &&
      isNetwork(port) &&
      port.backing.proxyURI !== null &&
      labelOfServiceUri(port.backing.serviceURI) === label,
  )
  if (other === undefined) return []
  const same = label === null ? 'has no label either' : `has the label ${label}, too`
  return [`${portName(other)} ${same}: give each port of a VM its own --label`]
}

/** `Serial port 1`, for people. */
export function portName({ key, label }: SerialPort): string {
  return cleanText(label, 80) || `device ${key}`
}
