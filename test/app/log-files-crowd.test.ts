import { appendFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { LogFiles } from '../../src/app/log-files/log-files.ts'
import { NameTemplate } from '../../src/app/log-files/names.ts'
import { silentLogger, systemClock } from '../../src/base/index.ts'
import { segmentName } from '../../src/history/port-file.ts'
import type { Server } from '../../src/vspc/index.ts'
import { eventually } from './support.ts'

/** As much of a server as log files look at: ports whose history is in files. */
class Ports {
  readonly dir = mkdtempSync(join(tmpdir(), 'vspc-crowd-'))
  readonly table = new Map<string, object>()
  readonly #ends = new Map<string, number>()
  /** Those that print whenever they are looked at. */
  busy = 0

  constructor(count: number) {
    onTestFinished(() => rmSync(this.dir, { recursive: true, force: true }))
    for (let i = 0; i < count; i++) {
      const id = `name:vm${i}`
      mkdirSync(join(this.dir, `vm${i}`))
      this.#print(id)
      const ports = this
      const history = {
        get visible() {
          if (i < ports.busy) ports.#print(id)
          return ports.#ends.get(id) ?? 0
        },
      }
      this.table.set(id, { id, name: `vm${i}`, vcUuid: null, biosUuid: null, label: null, epoch: 'e', history })
    }
  }

  #print(id: string): void {
    const end = this.#ends.get(id) ?? 0
    appendFileSync(join(this.dir, id.slice(5), segmentName(0)), 'line\n')
    this.#ends.set(id, end + 5)
  }

  files(template: NameTemplate): LogFiles {
    const { dir, table } = this
    const filesOf = (id: string) => {
      const end = this.#ends.get(id) ?? 0
      return { folder: join(dir, id.slice(5)), files: [{ start: 0, end, lastWriteAt: 0 }], written: end, marks: {} }
    }
    const server = {
      clock: systemClock,
      limits: { logFileBytes: 65_536 },
      table: { get: (id: string) => table.get(id), [Symbol.iterator]: () => table.values() },
      histories: { filesOf, flush: () => Promise.resolve() },
    }
    const config = { dir: join(dir, 'logs'), layout: 'named' as const, template }
    const files = new LogFiles(config, server as unknown as Server, silentLogger)
    onTestFinished(() => files.close(0))
    return files
  }

  hasFile(i: number): boolean {
    return existsSync(join(this.dir, 'logs', `vm${i}`))
  }
}

test('hundreds of ports that print all the time do not keep the others from their files', async () => {
  const ports = new Ports(600)
  ports.busy = 590
  ports.files(new NameTemplate('{name}'))
  await eventually(() => ports.hasFile(0) && ports.hasFile(599))
})

test('a port that prints nothing costs nothing: its name is not made again and again', async () => {
  const template = new NameTemplate('{name}')
  const nameOf = vi.spyOn(template, 'nameOf')
  const ports = new Ports(50)
  const files = ports.files(template)
  await eventually(() => ports.hasFile(49))
  const before = nameOf.mock.calls.length
  ports.busy = 10
  await files.close(200)
  expect(nameOf.mock.calls.length).toBe(before)
})

test('the end does not wait for files that cannot be written, and brings the others up to date', async () => {
  const ports = new Ports(300)
  mkdirSync(join(ports.dir, 'logs', 'vm1'), { recursive: true })
  writeFileSync(join(ports.dir, 'logs', 'vm1', 'in the way'), '')
  const files = ports.files(new NameTemplate('{name}'))
  await files.close(600_000)
  expect(ports.hasFile(299)).toBe(true)
})
