import { spawnSync } from 'node:child_process'
import { describe, test } from 'vitest'
import { findGuestProgram, findProgram, GUEST_PROGRAMS, type GuestProgram, peersDir } from '../../src/sim/index.ts'

/**
 * The real programs that some tests talk to. `scripts/install-test-peers.sh` brings them all; a test that needs one
 * which is not there is skipped loudly, or fails when VSPC_REQUIRE_PEERS=1 (as in `.ci/run`).
 */
export type Peer =
  | GuestProgram
  | 'telnet'
  | 'tmux'
  | 'python3'
  | 'openssl'
  | 'chromium'
  | 'zsh'
  | 'fish'
  | 'namespaces'
  | 'vcsim'

export const INSTALL_COMMAND = 'scripts/install-test-peers.sh'

export { findProgram, peersDir }

const PROGRAMS = {
  telnet: 'telnet',
  tmux: 'tmux',
  python3: 'python3',
  openssl: 'openssl',
  chromium: 'chromium',
  zsh: 'zsh',
  fish: 'fish',
} as const satisfies Record<Exclude<Peer, GuestProgram | 'namespaces' | 'vcsim'>, string>

/** Path of a peer, null when it is missing. */
export function findPeer(peer: Peer, env: NodeJS.ProcessEnv = process.env): string | null {
  // Only the version that the script builds: others differ in what they can do.
  if (peer === 'vcsim') return findProgram('vcsim', { PATH: peersDir(env) })
  if (peer === 'namespaces') return canMakeNamespaces() ? findProgram('ip', env) : null
  if (isProgram(peer)) return findProgram(PROGRAMS[peer], env)
  return findGuestProgram(peer, env)
}

const isProgram = (peer: string): peer is keyof typeof PROGRAMS => Object.hasOwn(PROGRAMS, peer)

/** Network namespaces can be made here: iproute2 is there, and we are root. */
function canMakeNamespaces(): boolean {
  const name = `vspc-try-${process.pid}`
  if (spawnSync('ip', ['netns', 'add', name], { stdio: 'ignore' }).status !== 0) return false
  spawnSync('ip', ['netns', 'delete', name], { stdio: 'ignore' })
  return true
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

/** What `startGuest` needs. */
export const GUEST_PEERS = GUEST_PROGRAMS
