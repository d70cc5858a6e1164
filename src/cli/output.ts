import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { TIMING } from './timing.ts'

export { cleanMessage } from '../base/index.ts'

/** Data: what a script reads. */
export function printData(text: string): void {
  process.stdout.write(text)
}

/** Writes data and waits while stdout is full, so that nothing piles up here when its reader is slow. */
export async function writeData(bytes: Uint8Array): Promise<void> {
  if (!process.stdout.write(bytes)) await once(process.stdout, 'drain')
}

/** Everything else: hints, progress, errors. One line, `vspc: ...`. */
export function printNote(text: string): void {
  process.stderr.write(`vspc: ${text}\n`)
}

/** Gives what was written time to reach its reader, but not longer than a stalled one deserves. */
export async function flushOutput(): Promise<void> {
  const written = Promise.all([process.stdout, process.stderr].map(flushed))
  await Promise.race([written, pause(TIMING.flushMs, undefined, { ref: false })])
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.writableLength === 0) resolve()
    // Called once all before it is written, or with an error that another listener deals with.
    else stream.write('', () => resolve())
  })
}
