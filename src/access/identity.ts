/**
 * Who makes a request, from what it brings. Pure.
 *
 * One thing is believed, never a mixture: a ticket, else a token, else what a trusted proxy says, else a certificate. What is
 * shown and wrong ends in a problem: it never falls through to the next, which may be more powerful.
 */
import { type CertificateFacts, type CertificateRules, certificateSubject } from './certificate.ts'
import { secretFault, TICKET_PREFIX, TOKEN_PREFIX } from './secret.ts'
import { ANONYMOUS, isPrincipal, MAX_GROUPS, type Subject } from './subject.ts'
import type { TokenMatch } from './tokens.ts'

/** A WebSocket of a browser offers it beside `vspc.v1`; the server answers with that one only. */
export const TICKET_SUBPROTOCOL = 'vspc.ticket.'

export interface RequestFacts {
  /** Names in lower case, as node:http has them. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** The other end of the socket is a proxy that may say who its users are. */
  readonly fromTrustedProxy: boolean
  /** Null unless one was shown and its chain is verified. */
  readonly certificate: CertificateFacts | null
  /** It asks for a WebSocket: only there tickets count. */
  readonly upgrade: boolean
}

/** Null: that way in is closed. */
export interface IdentitySources {
  readonly token: ((token: string) => TokenMatch) | null
  readonly ticket: ((ticket: string) => Subject | null) | null
  readonly certificate: CertificateRules | null
  readonly proxy: ProxyRules | null
}

/** Names of headers, in lower case. */
export interface ProxyRules {
  readonly userHeader: string
  readonly groupsHeader: string | null
}

export const DEFAULT_PROXY_RULES: ProxyRules = { userHeader: 'x-forwarded-user', groupsHeader: 'x-forwarded-groups' }

export type Identity =
  /** `notes`: for the log, what was not believed. */
  | { readonly kind: 'subject'; readonly subject: Subject; readonly notes: readonly string[] }
  /** `reason`: fit for the client and the log; no secret is in it, nor any other text from outside. */
  | { readonly kind: 'problem'; readonly status: 400 | 401; readonly reason: string }

export function identify(request: RequestFacts, sources: IdentitySources): Identity {
  const { headers, fromTrustedProxy, certificate } = request
  const ticket = ticketOf(request)
  const token = bearerOf(headers['authorization'])
  const said = sources.proxy === null ? undefined : headers[sources.proxy.userHeader]
  const proxied = fromTrustedProxy && sources.proxy !== null && said !== undefined
  const notes: string[] = []
  if (said !== undefined && !fromTrustedProxy) {
    notes.push(`${sources.proxy?.userHeader} is ignored: it does not come from a trusted proxy`)
  }
  if (ticket !== null) {
    if (token !== null && isOurs(token)) return problem(400, 'the request has a ticket and a token: show one of them')
    return withNotes(byTicket(ticket, sources.ticket), notes)
  }
  // What a proxy passes on of its own login (Basic, another one's token) is none of our business.
  if (token !== null && (!proxied || isOurs(token))) return withNotes(byToken(token, sources.token), notes)
  if (proxied && sources.proxy !== null) return byProxy(headers, sources.proxy)
  // The certificate of a proxy is its own, not that of whom it speaks for.
  if (certificate !== null && sources.certificate !== null && !(fromTrustedProxy && sources.proxy !== null)) {
    const subject = certificateSubject(certificate, sources.certificate)
    if (typeof subject === 'string') return problem(401, `the certificate does not say who you are: ${subject}`)
    return { kind: 'subject', subject, notes }
  }
  return { kind: 'subject', subject: ANONYMOUS, notes }
}

/** The subprotocols that are left when tickets are taken out, so that none is ever repeated in an answer. */
export function withoutTickets(protocols: Iterable<string>): string[] {
  return [...protocols].filter((protocol) => !protocol.startsWith(TICKET_SUBPROTOCOL))
}

/** Null = none; an empty one = more than one, or what is none. */
function ticketOf({ headers, upgrade }: RequestFacts): string | null {
  const offered = headers['sec-websocket-protocol']
  if (!upgrade || offered === undefined) return null
  const protocols = (typeof offered === 'string' ? offered : offered.join(',')).split(',').map((one) => one.trim())
  const tickets = protocols.filter((one) => one.startsWith(TICKET_SUBPROTOCOL))
  if (tickets.length === 0) return null
  return tickets.length === 1 ? (tickets[0] ?? '').slice(TICKET_SUBPROTOCOL.length) : ''
}

/** What follows `Bearer`; an empty text for another scheme, null without the header. */
function bearerOf(header: string | readonly string[] | undefined): string | null {
  if (header === undefined) return null
  if (typeof header !== 'string') return ''
  return /^bearer +(\S+) *$/i.exec(header)?.[1] ?? ''
}

function isOurs(token: string): boolean {
  return token.startsWith(TOKEN_PREFIX)
}

function byTicket(ticket: string, redeem: IdentitySources['ticket']): Identity {
  const subject = redeem === null || secretFault(TICKET_PREFIX, ticket) !== null ? null : redeem(ticket)
  if (subject === null) return problem(401, 'the ticket is not valid: each is for one use, within seconds')
  return { kind: 'subject', subject, notes: [] }
}

function byToken(token: string, find: IdentitySources['token']): Identity {
  if (find === null) return problem(401, 'this server knows no tokens')
  if (token === '') return problem(401, 'the Authorization header is not "Bearer" and a token')
  const fault = secretFault(TOKEN_PREFIX, token)
  if (fault !== null) return problem(401, `the token cannot be one of this server: ${fault}`)
  const match = find(token)
  switch (match.kind) {
    case 'valid':
      return { kind: 'subject', subject: match.subject, notes: [] }
    case 'expired':
      return problem(401, `the token "${match.name}" has expired`)
    case 'unknown':
      return problem(401, 'the token is not known to this server: it may have been removed')
  }
}

function byProxy(headers: RequestFacts['headers'], { userHeader, groupsHeader }: ProxyRules): Identity {
  const user = textOf(headers[userHeader])
  if (user === null || !isPrincipal(user)) {
    return problem(400, `${userHeader} is not the name of one user`)
  }
  const list = groupsHeader === null ? undefined : headers[groupsHeader]
  const text = list === undefined ? '' : textOf(list)
  if (text === null) return problem(400, `${groupsHeader} is not a list of groups`)
  const groups = text
    .split(',')
    .map((group) => group.trim())
    .filter((group) => group !== '')
  if (groups.length > MAX_GROUPS) return problem(400, `${groupsHeader} lists more than ${MAX_GROUPS} groups`)
  if (!groups.every(isPrincipal)) return problem(400, `${groupsHeader} is not a list of groups`)
  const subject: Subject = { user, groups: [...new Set(groups)], via: 'proxy', grants: [], credential: null }
  return { kind: 'subject', subject, notes: [] }
}

/** node:http has each byte of a header as one character; names are UTF-8. Null for what is neither that nor one header. */
function textOf(header: string | readonly string[] | undefined): string | null {
  if (typeof header !== 'string') return null
  const bytes = new Uint8Array(header.length)
  for (let at = 0; at < header.length; at++) {
    const code = header.charCodeAt(at)
    if (code > 0xff) return null
    bytes[at] = code
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    // Bytes that are no UTF-8 name nobody.
    return null
  }
}

function withNotes(identity: Identity, notes: readonly string[]): Identity {
  return identity.kind === 'subject' ? { ...identity, notes: [...identity.notes, ...notes] } : identity
}

function problem(status: 400 | 401, reason: string): Identity {
  return { kind: 'problem', status, reason }
}
