import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { type Duplex, PassThrough } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { readChunks } from '../../src/transport/index.ts'

async function listening(): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return server
}

/** An accepted socket and its peer. */
async function pair(server: Server): Promise<{ accepted: Socket; peer: Socket }> {
  const peer = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [accepted] = (await once(server, 'connection')) as [Socket]
  onTestFinished(() => {
    peer.destroy()
    accepted.destroy()
  })
  peer.on('error', () => {})
  accepted.on('error', () => {})
  return { accepted, peer }
}

/** Copies of everything read, until the peer has ended its side. */
async function readAll(socket: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  readChunks(socket, (bytes) => void chunks.push(Buffer.from(bytes)))
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

test('what is read is what was sent, to the last byte, on an accepted socket and on one made by connect', async () => {
  const { accepted, peer } = await pair(await listening())
  const sent = randomFillSync(Buffer.alloc(3_000_001))
  const there = readAll(accepted)
  const back = readAll(peer)
  accepted.end(sent)
  for (let at = 0, size = 1; at < sent.length; at += size, size = (size * 7) % 100_003)
    peer.write(sent.subarray(at, at + size))
  peer.end()
  expect((await there).equals(sent)).toBe(true)
  expect((await back).equals(sent)).toBe(true)
})

test('accepted sockets read into one memory: this Node has what that takes', async () => {
  const server = await listening()
  const buffers = new Set<ArrayBufferLike>()
  for (let i = 0; i < 2; i++) {
    const { accepted, peer } = await pair(server)
    const heard = new Promise<void>((resolve) => {
      readChunks(accepted, (bytes) => {
        buffers.add(bytes.buffer)
        resolve()
      })
    })
    peer.write('x')
    await heard
  }
  expect(buffers.size).toBe(1)
})

test('a paused socket delivers nothing, also in the middle of a flood, and goes on where it was', async () => {
  const { accepted, peer } = await pair(await listening())
  const sent = randomFillSync(Buffer.alloc(4_000_000))
  const chunks: Buffer[] = []
  let paused = false
  let wrong = 0
  readChunks(accepted, (bytes) => {
    if (paused) wrong++
    chunks.push(Buffer.from(bytes))
    if (chunks.length % 10 !== 0) return
    paused = true
    accepted.pause()
    // Longer than a socket that had its share of a turn rests.
    setTimeout(() => {
      paused = false
      accepted.resume()
    }, 3)
  })
  peer.end(sent)
  await once(accepted, 'end')
  expect(wrong).toBe(0)
  expect(Buffer.concat(chunks).equals(sent)).toBe(true)
})

test('sockets that flood do not keep another one waiting', async () => {
  const server = await listening()
  let flooded = 0
  const block = Buffer.alloc(8 << 20)
  for (let i = 0; i < 8; i++) {
    const { accepted, peer } = await pair(server)
    readChunks(accepted, (bytes) => {
      flooded += bytes.length
    })
    const pump = () => {
      while (!peer.destroyed && peer.write(block));
    }
    peer.on('drain', pump)
    pump()
  }
  const quiet = await pair(server)
  const waits: number[] = []
  let askedAt = 0
  const ask = () => {
    askedAt = flooded
    quiet.peer.write('x')
  }
  readChunks(quiet.accepted, () => {
    waits.push(flooded - askedAt)
    if (waits.length < 50) ask()
    else quiet.accepted.emit('enough')
  })
  ask()
  await once(quiet.accepted, 'enough')
  waits.sort((a, b) => a - b)
  // Node's own way: up to 2 MiB of each flood at a time.
  expect(waits[25]).toBeLessThan(6 << 20)
})

test('what is no plain socket, or has been read from before, comes as data', async () => {
  const through = new PassThrough()
  const all = readAll(through)
  through.end('abc')
  expect((await all).toString()).toBe('abc')
  const { accepted, peer } = await pair(await listening())
  peer.write('first ')
  await once(accepted, 'readable')
  accepted.unshift(accepted.read())
  const rest = readAll(accepted)
  peer.end('second')
  expect((await rest).toString()).toBe('first second')
})

test('a reset is told as ever', async () => {
  const { accepted, peer } = await pair(await listening())
  const failure = once(accepted, 'end').catch((error: NodeJS.ErrnoException) => error.code)
  readChunks(accepted, () => {})
  peer.resetAndDestroy()
  expect(await failure).toBe('ECONNRESET')
  expect(accepted.destroyed).toBe(true)
})
