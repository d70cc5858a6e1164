/**
 * Runs in the guest: two "serial ports" over real vSockets. Port 1234 of the host is dialled, and dialled again whenever
 * that stream is over; port 4321 is listened on. Over each, the guest sends its noise at once, and takes as many bytes;
 * one line of JSON tells what came.
 */
import { createHash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type ByteStream, dial, listen, parseEndpoint } from '../../src/transport/index.ts'
import { noise, SERIAL_BYTES } from './hvsock-noise.ts'
import { LISTEN } from './support.ts'

const RETRY_MS = 100

function say(what: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(what)}\n`)
}

function serialPort(name: string, { socket }: ByteStream): Duplex {
  const hash = createHash('sha256')
  let bytes = 0
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    bytes += chunk.length
    if (bytes === SERIAL_BYTES) say({ name, bytes, hash: hash.copy().digest('hex') })
  })
  socket.on('end', () => socket.end())
  socket.write(noise(`${name} to host`))
  return socket
}

async function keepDialling(): Promise<never> {
  const endpoint = parseEndpoint('vsock://host:1234', 'dial', 'plain')
  for (;;) {
    try {
      const stream = await dial(endpoint, { timeoutMs: 10_000 })
      await new Promise((resolve) => serialPort('dialling', stream).once('close', resolve))
    } catch {
      // Nobody listens yet.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

await listen(
  parseEndpoint('vsock://any:4321', 'listen', 'plain'),
  {
    stream: (stream) => void serialPort('listening', stream),
    problem: ({ error }) => say({ problem: error.message }),
  },
  LISTEN,
)
say({ up: true })
await keepDialling()
