/** What every program does around its command line: exit codes, messages, closed pipes and windows. */
import { isatty } from 'node:tty'
import { CommanderError } from 'commander'
import { errorMessage } from '../base/index.ts'
import { exitCodeOf } from './exit-codes.ts'
import { flushOutput } from './output.ts'

/**
 * Runs one command line and returns its exit code. Commands end by returning or throwing, never by exiting.
 * @param name begins the messages.
 */
export async function runProgram(name: string, parse: () => Promise<unknown>): Promise<number> {
  quietOnClosedPipe(name)
  surviveClosedWindow()
  try {
    await parse()
    return typeof process.exitCode === 'number' ? process.exitCode : 0
  } catch (error) {
    const exitCode = exitCodeOf(error)
    // Commander has already said what it had to say.
    const text = error instanceof CommanderError ? '' : failureText(error)
    if (text !== '') process.stderr.write(`${name}: ${text}\n`)
    await flushOutput()
    // Whatever is still open belongs to a command that has failed or was left.
    process.exit(exitCode)
  }
}

function failureText(error: unknown): string {
  const verbose = ['debug', 'trace'].includes(process.env['VSPC_LOG_LEVEL'] ?? '')
  return verbose && error instanceof Error && error.stack && error.message !== '' ? error.stack : errorMessage(error)
}

/** `vspc log web1 | head` ends when head does, without a word. */
function quietOnClosedPipe(name: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    if (error.code !== 'EIO') {
      process.stderr.write(`${name}: cannot write the output: ${error.message}\n`)
      process.exit(1)
    }
  })
  // Nobody is left to tell.
  process.stderr.on('error', () => {})
}

/**
 * Node puts the modes of its terminals back when it exits, and aborts (SIGABRT, a core file) when that fails because
 * the window is gone. The signal of a closed window ends us as quietly as any other program.
 */
function surviveClosedWindow(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor))
  process.on('exit', () => {
    if (terminals.every((descriptor) => isatty(descriptor))) return
    process.removeAllListeners('SIGHUP')
    process.kill(process.pid, 'SIGHUP')
  })
}
