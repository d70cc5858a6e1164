import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { canonicalUuid, parseSimTarget, SimVm, simUuid } from '../../src/sim/index.ts'
import { eventually, startApp } from './support.ts'

const VMWARE_VM = 'tcp://127.0.0.1:0'

test("another concentrator's log, put where docs/migration.md says, is the beginning of the port's history", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'vspc-old-logs-'))
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }))
  const old = Buffer.from('booted with the old one\r\nlogin: \xff\r\n', 'latin1')
  const uuid = canonicalUuid(simUuid('vc', 1, 7))
  // As the page has it, word for word.
  const page = readFileSync(join(import.meta.dirname, '../../docs/migration.md'), 'utf8')
  const [, name = ''] = /cp \S+ "\$port\/(\d+\.log)"/.exec(page) ?? []
  expect(page).toContain('port=/var/lib/vspc/ports/564d3a12-0000-1111-2222-333344445555')
  const folder = join(dataDir, 'ports', uuid)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), old)

  const app = await startApp({ listen: [VMWARE_VM], dataDir })
  const log = async () => Buffer.from(await (await fetch(`${app.url}/api/v1/ports/${uuid}/log`)).arrayBuffer())
  expect(await log()).toEqual(old)
  expect(app.logged.lines.filter(({ problem }) => problem === 'foreign')).toHaveLength(1)

  const vm = new SimVm({
    name: 'web1',
    target: parseSimTarget(app.listening[0] ?? ''),
    identity: { name: 'web1', vcUuid: simUuid('vc', 1, 7) },
  })
  onTestFinished(() => vm.close())
  await vm.powerOn()
  vm.print('and the new one\r\n')
  await eventually(async () => (await log()).length > old.length + 16)
  expect(await log()).toEqual(Buffer.concat([old, Buffer.from('and the new one\r\n')]))
})
