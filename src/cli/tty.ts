import { spawnSync } from 'node:child_process'
import { TerminalModes } from './terminal-modes.ts'

/** Told by a {@link Terminal}. */
export interface TerminalEvents {
  /** What was typed or piped in, verbatim; valid during the call. */
  input(bytes: Uint8Array): void
  /** The pipe that feeds us ended. Never for a terminal. */
  inputEnd(): void
  /** Output can go on after `write` said false. */
  drained(): void
  /** The process has to end: a signal, or SIGHUP for a window that was closed in some other way. */
  signal(name: TerminalSignal): void
}

export type TerminalSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** The user's side of a console. */
export interface Terminal {
  /** Input comes from a terminal: raw mode, escapes, people. */
  readonly interactive: boolean
  /** A full-screen program of the guest shows its picture here. */
  readonly fullScreen: boolean
  /** Takes over: raw mode when interactive, signals; `readInput` false leaves input that is no terminal untouched. */
  open(events: TerminalEvents, readInput: boolean): void
  setInputPaused(paused: boolean): void
  /** Console output, verbatim. False: wait for `drained`. */
  write(bytes: Uint8Array): boolean
  /** Lines for people, each as `[vspc] ...`, on stderr. */
  notice(text: string): void
  bell(): void
  /** Stops the process as Ctrl-Z does in a shell; returns at once. */
  suspend(): void
  /** Puts everything back as it was; may be called twice. */
  restore(): void
}

/** Further notices that a stalled terminal does not take are dropped. */
const MAX_UNSENT_NOTICES = 64

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const satisfies readonly TerminalSignal[]

/** The terminal, or the pipes, that the process was started on. */
export function processTerminal(): Terminal {
  return new ProcessTerminal()
}

class ProcessTerminal implements Terminal {
  readonly interactive = process.stdin.isTTY === true
  readonly #showsOutput = process.stdout.isTTY === true
  readonly #modes = this.#showsOutput ? new TerminalModes() : null
  #events: TerminalEvents | null = null
  #readsInput = false
  #raw = false
  #atLineStart = true
  #unsentNotices = 0

  get fullScreen(): boolean {
    return this.#modes?.fullScreen ?? false
  }

  open(events: TerminalEvents, readInput: boolean): void {
    this.#events = events
    for (const name of SIGNALS) process.on(name, () => this.#events?.signal(name))
    process.on('SIGCONT', this.#continued)
    process.on('exit', this.#exit)
    for (const stream of [process.stdout, process.stderr]) neverBlock(stream)
    process.stdout.on('drain', this.#drained)
    process.stdout.on('error', this.#outputError)
    this.#readsInput = readInput || this.interactive
    if (!this.#readsInput) return
    if (this.interactive) this.#setRaw(true)
    process.stdin.on('data', this.#input)
    process.stdin.on('end', this.#inputEnd)
    process.stdin.on('error', this.#inputError)
  }

  setInputPaused(paused: boolean): void {
    if (!this.#readsInput || !this.#events) return
    if (paused) process.stdin.pause()
    else process.stdin.resume()
  }

  write(bytes: Uint8Array): boolean {
    if (bytes.length === 0) return true
    this.#modes?.push(bytes)
    this.#atLineStart = bytes[bytes.length - 1] === 0x0a
    return process.stdout.write(bytes)
  }

  notice(text: string): void {
    if (this.#unsentNotices > MAX_UNSENT_NOTICES) return
    const shown = process.stderr.isTTY === true
    // In raw mode the terminal does not add the carriage return.
    const end = this.#raw && shown ? '\r\n' : '\n'
    let lines = shown && this.#showsOutput && !this.#atLineStart ? end : ''
    for (const line of text.split('\n')) lines += `[vspc] ${line}${end}`
    this.#atLineStart = true
    this.#unsentNotices++
    const sent = () => {
      this.#unsentNotices--
    }
    // On one terminal, the output before it comes first; two streams would get into each other's lines.
    if (shown && this.#showsOutput && process.stdout.writableLength > 0) {
      process.stdout.write('', () => process.stderr.write(lines, sent))
    } else {
      process.stderr.write(lines, sent)
    }
  }

  bell(): void {
    if (process.stderr.isTTY) process.stderr.write('\x07')
  }

  suspend(): void {
    this.#setRaw(false)
    process.kill(process.pid, 'SIGTSTP')
  }

  restore(): void {
    if (!this.#events) return
    this.#events = null
    // The signals stay caught: the way out is short and bounded, and a second SIGHUP must not cut it off.
    process.off('SIGCONT', this.#continued)
    process.off('exit', this.#exit)
    process.stdout.off('drain', this.#drained)
    process.stdin.off('data', this.#input)
    process.stdin.off('end', this.#inputEnd)
    const undo = this.#modes?.reset() ?? ''
    if (undo !== '') process.stdout.write(undo)
    if (!this.#readsInput) return
    this.#setRaw(false)
    process.stdin.pause()
    // A pipe that stays open (`sleep 9 | vspc attach`) must not keep the process.
    process.stdin.unref?.()
  }

  /**
   * Raw as cfmakeraw has it. Node's raw mode leaves output processing on (LF becomes CR LF), which breaks programs that
   * use LF to move the cursor straight down; `stty` switches that off. Node remembers the modes from before and brings
   * them back itself, also when the process ends by an exception.
   */
  #setRaw(raw: boolean): void {
    if (!this.interactive || this.#raw === raw) return
    this.#raw = raw
    try {
      process.stdin.setRawMode(raw)
    } catch {
      // EIO: the terminal is gone, and its modes with it.
      return
    }
    // Without stty the rest of raw mode still holds.
    if (raw) spawnSync('stty', ['raw', '-echo'], { stdio: [0, 'ignore', 'ignore'], timeout: 1_000 })
  }

  /** The shell put its own modes back when we were stopped. */
  readonly #continued = (): void => {
    this.#setRaw(false)
    this.#setRaw(true)
  }

  readonly #input = (chunk: Buffer): void => this.#events?.input(chunk)
  readonly #drained = (): void => this.#events?.drained()
  readonly #exit = (): void => this.restore()

  /** A terminal has no end of input in raw mode, except that it went away. */
  readonly #inputEnd = (): void => {
    if (this.interactive) this.#events?.signal('SIGHUP')
    else this.#events?.inputEnd()
  }

  readonly #inputError = (): void => {
    if (this.interactive) this.#events?.signal('SIGHUP')
    else this.#events?.inputEnd()
  }

  /** EIO: the window is gone. EPIPE, for every command, is dealt with in program.ts. */
  readonly #outputError = (error: NodeJS.ErrnoException): void => {
    if (error.code === 'EIO') this.#events?.signal('SIGHUP')
  }
}

/**
 * Node writes to terminals with blocking calls: one that stalls would stop our timers, signals and the way out, and
 * leave raw mode on. There is no public switch for it; where this one is missing, a stalled terminal stalls us.
 */
function neverBlock(stream: NodeJS.WriteStream): void {
  if (!stream.isTTY) return
  const handle = (stream as { _handle?: { setBlocking?: (blocking: boolean) => number } })._handle
  handle?.setBlocking?.(false)
}
