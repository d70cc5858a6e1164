/** Where the time goes: the functions of a CPU profile by their own time. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const SHOWN = 30

/** Of the newest profile in `dir`; idle time left out. */
export function profileSummary(dir: string): string {
  const newest = readdirSync(dir)
    .filter((name) => name.endsWith('.cpuprofile'))
    .sort()
    .at(-1)
  if (newest === undefined) return 'no profile was written\n'
  const profile = JSON.parse(readFileSync(join(dir, newest), 'utf8')) as CpuProfile
  const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const own = new Map<string, number>()
  let total = 0
  for (const [index, id] of profile.samples.entries()) {
    const name = names.get(id) ?? '?'
    if (name === '(idle)') continue
    const us = profile.timeDeltas[index] ?? 0
    total += us
    own.set(name, (own.get(name) ?? 0) + us)
  }
  const rows = [...own].sort(([, a], [, b]) => b - a).slice(0, SHOWN)
  const lines = rows.map(
    ([name, us]) =>
      `${((us / total) * 100).toFixed(1).padStart(5)} % ${(us / 1000).toFixed(0).padStart(6)} ms  ${name}`,
  )
  return `${newest}: ${(total / 1000).toFixed(0)} ms in all\n${lines.join('\n')}\n`
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const file = url.split('/').slice(-2).join('/')
  return `${functionName || '(anonymous)'}${file === '' ? '' : ` ${file}:${lineNumber + 1}`}`
}
