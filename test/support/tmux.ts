import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { peerPath } from './peers.ts'

const run = promisify(execFile)
const DEADLINE_MS = 20_000
const LOOK_MS = 50

/** A shell in tmux: a whole terminal emulator, which turns keys into bytes and bytes into a picture. `stop` it in every case. */
export class Tmux {
  readonly folder: string
  readonly #socket: string

  private constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'vspc-tmux-'))
    this.#socket = join(this.folder, 'tmux')
  }

  static async start(env: Record<string, string> = {}, rows = 24, columns = 80): Promise<Tmux> {
    const tmux = new Tmux()
    const variables = Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`])
    const size = ['-x', String(columns), '-y', String(rows)]
    try {
      await tmux.#do(['-f', '/dev/null', 'new-session', '-d', ...size, ...variables, 'sh'])
      // The line that tmux keeps for itself would take a row.
      await tmux.#do(['set', '-g', 'status', 'off'])
      // Its prompt.
      await tmux.shows((rows) => rows[0] !== '')
    } catch (error) {
      await tmux.stop()
      throw error
    }
    return tmux
  }

  /** Keys by tmux's names: `Up`, `C-c`, `Escape`, `Enter`. */
  async press(...keys: string[]): Promise<void> {
    await this.#do(['send-keys', ...keys])
  }

  async type(text: string): Promise<void> {
    await this.#do(['send-keys', '-l', text])
  }

  async enter(text: string): Promise<void> {
    await this.type(text)
    await this.press('Enter')
  }

  async resize(rows: number, columns: number): Promise<void> {
    await this.#do(['resize-window', '-x', String(columns), '-y', String(rows)])
  }

  /** What is on the screen, without spaces at the ends of lines. */
  async screen(): Promise<string[]> {
    const picture = await this.#do(['capture-pane', '-p'])
    return picture.replace(/\n$/, '').split('\n')
  }

  /** Resolves with the screen once it is as wanted. */
  async shows(wanted: (rows: string[]) => boolean): Promise<string[]> {
    const until = Date.now() + DEADLINE_MS
    for (;;) {
      const rows = await this.screen()
      if (wanted(rows)) return rows
      if (Date.now() > until) throw new Error(`the screen did not become as wanted; it shows:\n${rows.join('\n')}`)
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
  }

  /** Waits for a line that holds `text`. */
  async sees(text: string): Promise<string[]> {
    return this.shows((rows) => rows.some((row) => row.includes(text)))
  }

  async stop(): Promise<void> {
    await this.#do(['kill-server']).catch(() => {
      // Its shell has ended, and it with it.
    })
    rmSync(this.folder, { recursive: true, force: true })
  }

  async #do(args: readonly string[]): Promise<string> {
    const env = { PATH: process.env['PATH'] ?? '', TERM: 'xterm-256color', LANG: 'C.UTF-8', HOME: this.folder }
    const { stdout } = await run(peerPath('tmux'), ['-S', this.#socket, '-u', ...args], { env })
    return stdout
  }
}
