/** When vSockets cannot be used at all, and what to do about it. */
import { readFileSync } from 'node:fs'
import { VspcError } from '../base/index.ts'
import { formatEndpoint, type VsockEndpoint } from './endpoint.ts'
import { dialError, listenError } from './system-errors.ts'
import { KoffiMissing } from './vsock-libc.ts'

const LOOPBACK = 'vsock_loopback (this machine itself)'
const TO_HOST = 'vmw_vsock_vmci_transport (guest of ESXi) or vmw_vsock_virtio_transport (guest of KVM)'
const TO_GUESTS = 'vhost_vsock (KVM host)'

export function vsockListenError(endpoint: VsockEndpoint, thrown: unknown): VspcError {
  return unavailable(endpoint, 'listen on', thrown) ?? listenError(endpoint, thrown)
}

/** @param misc what /proc/misc holds. */
export function vsockDialError(endpoint: VsockEndpoint, thrown: unknown, misc: () => string = readMisc): VspcError {
  if (isNoDevice(thrown) && mayBeGuest(endpoint) && /\bvhost-vsock$/m.test(misc())) return dialError(endpoint, thrown)
  return unavailable(endpoint, 'reach', thrown) ?? dialError(endpoint, thrown)
}

function unavailable(endpoint: VsockEndpoint, purpose: string, thrown: unknown): VspcError | null {
  const reason = thrown instanceof KoffiMissing ? thrown.message : kernelReason(endpoint, thrown)
  if (reason === null) return null
  return new VspcError('VSPC_VSOCK_UNAVAILABLE', `cannot ${purpose} ${formatEndpoint(endpoint)}: ${reason}`, {
    cause: thrown,
  })
}

function kernelReason(endpoint: VsockEndpoint, thrown: unknown): string | null {
  const { code, syscall, message } = thrown as NodeJS.ErrnoException
  const load = `load the one for it with modprobe: ${modulesFor(endpoint)}`
  if (code === 'EAFNOSUPPORT') return `the kernel has no vSockets; ${load} (${message})`
  if (code === 'ENODEV') return `the kernel has no way to that CID; ${load} (${message})`
  // Connecting is never refused with it; making a socket is, by the profile of Docker and its like.
  if (code === 'EPERM' && syscall === 'socket') {
    return `this process may not make vSockets; allow AF_VSOCK in the seccomp profile of its container (${message})`
  }
  return null
}

function modulesFor({ cid }: VsockEndpoint): string {
  if (cid === 'any') return [LOOPBACK, TO_HOST, TO_GUESTS].join(', ')
  if (cid === 'local' || cid === 1) return LOOPBACK
  return cid === 'host' || cid === 2 || cid === 0 ? TO_HOST : `${TO_GUESTS}, ${TO_HOST}`
}

function isNoDevice(thrown: unknown): boolean {
  return (thrown as NodeJS.ErrnoException).code === 'ENODEV'
}

function mayBeGuest({ cid }: VsockEndpoint): boolean {
  return typeof cid === 'number' && cid > 2
}

/** With vhost_vsock loaded, ENODEV means that no guest has that CID now: one that starts may have it soon. */
function readMisc(): string {
  try {
    return readFileSync('/proc/misc', 'latin1')
  } catch {
    // No procfs: then nothing is known of it.
    return ''
  }
}
