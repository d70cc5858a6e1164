import type { LimitName } from '../base/index.ts'
import { type Config, effectiveSettings } from './config.ts'
import type { Settings } from './config-schema.ts'

/** Settings that change while VMs and consoles stay connected. Of `limits` all but those below. */
const LIVE: readonly (keyof Settings)[] = [
  'serviceUris',
  'trustedProxies',
  'writers',
  'logLevel',
  'limits',
  'access',
  'telnet',
  'alerts',
  'hooks',
]
/** Given to the system or to the recorder once, at the start. */
const FIXED_LIMITS: readonly LimitName[] = [
  'keepAliveMs',
  'captureFileBytes',
  'captureFiles',
  'capturePendingBytes',
  'alertBufferBytes',
  'logFileBytes',
]

export interface ReloadPlan {
  /** Settings that differ, `limits` by name. */
  readonly changed: readonly string[]
  /** Those of them that only a restart can change. */
  readonly needRestart: readonly string[]
}

/** Files that are open, and whether anybody has to say who they are at all. */
function fixedOfAccess(now: Config, next: Config): string[] {
  const names: string[] = []
  if ((now.access === null) !== (next.access === null)) names.push('access')
  else if (now.access?.tokens !== next.access?.tokens) names.push('access.tokens')
  if (JSON.stringify(now.audit) !== JSON.stringify(next.audit)) names.push('access.audit')
  return names
}

/** What a new configuration would change. Pure. */
export function planReload(now: Config, next: Config): ReloadPlan {
  const [before, after] = [effectiveSettings(now), effectiveSettings(next)]
  const names = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Settings>
  const changed: string[] = []
  const needRestart: string[] = []
  for (const name of names) {
    if (name === 'limits' || JSON.stringify(before[name]) === JSON.stringify(after[name])) continue
    changed.push(name)
    if (!LIVE.includes(name)) needRestart.push(name)
  }
  for (const name of fixedOfAccess(now, next)) needRestart.push(name)
  for (const name of Object.keys(now.limits) as LimitName[]) {
    if (now.limits[name] === next.limits[name]) continue
    changed.push(`limits.${name}`)
    if (FIXED_LIMITS.includes(name)) needRestart.push(`limits.${name}`)
  }
  return { changed, needRestart }
}
