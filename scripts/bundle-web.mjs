/**
 * Makes dist/app/web/, the web console: one script and one style sheet with a hash of their contents in their names, the
 * page that names them, and the licences of what is bundled. `npm run build` calls it.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = new URL('../', import.meta.url)
const path = (relative) => fileURLToPath(new URL(relative, root))
const out = path('dist/app/web/')
const BUNDLED = ['xterm', 'addon-fit', 'addon-search', 'addon-unicode11', 'addon-web-links']
/** Older files are kept for a while: a server that is just starting may have read a page that names them. */
const KEEP_MS = 600_000

const { outputFiles } = await build({
  entryPoints: { app: path('src/app/web/main.ts'), style: path('src/app/web/style.css') },
  outdir: out,
  write: false,
  bundle: true,
  minify: true,
  platform: 'browser',
  format: 'esm',
  // What has <dialog>, popovers and constructable everything: Chromium 114, Firefox 125, Safari 17.
  target: ['chrome114', 'firefox125', 'safari17'],
  entryNames: '[name]-[hash]',
  // They are all in licenses.txt.
  legalComments: 'none',
  logLevel: 'warning',
})

mkdirSync(out, { recursive: true })
const written = new Set(['index.html'])

/** Never half a file, for whoever reads the folder meanwhile. */
function write(name, contents) {
  const temporary = `${out}.${name}.${process.pid}`
  writeFileSync(temporary, contents)
  renameSync(temporary, out + name)
  written.add(name)
}

const names = {}
for (const { path: file, contents } of outputFiles) {
  const name = file.slice(out.length)
  names[name.slice(0, name.indexOf('-'))] = name
  write(name, contents)
}
const icon = readFileSync(path('src/app/web/icon.svg'))
names['icon'] = `icon-${createHash('sha256').update(icon).digest('hex').slice(0, 8)}.svg`
write(names['icon'], icon)
const licences = BUNDLED.map((name) => {
  const folder = path(`node_modules/@xterm/${name}/`)
  return `@xterm/${name}\n\n${readFileSync(`${folder}LICENSE`, 'utf8').trim()}\n`
}).join('\n----\n\n')
names['licenses'] = `licenses-${createHash('sha256').update(licences).digest('hex').slice(0, 8)}.txt`
write(names['licenses'], licences)

const page = readFileSync(path('src/app/web/index.html'), 'utf8')
const marks = { script: names['app'], style: names['style'], icon: names['icon'], licenses: names['licenses'] }
write(
  'index.html',
  Object.entries(marks).reduce((text, [mark, name]) => text.replaceAll(`{{${mark}}}`, `web/${name}`), page),
)

for (const name of readdirSync(out)) {
  if (written.has(name) || Date.now() - statSync(out + name).mtimeMs < KEEP_MS) continue
  unlinkSync(out + name)
}
