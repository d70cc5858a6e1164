import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { dial, parseEndpoint } from '../../src/transport/index.ts'
import { describeWithPeers, GUEST_PEERS, peerPath } from '../support/peers.ts'
import { type RunningGuest, startInGuest } from '../support/vsock-guest.ts'
import { noise, SERIAL_BYTES } from '../transport/hvsock-noise.ts'
import { Events, type ServeProcess, serve, WsClient } from './support.ts'

const DAEMON = fileURLToPath(new URL('../support/vhost-user-vsock.py', import.meta.url))
const MEMORY = 768

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

describeWithPeers([...GUEST_PEERS, 'python3'], 'vSockets of a real guest, through hybrid vsock', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-hvsock-'))
  const path = join(folder, 'v.sock')
  let daemon: ChildProcess
  let guest: RunningGuest | null = null

  beforeAll(async () => {
    const frontend = join(folder, 'device.sock')
    daemon = spawn(peerPath('python3'), [DAEMON, frontend, path, '33'], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(daemon.stdout!, 'data')
    guest = await startInGuest({
      entry: 'test/transport/hvsock-guest-program.ts',
      modules: ['virtio_pci', 'vmw_vsock_virtio_transport'],
      memoryMiB: MEMORY,
      qemuArgs: [
        ...['-object', `memory-backend-memfd,id=memory,size=${MEMORY}M,share=on`, '-machine', 'memory-backend=memory'],
        ...['-chardev', `socket,id=vsock,path=${frontend}`, '-device', 'vhost-user-vsock-pci,chardev=vsock'],
      ],
    })
    await guest.until(/"up":true/)
  }, 120_000)

  afterAll(async () => {
    await guest?.stop()
    daemon.kill()
    rmSync(folder, { recursive: true, force: true })
  })

  /** A console types noise of its own; both ends have to get what the other one sent, to the last byte. */
  async function exchange(server: ServeProcess, name: 'dialling' | 'listening'): Promise<void> {
    const console = await WsClient.attach(server, name)
    const toGuest = noise(`host to ${name}`)
    for (let sent = 0; sent < toGuest.length; sent += 50_000) console.write(toGuest.subarray(sent, sent + 50_000))
    const fromGuest = noise(`${name} to host`).toString('latin1')
    // Not the whole: an expectation of a megabyte is no message.
    await console.output.until(fromGuest.slice(-100))
    expect(sha256(Buffer.from(console.output.text, 'latin1'))).toBe(sha256(Buffer.from(fromGuest, 'latin1')))
    const told = JSON.parse((await guest?.until(new RegExp(`"name":"${name}"`))) ?? '{}')
    expect(told).toEqual({ name, bytes: SERIAL_BYTES, hash: sha256(toGuest) })
    expect(await server.port(name)).toMatchObject({ bytesFromVm: SERIAL_BYTES, bytesToVm: SERIAL_BYTES })
  }

  async function online(server: ServeProcess, name: string): Promise<void> {
    const events = await Events.of(server)
    await events.until(name, ({ state }) => state === 'online')
  }

  test('the guest dials its host, and is a port: every byte both ways', async () => {
    const server = await serve('--listen', `hvsock://${path}:1234?protocol=raw&name=dialling`)
    expect(server.listening).toEqual([`hvsock://${path}:1234?protocol=raw&name=dialling`])
    await online(server, 'dialling')
    expect(await server.port('dialling')).toMatchObject({ transport: 'hvsock', state: 'online' })
    await exchange(server, 'dialling')
    // It dials again after the server is gone, and finds the next one.
    const next = await server.restart()
    onTestFinished(() => next.stop())
    await online(next, 'dialling')
  })

  test('the server dials the guest: every byte both ways', async () => {
    const server = await serve('--dial', `hvsock://${path}:4321?protocol=raw&name=listening`)
    await online(server, 'listening')
    expect(await server.port('listening')).toMatchObject({ transport: 'hvsock' })
    await exchange(server, 'listening')
  })

  test('a port that nobody in the guest listens on is named', async () => {
    const endpoint = parseEndpoint(`hvsock://${path}:9`, 'dial', 'plain')
    await expect(dial(endpoint, { timeoutMs: 20_000 })).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL',
      message: expect.stringContaining('the guest does not listen on port 9, or is not there'),
    })
  })
})
