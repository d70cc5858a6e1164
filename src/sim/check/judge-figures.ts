/** Latencies and secrets, judged as numbers. Pure. */
import { Latencies, type LatencySummary } from '../statistics.ts'
import { sameBytes } from '../wire.ts'

/** C29: "normally < 50 ms, always < 5 s". */
const NORMAL_MS = 50
const ALWAYS_MS = 5_000
/** C31: 4 bytes at least. */
const MIN_SECRET_BYTES = 4
/** From so many secrets on it is judged whether they look drawn at random; below, chance would. */
const MIN_FOR_RANDOMNESS = 24

export function summarize(samples: readonly number[]): LatencySummary | null {
  const latencies = new Latencies()
  for (const ms of samples) latencies.add(ms)
  return latencies.summary()
}

/** BEGIN to its answer. `roundTripMs` is the network's share, which no server can help. */
export function judgeGoaheadLatency(samples: readonly number[], roundTripMs: number): string[] {
  const summary = summarize(samples)
  if (summary === null) return ['no BEGIN was answered']
  const faults: string[] = []
  if (summary.max >= ALWAYS_MS)
    faults.push(`the slowest GOAHEAD took ${summary.max.toFixed(0)} ms: a host gives up at 5 s`)
  if (summary.p50 - roundTripMs >= NORMAL_MS) {
    faults.push(
      `GOAHEAD normally takes ${summary.p50.toFixed(0)} ms (p50): the guest stands still that long, 50 ms are too many`,
    )
  }
  return faults
}

/** C31: long enough, all different, and not counted up or half constant. */
export function judgeSecrets(secrets: readonly Uint8Array[]): string[] {
  const faults: string[] = []
  const short = secrets.find((secret) => secret.length < MIN_SECRET_BYTES)
  if (short) faults.push(`a secret has ${short.length} bytes, 4 are the least`)
  const seen = new Set(secrets.map((secret) => Buffer.from(secret).toString('hex')))
  if (seen.size < secrets.length)
    faults.push(`${secrets.length - seen.size} of ${secrets.length} secrets were used before`)
  if (faults.length > 0 || secrets.length < MIN_FOR_RANDOMNESS) return faults
  const constant = constantBytes(secrets)
  if (constant > 0) faults.push(`${constant} bytes of the secret hardly ever change`)
  if (countsUp(secrets)) faults.push('the secrets are counted up: each can be told from the one before')
  return faults
}

/** Positions with fewer than 8 values: with 24 random bytes that happens once in 10^17 times. */
function constantBytes(secrets: readonly Uint8Array[]): number {
  const length = Math.min(...secrets.map((secret) => secret.length))
  let count = 0
  for (let at = 0; at < length; at++) if (new Set(secrets.map((secret) => secret[at])).size < 8) count++
  return count
}

function countsUp(secrets: readonly Uint8Array[]): boolean {
  const step = (n: number) => difference(secrets[n] ?? new Uint8Array(0), secrets[n - 1] ?? new Uint8Array(0))
  const first = step(1)
  for (let n = 2; n < secrets.length; n++) if (!sameBytes(step(n), first)) return false
  return true
}

/** `a - b` as big-endian numbers, modulo their length. */
function difference(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length)
  let borrow = 0
  for (let at = a.length - 1; at >= 0; at--) {
    const value = (a[at] ?? 0) - (b[at] ?? 0) - borrow
    borrow = value < 0 ? 1 : 0
    out[at] = value
  }
  return out
}
