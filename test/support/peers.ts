import { accessSync, constants, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { describe, test } from 'vitest'

/**
 * The real programs that some tests talk to. `scripts/install-test-peers.sh` brings them all; a test that needs one
 * which is not there is skipped loudly, or fails when VSPC_REQUIRE_PEERS=1 (as in `.ci/run`).
 */
export type Peer = 'qemu' | 'kernel' | 'busybox' | 'cpio' | 'telnet' | 'python3' | 'openssl'

export const INSTALL_COMMAND = 'scripts/install-test-peers.sh'

/** Where the install script puts the guest kernel and where built initramfs images are kept. */
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

function kernel(env: NodeJS.ProcessEnv): string | null {
  const path = join(peersDir(env), 'vmlinuz')
  try {
    return statSync(path).size > 0 ? path : null
  } catch {
    return null
  }
}

const PROGRAMS = {
  qemu: 'qemu-system-x86_64',
  busybox: 'busybox',
  cpio: 'cpio',
  telnet: 'telnet',
  python3: 'python3',
  openssl: 'openssl',
} as const satisfies Record<Exclude<Peer, 'kernel'>, string>

/** Path of a peer, null when it is missing. */
export function findPeer(peer: Peer, env: NodeJS.ProcessEnv = process.env): string | null {
  return peer === 'kernel' ? kernel(env) : findProgram(PROGRAMS[peer], env)
}

/** Path of a peer that `describeWithPeers` has already found to be there. */
export function peerPath(peer: Peer): string {
  const path = findPeer(peer)
  if (!path) throw new Error(missingText([peer]))
  return path
}

export function missingPeers(peers: readonly Peer[], env: NodeJS.ProcessEnv = process.env): Peer[] {
  return peers.filter((peer) => !findPeer(peer, env))
}

export function missingText(missing: readonly Peer[]): string {
  return `missing ${missing.join(', ')}; to get all of them run: ${INSTALL_COMMAND}`
}

/** What to do with tests that need `peers`: run them, leave them out, or fail. */
export function peerVerdict(
  peers: readonly Peer[],
  env: NodeJS.ProcessEnv = process.env,
): { action: 'run' } | { action: 'skip' | 'fail'; missing: Peer[] } {
  const missing = missingPeers(peers, env)
  if (missing.length === 0) return { action: 'run' }
  return { action: env['VSPC_REQUIRE_PEERS'] === '1' ? 'fail' : 'skip', missing }
}

/** `describe`, for tests that talk to real programs. A guest needs `['qemu', 'kernel', 'busybox', 'cpio']`. */
export function describeWithPeers(peers: readonly Peer[], name: string, define: () => void): void {
  const verdict = peerVerdict(peers)
  if (verdict.action === 'run') {
    describe(name, define)
  } else if (verdict.action === 'skip') {
    process.stderr.write(`\nSKIPPED: ${name}: ${missingText(verdict.missing)}\n`)
    describe.skip(name, define)
  } else {
    describe(name, () => {
      test('needs its peers (VSPC_REQUIRE_PEERS=1)', () => {
        throw new Error(missingText(verdict.missing))
      })
    })
  }
}

/** What {@link startGuest} needs. */
export const GUEST_PEERS = ['qemu', 'kernel', 'busybox', 'cpio'] as const satisfies readonly Peer[]
