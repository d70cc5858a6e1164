/** A vSphere API written by hand, that answers as it is told: for what the simulator cannot show. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { CertificateFiles } from '../support/certificates.ts'

export const NAMESPACES =
  'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'

export function envelope(body: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope ${NAMESPACES}>\n<soapenv:Body>\n${body}\n</soapenv:Body>\n</soapenv:Envelope>`
}

export function soapFault(name: string, words = 'words', inside = ''): string {
  return `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>${words}</faultstring><detail><${name}Fault xmlns="urn:vim25" xsi:type="${name}">${inside}</${name}Fault></detail></soapenv:Fault>`
}

export interface Call {
  readonly method: string
  readonly body: string
  readonly cookie: string | null
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** Text: the content of the response element. `fault:NAME`: a fault. Null: has answered, or never will. */
export type Answerer = (call: Call) => string | null

const SERVICE_CONTENT = `<returnval><rootFolder type="Folder">group-d1</rootFolder><propertyCollector type="PropertyCollector">pc</propertyCollector><viewManager type="ViewManager">vm</viewManager><about><name>Fake</name><version>7.0.3</version><build>1</build><apiType>VirtualCenter</apiType><apiVersion>7.0.3.0</apiVersion><instanceUuid>u</instanceUuid></about><sessionManager type="SessionManager">sm</sessionManager><searchIndex type="SearchIndex">si</searchIndex></returnval>`

export class FakeVsphere {
  readonly calls: Call[] = []
  readonly answers: Record<string, Answerer>
  readonly sockets = new Set<Socket>()
  readonly #server: Server
  /** Sessions that it knows; clear it to forget all. */
  readonly sessions = new Set<string>()
  #logins = 0

  private constructor(server: Server) {
    this.#server = server
    this.answers = {
      RetrieveServiceContent: () => SERVICE_CONTENT,
      Login: ({ response }) => {
        const session = `vmware_soap_session="s${++this.#logins}"`
        this.sessions.add(session)
        response.setHeader('set-cookie', `${session}; Path=/; HttpOnly; Secure`)
        return `<returnval><key>k${this.#logins}</key></returnval>`
      },
      Logout: () => '',
      RetrievePropertiesEx: ({ body }) =>
        body.includes('currentSession')
          ? '<returnval><objects><obj type="SessionManager">sm</obj><propSet><name>currentSession</name><val xsi:type="UserSession"><key>k</key></val></propSet></objects></returnval>'
          : '',
    }
  }

  static async start(certificate: CertificateFiles): Promise<FakeVsphere> {
    const server = createServer({ cert: readFileSync(certificate.cert), key: readFileSync(certificate.key) })
    const fake = new FakeVsphere(server)
    server.on('request', (request, response) => fake.#serve(request, response))
    server.on('secureConnection', (socket: Socket) => {
      fake.sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => fake.sockets.delete(socket))
    })
    server.on('tlsClientError', () => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return fake
  }

  get tcpPort(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `https://127.0.0.1:${this.tcpPort}/sdk`
  }

  count(method: string): number {
    return this.calls.filter((call) => call.method === method).length
  }

  /** Ends every connection without a word. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.cut()
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => {})
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const method = /<soapenv:Body><(\w+)/.exec(body)?.[1] ?? ''
      const call: Call = { method, body, cookie: request.headers.cookie ?? null, request, response }
      this.calls.push(call)
      const open = method === 'RetrieveServiceContent' || method === 'Login'
      const known = call.cookie !== null && this.sessions.has(call.cookie)
      const said = open || known ? this.answers[method]?.(call) : 'fault:NotAuthenticated'
      if (said === null) return
      const fault = /^fault:(\w+)$/.exec(said ?? 'fault:MethodNotFound')?.[1]
      response.statusCode = fault === undefined ? 200 : 500
      response.setHeader('content-type', 'text/xml; charset=utf-8')
      response.end(
        envelope(
          fault === undefined ? `<${method}Response xmlns="urn:vim25">${said}</${method}Response>` : soapFault(fault),
        ),
      )
    })
  }
}
