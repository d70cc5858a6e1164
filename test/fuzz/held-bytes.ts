/** Memory that something keeps, measured. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes, heap and buffers, that are held after `work` and were not before. What it returns is kept alive until then. */
export function heldBytes(work: () => unknown): number {
  const before = used()
  const kept = work()
  const after = used()
  return kept === undefined ? 0 : after - before
}

/** As {@link heldBytes}, of something that takes turns of the event loop. */
export async function heldBytesAfter(work: () => Promise<unknown>): Promise<number> {
  const before = used()
  const kept = await work()
  const after = used()
  return kept === undefined ? 0 : after - before
}

function used(): number {
  // Buffers go with the objects that own them, some only in the second round.
  collect()
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
