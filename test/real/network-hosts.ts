/** Hosts of their own on one machine: network namespaces on a bridge. Needs root and iproute2. */
import { execFileSync, spawnSync } from 'node:child_process'
import { onTestFinished } from 'vitest'

export interface NetworkHost {
  /** Of the namespace. */
  readonly name: string
  /** In 10.213.0.0/24, or in a network of the test process's own where that reaches the hosts. */
  readonly address: string
  /** A command line that runs `command` on this host. */
  run(command: readonly string[]): string[]
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

let made = 0

/**
 * So many hosts that reach each other, and nothing else. They go when the test ends.
 * @param options reachable: this process, in the namespace it was started in, reaches them, too.
 */
export function networkHosts(count: number, options: { readonly reachable?: boolean } = {}): NetworkHost[] {
  const prefix = `vspc-${process.pid}-${++made}`
  // Two of these on one machine must not claim the same addresses.
  const network = options.reachable === true ? `10.${214 + (process.pid % 40)}.${(process.pid >> 4) & 255}` : '10.213.0'
  const fabric = `${prefix}-net`
  const names = Array.from({ length: count }, (_, i) => `${prefix}-h${i + 1}`)
  onTestFinished(() => {
    // With a namespace go its interfaces.
    for (const name of [...names, fabric]) spawnSync('ip', ['netns', 'delete', name], { stdio: 'ignore' })
  })
  ip('netns', 'add', fabric)
  ip('-n', fabric, 'link', 'add', 'br0', 'type', 'bridge')
  ip('-n', fabric, 'link', 'set', 'br0', 'up')
  if (options.reachable === true) {
    // No longer than 15 characters.
    const own = `vsp${process.pid}n${made}`
    ip('-n', fabric, 'link', 'add', 'p0', 'type', 'veth', 'peer', 'name', own, 'netns', String(process.pid))
    ip('-n', fabric, 'link', 'set', 'p0', 'master', 'br0', 'up')
    ip('address', 'add', `${network}.254/24`, 'dev', own)
    ip('link', 'set', own, 'up')
  }
  return names.map((name, i) => {
    const address = `${network}.${i + 1}`
    const plug = `p${i + 1}`
    ip('netns', 'add', name)
    ip('-n', fabric, 'link', 'add', plug, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
    ip('-n', fabric, 'link', 'set', plug, 'master', 'br0', 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
    ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    return { name, address, run: (command) => ['ip', 'netns', 'exec', name, ...command] }
  })
}

/** More addresses on a host: those of the VMs that run there. */
export function addAddresses(host: NetworkHost, prefix: string): void {
  ip('-n', host.name, 'route', 'add', 'local', prefix, 'dev', 'lo')
}
