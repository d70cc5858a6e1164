/** Why a file that somebody named cannot be read, in words. */
import { errorMessage, VspcError } from '../base/index.ts'

/** @param option the option or variable that names it, such as `--token-file`. */
export function unreadable(option: string, path: string, cause: unknown): VspcError {
  return new VspcError('VSPC_USAGE', `${option}: cannot read ${path}: ${reason(cause)}`, { cause })
}

function reason(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES') return 'this user may not read it'
  if (code === 'EISDIR') return 'it is a directory'
  return errorMessage(cause)
}
