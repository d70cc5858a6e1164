import { createReadStream } from 'node:fs'
import { errorMessage, VspcError } from '../base/index.ts'
import { Capture } from './format.ts'

/**
 * Opens a capture file and reads its header. Whoever gets it iterates it to the end, or closes it.
 * @throws VspcError VSPC_CAPTURE_READ, VSPC_CAPTURE_FORMAT; the message begins with the file's name.
 */
export async function openCapture(path: string): Promise<Capture> {
  return await Capture.read(namedChunks(path), path)
}

async function* namedChunks(path: string): AsyncGenerator<Uint8Array> {
  const stream = createReadStream(path)
  try {
    for await (const chunk of stream) yield chunk as Uint8Array
  } catch (cause) {
    throw new VspcError('VSPC_CAPTURE_READ', `${path}: ${readProblem(cause)}`, { cause })
  } finally {
    stream.destroy()
  }
}

function readProblem(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'no such file'
  if (code === 'EISDIR') return 'a folder, not a capture file'
  if (code === 'EACCES') return 'not readable by this user'
  return errorMessage(cause)
}
