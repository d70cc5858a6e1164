/** Disks that are really full or read-only, in a mount namespace of the server's own. */
import { spawnSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { eventually, Host, randomFrom, ServerProcess, Stream, temporary, uuidOf, Watcher } from './history-support.ts'

/** Runs what follows with `options` of a file system in memory on the directory that comes next. */
const mounted = (options: string, dir: string): string[] => {
  const script = `mount -t tmpfs -o ${options} tmpfs "$0" && exec "$@"`
  return ['unshare', '--map-root-user', '--mount', 'sh', '-c', script, dir]
}

function mayMount(): boolean {
  const [program = '', ...args] = mounted('size=1m', '/mnt')
  return spawnSync(program, [...args, 'true']).status === 0
}

const { id } = uuidOf(1)
const MB = 1_000_000
const possible = mayMount()
if (!possible) {
  process.stderr.write('\nSKIPPED: disks that are really full: "unshare --map-root-user --mount" may not mount here\n')
}

describe.skipIf(!possible)('a real disk', () => {
  test('that is full: told once, live output complete, GOAHEAD at once; with room again history goes on behind a gap', async () => {
    const dataDir = temporary()
    const server = await ServerProcess.start(dataDir, {
      before: mounted('size=4m', dataDir),
      limits: { historyPendingBytes: 500_000 },
    })
    // As the server sees it. proc(5): `root` leads into its mount namespace.
    const inside = (name: string) => join(`/proc/${server.pid}/root`, dataDir, name)
    writeFileSync(inside('filler'), new Uint8Array(3 << 20))
    const stream = new Stream(1)
    const host = await Host.boot(server, 1)
    let wrong: number | null = null
    const live = await Watcher.attach(server, id, null, (bytes, offset) => {
      wrong ??= stream.firstWrong(offset, bytes)
    })
    // So that the console keeps up, whatever else this machine does: one that does not may miss something now.
    for (let end = MB / 5; end <= 6 * MB; end += MB / 5) {
      host.printFast(stream, end, randomFrom(1))
      await live.reaches(end)
    }
    expect([wrong, live.told('gap')]).toEqual([null, []])
    const begun = performance.now()
    await host.begin(Uint8Array.of(1, 2, 3, 4))
    // ESX waits for 5 s.
    expect(performance.now() - begun).toBeLessThan(1_000)
    await eventually(
      () => 'the retries fail, too',
      async () => (await server.metric('vspc_history_disk_errors_total')) > 3,
    )
    const full = server.logs('the disk is full')
    expect(full).toHaveLength(1)
    expect(full[0]).toMatchObject({ level: 'error', problem: 'write', code: 'ENOSPC' })
    expect(await server.metric('vspc_history_dropped_bytes_total')).toBeGreaterThan(3 * MB)
    expect((await server.port(id)).bytesFromVm).toBe(6 * MB)
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200)

    rmSync(inside('filler'))
    host.printFast(stream, 6 * MB + 1_000, randomFrom(1))
    await live.reaches(6 * MB + 1_000)
    await eventually(
      () => 'it is over',
      () => server.logs('that is over').some(({ code }) => code === 'ENOSPC'),
    )
    expect(await server.metric('vspc_history_pending_bytes')).toBe(0)
    let received = 0
    const late = await Watcher.attach(server, id, 0, (bytes, offset) => {
      wrong ??= stream.firstWrong(offset, bytes)
      received += bytes.length
    })
    await late.reaches(6 * MB + 1_000)
    const lost = late.told('gap').reduce((sum, { bytes }) => sum + bytes, 0)
    expect([wrong, lost]).toEqual([null, await server.metric('vspc_history_dropped_bytes_total')])
    expect(received + lost).toBe(6 * MB + 1_000)
    // The log leaves the gap out, and its headers count it.
    const log = await server.log(id)
    expect([log.next, log.body.length]).toEqual([6 * MB + 1_000, received])
    expect(await server.stop()).toEqual({ code: 0, signal: null })
  })

  test('that is read-only at start: the server serves its VMs all the same, with history in memory, and says so', async () => {
    const dataDir = temporary()
    const server = await ServerProcess.start(dataDir, { before: mounted('ro', dataDir) })
    await expect
      .poll(() => server.logs('history is kept in memory only'), { timeout: 5_000 })
      .toMatchObject([{ level: 'error', code: 'VSPC_HISTORY_OPEN', reason: expect.stringContaining('read-only') }])
    const host = await Host.boot(server, 1)
    const live = await Watcher.attach(server, id, null)
    host.print('shown')
    await live.reaches(5)
    expect((await server.log(id)).body.toString()).toBe('shown')
    await host.begin(Uint8Array.of(1, 2, 3, 4))
    expect(await server.stop()).toEqual({ code: 0, signal: null })
  })
})
