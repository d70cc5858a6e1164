import { createServer, type IncomingHttpHeaders, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { onTestFinished } from 'vitest'
import type { AppUnderTest } from '../app/support.ts'

export interface ProxyWays {
  /** Taken off each path, as nginx does with `location /tools/vspc/ { proxy_pass http://...:PORT/; }`. */
  readonly prefix?: string
  /** Headers that it adds, or puts in the place of those that came. */
  readonly says?: Readonly<Record<string, string>>
}

/** A reverse proxy, a double of nginx: requests and WebSockets pass, with their Host. @returns its URL. */
export async function startProxy(app: AppUnderTest, { prefix = '', says = {} }: ProxyWays): Promise<string> {
  const { tcpPort = 0 } = app.http ?? {}
  const target = (url: string) => url.slice(prefix.length) || '/'
  const passedOn = (headers: IncomingHttpHeaders) => ({ ...headers, ...says })
  const server = createServer((incoming, outgoing) => {
    const { method, url = '' } = incoming
    if (!url.startsWith(`${prefix}/`)) {
      outgoing.writeHead(404).end()
      return
    }
    const headers = passedOn(incoming.headers)
    const passed = request({ host: '127.0.0.1', port: tcpPort, method, headers, path: target(url) }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    passed.on('error', () => outgoing.destroy())
    outgoing.on('close', () => passed.destroy())
    incoming.pipe(passed)
  })
  server.on('upgrade', (incoming, socket) => {
    const { method, url = '' } = incoming
    const upstream = connect(tcpPort, '127.0.0.1', () => {
      const lines = Object.entries(passedOn(incoming.headers)).map(([name, value]) => `${name}: ${value}`)
      upstream.write(`${method} ${target(url)} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
      upstream.pipe(socket).pipe(upstream)
    })
    upstream.on('error', () => socket.destroy())
    socket.on('error', () => upstream.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
