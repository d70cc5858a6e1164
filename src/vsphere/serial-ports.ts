/** Virtual serial ports among a VM's devices: read, and the changes to them. Pure. */
import { VspcError } from '../base/index.ts'
import { childOf, type Element, flagOf, leaf, node, numberOf, textOf, withChild } from './element.ts'

/** `server`: the VM's host waits for connections; `client`: it makes them. With a proxy it always dials the proxy. */
export type Direction = 'server' | 'client'

export interface UriBacking {
  readonly kind: 'uri'
  readonly serviceURI: string
  /** As the server says it; it takes others than the two. */
  readonly direction: string
  /** The vSPC: `telnet://HOST:PORT` or `telnets://HOST:PORT`, with options behind `#`. Null: the host itself connects. */
  readonly proxyURI: string | null
}

export interface PipeBacking {
  readonly kind: 'pipe'
  readonly pipeName: string
  readonly endpoint: string
}

export interface OtherBacking {
  readonly kind: 'other'
  /** In vim25: `VirtualSerialPortFileBackingInfo`. */
  readonly type: string
}

export interface SerialPort {
  /** Names the device within its VM: edits reorder devices, so the place in the list says nothing. */
  readonly key: number
  /** `Serial port 1`. */
  readonly label: string
  readonly backing: UriBacking | PipeBacking | OtherBacking
  readonly connected: boolean
  readonly startConnected: boolean
  /** `ok`, `untried`, `recoverableError`, `unrecoverableError` (a bad URI, say); null = not told. */
  readonly status: string | null
  /** As it came. */
  readonly device: Element
}

/** @param devices the value of `config.hardware.device`. In the order of their keys. */
export function readSerialPorts(devices: Element | null | undefined): SerialPort[] {
  const ports: SerialPort[] = []
  for (const device of devices?.children ?? []) {
    const key = numberOf(device, 'key')
    if (device.type !== 'VirtualSerialPort' || key === null) continue
    const connectable = childOf(device, 'connectable')
    ports.push({
      key,
      label: textOf(childOf(device, 'deviceInfo'), 'label') ?? '',
      backing: readBacking(childOf(device, 'backing')),
      connected: flagOf(connectable, 'connected') ?? false,
      startConnected: flagOf(connectable, 'startConnected') ?? false,
      status: textOf(connectable, 'status'),
      device,
    })
  }
  return ports.sort((a, b) => a.key - b.key)
}

function readBacking(backing: Element | null): SerialPort['backing'] {
  switch (backing?.type) {
    case 'VirtualSerialPortURIBackingInfo':
      return {
        kind: 'uri',
        serviceURI: textOf(backing, 'serviceURI') ?? '',
        direction: textOf(backing, 'direction') ?? '',
        proxyURI: textOf(backing, 'proxyURI') || null,
      }
    case 'VirtualSerialPortPipeBackingInfo':
      return {
        kind: 'pipe',
        pipeName: textOf(backing, 'pipeName') ?? '',
        endpoint: textOf(backing, 'endpoint') ?? '',
      }
    default:
      return { kind: 'other', type: backing?.type ?? 'none' }
  }
}

export interface SerialPortChange {
  readonly backing?: Omit<UriBacking, 'kind'> & { readonly direction: Direction }
  readonly connected?: boolean
  readonly startConnected?: boolean
}

/**
 * The edit of one port, for `reconfigureVm`: the device as it came, with what changes in its place. A backing is
 * replaced as a whole. A connected port of a running VM is disconnected first, in a change of its own.
 */
export function editSerialPort(port: SerialPort, change: SerialPortChange): Element {
  let device = port.device
  if (change.backing !== undefined) device = withChild(device, uriBacking(change.backing))
  const flags = CONNECTABLE.flatMap((name) => {
    const value = name === 'allowGuestControl' ? undefined : change[name]
    return value === undefined ? [] : [leaf(name, value)]
  })
  if (flags.length > 0) {
    const before = childOf(device, 'connectable')
    if (before === null) {
      throw new VspcError(
        'VSPC_VSPHERE_STATE',
        `${port.label || `device ${port.key}`} cannot be connected or disconnected`,
      )
    }
    // What became of an earlier connect is the server's to say; a simulator takes it for a wish, and keeps it.
    const told = { ...before, children: before.children.filter(({ name }) => name !== 'status') }
    device = withChild(device, flags.reduce(withChild, told))
  }
  return deviceChange('edit', device)
}

/** A new port. The server gives it its key and label. */
export function addSerialPort(backing: Omit<UriBacking, 'kind'> & { readonly direction: Direction }): Element {
  const device = node(
    'device',
    [
      leaf('key', -1),
      uriBacking(backing),
      node('connectable', [leaf('startConnected', true), leaf('allowGuestControl', true), leaf('connected', true)]),
      leaf('yieldOnPoll', true),
    ],
    'VirtualSerialPort',
  )
  return deviceChange('add', device)
}

export function removeSerialPort(port: SerialPort): Element {
  return deviceChange('remove', port.device)
}

const CONNECTABLE = ['startConnected', 'allowGuestControl', 'connected'] as const

function uriBacking({ serviceURI, direction, proxyURI }: Omit<UriBacking, 'kind'>): Element {
  return node(
    'backing',
    [
      leaf('serviceURI', serviceURI),
      leaf('direction', direction),
      proxyURI === null ? null : leaf('proxyURI', proxyURI),
    ],
    'VirtualSerialPortURIBackingInfo',
  )
}

function deviceChange(operation: 'add' | 'edit' | 'remove', device: Element): Element {
  return node('deviceChange', [leaf('operation', operation), { ...device, name: 'device' }])
}
