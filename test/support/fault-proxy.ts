/**
 * A proxy between our client and the real simulator that fails as vCenters, and what stands before them, do: TLS ends
 * here, with a certificate of its own; each call is passed on, spoiled, or answered by hand, as told by method and
 * occurrence. It remembers every call, and whether the simulator has seen it.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent, createServer, request, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { CertificateFiles } from './certificates.ts'

/** What the simulator says, and what becomes of it. */
interface Answer {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

/** What a call meets with. Those made by {@link answered} and {@link broken} never reach the simulator. */
export interface Fault {
  /** The simulator sees the call. */
  readonly passedOn: boolean
  /** Instead of sending the answer. Null where the call was not passed on. */
  readonly spoil: (response: ServerResponse, answer: Answer | null) => void
}

/** The connection is reset: before the call was passed on, or after the change was made and before it is answered. */
export function broken(when: 'before' | 'after'): Fault {
  return { passedOn: when === 'after', spoil: (response) => reset(response) }
}

/** The answer is cut after this share of it; the connection goes, or all looks well but for the XML. */
export function cut(
  share: number,
  how: 'content-length fits' | 'content-length says more' | 'chunks' | 'chunks end',
): Fault {
  return {
    passedOn: true,
    spoil: (response, answer) => {
      const whole = Buffer.from(answer?.body ?? '')
      const part = whole.subarray(0, Math.floor(whole.length * share))
      const length = how === 'content-length fits' ? part.length : whole.length
      const framing = how.startsWith('chunks') ? {} : { 'content-length': String(length) }
      response.writeHead(answer?.status ?? 200, { 'content-type': 'text/xml; charset=utf-8', ...framing })
      response.flushHeaders()
      if (how === 'content-length fits' || how === 'chunks end') response.end(part)
      else response.write(part, () => response.socket?.destroy())
    },
  }
}

/** The answer comes so late; with `bytes` it then comes in pieces of so many, with the same pause between them. */
export function slow(ms: number, bytes = Number.POSITIVE_INFINITY): Fault {
  return {
    passedOn: true,
    spoil: (response, answer) => {
      const whole = Buffer.from(answer?.body ?? '')
      let at = 0
      const next = (): void => {
        if (response.destroyed) return
        if (at === 0) response.writeHead(answer?.status ?? 200, answer?.headers)
        response.write(whole.subarray(at, at + bytes))
        at += bytes
        if (at >= whole.length) response.end()
        else setTimeout(next, ms).unref()
      }
      setTimeout(next, ms).unref()
    },
  }
}

/** The answer is there, and held back until this resolves. */
export function held(until: Promise<unknown>): Fault {
  return {
    passedOn: true,
    spoil: (response, answer) => {
      void until.then(() => response.writeHead(answer?.status ?? 200, answer?.headers).end(answer?.body))
    },
  }
}

/** Nothing is ever said; not even when the call was passed on. */
export function silence(passedOn = false): Fault {
  return { passedOn, spoil: () => {} }
}

export function answered(
  status: number,
  body: string,
  contentType = 'text/xml; charset=utf-8',
  passedOn = false,
): Fault {
  return {
    passedOn,
    spoil: (response) => response.writeHead(status, { 'content-type': contentType }).end(body),
  }
}

/** A SOAP fault of vim25. */
export function refused(name: string, inside = ''): Fault {
  const detail = `<${name}Fault xmlns="urn:vim25" xsi:type="${name}">${inside}</${name}Fault>`
  return answered(
    500,
    `<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>injected</faultstring><detail>${detail}</detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`,
  )
}

/** The simulator's answer with something else in it. */
export function rewritten(change: (body: string) => string): Fault {
  return {
    passedOn: true,
    spoil: (response, answer) => {
      const body = Buffer.from(change(answer?.body ?? ''))
      response.writeHead(answer?.status ?? 200, { 'content-type': 'text/xml; charset=utf-8' }).end(body)
    },
  }
}

/** An answer that does not end. The proxy itself stops after 256 MiB. */
export function flood(): Fault {
  return {
    passedOn: false,
    spoil: (response) => {
      const block = Buffer.alloc(1 << 20, '<a/>')
      let blocks = 0
      const more = (): void => {
        while (!response.destroyed && blocks++ < 256)
          if (!response.write(block)) return void response.once('drain', more)
        response.destroy()
      }
      response.writeHead(200, { 'content-type': 'text/xml' })
      response.write('<?xml version="1.0"?><x>')
      more()
    },
  }
}

/** Every task is told to have ended with this fault. */
export function failedTask(name: string): Fault {
  const error = `<propSet><name>info.error</name><val xsi:type="LocalizedMethodFault"><fault xsi:type="${name}"/><localizedMessage>injected</localizedMessage></val></propSet>`
  return rewritten((body) =>
    body.replace(/(<propSet><name>info\.state<\/name><val[^>]*>)\w+(<\/val><\/propSet>)/g, `$1error$2${error}`),
  )
}

export interface ProxiedCall {
  readonly method: string
  /** Id of the object that it is called on. */
  readonly self: string
  readonly body: string
  /** It came over a session that is known by this cookie; '' for none. */
  readonly cookie: string
  passedOn: boolean
}

export interface FaultRule {
  /** Default: any. */
  readonly method?: string
  /** Only calls for which it is true. */
  readonly when?: (call: ProxiedCall) => boolean
  /** Calls that fit and are left alone first. Default 0. */
  readonly after?: number
  /** Default: all that follow. */
  readonly times?: number
  readonly fault: Fault
}

interface Rule {
  readonly rule: FaultRule
  seen: number
  hits: number
}

export class FaultProxy {
  readonly calls: ProxiedCall[] = []
  /** TLS connections that were made to the proxy, or tried. */
  connections = 0
  /** The simulator's port; may change while it runs. */
  upstream: number
  readonly tcpPort: number
  readonly #server: Server
  readonly #agent = new Agent({ keepAlive: true, rejectUnauthorized: false, maxSockets: 64 })
  readonly #sockets = new Set<Socket>()
  #rules: Rule[] = []
  #refusing = false

  private constructor(server: Server, upstream: number) {
    this.#server = server
    this.upstream = upstream
    this.tcpPort = (server.address() as AddressInfo).port
    server.on('connection', (socket: Socket) => {
      this.connections++
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => this.#sockets.delete(socket))
      if (this.#refusing) socket.resetAndDestroy()
    })
    server.on('tlsClientError', () => {})
    server.on('request', (incoming, response) => this.#serve(incoming, response))
  }

  static async start(upstream: number, certificate: CertificateFiles): Promise<FaultProxy> {
    const server = createServer(pem(certificate))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new FaultProxy(server, upstream)
  }

  get url(): string {
    return `https://127.0.0.1:${this.tcpPort}/sdk`
  }

  /** From now on; the rule made last is asked first. @returns how often it was met with so far. */
  inject(rule: FaultRule): { readonly hits: number } {
    const made: Rule = { rule, seen: 0, hits: 0 }
    this.#rules.unshift(made)
    return made
  }

  /** All goes well again; what hangs, hangs on. */
  heal(): void {
    this.#rules = []
    this.#refusing = false
  }

  /** Nobody is let in: connections are reset, those that are there too. */
  refuse(): void {
    this.#refusing = true
    this.cut()
  }

  /** Another certificate and key for connections from now on; those that are there are cut. */
  present(certificate: CertificateFiles): void {
    this.#server.setSecureContext(pem(certificate))
    this.cut()
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  count(method: string, self?: string): number {
    return this.#of(method, self).length
  }

  /** Calls that the simulator has seen. */
  passed(method: string, self?: string): ProxiedCall[] {
    return this.#of(method, self).filter(({ passedOn }) => passedOn)
  }

  async stop(): Promise<void> {
    this.cut()
    this.#agent.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #of(method: string, self: string | undefined): ProxiedCall[] {
    return this.calls.filter((call) => call.method === method && (self === undefined || call.self === self))
  }

  #serve(incoming: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => {})
    const chunks: Buffer[] = []
    incoming.on('error', () => {})
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const [, method = '', self = ''] = /<soapenv:Body><(\w+)[^>]*><_this[^>]*>([^<]*)</.exec(body) ?? []
      const call: ProxiedCall = { method, self, body, cookie: incoming.headers.cookie ?? '', passedOn: false }
      this.calls.push(call)
      const fault = this.#faultFor(call)
      if (fault !== null && !fault.passedOn) fault.spoil(response, null)
      else this.#passOn(call, incoming, response, fault)
    })
  }

  #faultFor(call: ProxiedCall): Fault | null {
    for (const one of this.#rules) {
      const { method, when, after = 0, times = Number.POSITIVE_INFINITY, fault } = one.rule
      if ((method !== undefined && method !== call.method) || when?.(call) === false) continue
      if (one.seen++ < after || one.hits >= times) continue
      one.hits++
      return fault
    }
    return null
  }

  #passOn(call: ProxiedCall, incoming: IncomingMessage, response: ServerResponse, fault: Fault | null): void {
    call.passedOn = true
    const onward = request({
      agent: this.#agent,
      host: '127.0.0.1',
      port: this.upstream,
      path: incoming.url,
      method: 'POST',
      headers: { ...incoming.headers, host: `127.0.0.1:${this.upstream}`, connection: 'keep-alive' },
    })
    // Whoever no longer waits is no longer waited for: as between a client and the server itself.
    response.on('close', () => onward.destroy())
    onward.on('error', () => reset(response))
    onward.on('response', (answer) => {
      const chunks: Buffer[] = []
      answer.on('error', () => {})
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => {
        const body = Buffer.concat(chunks).toString()
        const headers: Record<string, string> = { 'content-type': answer.headers['content-type'] ?? 'text/xml' }
        const [cookie] = answer.headers['set-cookie'] ?? []
        if (cookie !== undefined) headers['set-cookie'] = cookie
        const whole = { status: answer.statusCode ?? 200, headers, body }
        if (fault !== null) fault.spoil(response, whole)
        else response.writeHead(whole.status, headers).end(body)
      })
    })
    onward.end(call.body)
  }
}

function reset(response: ServerResponse): void {
  const { socket } = response
  // Of TLS: the connection below it is what is reset.
  socket?.destroy()
}

function pem({ cert, key }: CertificateFiles): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(cert), key: readFileSync(key) }
}
