import { accessSync, constants, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { VspcError } from '../../base/index.ts'

/** What a QEMU guest is made of: programs found on PATH, and a Linux kernel. */
export type GuestProgram = 'qemu' | 'kernel' | 'busybox' | 'cpio'

export const GUEST_PROGRAMS = ['qemu', 'kernel', 'busybox', 'cpio'] as const satisfies readonly GuestProgram[]

/** Where scripts/install-test-peers.sh puts the guest kernel. */
export function peersDir(env: NodeJS.ProcessEnv = process.env): string {
  return env['VSPC_PEERS_DIR'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'vspc-peers')
}

/** Path of the first executable file of that name on PATH. */
export function findProgram(program: string, env: NodeJS.ProcessEnv = process.env): string | null {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program)
    try {
      accessSync(path, constants.X_OK)
      if (statSync(path).isFile()) return path
    } catch {
      // Not in this folder.
    }
  }
  return null
}

/** Path of a part of the guest, null when it is missing. */
export function findGuestProgram(program: GuestProgram, env: NodeJS.ProcessEnv = process.env): string | null {
  if (program === 'kernel') return findKernel(env)
  return findProgram(program === 'qemu' ? 'qemu-system-x86_64' : program, env)
}

/** @throws VspcError VSPC_DEMO_PEER_MISSING naming all that is missing. */
export function guestProgram(program: GuestProgram): string {
  const path = findGuestProgram(program)
  if (path !== null) return path
  const missing = GUEST_PROGRAMS.filter((one) => findGuestProgram(one) === null)
  throw new VspcError(
    'VSPC_DEMO_PEER_MISSING',
    `a QEMU guest needs ${missing.join(', ')}, not found here; scripts/install-test-peers.sh installs them (Debian, Ubuntu)`,
  )
}

function findKernel(env: NodeJS.ProcessEnv): string | null {
  const path = join(peersDir(env), 'vmlinuz')
  try {
    return statSync(path).size > 0 ? path : null
  } catch {
    return null
  }
}
