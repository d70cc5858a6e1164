import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { afterEach, expect, test, vi } from 'vitest'
import type { FifoEndpoint } from '../../src/transport/endpoint.ts'
import { dial, listen } from '../../src/transport/index.ts'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT, startGuest, Transcript } from '../support/qemu.ts'
import { Accepted, LISTEN } from './support.ts'

// Guests that share two cores with other tests take their time.
vi.setConfig({ testTimeout: 60_000 })
const BOOT_MS = 45_000

describeWithPeers(GUEST_PEERS, 'a real guest on a pair of pipes', () => {
  const cleanups: (() => unknown)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  async function endpoint(): Promise<FifoEndpoint> {
    const folder = await mkdtemp(join(tmpdir(), 'vspc-fifo-'))
    cleanups.push(() => rm(folder, { recursive: true }))
    return { scheme: 'fifo', path: join(folder, 'vm1'), vm: null }
  }

  async function closed(socket: Duplex): Promise<void> {
    if (socket.closed) return
    const close = once(socket, 'close')
    socket.destroy()
    await close
  }

  test('it boots, answers, goes, and the next one is heard on the same stream', async () => {
    const pair = await endpoint()
    const accepted = new Accepted()
    const listening = await listen(pair, accepted, LISTEN)
    cleanups.push(() => listening.close())
    const { socket } = await accepted.nextStream()
    cleanups.push(() => closed(socket))
    const console = new Transcript(socket)
    for (const name of ['first', 'second']) {
      const guest = await startGuest({ serial: [`pipe:${pair.path}`] })
      cleanups.push(() => guest.stop())
      await console.until(GUEST_PROMPT, BOOT_MS)
      console.enter(`echo ${name}-$((6 * 7))`)
      await console.until(`${name}-42\r\n`)
      // Its last word: the next prompt is the next one's.
      await console.until(GUEST_PROMPT)
      await guest.stop()
    }
  })

  test('our side goes while it prints and comes again: no number is missing', async () => {
    const pair = await endpoint()
    execFileSync('mkfifo', [`${pair.path}.in`, `${pair.path}.out`])
    const guest = await startGuest({ serial: [`pipe:${pair.path}`] })
    cleanups.push(() => guest.stop())
    let text = ''
    let stream = await dial(pair, { timeoutMs: 5000 })
    cleanups.push(() => closed(stream.socket))
    const console = new Transcript(stream.socket)
    await console.until(GUEST_PROMPT, BOOT_MS)
    console.enter('counter 3000')
    await console.until('counter 3000\r\n')
    for (let reopened = 0; !text.includes(GUEST_PROMPT); reopened++) {
      const [chunk] = (await once(stream.socket, 'data')) as [Buffer]
      text += chunk.toString('latin1')
      if (reopened % 10 !== 9) continue
      await closed(stream.socket)
      stream = await dial(pair, { timeoutMs: 5000 })
    }
    const numbers = text.match(/^\d+(?=\r$)/gm)?.map(Number)
    expect(numbers).toEqual(Array.from({ length: 3000 }, (_, index) => index + 1))
  })
})
