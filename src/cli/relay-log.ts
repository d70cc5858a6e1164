/** The relay's log lines to stderr, without ever waiting for whoever reads them. */
import { write, writeSync } from 'node:fs'

const STDERR = 2
/** Kept for a reader that is slow; more is dropped and counted, so that logging can fill no memory. */
const MAX_BACKLOG_CHARACTERS = 1 << 20
const RETRY_MS = 50

/** Appends lines. Node's own stderr would stop the whole process while a pipe is full. */
export function stderrLines(): (line: string) => void {
  let waiting = ''
  let busy = false
  let dropped = 0
  const next = (): void => {
    if (waiting === '') {
      busy = false
      return
    }
    busy = true
    const bytes = Buffer.from(waiting)
    waiting = dropped > 0 ? `${dropped} log lines are missing here: whoever reads the log did not keep up\n` : ''
    dropped = 0
    send(bytes)
  }
  const send = (bytes: Uint8Array): void => {
    write(STDERR, bytes, 0, bytes.length, null, (error, written) => {
      const left = bytes.subarray(error === null ? written : 0)
      if (error !== null && error.code !== 'EAGAIN') next()
      else if (left.length === 0) next()
      else if (error === null) send(left)
      else setTimeout(() => send(left), RETRY_MS).unref()
    })
  }
  process.on('exit', () => {
    if (waiting === '') return
    try {
      writeSync(STDERR, waiting)
    } catch {
      // Nobody reads it any more.
    }
  })
  return (line) => {
    if (waiting.length + line.length > MAX_BACKLOG_CHARACTERS) {
      dropped++
      return
    }
    waiting += line
    if (!busy) next()
  }
}
