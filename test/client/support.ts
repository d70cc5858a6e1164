import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import {
  type ConsoleNotice,
  type ConsoleOptions,
  connect,
  type RemoteConsole,
  type VspcClient,
} from '../../src/client/index.ts'
import type { TcpEndpoint } from '../../src/transport/index.ts'
import { type AppUnderTest, startApp } from '../app/support.ts'

export function clientOf(app: AppUnderTest): VspcClient {
  return connect({ server: app.url })
}

/** A console, closed when the test ends, and what it was told. */
export async function open(client: VspcClient, options: ConsoleOptions = {}, port = 'vm1') {
  const notices: ConsoleNotice[] = []
  const console = await client.console(port, { onNotice: (notice) => notices.push(notice), ...options })
  onTestFinished(() => console.close())
  return { console, notices }
}

/** The next `length` bytes of output as text, one character per byte. */
export async function take(console: RemoteConsole, length: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let have = 0
  for await (const chunk of console) {
    chunks.push(chunk)
    have += chunk.length
    if (have >= length) break
  }
  return Buffer.concat(chunks).toString('latin1')
}

/** A server that can be stopped and started again at the same addresses, with its history on disk. */
export class RestartableApp {
  readonly #home: string
  readonly #tcpPort: number
  app: AppUnderTest

  private constructor(home: string, app: AppUnderTest) {
    this.#home = home
    this.#tcpPort = (app.server.listening[0] as TcpEndpoint).tcpPort
    this.app = app
  }

  static async start(): Promise<RestartableApp> {
    const home = mkdtempSync(join(tmpdir(), 'vspc-client-'))
    onTestFinished(() => rmSync(home, { recursive: true, force: true }))
    return new RestartableApp(home, await startApp({ dataDir: join(home, 'data') }))
  }

  async stop(): Promise<void> {
    await this.app.stop()
  }

  async again(): Promise<AppUnderTest> {
    const settings = {
      dataDir: join(this.#home, 'data'),
      listen: [`tcp://127.0.0.1:${this.#tcpPort}?protocol=raw&name=vm1`],
      http: new URL(this.app.url).host,
    }
    this.app = await startApp(settings)
    return this.app
  }
}
