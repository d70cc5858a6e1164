import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { digestOf, newSecret, TOKEN_PREFIX } from '../../../src/access/index.ts'
import type { Settings } from '../../../src/app/index.ts'
import type { Limits } from '../../../src/base/index.ts'
import { type AppUnderTest, startApp } from '../support.ts'

export interface TokenSpec {
  readonly roles?: readonly string[]
  readonly ports?: readonly string[]
  readonly groups?: readonly string[]
  readonly expires?: string
}

/** A file of tokens, and the tokens by their names. */
export class TokenFile {
  readonly path: string
  readonly folder: string
  readonly #specs = new Map<string, TokenSpec>()
  readonly #tokens = new Map<string, string>()

  constructor(tokens: Readonly<Record<string, TokenSpec>> = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'vspc-tokens-'))
    onTestFinished(() => rmSync(this.folder, { recursive: true, force: true }))
    this.path = join(this.folder, 'tokens.json')
    for (const [name, spec] of Object.entries(tokens)) this.#specs.set(name, spec)
    this.#write()
  }

  of(name: string): string {
    const token = this.#tokens.get(name) ?? newSecret(TOKEN_PREFIX)
    this.#tokens.set(name, token)
    return token
  }

  /** The header of a request by it. */
  bearer(name: string): { authorization: string } {
    return { authorization: `Bearer ${this.of(name)}` }
  }

  set(name: string, spec: TokenSpec): void {
    this.#specs.set(name, spec)
    this.#write()
  }

  remove(name: string): void {
    this.#specs.delete(name)
    this.#write()
  }

  #write(): void {
    const tokens = [...this.#specs].map(([name, { roles = [], ports = ['*'], groups = [], expires }]) => ({
      name,
      sha256: digestOf(this.of(name)),
      groups,
      roles,
      ports,
      created: '2026-01-01T00:00:00Z',
      ...(expires === undefined ? {} : { expires }),
    }))
    writeFileSync(this.path, JSON.stringify({ version: 1, tokens }), { mode: 0o600 })
  }
}

/** A server with access control by these tokens and settings. */
export async function startGuarded(
  tokens: TokenFile,
  access: NonNullable<Settings['access']> = {},
  settings: Settings = {},
  limits: Partial<Limits> = {},
): Promise<AppUnderTest> {
  return startApp({ ...settings, access: { tokens: tokens.path, ...access } }, limits)
}
