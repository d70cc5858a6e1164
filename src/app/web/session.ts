/**
 * Who we are to the server. Where it asks for tokens, somebody pastes one; it stays in this tab until that is closed, goes
 * out in one header, and nowhere else: never into an address, a log or another tab.
 */

const KEY = 'vspc.token'
const ANSWER_MS = 15_000

/** What `GET /api/v1/whoami` answers. */
export interface WhoAmI {
  /** False: the server asks nobody. */
  readonly accessControl: boolean
  readonly who: string | null
  readonly via: string
  /** On all ports. */
  readonly capabilities: readonly string[]
}

let token = stored()
let who: WhoAmI | null = null
/** What to do when the server wants to know who we are. */
let onRefused: ((why: string) => void) | null = null

export function hasToken(): boolean {
  return token !== null
}

export function whoAmI(): WhoAmI | null {
  return who
}

/** Of every request to the server. */
export function authorization(): Record<string, string> {
  return token === null ? {} : { authorization: `Bearer ${token}` }
}

/** An answer said so. Only the first one is told. */
export function refused(why: string): void {
  const tell = onRefused
  onRefused = null
  if (token !== null) forget()
  tell?.(why)
}

export function watchRefusals(tell: (why: string) => void): void {
  onRefused = tell
}

/** Asks the server who we are to it; a stored token that no longer counts is forgotten. @returns why, if it was. */
export async function startSession(): Promise<string> {
  const problem = await ask(token)
  // Not there: then others find out that it comes back.
  if (who === null || problem === '' || token === null) return who === null ? '' : problem
  forget()
  await ask(null)
  return problem
}

/** Takes a token for this tab. @returns what is wrong with it; empty = nothing. */
export async function logIn(text: string): Promise<string> {
  const trimmed = text.trim()
  if (!/^[\x21-\x7e]+$/.test(trimmed)) return 'that is no token: it begins with vspct_ and has no blanks in it'
  const problem = await ask(trimmed)
  if (problem !== '') return problem
  token = trimmed
  try {
    sessionStorage.setItem(KEY, trimmed)
  } catch {
    return 'this browser lets us keep nothing: allow storage for this page'
  }
  return ''
}

export function forget(): void {
  token = null
  try {
    sessionStorage.removeItem(KEY)
  } catch {
    // Then nothing is stored there.
  }
}

/** @returns what is wrong; empty = nothing. `who` is null where the server does not answer at all. */
async function ask(withToken: string | null): Promise<string> {
  const headers: Record<string, string> = withToken === null ? {} : { authorization: `Bearer ${withToken}` }
  try {
    const answer = await fetch('api/v1/whoami', { headers, signal: AbortSignal.timeout(ANSWER_MS), cache: 'no-store' })
    const body = (await answer.json()) as WhoAmI & { detail?: string }
    if (answer.ok) who = body
    else who ??= { accessControl: true, who: null, via: 'anonymous', capabilities: [] }
    return answer.ok ? '' : String(body.detail ?? `the server answered ${answer.status}`)
  } catch (error) {
    return `the server does not answer (${String(error)})`
  }
}

function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY)
  } catch {
    // Storage is forbidden here: then there is none.
    return null
  }
}
