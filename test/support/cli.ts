import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { temporaryHome } from './home.ts'

/** The program under test, built: see build.ts. `VSPC_TEST_BIN` names another one (an installed package, say). */
export const VSPC_BIN = process.env['VSPC_TEST_BIN'] || fileURLToPath(new URL('../../bin/vspc.js', import.meta.url))

export interface Run {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: Buffer
  /** As text. */
  stderr: string
}

export interface RunOptions {
  env?: Record<string, string>
  /** Piped in and ended; without it stdin is /dev/null. */
  input?: string | Uint8Array
  signal?: AbortSignal
}

/** Runs `vspc ARGS` without a terminal, to its end. Nothing of this process's VSPC_ variables reaches it. */
export async function runVspc(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const child = spawn(process.execPath, [VSPC_BIN, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: temporaryHome(), ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    // Of a test that has failed, nothing stays behind.
    timeout: 18_000,
    killSignal: 'SIGKILL',
    ...(options.signal ? { signal: options.signal } : {}),
  })
  const stdout: Buffer[] = []
  let stderr = ''
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8')
  })
  child.stdin?.on('error', () => {})
  child.stdin?.end(options.input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout: Buffer.concat(stdout), stderr }))
  })
}
