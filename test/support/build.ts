import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** Vitest's global setup: tests that start `bin/vspc.js` need dist/ to be what src/ says. */
export function setup(): void {
  if (process.env['VSPC_TEST_BIN'] || newest(join(ROOT, 'src')) <= builtAt()) return
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' })
  for (const script of ['scripts/bundle-relay.mjs', 'scripts/bundle-web.mjs']) {
    spawnSync(process.execPath, [script], { cwd: ROOT, stdio: 'inherit' })
  }
  // Type errors are the business of `npm run types`; what matters here is that something was built.
  if (builtAt() === 0) throw new Error(`the build failed with status ${status}`)
}

/** When everything was last built: the oldest output counts. */
function builtAt(): number {
  const built = ['dist/cli/main.js', 'dist/vspc-relay.mjs', 'dist/app/web/index.html'].map((path) => join(ROOT, path))
  return Math.min(...built.map((path) => (existsSync(path) ? statSync(path).mtimeMs : 0)))
}

function newest(folder: string): number {
  let latest = 0
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    latest = Math.max(latest, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs)
  }
  return latest
}
