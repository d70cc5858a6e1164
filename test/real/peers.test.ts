import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { findPeer, missingText, peersDir, peerVerdict } from '../support/peers.ts'

let folder = ''
afterEach(() => {
  if (folder) rmSync(folder, { recursive: true })
  folder = ''
})

/** An environment in which only what a test puts there can be found. */
function bareMachine(): { bin: string; env: NodeJS.ProcessEnv } {
  folder = mkdtempSync(join(tmpdir(), 'vspc-peers-'))
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  return { bin, env: { PATH: bin, VSPC_PEERS_DIR: join(folder, 'peers') } }
}

test('a missing peer skips, and with VSPC_REQUIRE_PEERS=1 fails, naming what is missing and the command', () => {
  const { bin, env } = bareMachine()
  writeFileSync(join(bin, 'telnet'), '#!/bin/sh\n', { mode: 0o755 })
  expect(peerVerdict(['telnet'], { ...env, VSPC_REQUIRE_PEERS: '1' })).toEqual({ action: 'run' })
  expect(peerVerdict(['telnet', 'qemu', 'kernel'], env)).toEqual({ action: 'skip', missing: ['qemu', 'kernel'] })
  expect(peerVerdict(['qemu'], { ...env, VSPC_REQUIRE_PEERS: '1' })).toEqual({ action: 'fail', missing: ['qemu'] })
  expect(missingText(['qemu'])).toBe('missing qemu; to get all of them run: scripts/install-test-peers.sh')
})

test('a folder or a file that cannot be run is not a program; an empty kernel image is no kernel', () => {
  const { bin, env } = bareMachine()
  mkdirSync(join(bin, 'telnet'))
  writeFileSync(join(bin, 'cpio'), '', { mode: 0o644 })
  mkdirSync(peersDir(env))
  writeFileSync(join(peersDir(env), 'vmlinuz'), '')
  for (const peer of ['telnet', 'cpio', 'kernel'] as const) expect(findPeer(peer, env)).toBeNull()
  writeFileSync(join(peersDir(env), 'vmlinuz'), 'x')
  expect(findPeer('kernel', env)).toBe(join(peersDir(env), 'vmlinuz'))
})

test('the peers folder: VSPC_PEERS_DIR, else XDG_CACHE_HOME, else ~/.cache', () => {
  expect(peersDir({ VSPC_PEERS_DIR: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a')
  expect(peersDir({ XDG_CACHE_HOME: '/b' })).toBe('/b/vspc-peers')
  expect(peersDir({ VSPC_PEERS_DIR: '', XDG_CACHE_HOME: '' })).toMatch(/\/\.cache\/vspc-peers$/)
})
