import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ANONYMOUS,
  DEFAULT_PROXY_RULES,
  type Identity,
  type IdentitySources,
  identify,
  newSecret,
  type RequestFacts,
  TICKET_PREFIX,
  TICKET_SUBPROTOCOL,
  TOKEN_PREFIX,
  withoutTickets,
} from '../../src/access/index.ts'
import { person } from './support.ts'

const TOKEN = newSecret(TOKEN_PREFIX)
const EXPIRED = newSecret(TOKEN_PREFIX)
const TICKET = newSecret(TICKET_PREFIX)
const SOURCES: IdentitySources = {
  token: (token) =>
    token === TOKEN
      ? { kind: 'valid', subject: { ...ANONYMOUS, user: 'by-token', via: 'token' } }
      : token === EXPIRED
        ? { kind: 'expired', name: 'old' }
        : { kind: 'unknown' },
  ticket: (ticket) => (ticket === TICKET ? person('by-ticket') : null),
  certificate: { user: 'cn', groupsFromOu: true },
  proxy: DEFAULT_PROXY_RULES,
}
const request = (over: Partial<RequestFacts> = {}): RequestFacts => ({
  headers: {},
  fromTrustedProxy: false,
  certificate: null,
  upgrade: false,
  ...over,
})
const CERTIFICATE = { subject: 'OU=ops\nCN=by-certificate', subjectAltName: null }
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const offer = (ticket: string) => ({ 'sec-websocket-protocol': `vspc.v1, ${TICKET_SUBPROTOCOL}${ticket}` })
const userOf = (identity: Identity) =>
  identity.kind === 'subject' ? (identity.subject.user ?? 'nobody') : `${identity.status}: ${identity.reason}`

describe('who it is', () => {
  test.each<[string, Partial<RequestFacts>, string]>([
    ['nothing is shown', {}, 'nobody'],
    ['a token', { headers: bearer(TOKEN) }, 'by-token'],
    ['a token, with the scheme in another case', { headers: { authorization: `bEARER  ${TOKEN} ` } }, 'by-token'],
    ['a certificate', { certificate: CERTIFICATE }, 'by-certificate'],
    ['a token and a certificate', { headers: bearer(TOKEN), certificate: CERTIFICATE }, 'by-token'],
    ['a ticket', { headers: offer(TICKET), upgrade: true }, 'by-ticket'],
    ['a ticket and a certificate', { headers: offer(TICKET), upgrade: true, certificate: CERTIFICATE }, 'by-ticket'],
    ['a ticket where no WebSocket is asked for', { headers: offer(TICKET) }, 'nobody'],
    ['a header of a trusted proxy', { headers: { 'x-forwarded-user': 'ann' }, fromTrustedProxy: true }, 'ann'],
    ['a header of anybody', { headers: { 'x-forwarded-user': 'root' } }, 'nobody'],
    [
      'a header of anybody with a certificate',
      { headers: { 'x-forwarded-user': 'root' }, certificate: CERTIFICATE },
      'by-certificate',
    ],
    [
      "a proxy's own certificate, and whom it speaks for",
      { headers: { 'x-forwarded-user': 'ann' }, fromTrustedProxy: true, certificate: CERTIFICATE },
      'ann',
    ],
    ["a proxy's own certificate alone", { fromTrustedProxy: true, certificate: CERTIFICATE }, 'nobody'],
    [
      'a token through a proxy that has its own login',
      { headers: { 'x-forwarded-user': 'ann', ...bearer(TOKEN) }, fromTrustedProxy: true },
      'by-token',
    ],
    [
      "a proxy's Basic login passed on",
      { headers: { 'x-forwarded-user': 'ann', authorization: 'Basic YTpi' }, fromTrustedProxy: true },
      'ann',
    ],
    [
      "a proxy's foreign token passed on",
      { headers: { 'x-forwarded-user': 'ann', ...bearer('eyJhbGciOi') }, fromTrustedProxy: true },
      'ann',
    ],
    [
      'a name in UTF-8, as node has its bytes',
      { headers: { 'x-forwarded-user': Buffer.from('Zoë').toString('latin1') }, fromTrustedProxy: true },
      'Zoë',
    ],
  ])('%s', (_name, facts, user) => {
    expect(userOf(identify(request(facts), SOURCES))).toBe(user)
  })
})

describe('what is shown and wrong never falls through to something else', () => {
  test.each<[string, Partial<RequestFacts>, string]>([
    ['an unknown token', { headers: bearer(newSecret(TOKEN_PREFIX)) }, '401: the token is not known'],
    ['an expired token', { headers: bearer(EXPIRED) }, '401: the token "old" has expired'],
    [
      'a mistyped token',
      { headers: bearer(TOKEN.replace(/.$/, (last) => (last === '0' ? '1' : '0'))) },
      '401: the token cannot be one of this server: its checksum',
    ],
    ['a cut token', { headers: bearer(TOKEN.slice(0, 20)) }, '401: the token cannot be one of this server: it has 20'],
    ['a password', { headers: { authorization: 'Basic cm9vdDpyb290' } }, '401: the Authorization header'],
    ['nothing behind Bearer', { headers: { authorization: 'Bearer' } }, '401: the Authorization header'],
    ['an empty header', { headers: { authorization: '' } }, '401: the Authorization header'],
    ['a ticket as a token', { headers: bearer(TICKET) }, '401: the token cannot be'],
    ['an unknown ticket', { headers: offer(newSecret(TICKET_PREFIX)), upgrade: true }, '401: the ticket is not valid'],
    ['a token as a ticket', { headers: offer(TOKEN), upgrade: true }, '401: the ticket is not valid'],
    [
      'two tickets',
      {
        headers: { 'sec-websocket-protocol': `${TICKET_SUBPROTOCOL}${TICKET},${TICKET_SUBPROTOCOL}${TICKET}` },
        upgrade: true,
      },
      '401: the ticket',
    ],
    [
      'a ticket and a token',
      { headers: { ...offer(TICKET), ...bearer(TOKEN) }, upgrade: true },
      '400: the request has a ticket and a token',
    ],
  ])('%s', (_name, facts, expected) => {
    for (const certificate of [null, CERTIFICATE]) {
      expect(userOf(identify(request({ ...facts, certificate }), SOURCES))).toContain(expected)
    }
  })

  test.each([
    ['two headers, joined', 'ann, root'],
    ['empty', ''],
    ['a control character', 'ann\u0007'],
    ['a line break', 'ann\r\nx: y'],
    ['a blank at the end', 'ann '],
    ['no UTF-8', 'Zo\u00eb'],
    ['what turns the writing direction', Buffer.from('ann\u202etoor').toString('latin1')],
    ['too long', 'a'.repeat(129)],
    ['an array', ['ann', 'root']],
  ])('a trusted proxy that names nobody in particular: %s', (_name, user) => {
    const facts = request({ headers: { 'x-forwarded-user': user }, fromTrustedProxy: true, certificate: CERTIFICATE })
    expect(userOf(identify(facts, SOURCES))).toBe('400: x-forwarded-user is not the name of one user')
  })

  test('nothing that was shown is in what is said about it', () => {
    const secrets = [TOKEN, EXPIRED, TICKET, newSecret(TOKEN_PREFIX), 'hunter2', `${TOKEN}x`]
    for (const secret of secrets) {
      for (const headers of [bearer(secret), offer(secret), { authorization: secret }]) {
        const said = JSON.stringify(
          identify(request({ headers, upgrade: true }), { ...SOURCES, token: null, ticket: null }),
        )
        expect(said).not.toContain(secret.slice(7, 20) || secret)
      }
    }
  })
})

describe('groups of a trusted proxy', () => {
  const groupsOf = (groups: string | string[]) => {
    const headers = { 'x-forwarded-user': 'ann', 'x-forwarded-groups': groups }
    const identity = identify(request({ headers, fromTrustedProxy: true }), SOURCES)
    return identity.kind === 'subject' ? identity.subject.groups : identity.reason
  }
  test.each([
    ['ops,dev', ['ops', 'dev']],
    [' ops , dev,, ops ', ['ops', 'dev']],
    ['', []],
    ['ops,\u0000', 'x-forwarded-groups is not a list of groups'],
    [['ops', 'dev'], 'x-forwarded-groups is not a list of groups'],
    [Array.from({ length: 257 }, (_, i) => `g${i}`).join(','), 'x-forwarded-groups lists more than 256 groups'],
  ])('%j', (text, groups) => {
    expect(groupsOf(text)).toEqual(groups)
  })

  test('groups without a user, or from anybody, count for nothing', () => {
    const headers = { 'x-forwarded-groups': 'ops' }
    for (const fromTrustedProxy of [true, false]) {
      expect(identify(request({ headers, fromTrustedProxy }), SOURCES)).toMatchObject({ subject: ANONYMOUS })
    }
    const both = { 'x-forwarded-user': 'root', 'x-forwarded-groups': 'ops' }
    const fromAnybody = identify(request({ headers: { ...both, ...bearer(TOKEN) } }), SOURCES)
    expect(fromAnybody).toMatchObject({
      subject: { user: 'by-token', groups: [] },
      notes: ['x-forwarded-user is ignored: it does not come from a trusted proxy'],
    })
  })
})

test('a way in that is closed lets nobody in', () => {
  const closed: IdentitySources = { token: null, ticket: null, certificate: null, proxy: null }
  const headers = { 'x-forwarded-user': 'root' }
  const facts = request({ headers, fromTrustedProxy: true, certificate: CERTIFICATE })
  expect(userOf(identify(facts, closed))).toBe('nobody')
  expect(userOf(identify(request({ headers: bearer(TOKEN) }), closed))).toBe('401: this server knows no tokens')
  expect(userOf(identify(request({ headers: offer(TICKET), upgrade: true }), closed))).toContain('401')
})

test('no headers at all, of any kind, make somebody of nobody, but the real secrets', () => {
  const header = fc.constantFrom(
    'authorization',
    'x-forwarded-user',
    'x-forwarded-groups',
    'sec-websocket-protocol',
    'x-user',
  )
  const value = fc.oneof(
    fc.string(),
    fc.constantFrom('Bearer ', `Bearer ${TOKEN} ${TOKEN}`, `Basic ${TOKEN}`, 'root', `${TICKET_SUBPROTOCOL}x`),
  )
  fc.assert(
    fc.property(fc.dictionary(header, value), fc.boolean(), (headers, upgrade) => {
      const identity = identify(request({ headers, upgrade }), SOURCES)
      if (identity.kind === 'subject') expect(identity.subject).toBe(ANONYMOUS)
    }),
  )
})

test('tickets are never among the subprotocols that an answer is chosen from', () => {
  expect(withoutTickets(['vspc.v1', `${TICKET_SUBPROTOCOL}${TICKET}`])).toEqual(['vspc.v1'])
})
