/** Certificate and key of the HTTPS listener: checked before they are used, and read again when they change. */
import { X509Certificate } from 'node:crypto'
import { stat } from 'node:fs/promises'
import type { Server as NetServer, Socket } from 'node:net'
import type { SecureContextOptions, Server as TlsServer } from 'node:tls'
import { type Clock, cleanMessage, errorMessage, type Logger, type Timer } from '../../base/index.ts'
import { type CertificateFacts, certificateFacts, loadServerTls } from '../../transport/index.ts'
import type { HttpsFiles } from '../config.ts'

/** By asking, not by watching: that also works through links that are switched over. */
const LOOK_MS = 5_000

export interface HttpsOptions {
  readonly files: HttpsFiles
  readonly clock: Clock
  readonly log: Logger
  /** The certificate is another one: these are its DNS names. */
  readonly renamed: (names: readonly string[]) => void
  /** The CA for certificates of clients is another one: its file's text. */
  readonly authorized: (authority: string | undefined) => void
}

export class HttpsCertificate {
  readonly #options: HttpsOptions
  #context: SecureContextOptions
  #fingerprint: string
  #server: TlsServer | null = null
  #timer: Timer | null = null
  #closed = false
  #reading: Promise<void> | null = null

  private constructor(options: HttpsOptions, context: SecureContextOptions, fingerprint: string) {
    this.#options = options
    this.#context = context
    this.#fingerprint = fingerprint
  }

  /** @throws VspcError VSPC_TLS_FILES naming the file and what is wrong with it. */
  static async load(options: HttpsOptions): Promise<HttpsCertificate> {
    // Before reading: files that change meanwhile are read again.
    const fingerprint = await fingerprintOf(options.files)
    const context = await read(options)
    options.authorized(context.ca as string | undefined)
    return new HttpsCertificate(options, context, fingerprint)
  }

  /** For the server that is made with it. Whether a certificate of a client counts is decided for each request. */
  get serverOptions(): SecureContextOptions & { requestCert: boolean; rejectUnauthorized: boolean } {
    return { ...this.#context, requestCert: this.#options.files.clientCa !== null, rejectUnauthorized: false }
  }

  /** What it shows now. */
  get facts(): CertificateFacts {
    return certificateFacts(new X509Certificate(this.#context.cert as string))
  }

  /** Connections from now on get the newest certificate; those that are there live on. */
  follow(server: NetServer): void {
    this.#server = server as TlsServer
    // Before its handshake, which may end after the CA has changed.
    server.on('connection', (socket: Socket) => verifiedBy.set(socket, this.#authority))
    this.#schedule()
  }

  /** Reads the files now. Where that fails, the old certificate stays in use, and the log says so. Never rejects. */
  reload(): Promise<void> {
    this.#reading ??= this.#reload().finally(() => {
      this.#reading = null
    })
    return this.#reading
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  async #reload(): Promise<void> {
    const { files, log } = this.#options
    try {
      this.#fingerprint = await fingerprintOf(files)
      this.#context = await read(this.#options)
      if (!this.#closed) this.#server?.setSecureContext(this.#context)
      this.#options.authorized(this.#authority)
      log.info({ cert: files.cert }, 'certificate of HTTPS read again')
    } catch (error) {
      const reason = cleanMessage(errorMessage(error))
      log.error({ cert: files.cert, reason }, 'certificate of HTTPS not read again; the old one stays in use')
    }
  }

  get #authority(): string | undefined {
    return this.#context.ca as string | undefined
  }

  #schedule(): void {
    if (this.#closed) return
    this.#timer = this.#options.clock.after(LOOK_MS, () => void this.#look().finally(() => this.#schedule()))
  }

  async #look(): Promise<void> {
    // One that broke is told once: it is looked at again when the files change again.
    if ((await fingerprintOf(this.#options.files)) !== this.#fingerprint) await this.reload()
  }
}

async function read({ files, clock, log, renamed }: HttpsOptions): Promise<SecureContextOptions> {
  const { cert, key, clientCa: ca } = files
  const parameters = { cert, key, ca, pin: null, servername: null, tlsMin: '1.2' } as const
  const { options, warnings } = await loadServerTls(parameters, clock.wall())
  for (const reason of warnings) log.warn({ reason }, 'browsers and programs will object to the certificate of HTTPS')
  renamed(dnsNamesOf(options.cert as string))
  return options
}

/** By sockets below TLS. */
const verifiedBy = new WeakMap<Socket, string | undefined>()

/** The CA that a client's certificate was verified by; an empty text where that is not known. */
export function authorityOf(socket: Socket): string | undefined {
  const below = socketBelow(socket)
  return below !== null && verifiedBy.has(below) ? verifiedBy.get(below) : ''
}

/** What a TLS socket was made of. Nothing public leads there; null where Node keeps it elsewhere. */
export function socketBelow(socket: Socket): Socket | null {
  return (socket as Socket & { readonly _parent?: Socket | null })._parent ?? null
}

/** Names with characters that Node quotes are none that a browser could ask for. */
function dnsNamesOf(pem: string): string[] {
  const names = new X509Certificate(pem).subjectAltName?.split(', ') ?? []
  return names.filter((name) => /^DNS:[A-Za-z0-9*._-]+$/.test(name)).map((name) => name.slice('DNS:'.length))
}

/** What changes when a file does. Never rejects: what is missing is a state, too. */
async function fingerprintOf({ cert, key, clientCa }: HttpsFiles): Promise<string> {
  const parts = await Promise.all(
    [cert, key, clientCa].map(async (file) => {
      if (file === null) return '-'
      try {
        const { ino, size, mtimeMs } = await stat(file)
        return `${ino}:${size}:${mtimeMs}`
      } catch {
        // Told by whoever reads it.
        return 'none'
      }
    }),
  )
  return parts.join(' ')
}
