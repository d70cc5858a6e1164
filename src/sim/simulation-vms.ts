/** What a simulation is populated with: hosts and VMs that are the same for the same options. */
import type { Clock } from '../base/index.ts'
import { OPENINGS, type Opening } from './autopilot.ts'
import { BackendGuest } from './guest-backend.ts'
import { createGuest, type GuestSpec } from './guest-kinds.ts'
import { simUuid, simVmName } from './identity.ts'
import { identityOf } from './identity-kinds.ts'
import type { SimHost } from './migration.ts'
import type { Random } from './random.ts'
import { type SimPortSpec, SimVm } from './sim-vm.ts'
import type { SimulationOptions } from './simulation-types.ts'
import type { SimTarget } from './target.ts'
import type { Tickers } from './ticker.ts'

/** What all VMs of a simulation share. */
export interface SharedByVms {
  readonly hosts: readonly SimHost[]
  readonly clock: Clock
  readonly random: Random
  readonly tickers: Tickers
}

/**
 * Host `index` from 0: `esx-01`, connecting from 127.0.1.1 and on. Source addresses of their own work without set-up
 * on Linux only, and towards loopback only.
 */
export function makeHost(index: number, targets: readonly SimTarget[]): SimHost {
  const name = `esx-${String(index + 1).padStart(2, '0')}`
  const loopback = targets.every((target) => 'host' in target && /^127\./.test(target.host))
  if (process.platform !== 'linux' || !loopback || index >= 254 * 254) return { name }
  return { name, localAddress: `127.0.${1 + Math.floor(index / 254)}.${1 + (index % 254)}` }
}

/** VM `index` from 0: `vm-0001`, on the hosts, targets and guests in turn. */
export function makeVm(index: number, options: SimulationOptions, shared: SharedByVms): SimVm {
  const {
    targets,
    guests = [{ kind: 'echo' }],
    seed = 1,
    redialMs,
    opening = 'reactive',
    identity = 'normal',
  } = options
  const { hosts, clock, random, tickers } = shared
  const name = simVmName(index)
  const guest = guests[index % guests.length] ?? { kind: 'silent' }
  // Once for all connections of the VM.
  const vcUuid = simUuid('vc', seed, index)
  const biosUuid = simUuid('bios', seed, index)
  return new SimVm({
    name,
    target: targets[index % targets.length] as SimTarget,
    host: hosts[index % hosts.length] as SimHost,
    ports: makePorts(index, name, guest, options),
    identity: (host) => {
      const locationUuid = simUuid('location', seed, index, hosts.indexOf(host))
      return identityOf(identity, { vcUuid, name, biosUuid, locationUuid }, index)
    },
    opening: opening === 'mixed' ? (OPENINGS[index % OPENINGS.length] as Opening) : opening,
    recordInput: false,
    connection: { record: false, noDelay: options.noDelay ?? true, split: options.split },
    clock,
    random,
    tickers,
    ...(redialMs !== undefined ? { redialMs } : {}),
  })
}

function makePorts(index: number, name: string, spec: GuestSpec, options: SimulationOptions): SimPortSpec[] {
  const { portsPerVm = 1, serviceURI = 'vSPC.py', backend } = options
  return Array.from({ length: portsPerVm }, (_, port) => {
    const real = backend !== undefined && port === 0 && (index === 0 || backend.includes('{vm}'))
    const guest = real ? new BackendGuest(backend.replaceAll('{vm}', name)) : createGuest(spec)
    const label = `${serviceURI.includes('?') ? '&' : '?'}port=ttyS${port}`
    return { guest, serviceURI: portsPerVm > 1 ? serviceURI + label : serviceURI }
  })
}
