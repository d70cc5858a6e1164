import { readFileSync } from 'node:fs'

/** Put in by scripts/bundle-relay.mjs, where there is no package.json beside the program. */
declare const VSPC_BUNDLED_VERSION: string | undefined

export function productVersion(): string {
  if (typeof VSPC_BUNDLED_VERSION === 'string') return VSPC_BUNDLED_VERSION
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
