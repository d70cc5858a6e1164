/** A receiver of webhooks, of node:http alone. */
import { EventEmitter } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { parseGlob, parseSelector } from '../../src/access/index.ts'
import { silentLogger, systemClock } from '../../src/base/index.ts'
import { type Hook, Hooks } from '../../src/hooks/index.ts'

export interface Got {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export class Receiver extends EventEmitter {
  readonly got: Got[] = []
  /** Decides on the answer; default 204. */
  answer: (response: ServerResponse, got: Got) => void = (response) => response.writeHead(204).end()
  readonly #server: Server
  readonly #scheme: string

  private constructor(server: Server, scheme: string) {
    super()
    this.#server = server
    this.#scheme = scheme
  }

  static async start(tls: { cert: string; key: string } | null = null): Promise<Receiver> {
    let receiver: Receiver | null = null
    const listener: RequestListener = (request, response) => {
      const pieces: Buffer[] = []
      request.on('data', (piece: Buffer) => pieces.push(piece))
      request.on('end', () => {
        const got = {
          method: request.method ?? '',
          path: request.url ?? '',
          headers: request.headers,
          body: Buffer.concat(pieces).toString(),
        }
        receiver?.got.push(got)
        receiver?.answer(response, got)
        receiver?.emit('change')
      })
    }
    const server = tls === null ? createServer(listener) : createTlsServer(tls, listener)
    receiver = new Receiver(server, tls === null ? 'http' : 'https')
    server.on('tlsClientError', () => receiver?.emit('refused'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => receiver?.stop())
    return receiver
  }

  url(path = '/hook'): string {
    return `${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}${path}`
  }

  stop(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

const COMMON = {
  name: 'test',
  events: [parseGlob('*')],
  ports: null,
  severity: null,
  timeoutMs: 5_000,
  expireMs: 60_000,
  parallel: 1,
}

export function webhook(url: string, more: Partial<Extract<Hook, { kind: 'webhook' }>> = {}): Hook {
  return {
    ...COMMON,
    kind: 'webhook',
    url: new URL(url),
    ca: null,
    pin: null,
    secretFile: null,
    headerFiles: {},
    ...more,
  }
}

export function execHook(
  program: string,
  args: string[] = [],
  more: Partial<Extract<Hook, { kind: 'exec' }>> = {},
): Hook {
  return { ...COMMON, kind: 'exec', program, args, ...more }
}

export const portsOf = (...texts: string[]) => texts.map(parseSelector)

export function startHooks(hooks: readonly Hook[], clock = systemClock): Hooks {
  const all = new Hooks({
    clock,
    log: silentLogger,
    random: () => 0,
    source: 'urn:vspc:test',
    epoch: 'e',
    userAgent: 'vspc/test',
    env: { PATH: process.env['PATH'], VSPC_TOKEN: 'secret' },
  })
  all.use(hooks, 1_000)
  onTestFinished(() => all.stop(0))
  return all
}

export function alertOf(name = 'vm1', severity = 'critical'): { type: string; at: string; [name: string]: unknown } {
  return {
    type: 'alert',
    at: '2026-11-23T03:17:20.000Z',
    port: { id: `name:${name}`, vm: { name, uuid: null }, label: null, host: '10.0.0.1' },
    alert: { id: 1, rule: 'kernel-panic', severity, line: 'Kernel panic', offset: 0, suppressed: 0 },
  }
}
