/**
 * The yardstick of relays: accepts, dials, and has Node pipe both ways. `bare-relay.js TARGET`, a TCP port on 127.0.0.1
 * or the path of a Unix socket. Prints the port it listens on.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

const target = process.argv[2] ?? ''
const address = target.startsWith('/') ? { path: target } : { host: '127.0.0.1', port: Number(target) }

function ignore(): void {}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near: Socket) => {
  const far = connect({ ...address, allowHalfOpen: true, noDelay: true })
  near.on('error', ignore)
  far.on('error', ignore)
  near.pipe(far)
  far.pipe(near)
})
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  process.stdout.write(`${JSON.stringify({ tcpPort: (server.address() as AddressInfo).port })}\n`)
})
process.on('SIGTERM', () => process.exit(0))
