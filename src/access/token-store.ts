/** The tokens of a running server: looked up in memory, read again when their file changes. */
import { type Clock, cleanMessage, errorMessage, type Logger, type Timer } from '../base/index.ts'
import type { Roles } from './access-config.ts'
import { digestOf } from './digest.ts'
import type { Subject } from './subject.ts'
import { fingerprintOf, loadTokens } from './token-file.ts'
import { type TokenMatch, type TokenRecord, TokenTable } from './tokens.ts'

/** By asking, not by watching: that also works on network file systems, and through links that are switched over. */
const LOOK_MS = 2_000

export interface TokenStoreOptions {
  readonly path: string
  /** Nobody has named it: people may come in by other ways, and it is only looked for. */
  readonly isDefault?: boolean
  readonly roles: Roles
  readonly clock: Clock
  readonly log: Logger
  /** Others may count now than before: who is attached by a token has to be looked at again. */
  readonly changed?: () => void
}

export class TokenStore {
  readonly #options: TokenStoreOptions
  #roles: Roles
  #records: readonly TokenRecord[] = []
  #table: TokenTable
  /** Of the file as it was last looked at, whether it could be used or not; undefined: never looked at. */
  #fingerprint: string | null | undefined
  /** The last trouble that was logged, until it is over. */
  #told: string | null = null
  #timer: Timer | null = null
  #looking: Promise<void> | null = null
  #closed = false

  private constructor(options: TokenStoreOptions) {
    this.#options = options
    this.#roles = options.roles
    this.#table = new TokenTable([], options.roles)
  }

  /** One that is missing holds no tokens, which is told. @throws VSPC_ACCESS_FILE; ConfigError for one that is broken. */
  static async open(options: TokenStoreOptions): Promise<TokenStore> {
    const store = new TokenStore(options)
    await store.#read(await fingerprintOf(options.path))
    store.#schedule()
    return store
  }

  get size(): number {
    return this.#table.size
  }

  find(token: string): TokenMatch {
    return this.#table.find(digestOf(token), this.#options.clock.wall())
  }

  /** See {@link TokenTable.current}. */
  current(subject: Subject): Subject | null {
    return this.#table.current(subject, this.#options.clock.wall())
  }

  /** After a reload of the configuration. */
  setRoles(roles: Roles): void {
    this.#roles = roles
    this.#use(this.#records)
  }

  /** Looks at the file now. One that is broken leaves the tokens as they are, and is told once. Never rejects. */
  refresh(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null
    })
    return this.#looking
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#looking
  }

  #schedule(): void {
    if (this.#closed) return
    this.#timer = this.#options.clock.after(LOOK_MS, () => void this.refresh().then(() => this.#schedule()))
  }

  async #look(): Promise<void> {
    const { path, log } = this.#options
    try {
      const fingerprint = await fingerprintOf(path)
      if (fingerprint !== this.#fingerprint) await this.#read(fingerprint)
      this.#told = null
    } catch (error) {
      const reason = cleanMessage(errorMessage(error))
      if (reason === this.#told) return
      this.#told = reason
      log.error({ file: path, reason }, 'the tokens cannot be read again: those of before stay in force')
    }
  }

  async #read(fingerprint: string | null): Promise<void> {
    const { path, log } = this.#options
    // Before reading: a file that changes meanwhile is read again.
    this.#fingerprint = fingerprint
    const records = await loadTokens(path)
    if (records === null) {
      const tell = this.#options.isDefault === true ? 'info' : 'warn'
      log[tell]({ file: path }, 'there is no file of tokens: nobody can come in by one')
    }
    this.#use(records ?? [])
    log.info({ file: path, tokens: this.#table.size }, 'tokens read')
  }

  #use(records: readonly TokenRecord[]): void {
    const { path, log, changed } = this.#options
    this.#records = records
    this.#table = new TokenTable(records, this.#roles)
    const { unknownRoles } = this.#table
    if (unknownRoles.length > 0) log.warn({ file: path, unknownRoles }, 'tokens name roles that do not exist')
    changed?.()
  }
}
