/**
 * Delivers an event by running a program: no shell, arguments as configured and nothing of an event in them, the event as
 * JSON on its standard input. The program has a process group of its own, which ends with it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { type Clock, cleanMessage, errorMessage, type Logger, type Timer } from '../base/index.ts'
import type { Deliver, Delivery, ExecHook, Outcome } from './hook.ts'

/** Of what it prints so much is logged. */
const MAX_OUTPUT_BYTES = 2_048
/** Between SIGTERM and SIGKILL. */
const KILL_MS = 2_000
/** EX_TEMPFAIL of sysexits.h: it may go better later. */
const TEMPORARY = 75
/** What of our environment programs get: tokens and the like in the rest of it are none of their business. */
const INHERITED = ['PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR']

export function execDeliver(hook: ExecHook, clock: Clock, log: Logger, env: NodeJS.ProcessEnv): Deliver {
  return async (delivery, signal) => {
    try {
      return await new Run(hook, delivery, clock, log, env).outcome(signal)
    } catch (error) {
      return { kind: 'failed', detail: `cannot run ${hook.program}: ${errorMessage(error)}` }
    }
  }
}

class Run {
  readonly #hook: ExecHook
  readonly #delivery: Delivery
  readonly #clock: Clock
  readonly #log: Logger
  readonly #child: ChildProcess
  readonly #output: Buffer[] = []
  #outputBytes = 0
  #late = false
  #timer: Timer | null = null

  constructor(hook: ExecHook, delivery: Delivery, clock: Clock, log: Logger, env: NodeJS.ProcessEnv) {
    this.#hook = hook
    this.#delivery = delivery
    this.#clock = clock
    this.#log = log
    this.#child = spawn(hook.program, hook.args, {
      cwd: '/',
      detached: true,
      env: { ...inherited(env), VSPC_HOOK: hook.name, ...delivery.variables },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
  }

  outcome(signal: AbortSignal): Promise<Outcome> {
    const child = this.#child
    return new Promise((resolve) => {
      const stop = (): void => this.#kill()
      const end = (outcome: Outcome): void => {
        this.#timer?.cancel()
        signal.removeEventListener('abort', stop)
        // Its children may go on, and hold on to the pipes.
        this.#signal('SIGKILL')
        for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy()
        resolve(outcome)
      }
      child.once('error', (error) =>
        end({ kind: 'failed', detail: `cannot run ${this.#hook.program}: ${error.message}` }),
      )
      child.once('exit', (code, killedBy) => end(this.#judge(code, killedBy)))
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => this.#keep(chunk))
      // A program need not read it.
      child.stdin?.on('error', () => {})
      child.stdin?.end(this.#delivery.body)
      this.#timer = this.#clock.after(this.#hook.timeoutMs, () => {
        this.#late = true
        this.#kill()
      })
      if (signal.aborted) stop()
      else signal.addEventListener('abort', stop, { once: true })
    })
  }

  #judge(code: number | null, killedBy: NodeJS.Signals | null): Outcome {
    const output = cleanMessage(Buffer.concat(this.#output).toString('utf8'))
    const event = this.#delivery.id
    if (code === 0) {
      this.#log.debug({ event, output }, 'hook: the program has ended')
      return { kind: 'delivered', detail: output === '' ? 'exit code 0' : `exit code 0: ${output}` }
    }
    const why = this.#late
      ? `it took longer than ${this.#hook.timeoutMs} ms and was killed`
      : code === null
        ? `it was ended by ${killedBy}`
        : `exit code ${code}`
    this.#log.debug({ event, reason: why, output }, 'hook: the program has failed')
    return { kind: code === TEMPORARY ? 'retry' : 'failed', detail: output === '' ? why : `${why}: ${output}` }
  }

  #keep(chunk: Buffer): void {
    const room = MAX_OUTPUT_BYTES - this.#outputBytes
    if (room <= 0) return
    this.#output.push(Buffer.from(chunk.subarray(0, room)))
    this.#outputBytes += Math.min(room, chunk.length)
  }

  #kill(): void {
    this.#signal('SIGTERM')
    this.#timer?.cancel()
    this.#timer = this.#clock.after(KILL_MS, () => this.#signal('SIGKILL'))
  }

  /** To the whole group. */
  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child
    if (pid === undefined) return
    try {
      process.kill(-pid, signal)
    } catch {
      // ESRCH: nobody is left in it.
    }
  }
}

function inherited(env: NodeJS.ProcessEnv): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of INHERITED) {
    const value = env[name]
    if (value !== undefined) found[name] = value
  }
  return found
}
