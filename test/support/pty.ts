import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { peerPath } from './peers.ts'

/** What `tcgetattr` gives: compare with `toEqual`, look at nothing inside except through the constants below. */
export type TerminalSettings = readonly unknown[]

export interface PtyExit {
  code: number | null
  signal: number | null
  /** Null when the window was closed. */
  settings: TerminalSettings | null
}

export interface PtyOptions {
  rows?: number
  columns?: number
  env?: Record<string, string>
  cwd?: string
}

type Waiter = { found: () => boolean; resolve: () => void; reject: (error: Error) => void }

const DRIVER = fileURLToPath(new URL('./pty.py', import.meta.url))

/** A program on a real pseudo terminal. Needs the peer `python3`; `stop` it in every case. */
export class Pty {
  readonly #driver: ChildProcessWithoutNullStreams
  readonly #chunks: Buffer[] = []
  #screen = ''
  #from = 0
  #waiters: Waiter[] = []
  #exit: PtyExit | null = null
  #answers = new Map<number, (settings: TerminalSettings) => void>()
  #tag = 0
  #before: TerminalSettings = []
  #pid = 0
  #failure: Error | null = null

  private constructor(driver: ChildProcessWithoutNullStreams) {
    this.#driver = driver
    createInterface({ input: driver.stdout }).on('line', (line) => this.#told(JSON.parse(line)))
    driver.stdin.on('error', () => {})
    let complaint = ''
    driver.stderr.on('data', (text) => {
      complaint += text
    })
    driver.on('close', () => {
      this.#failure = new Error(`the pty driver ended${complaint === '' ? '' : `: ${complaint}`}`)
      this.#check()
    })
  }

  static async start(argv: readonly string[], options: PtyOptions = {}): Promise<Pty> {
    const { rows = 24, columns = 80 } = options
    const driver = spawn(peerPath('python3'), [DRIVER, String(rows), String(columns), ...argv], {
      env: { PATH: process.env['PATH'] ?? '', TERM: 'xterm-256color', LANG: 'C.UTF-8', ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    })
    const pty = new Pty(driver)
    await pty.#until(() => pty.#pid > 0, 'the start of the program')
    return pty
  }

  get pid(): number {
    return this.#pid
  }

  /** All output so far. */
  get output(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  /** All output so far, one character per byte. */
  get text(): string {
    return this.#screen
  }

  /** The terminal's settings before the program ran. */
  get settingsBefore(): TerminalSettings {
    return this.#before
  }

  /** Types; a string goes as UTF-8. */
  write(data: string | Uint8Array): void {
    this.#do({ do: 'write', hex: Buffer.from(data as Uint8Array).toString('hex') })
  }

  resize(rows: number, columns: number): void {
    this.#do({ do: 'resize', rows, columns })
  }

  /** False: the terminal takes no more output, as a hung terminal emulator does. */
  setReading(on: boolean): void {
    this.#do({ do: 'read', on })
  }

  signal(number: number): void {
    this.#do({ do: 'signal', number })
  }

  /** What closing the terminal's window does. */
  closeWindow(): void {
    this.#do({ do: 'close' })
  }

  async settings(): Promise<TerminalSettings> {
    const tag = ++this.#tag
    return new Promise((resolve) => {
      this.#answers.set(tag, resolve)
      this.#do({ do: 'modes', tag })
    })
  }

  /** Waits for output after what the last call matched, and returns the match. One character per byte. */
  async expect(pattern: string | RegExp): Promise<string> {
    let scanned = this.#from
    let text = ''
    let end = 0
    const find = () => {
      if (typeof pattern === 'string') {
        // Only what is new: a test may print megabytes.
        const at = this.#screen.indexOf(pattern, scanned)
        scanned = Math.max(scanned, this.#screen.length - pattern.length + 1)
        text = pattern
        end = at + pattern.length
        return at >= 0
      }
      const found = pattern.exec(this.#screen.slice(this.#from))
      text = found?.[0] ?? ''
      end = this.#from + (found?.index ?? 0) + text.length
      return found !== null
    }
    await this.#until(find, JSON.stringify(String(pattern)))
    this.#from = end
    return text
  }

  async exited(): Promise<PtyExit> {
    await this.#until(() => this.#exit !== null, 'the end of the program')
    return this.#exit as PtyExit
  }

  /** Ends the program, if it still runs, and waits until nothing of it is left. */
  async stop(): Promise<void> {
    if (this.#driver.exitCode !== null || this.#driver.signalCode !== null) return
    const closed = once(this.#driver, 'close')
    this.#driver.stdin.end()
    await closed
  }

  #do(command: object): void {
    this.#driver.stdin.write(`${JSON.stringify(command)}\n`)
  }

  #told(event: Record<string, unknown>): void {
    if (event['is'] === 'output') {
      const bytes = Buffer.from(String(event['hex']), 'hex')
      this.#chunks.push(bytes)
      this.#screen += bytes.toString('latin1')
    } else if (event['is'] === 'started') {
      this.#before = event['modes'] as TerminalSettings
      this.#pid = event['pid'] as number
    } else if (event['is'] === 'modes') {
      this.#answers.get(event['tag'] as number)?.(event['modes'] as TerminalSettings)
    } else if (event['is'] === 'exited') {
      this.#exit = {
        code: (event['code'] as number | undefined) ?? null,
        signal: (event['signal'] as number | undefined) ?? null,
        settings: (event['modes'] as TerminalSettings | undefined) ?? null,
      }
    }
    this.#check()
  }

  #check(): void {
    for (const waiter of [...this.#waiters]) {
      const found = waiter.found()
      if (!found && !this.#failure) continue
      this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
      if (found) waiter.resolve()
      else waiter.reject(this.#failure as Error)
    }
  }

  #until(found: () => boolean, what: string): Promise<void> {
    if (found()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        const shown = JSON.stringify(this.#screen.slice(Math.max(this.#from, this.#screen.length - 500)))
        fail(new Error(`no ${what} within 10 s; on the screen since then: ${shown}`))
      }, 10_000)
      const done = () => {
        clearTimeout(deadline)
        resolve()
      }
      const fail = (error: Error) => {
        clearTimeout(deadline)
        this.#waiters = this.#waiters.filter((other) => other !== waiter)
        reject(error)
      }
      const waiter: Waiter = { found, resolve: done, reject: fail }
      this.#waiters.push(waiter)
    })
  }
}
