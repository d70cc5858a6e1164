/** Checks of the VM, its serial ports and its host, as vSphere tells of them. Pure. */
import { cleanText } from '../base/index.ts'
import type { SerialPort, UriBacking } from '../vsphere/index.ts'
import type { Facts, VmFacts } from './doctor-facts.ts'
import { type Check, fail, note, ok, type Said, warn } from './doctor-finding.ts'
import { portName } from './point-plan.ts'
import { labelOfServiceUri, proxyUriFault, proxyUriHints, serviceUriFault, serviceUriHints } from './point-uris.ts'

export type NetworkPort = SerialPort & { readonly backing: UriBacking }

/** The VM, once it was found. */
export function vmOf({ vm }: Facts): VmFacts | null {
  return vm?.ok ? vm.value : null
}

export function networkPorts({ ports }: VmFacts): NetworkPort[] {
  return ports.filter((port): port is NetworkPort => port.backing.kind === 'uri')
}

/** A check of each network port on its own. */
function eachPort(run: (port: NetworkPort, vm: VmFacts) => Said | readonly Said[] | null): Check<Facts>['run'] {
  return (facts) => {
    const vm = vmOf(facts)
    if (vm === null) return null
    return networkPorts(vm).flatMap((port) => {
      const result = run(port, vm)
      const all = result === null ? [] : 'level' in result ? [result] : result
      return all.map((one) => ({ ...one, about: portName(port) }))
    })
  }
}

const POINT = "'vspc point VM --service-uri telnet://vspc:13370 --proxy-uri telnet://SERVER:13370'"

export const PORT_CHECKS: readonly Check<Facts>[] = [
  {
    id: 'vm',
    section: 'vm',
    run: ({ vm }) => {
      if (vm === null) return null
      if (vm.ok) return ok(`${vm.value.name} (${vm.value.instanceUuid ?? 'without instance UUID'})`)
      return fail(vm.message, null)
    },
  },
  {
    id: 'power',
    section: 'vm',
    run: (facts) => {
      const vm = vmOf(facts)
      if (vm === null) return null
      if (vm.power === 'poweredOn') return ok('the VM is on')
      const is = vm.power === 'suspended' ? 'suspended' : vm.power === 'poweredOff' ? 'off' : cleanText(vm.power, 40)
      return warn(`the VM is ${is}: no port of it is connected`, 'switch it on')
    },
  },
  {
    id: 'host',
    section: 'vm',
    run: (facts) => {
      const vm = vmOf(facts)
      if (vm === null) return null
      if (!vm.host.ok) return note(`its host is not known: ${vm.host.message}`)
      if (vm.host.value === null) return note('it has no host just now')
      const { name, managementIps, connection } = vm.host.value
      const shown = managementIps.length === 0 ? name : `${name} (${managementIps.join(', ')})`
      if (!connection.ok || connection.value === null || connection.value === 'connected')
        return ok(`it is on ${shown}`)
      const next = 'what is said here of the VM may be old: look at the host in vCenter'
      return warn(`its host ${shown} is ${connection.value} to vCenter`, next)
    },
  },
  {
    id: 'ports',
    section: 'vm',
    run: (facts) => {
      const vm = vmOf(facts)
      if (vm === null) return null
      const network = networkPorts(vm)
      const others = vm.ports.length - network.length
      const rest = others === 0 ? '' : `, and ${others} that ${others === 1 ? 'is' : 'are'} a pipe, a file or a device`
      if (network.length > 0)
        return ok(`${network.length} serial port${network.length === 1 ? '' : 's'} connected over the network${rest}`)
      return fail(`no serial port connected over the network${rest}`, `with the VM off: ${POINT}`)
    },
  },
  {
    id: 'proxy-uri',
    section: 'vm',
    run: eachPort(({ backing: { proxyURI } }) => {
      if (proxyURI === null) {
        const next = `for a port that can: ${POINT}`
        return warn('no proxyURI: the host connects it without a concentrator, and refuses to migrate the VM', next)
      }
      const wrong = proxyUriFault(proxyURI)
      if (wrong !== null) return fail(`proxyURI "${cleanText(proxyURI, 200)}": ${wrong}`, POINT)
      const hints = proxyUriHints(proxyURI).map((hint) => warn(hint, 'change it if that is not meant'))
      return [ok(`proxyURI ${proxyURI}`), ...hints]
    }),
  },
  {
    id: 'service-uri',
    section: 'vm',
    run: eachPort(({ backing: { serviceURI, proxyURI } }) => {
      if (proxyURI === null) return null
      const wrong = serviceUriFault(serviceURI)
      if (wrong !== null) return fail(`serviceURI "${cleanText(serviceURI, 200)}": ${wrong}`, POINT)
      const label = labelOfServiceUri(serviceURI)
      const said = label === null ? 'no label' : `label ${label}`
      return [ok(`serviceURI ${serviceURI}, ${said}`), ...serviceUriHints(serviceURI).map((hint) => note(hint))]
    }),
  },
  {
    id: 'direction',
    section: 'vm',
    run: eachPort(({ backing: { direction, proxyURI } }) => {
      if (direction === 'server') return ok('direction server')
      if (direction === 'client') {
        return proxyURI === null
          ? ok('direction client')
          : note('direction client: the server dials the serviceURI where allowDial permits, and serves consoles')
      }
      return fail(`direction "${cleanText(direction, 40)}" is neither server nor client`, POINT)
    }),
  },
  {
    id: 'labels',
    section: 'vm',
    run: (facts) => {
      const vm = vmOf(facts)
      const proxied = vm === null ? [] : networkPorts(vm).filter(({ backing }) => backing.proxyURI !== null)
      if (proxied.length < 2) return null
      const byLabel = new Map<string | null, NetworkPort[]>()
      for (const port of proxied) {
        const label = labelOfServiceUri(port.backing.serviceURI)
        byLabel.set(label, [...(byLabel.get(label) ?? []), port])
      }
      const same = [...byLabel].filter(([, ports]) => ports.length > 1)
      if (same.length === 0) return ok('each of its ports has a label of its own')
      const next = "give each its own: 'vspc point VM --port N --label LABEL ...'"
      return same.map(([label, ports]) => {
        const what = label === null ? 'no label' : `the label ${label}`
        return warn(`${ports.map(portName).join(' and ')} have ${what}: the server cannot tell them apart`, next)
      })
    },
  },
  {
    id: 'connected',
    section: 'vm',
    run: eachPort(({ connected, startConnected }, { power }) => {
      const start = startConnected
        ? []
        : [warn('it will not be connected when the VM is switched on', 'tick "connect at power on", or vspc point')]
      if (power !== 'poweredOn') return startConnected ? ok('it will be connected at power-on') : start
      if (connected) return [ok('it is connected, says vSphere'), ...start]
      return [
        fail('it is not connected, although the VM is on', 'tick "connected" in its settings, or vspc point'),
        ...start,
      ]
    }),
  },
  {
    id: 'status',
    section: 'vm',
    run: eachPort(({ status, connected }, { power }) => {
      if (power !== 'poweredOn' || !connected) return null
      switch (status) {
        case 'ok':
          return ok('status ok')
        case 'unrecoverableError':
          return fail(
            'status unrecoverableError: the host has given up',
            'it cannot use one of the URIs, or found nobody there at power-on: correct it, then connect it again (vspc point)',
          )
        case 'recoverableError':
          return warn('status recoverableError: the host goes on trying', 'see proxy-reachable and firewall')
        case 'untried':
          return note('status untried: the host has not tried yet')
        default:
          return note(`status not told${status === null || status === '' ? '' : ` (${cleanText(status, 40)})`}`)
      }
    }),
  },
]
