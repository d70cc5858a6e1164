/**
 * How fuzz tests run. Normally each takes a few fixed seeds, so that a run is the same everywhere and quick.
 *
 *     VSPC_FUZZ_SECONDS=60   new seeds for that long, in each test
 *     VSPC_FUZZ_SEED=1234    that seed alone
 *
 * What failed once is kept as a page in test/fixtures/fuzz (see pages.ts) and replayed before any seed.
 */
import { relative } from 'node:path'
import { expect, test } from 'vitest'
import { Random } from './random.ts'

const ONE = process.env['VSPC_FUZZ_SEED']
const SECONDS = Number(process.env['VSPC_FUZZ_SECONDS'] ?? 0)

export type FuzzRun = (random: Random, seed: number) => void | Promise<void>

/** A fuzz test of `seeds` fixed seeds, or as the environment says. */
export function campaign(name: string, seeds: number, run: FuzzRun): void {
  test(name, { timeout: 120_000 + SECONDS * 1_000 }, async () => {
    if (ONE !== undefined && ONE !== '') return runSeed(name, Number(ONE) >>> 0, run)
    if (!(SECONDS > 0)) {
      for (let seed = 1; seed <= seeds; seed++) await runSeed(name, seed, run)
      return
    }
    const until = performance.now() + SECONDS * 1_000
    const first = Date.now() >>> 0
    let done = 0
    for (; performance.now() < until; done++) await runSeed(name, (first + done) >>> 0, run)
    process.stdout.write(`${name}: ${done} seeds from ${first} on\n`)
  })
}

async function runSeed(name: string, seed: number, run: FuzzRun): Promise<void> {
  try {
    await run(new Random(seed), seed)
  } catch (error) {
    const file = relative(process.cwd(), expect.getState().testPath ?? 'test/fuzz')
    const repeat = `repeat with: VSPC_FUZZ_SEED=${seed} npx vitest run ${file} -t '${name}'`
    if (error instanceof Error) error.message = `seed ${seed}; ${repeat}\n${error.message}`
    throw error
  }
}

/**
 * A shorter list for which `fails` still holds: halves, quarters, ... and at last single items are left out, as long as
 * `tries` lasts.
 */
export async function shrink<T>(
  items: readonly T[],
  fails: (fewer: readonly T[]) => boolean | Promise<boolean>,
  tries = 400,
): Promise<readonly T[]> {
  let left = items
  for (let size = Math.ceil(left.length / 2); size >= 1; ) {
    let shorter = false
    for (let at = 0; at < left.length && tries > 0; tries--) {
      const fewer = left.toSpliced(at, size)
      if (await fails(fewer)) {
        left = fewer
        shorter = true
      } else at += size
    }
    if (tries <= 0) break
    if (size > 1) size = Math.ceil(size / 2)
    else if (!shorter) break
  }
  return left
}
