/**
 * Makes dist/vspc-relay.mjs, one file that runs with Node alone, from what the compiler has put into dist/.
 * `npm run build` calls it.
 */
import { chmodSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = new URL('../', import.meta.url)
const path = (relative) => fileURLToPath(new URL(relative, root))
const { version, license } = JSON.parse(readFileSync(path('package.json'), 'utf8'))
const outfile = path('dist/vspc-relay.mjs')

await build({
  entryPoints: [path('dist/cli/relay-main.js')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  // Native code cannot be bundled; it is looked up beside the file when a vsock: endpoint is used.
  external: ['koffi'],
  define: { VSPC_BUNDLED_VERSION: JSON.stringify(version) },
  banner: {
    js: [
      '#!/usr/bin/env node',
      `/* vspc-relay ${version}, ${license}; with commander and yaml, whose licences (MIT, ISC) are in their packages. */`,
      // For the CommonJS packages in it.
      "import { createRequire as vspcCreateRequire } from 'node:module';",
      'const require = vspcCreateRequire(import.meta.url);',
    ].join('\n'),
  },
  legalComments: 'inline',
  logLevel: 'warning',
})
chmodSync(outfile, 0o755)
