/**
 * The thread in which output is held against the rules. It only computes: batches in, hits and the empty batch out.
 * Whatever it is made to do by what VMs print, the server's own thread goes on, without alerts if need be.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { readBatch } from './batch.ts'
import { compileRule } from './compile.ts'
import { type Hit, LineWatch, REST_MS } from './line-watch.ts'
import type { WatchJob, WatchReport, WatchStart } from './watch-messages.ts'

const { rules } = workerData as WatchStart
let hits: Hit[] = []
const watch = new LineWatch(rules.map(compileRule), (hit) => hits.push(hit))
let isTimed = false

function report(buffer: ArrayBuffer | null): void {
  const message: WatchReport = { buffer, hits, suppressed: watch.suppressed, forgotten: watch.forgotten }
  hits = []
  parentPort?.postMessage(message, buffer === null ? [] : [buffer])
  if (isTimed || !watch.restless) return
  isTimed = true
  setTimeout(rest, REST_MS)
}

function rest(): void {
  isTimed = false
  watch.rest(performance.now())
  if (hits.length > 0 || watch.restless) report(null)
}

parentPort?.on('message', ({ buffer, used }: WatchJob) => {
  const now = performance.now()
  readBatch(buffer, used, (serial, offset, bytes, from, to) => watch.take(serial, offset, bytes, from, to, now))
  report(buffer)
})
