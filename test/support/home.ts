import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const homes: string[] = []

process.once('exit', () => {
  for (const home of homes) rmSync(home, { recursive: true, force: true })
})

/** A directory of its own for a server's data, gone when the test process ends. */
export function temporaryHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'vspc-home-'))
  homes.push(home)
  return home
}
