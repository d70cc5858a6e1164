/**
 * Writes the manual pages of what the compiler has put into dist/, one for each command, into a folder (default: man/).
 * The same program gives the same pages.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = new URL('../', import.meta.url)
const { buildProgram, COMMANDS } = await import(new URL('dist/cli/program.js', root).href)
const { commandTree } = await import(new URL('dist/cli/command-tree.js', root).href)
const { manualPages } = await import(new URL('dist/cli/manual.js', root).href)
const { productVersion } = await import(new URL('dist/cli/version.js', root).href)

const folder = process.argv[2] ?? fileURLToPath(new URL('man/', root))
const pages = manualPages(commandTree(await buildProgram([], COMMANDS, true)), productVersion())
mkdirSync(folder, { recursive: true })
for (const name of readdirSync(folder)) {
  // Of a command that is no more.
  if (/^vspc.*\.1$/.test(name) && !pages.has(name)) rmSync(join(folder, name))
}
for (const [name, text] of pages) writeFileSync(join(folder, name), text)
process.stdout.write(`${pages.size} pages in ${folder}\n`)
