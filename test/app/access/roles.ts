/** People of every kind at one server with HTTPS, and how each asks it for something. */
import { readFileSync } from 'node:fs'
import { type RequestOptions, request } from 'node:https'
import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import type { Capability } from '../../../src/access/index.ts'
import type { CertificateFiles } from '../../support/certificates.ts'
import type { AppUnderTest } from '../support.ts'
import { startGuarded, type TokenFile } from './support.ts'

export interface Role {
  /** What they may at vm1, and on all ports; written down here, not asked of the policy. */
  readonly here: readonly Capability[]
  readonly everywhere: readonly Capability[]
  /** False: what they do is refused with 401. */
  readonly known: boolean
  readonly headers?: (tokens: TokenFile) => Record<string, string>
  readonly certificate?: true
  /** Connects from there: 127.0.0.1 is the trusted proxy. */
  readonly from?: string
}

const READ = ['list', 'read'] as const
const WRITE = [...READ, 'write', 'break'] as const
const KICK = [...WRITE, 'kick'] as const
const ALL = [...KICK, 'admin'] as const
const bearer = (name: string) => (tokens: TokenFile) => tokens.bearer(name)
const same = (capabilities: readonly Capability[]) => ({ here: capabilities, everywhere: capabilities, known: true })

export const ROLES: Readonly<Record<string, Role>> = {
  anonymous: { here: [], everywhere: [], known: false },
  viewer: { ...same(READ), headers: bearer('viewer') },
  operator: { ...same(WRITE), headers: bearer('operator') },
  supervisor: { ...same(KICK), headers: bearer('supervisor') },
  admin: { ...same(ALL), headers: bearer('admin') },
  'token for vm1 alone': { here: WRITE, everywhere: [], known: true, headers: bearer('here') },
  'token for another VM': { here: [], everywhere: [], known: true, headers: bearer('elsewhere') },
  'token that may list': { ...same(['list']), headers: bearer('lister') },
  'token without any right': { ...same([]), headers: bearer('nothing') },
  'user of the trusted proxy': {
    ...same(WRITE),
    headers: () => ({ 'x-forwarded-user': 'bob', 'x-forwarded-groups': 'staff, ops' }),
    from: '127.0.0.1',
  },
  'trusted proxy that names nobody': { here: [], everywhere: [], known: false, from: '127.0.0.1', certificate: true },
  'who pretends to be the proxy': {
    here: [],
    everywhere: [],
    known: false,
    headers: () => ({ 'x-forwarded-user': 'bob', 'x-forwarded-groups': 'ops' }),
  },
  'user of a certificate': { ...same(KICK), certificate: true },
}

export const TOKENS = {
  viewer: { roles: ['viewer'] },
  operator: { roles: ['operator'] },
  supervisor: { roles: ['supervisor'] },
  admin: { roles: ['admin'] },
  here: { roles: ['operator'], ports: ['vm1'] },
  elsewhere: { roles: ['admin'], ports: ['vm2*'] },
  lister: {},
  nothing: {},
} as const

export interface Site {
  readonly app: AppUnderTest
  readonly tokens: TokenFile
  readonly server: CertificateFiles
  readonly alice: CertificateFiles
  readonly audit: string
}

export function startSite(
  tokens: TokenFile,
  server: CertificateFiles,
  people: CertificateFiles,
  audit: string,
): Promise<AppUnderTest> {
  return startGuarded(
    tokens,
    {
      audit: { file: audit },
      proxies: { trusted: ['127.0.0.1'] },
      failures: { burst: 10_000 },
      rules: [
        { who: ['group:ops'], role: 'operator' },
        { who: ['user:alice'], role: 'supervisor' },
        { who: ['token:lister'], can: ['list'] },
      ],
    },
    { httpCert: server.cert, httpKey: server.key, httpClientCa: people.cert, logLevel: 'trace' },
  )
}

function connection({ server, alice, tokens }: Site, role: Role): RequestOptions {
  return {
    ca: readFileSync(server.cert),
    localAddress: role.from ?? '127.0.0.2',
    headers: role.headers?.(tokens) ?? {},
    agent: false,
    ...(role.certificate ? { cert: readFileSync(alice.cert), key: readFileSync(alice.key) } : {}),
  }
}

export interface Answered {
  readonly status: number
  readonly headers: Record<string, unknown>
  readonly body: string
}

export function ask(site: Site, role: Role, method: string, path: string, json?: unknown): Promise<Answered> {
  const options = connection(site, role)
  const body = json === undefined ? undefined : JSON.stringify(json)
  const headers = { ...options.headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
  return new Promise((resolve, reject) => {
    const sent = request(`${site.app.url}${path}`, { ...options, headers, method }, (response) => {
      const done = (text: string) =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text })
      // One that has no end.
      if (response.headers['content-type']?.startsWith('text/event-stream')) {
        done('')
        sent.destroy()
        return
      }
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => done(Buffer.concat(chunks).toString('utf8')))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

export function openSocket(site: Site, role: Role, path: string, protocols = ['vspc.v1']): WebSocket {
  const { headers, ...options } = connection(site, role)
  const socket = new WebSocket(`${site.app.url.replace('https', 'wss')}${path}`, protocols, {
    ...options,
    headers: headers as Record<string, string>,
  })
  socket.on('error', () => {})
  onTestFinished(() => socket.terminate())
  return socket
}
