/** What long-running commands do about signals and faults of ours. */
import { closeSync, openSync } from 'node:fs'
import type { Logger } from '../base/index.ts'
import { EXIT } from './exit-codes.ts'

const LONGEST_MS = 2 ** 31 - 1

/**
 * Keeps the process alive until `end` is called: who only dials has nothing open between two attempts, and our timers
 * hold nobody up.
 */
export function stayAlive(): { end(): void } {
  const alive = setInterval(() => {}, LONGEST_MS)
  return { end: () => clearInterval(alive) }
}

/** Resolves at the first SIGTERM or SIGINT; the second one ends the process at once. */
export function untilToldToStop(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let told = false
    const tell = (signal: NodeJS.Signals) => {
      if (told) process.exit(signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated)
      told = true
      log.info({ signal }, 'stopping')
      resolve()
    }
    process.on('SIGTERM', tell)
    process.on('SIGINT', tell)
  })
}

/** Calls `again` at SIGHUP, unless it means that our terminal is gone: then it resolves. */
export function onHangup(again: () => void): Promise<void> {
  const hadTerminal = hasTerminal()
  return new Promise((resolve) => {
    process.on('SIGHUP', () => {
      if (hadTerminal && !hasTerminal()) resolve()
      else again()
    })
  })
}

function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    // ENXIO: no controlling terminal (any more).
    return false
  }
}

/** A fault of ours leaves unknown state behind: better to be started anew by whoever supervises us. */
export function exitOnFault(log: Logger): void {
  const die = (fault: unknown) => {
    const stack = fault instanceof Error ? (fault.stack ?? fault.message) : String(fault)
    log.error({ stack }, 'internal error: exiting. Please report it')
    process.exit(EXIT.other)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
}
