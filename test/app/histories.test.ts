import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createLogger, loadConfig, type Settings, start } from '../../src/app/index.ts'
import { LogLines, RAW_VM } from './support.ts'

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'vspc-histories-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** A server with this home directory. */
async function startAt(home: string, settings: Settings = {}) {
  const logged = new LogLines()
  const flags = { listen: [RAW_VM], http: 'off', ...settings }
  const app = await start(loadConfig({ env: { HOME: home }, flags }), { log: createLogger('info', logged) })
  onTestFinished(() => app.stop())
  return { app, logged }
}

test('a second server of one account runs too, without history on disk, and is told so', async () => {
  const home = directory()
  const first = await startAt(home)
  expect(first.app.server.histories.persistent).toBe(true)
  const second = await startAt(home)
  expect(second.app.server.histories.persistent).toBe(false)
  expect(second.logged.find('in memory only')).toMatchObject({
    level: 'warn',
    code: 'VSPC_HISTORY_LOCKED',
    msg: expect.stringContaining('--data-dir'),
  })
})

test('a data directory that was named is used, or nothing is', async () => {
  const home = directory()
  await startAt(home, { dataDir: join(home, 'named') })
  await expect(startAt(home, { dataDir: join(home, 'named') })).rejects.toMatchObject({
    code: 'VSPC_HISTORY_LOCKED',
    message: expect.stringContaining(`process id ${process.pid}`),
  })
  const file = join(home, 'file')
  writeFileSync(file, '')
  await expect(startAt(home, { dataDir: join(file, 'below') })).rejects.toMatchObject({
    code: 'VSPC_HISTORY_OPEN',
    message: expect.stringMatching(/file\/below.*--data-dir.*--history memory/),
  })
})

test('an account without a home gets a server all the same', async () => {
  const home = join(directory(), 'file')
  writeFileSync(home, '')
  const { app, logged } = await startAt(home)
  expect(app.server.histories.persistent).toBe(false)
  expect(logged.find('in memory only')).toMatchObject({ level: 'warn', code: 'VSPC_HISTORY_OPEN' })
})
