import { EXIT } from './exit-codes.ts'

/** Ctrl-C ends the process with its exit code, after `first`. For commands that hold nothing else; returns how to undo. */
export function exitOnInterrupt(first: () => void = () => {}): () => void {
  const interrupted = () => {
    first()
    process.exit(EXIT.interrupted)
  }
  process.once('SIGINT', interrupted)
  return () => process.off('SIGINT', interrupted)
}
