import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import type { ConsoleRequest } from '../../../src/app/index.ts'
import { TestCertificates } from '../../support/certificates.ts'
import { RawVm } from '../support.ts'
import { Attached } from './attached.ts'
import { openSocket, ROLES, type Role, type Site, startSite, TOKENS } from './roles.ts'
import { TokenFile } from './support.ts'

/** What a console asks for, once it is attached for reading; and what answers it. */
interface Step {
  readonly what: string
  readonly needs: 'read' | 'write' | 'break' | 'kick'
  readonly ask: (victim: Attached) => ConsoleRequest
  /** Of an answer that is no refusal. */
  readonly answer: readonly string[]
  /** An error that is no refusal of access. */
  readonly error?: string
  /** What the other console does before. */
  readonly before?: ConsoleRequest
}

const STEPS: readonly Step[] = [
  { what: 'who', needs: 'read', ask: () => ({ type: 'who' }), answer: ['consoles'] },
  { what: 'write', needs: 'write', ask: () => ({ type: 'mode', mode: 'write' }), answer: ['writer'] },
  // A raw connection has no way to carry one: it is refused after the right was looked at.
  {
    what: 'break',
    needs: 'break',
    ask: () => ({ type: 'break' }),
    answer: [],
    error: 'VSPC_BREAK_UNSUPPORTED',
  },
  { what: 'say', needs: 'write', ask: () => ({ type: 'say', text: 'hello' }), answer: ['said'] },
  { what: 'exclusive', needs: 'write', ask: () => ({ type: 'mode', mode: 'exclusive' }), answer: ['writer'] },
  { what: 'read again', needs: 'read', ask: () => ({ type: 'mode', mode: 'read' }), answer: ['writer'] },
  {
    what: 'stand in the queue',
    needs: 'write',
    before: { type: 'mode', mode: 'exclusive' },
    ask: () => ({ type: 'mode', mode: 'write', wait: true }),
    answer: ['queued'],
  },
  {
    what: 'force',
    needs: 'kick',
    ask: () => ({ type: 'mode', mode: 'write', force: true }),
    answer: ['writer'],
  },
  { what: 'kick', needs: 'kick', ask: ({ id }) => ({ type: 'kick', console: id }), answer: ['writer', 'said'] },
]

const ACTIONS = {
  read: 'read',
  who: 'read',
  write: 'write',
  exclusive: 'write',
  request: 'write',
  say: 'write',
  break: 'break',
  force: 'kick',
  kick: 'kick',
} as const

let certificates: TestCertificates
let folder: string
beforeAll(async () => {
  certificates = await TestCertificates.create()
  folder = mkdtempSync(join(tmpdir(), 'vspc-audit-'))
})
afterAll(async () => {
  await certificates.remove()
  rmSync(folder, { recursive: true, force: true })
})

/** Status of the answer to an upgrade that was refused; null: it was not. */
function refusal(socket: WebSocket): Promise<number | null> {
  return new Promise((resolve) => {
    socket.on('open', () => resolve(null))
    socket.on('unexpected-response', (request, response) => {
      resolve(response.statusCode ?? 0)
      request.destroy()
    })
  })
}

const path = (mode: string) => `/api/v1/ports/vm1/console?mode=${mode}`

test('every action of a console, for everybody', { timeout: 90_000 }, async () => {
  const [server, people] = [await certificates.selfSigned('server'), await certificates.selfSigned('people')]
  const alice = await certificates.issued('alice', people, { subject: '/CN=alice', usage: 'clientAuth' })
  const tokens = new TokenFile(TOKENS)
  const audit = join(folder, 'audit.jsonl')
  const app = await startSite(tokens, server, people, audit)
  const site: Site = { app, tokens, server, alice, audit }
  await RawVm.connect(app)
  const admin = ROLES['admin'] as Role
  const wrong: string[] = []
  for (const [name, role] of Object.entries(ROLES)) {
    for (const mode of ['read', 'write', 'exclusive'] as const) {
      const socket = openSocket(site, role, path(mode))
      const status = await refusal(socket)
      const needs = mode === 'read' ? 'read' : 'write'
      const wanted = !role.known ? 401 : role.here.includes(needs) ? null : role.here.includes('list') ? 403 : 404
      if (status !== wanted) wrong.push(`mode=${mode} as ${name}: ${status}, not ${wanted}`)
      socket.terminate()
    }
    if (!role.here.includes('read')) continue
    const victim = await Attached.open(openSocket(site, admin, path('read')))
    const console = await Attached.open(openSocket(site, role, path('read')))
    const may = Object.entries(ACTIONS).filter(([, needs]) => role.here.includes(needs))
    expect([name, ...console.may].sort()).toEqual([name, ...may.map(([action]) => action)].sort())
    for (const { what, needs, before, ask, answer, error } of STEPS) {
      if (before !== undefined) await victim.ask(before, ['writer'])
      const isAllowed = role.here.includes(needs)
      // Who may not write cannot send a BREAK either.
      const answered = await console.ask(ask(victim), isAllowed ? answer : [])
      const told = answered.type === 'error' ? answered.code : answered.type
      const fits = isAllowed
        ? answer.includes(told) || told === error
        : told === 'VSPC_ACCESS_DENIED' ||
          (what === 'break' && told === 'VSPC_CONSOLE_READ_ONLY') ||
          (what === 'who' && told === 'consoles')
      if (!fits) wrong.push(`${what} as ${name}: ${JSON.stringify(answered)}`)
    }
    if (role.here.includes('kick')) expect((await victim.closed()).code).toBe(4411)
    victim.socket.close()
    console.socket.close()
    await Promise.all([victim.closed(), console.closed()])
  }
  expect(wrong).toEqual([])

  await app.stop()
  const lines = readFileSync(audit, 'utf8').trim().split('\n')
  const found = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  for (const [who, via] of [
    ['supervisor', 'token'],
    ['alice', 'certificate'],
  ] as const) {
    for (const action of ['read', 'write', 'exclusive', 'request', 'say', 'break', 'force', 'kick', 'detached']) {
      expect(found).toContainEqual(expect.objectContaining({ who, via, action: `console.${action}`, allowed: true }))
    }
  }
  expect(found).toContainEqual(expect.objectContaining({ who: 'operator', action: 'console.force', allowed: false }))
  expect(found).toContainEqual(expect.objectContaining({ who: 'viewer', action: 'console.write', allowed: false }))
  expect(found.find(({ who, action }) => who === 'alice' && action === 'console.kick')?.['reason']).toMatch(
    /^console \d+ \(admin\)$/,
  )
})
