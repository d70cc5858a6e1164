/** Ports after a restart: what is known of them, when they are forgotten, and what else may lie in the data directory. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Limits, limitsWith } from '../../src/base/index.ts'
import { openHistoryStore } from '../../src/history/index.ts'
import type { TcpEndpoint } from '../../src/transport/index.ts'
import type { PortInfo } from '../../src/vspc/index.ts'
import { type AppUnderTest, startApp } from '../app/support.ts'
import { TestConsole, testServer } from '../vspc/support.ts'
import { bootVm, turn, UUID } from '../vspc/vm-peer.ts'
import { eventually, filesOf, Host, type Target, temporary, uuidOf, Watcher } from './history-support.ts'

interface Run extends Target {
  readonly app: AppUnderTest
}

/** One run of the server on a data directory. */
async function run(dataDir: string, limits: Partial<Limits> = {}, history = 'disk'): Promise<Run> {
  const settings = { dataDir, listen: ['tcp://127.0.0.1:0'], history: history as 'disk' }
  const app = await startApp(settings, { historyVisibleMs: 10_000, ...limits })
  return { app, url: app.url, vmPort: (app.server.listening[0] as TcpEndpoint).tcpPort }
}

async function list({ url }: Target): Promise<PortInfo[]> {
  return (await fetch(`${url}/api/v1/ports`)).json() as Promise<PortInfo[]>
}

async function logOf({ url }: Target, id: string): Promise<{ epoch: string | null; text: string }> {
  const answer = await fetch(`${url}/api/v1/ports/${encodeURIComponent(id)}/log`)
  return { epoch: answer.headers.get('x-vspc-epoch'), text: Buffer.from(await answer.arrayBuffer()).toString('latin1') }
}

/** A VM that has printed something, and is gone again. */
async function printed(target: Run, n: number, text: string, uri = 'vSPC.py'): Promise<void> {
  const host = await Host.boot(target, n, uri)
  const id = uuidOf(n).id + (uri.includes('port=') ? `:${uri.split('port=')[1]}` : '')
  const { history } = target.app.server.table.resolve(id)
  const end = history.next + text.length
  host.print(text)
  await eventually(
    () => 'it is on disk',
    () => history.visible === end,
  )
  host.socket.end()
  await eventually(
    () => 'it is offline',
    () => target.app.server.table.resolve(id).state === 'offline',
  )
}

describe('the list of ports after a restart', () => {
  test('has every port that has said something, offline, with what is known of it; its epoch is the same', async () => {
    const dataDir = temporary()
    const first = await run(dataDir)
    await printed(first, 1, 'one')
    await printed(first, 2, 'labelled', 'vSPC.py?port=com2')
    // Connected, and silent: nothing of it is kept.
    await Host.boot(first, 3)
    const before = await list(first)
    const epochs = [await logOf(first, uuidOf(1).id), await logOf(first, `${uuidOf(2).id}:com2`)]
    await first.app.stop()

    const second = await run(dataDir)
    const ports = await list(second)
    expect(ports.map(({ id }) => id).sort()).toEqual([uuidOf(1).id, `${uuidOf(2).id}:com2`])
    for (const port of ports) {
      const was = before.find(({ id }) => id === port.id) as PortInfo
      const gone = { host: null, transport: null, bytesToVm: 0, connectedAt: null, vmotions: 0, consoles: 0 }
      expect(port).toEqual({ ...was, ...gone, lastOutputAt: port.lastOutputAt })
      // When the file was last written: at most as late as the write was.
      const late = Date.parse(port.lastOutputAt ?? '') - Date.parse(was.lastOutputAt ?? '')
      expect(late).toBeGreaterThanOrEqual(-1_000)
      expect(late).toBeLessThan(10_000)
    }
    expect([await logOf(second, uuidOf(1).id), await logOf(second, `${uuidOf(2).id}:com2`)]).toEqual(epochs)
    // Found by all that people type, as before.
    for (const name of ['vm1', 'vm2/com2', uuidOf(1).wire, uuidOf(2).id]) {
      expect((await fetch(`${second.url}/api/v1/ports/${encodeURIComponent(name)}`)).status).toBe(200)
    }
    await printed(second, 1, '+two')
    expect((await logOf(second, uuidOf(1).id)).text).toBe('one+two')
    expect(await list(second)).toHaveLength(2)
  })

  test('a removed port that comes again counts anew, under another epoch, after a restart too', async () => {
    const dataDir = temporary()
    const { id } = uuidOf(1)
    const first = await run(dataDir)
    await printed(first, 1, 'the first life')
    const { epoch } = await logOf(first, id)
    expect((await fetch(`${first.url}/api/v1/ports/${id}`, { method: 'DELETE' })).status).toBe(204)
    await printed(first, 1, 'the second')
    const again = await logOf(first, id)
    expect(again.text).toBe('the second')
    expect(again.epoch).not.toBe(epoch)
    await first.app.stop()
    const second = await run(dataDir)
    expect(await logOf(second, id)).toEqual(again)
    await eventually(
      () => 'nothing of the first is left',
      () => readdirSync(join(dataDir, 'ports')).length === 1,
    )
  })

  test('a port whose port.json is lost keeps its bytes; its new epoch is kept from then on, though nothing is printed', async () => {
    const dataDir = temporary()
    const { id } = uuidOf(1)
    const first = await run(dataDir)
    await printed(first, 1, 'bytes')
    const { epoch } = await logOf(first, id)
    await first.app.stop()
    writeFileSync(join(dataDir, 'ports', id, 'port.json'), '{"vspc-port": 1, "id": "half a fi')
    const second = await run(dataDir)
    const found = await logOf(second, id)
    expect(found.text).toBe('bytes')
    expect(found.epoch).not.toBe(epoch)
    expect(second.app.logged.find('found in')).toMatchObject({ msg: expect.stringContaining(`${id}/port.json`) })
    await second.app.stop()
    const third = await run(dataDir)
    expect(await logOf(third, id)).toEqual(found)
    expect(third.app.logged.find('found in')).toBeUndefined()
  })
})

describe('retention', () => {
  /** Far longer ago than anything is kept. */
  const LONG_AGO = new Date('2001-01-01')

  async function server(dir: string, limits: Partial<Limits>) {
    const all = limitsWith(limits)
    const histories = await openHistoryStore({ dir, limits: all, onProblem: () => {} })
    const made = testServer(limits, { histories })
    onTestFinished(async () => {
      await histories.close(1_000)
    })
    await made.server.start()
    return { ...made, histories, ids: () => [...made.server.table].map(({ id }) => id) }
  }

  test('with history on disk ports go after historyRetentionMs, not portRetentionMs, and their files with them', async () => {
    const dir = temporary()
    const world = await server(dir, { portRetentionMs: 60_000, historyRetentionMs: 600_000 })
    const vm = await bootVm(world.server)
    vm.print('kept')
    await world.histories.flush(5_000)
    const silent = await bootVm(world.server, { uuid: UUID.replace('01', '02'), name: 'silent' })
    for (const one of [vm, silent]) one.end()
    await turn()
    expect(world.ids()).toHaveLength(2)
    // One that has said nothing has no files: for it the shorter time counts.
    world.clock.advance(180_000)
    expect(world.ids()).toHaveLength(1)
    world.clock.advance(480_000)
    expect(world.ids()).toEqual([])
    await eventually(
      () => 'its files are deleted',
      () => readdirSync(join(dir, 'ports')).length === 0,
    )
  })

  test('a console keeps its port; one from long ago is not forgotten before its host had an hour to come back', async () => {
    const dir = temporary()
    const old = await server(dir, {})
    const vm = await bootVm(old.server)
    vm.print('old')
    await old.histories.close(5_000)
    const [folder] = readdirSync(join(dir, 'ports')) as [string]
    utimesSync(join(dir, 'ports', folder, '00000000000000000000.log'), LONG_AGO, LONG_AGO)

    const world = await server(dir, {})
    const [port] = [...world.server.table]
    expect(port?.info()).toMatchObject({ state: 'offline', lastOutputAt: LONG_AGO.toISOString() })
    world.clock.advance(3_500_000)
    expect(world.ids()).toHaveLength(1)
    const console = port ? new TestConsole(port, { mode: 'read' }) : null
    world.clock.advance(3_600_000)
    expect(world.ids()).toHaveLength(1)
    console?.console.detach()
    world.clock.advance(60_000)
    expect(world.ids()).toEqual([])
  })
})

describe('what else may lie in the data directory', () => {
  test('is left as it is, named once in the log, and no port is lost by it', async () => {
    const dataDir = temporary()
    const outside = temporary()
    const first = await run(dataDir)
    for (const n of [1, 2, 3]) await printed(first, n, `vm${n}`)
    await first.app.stop()
    const ports = join(dataDir, 'ports')
    const at = (n: number, name: string) => join(ports, uuidOf(n).id, name)
    writeFileSync(join(outside, 'secret'), 'not yours')
    // A file where ports are, and a folder that is no port's.
    writeFileSync(join(ports, 'NOTES.TXT'), 'by hand')
    mkdirSync(join(ports, 'Backup of ports'))
    writeFileSync(join(ports, 'a-file'), 'x')
    // A link for a port's folder, one to nowhere, and a folder that holds something else.
    symlinkSync(outside, join(ports, uuidOf(7).id))
    symlinkSync('/nowhere', join(ports, uuidOf(8).id))
    mkdirSync(join(ports, uuidOf(9).id))
    writeFileSync(at(9, 'readme'), 'nothing')
    // Port files: huge, a link, a folder; of another port; drafts that lead elsewhere.
    writeFileSync(at(1, 'port.json'), `{"vspc-port": 1, "name": "${'x'.repeat(1 << 20)}"}`)
    rmSync(at(2, 'port.json'))
    symlinkSync(join(outside, 'secret'), at(2, 'port.json'))
    symlinkSync(join(outside, 'secret'), at(2, 'port.json.new'))
    renameSync(at(3, 'port.json'), at(3, 'port.bak'))
    writeFileSync(at(3, 'port.json'), readFileSync(at(3, 'port.bak'), 'utf8').replaceAll(uuidOf(3).id, uuidOf(1).id))
    // Segments: a link, a folder, and names that are none.
    symlinkSync(join(outside, 'secret'), at(1, '00000000000000000100.log'))
    mkdirSync(at(2, '00000000000000000100.log'))
    for (const name of ['99999999999999999999.log', '1.log', '-0000000000000000001.log', '00000000000000000000.log~']) {
      writeFileSync(at(3, name), 'no segment')
    }

    const second = await run(dataDir)
    const found = await list(second)
    expect(found.map(({ id }) => id).sort()).toEqual([1, 2, 3].map((n) => uuidOf(n).id))
    const complaints = second.app.logged.lines.filter(({ msg }) => String(msg).includes('found in'))
    expect(complaints).toHaveLength(1)
    expect(complaints[0]?.['msg']).toMatch(/ and \d+ more$/)
    for (const n of [1, 2, 3]) {
      expect((await logOf(second, uuidOf(n).id)).text).toBe(`vm${n}`)
      await printed(second, n, ' again')
      expect((await logOf(second, uuidOf(n).id)).text).toBe(`vm${n} again`)
    }
    // Those whose place is taken by something else are served all the same.
    for (const n of [8, 9]) await Host.boot(second, n)
    await second.app.stop()
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('not yours')
    expect(readdirSync(outside)).toEqual(['secret'])
    expect(lstatSync(at(2, 'port.json')).isFile()).toBe(true)
    expect(lstatSync(at(1, '00000000000000000100.log')).isSymbolicLink()).toBe(true)
    expect(readFileSync(at(3, '1.log'), 'utf8')).toBe('no segment')
    for (const name of ['NOTES.TXT', 'Backup of ports', 'a-file']) expect(existsSync(join(ports, name))).toBe(true)
  })

  test('a folder that could not be read at start is not overwritten when its VM prints', async () => {
    const dataDir = temporary()
    const { id } = uuidOf(1)
    const first = await run(dataDir)
    await printed(first, 1, 'precious')
    await first.app.stop()
    // For root every folder can be read: here it is simply elsewhere at start, as one that was restored too late.
    const folder = join(dataDir, 'ports', id)
    renameSync(folder, join(dataDir, 'elsewhere'))
    const second = await run(dataDir, { historyVisibleMs: 20 })
    const host = await Host.boot(second, 1)
    renameSync(join(dataDir, 'elsewhere'), folder)
    chmodSync(folder, 0o700)
    const seen: Buffer[] = []
    const watcher = await Watcher.attach(second, id, null, (bytes) => seen.push(bytes))
    host.print('new output')
    await watcher.reaches(10)
    expect(Buffer.concat(seen).toString()).toBe('new output')
    await eventually(
      () => 'it is told',
      () => second.app.logged.find('a file that is none of this run') !== undefined,
    )
    await second.app.stop()
    expect(filesOf(dataDir, id).toString()).toBe('precious')
  })

  test('a data directory in use, or one that cannot be made, is an error that says what to do', async () => {
    const dataDir = temporary()
    const first = await run(dataDir)
    await expect(run(dataDir)).rejects.toMatchObject({ code: 'VSPC_HISTORY_LOCKED', message: /process id \d+/ })
    await first.app.stop()
    await (await run(dataDir)).app.stop()
    writeFileSync(join(dataDir, 'file'), '')
    await expect(run(join(dataDir, 'file', 'dir'))).rejects.toMatchObject({
      code: 'VSPC_HISTORY_OPEN',
      message: expect.stringMatching(/--data-dir.*--history memory/),
    })
  })
})

describe('--history', () => {
  test('memory: the end of the output, until the server stops; nothing is written', async () => {
    const dataDir = join(temporary(), 'never-made')
    const first = await run(dataDir, { historyBytes: 100_000 }, 'memory')
    const { id } = uuidOf(1)
    await printed(first, 1, `${'x'.repeat(300_000)}the end`)
    const { text, epoch } = await logOf(first, id)
    expect(text.length).toBeGreaterThanOrEqual(100_000)
    expect(text.length).toBeLessThan(200_000)
    expect(text.endsWith('the end')).toBe(true)
    expect((await list(first))[0]).toMatchObject({ bytesFromVm: 300_007, historyStart: 300_007 - text.length })
    await first.app.stop()
    const second = await run(dataDir, {}, 'memory')
    expect(await list(second)).toEqual([])
    await printed(second, 1, 'anew')
    const again = await logOf(second, id)
    expect(again.text).toBe('anew')
    expect(again.epoch).not.toBe(epoch)
    expect(existsSync(dataDir)).toBe(false)
  })

  test('off: live output only; nothing is kept or written', async () => {
    const dataDir = join(temporary(), 'never-made')
    const server = await run(dataDir, {}, 'off')
    const { id } = uuidOf(1)
    await printed(server, 1, 'before anybody looked')
    expect((await logOf(server, id)).text).toBe('')
    const host = await Host.boot(server, 1)
    const seen: Buffer[] = []
    const watcher = await Watcher.attach(server, id, 0, (bytes) => seen.push(bytes))
    host.print('live')
    await watcher.reaches(25)
    expect(Buffer.concat(seen).toString()).toBe('live')
    expect(watcher.told('gap')).toEqual([{ type: 'gap', bytes: 21, offset: 21 }])
    expect(existsSync(dataDir)).toBe(false)
  })
})
