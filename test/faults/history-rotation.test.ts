/**
 * Files rotated and compressed under much output: real sockets, the server as a process, and plain tools to read what it
 * has left. `VSPC_ROTATION_SECONDS=60` for a long run.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Host, randomFrom, ServerProcess, Stream, temporary, uuidOf } from './history-support.ts'

const SECONDS = Number(process.env['VSPC_ROTATION_SECONDS'] ?? 3)
const BYTES_PER_SECOND = 50_000_000
const HOSTS = 4
const EACH = Math.round((SECONDS * BYTES_PER_SECOND) / HOSTS)

const NOWHERE = 'counts=true&pattern=nowhere%20to%20be%20found'

interface Searched {
  readonly type: string
  readonly end: string
  readonly skippedBytes: number
  readonly lostBytes: number
}

test(
  '50 MB/s through rotation, compression and searches loses no byte: what the files hold is what was sent, by plain tools',
  async () => {
    const dataDir = temporary()
    const server = await ServerProcess.start(dataDir, {
      limits: {
        historyFileBytes: 1 << 20,
        historyCompressMs: 1,
        historyPortBytes: 0,
        historyTotalBytes: 0,
        historyVisibleMs: 10_000,
        // A disk or a processor that others keep busy is not what this is about: see history-disk.test.ts.
        historyPendingBytes: 1 << 28,
        historyPendingTotalBytes: 1 << 30,
      },
    })
    const vms = await Promise.all(
      Array.from({ length: HOSTS }, async (_, n) => ({
        host: await Host.boot(server, n),
        stream: new Stream(n + 1),
        ...uuidOf(n),
      })),
    )
    const began = performance.now()
    for (const [n, { host, stream }] of vms.entries()) host.printFast(stream, EACH, randomFrom(n))

    // Searches meanwhile: files get other names, and end, under them.
    let printing = true
    const searches = (async () => {
      const ends: Searched[] = []
      while (printing) {
        const answer = await fetch(`${server.url}/api/v1/log/search?${NOWHERE}&ports=${uuidOf(ends.length % HOSTS).id}`)
        const last = (await answer.text()).trimEnd().split('\n').at(-1) ?? ''
        ends.push(JSON.parse(last) as Searched)
      }
      return ends
    })()
    for (const { id } of vms) {
      await eventuallyLong(async () => (await server.port(id)).bytesFromVm >= EACH)
    }
    const seconds = (performance.now() - began) / 1000
    printing = false
    const ends = await searches
    expect(await server.metric('vspc_history_dropped_bytes_total'), server.stderr).toBe(0)
    expect(ends.length).toBeGreaterThan(0)
    for (const end of ends) expect(end).toMatchObject({ type: 'end', end: 'complete', skippedBytes: 0, lostBytes: 0 })

    let files = 0
    let packed = 0
    for (const { id, stream } of vms) {
      const sent = createHash('sha256')
      for (let at = 0; at < EACH; at += 65_536) sent.update(stream.at(at, Math.min(65_536, EACH - at)))
      const expected = sent.digest('hex')
      const { body } = await server.log(id)
      expect(createHash('sha256').update(body).digest('hex')).toBe(expected)
      if (id === vms.at(-1)?.id) expect(await server.stop()).toEqual({ code: 0, signal: null })
    }
    for (const { id, stream } of vms) {
      const folder = join(dataDir, 'ports', id)
      const names = readdirSync(folder).filter((name) => /\.log(\.gz)?$/.test(name))
      files += names.length
      packed += names.filter((name) => name.endsWith('.gz')).length
      const { stdout } = spawnSync('sh', ['-c', 'zcat -f ./*.log* | sha256sum'], { cwd: folder, encoding: 'utf8' })
      const sent = createHash('sha256')
      for (let at = 0; at < EACH; at += 65_536) sent.update(stream.at(at, Math.min(65_536, EACH - at)))
      expect(stdout.slice(0, 64)).toBe(sent.digest('hex'))
    }
    expect(files).toBeGreaterThanOrEqual(Math.floor(EACH / (2 << 20)) * HOSTS)
    const rate = (EACH * HOSTS) / 1e6 / seconds
    process.stderr.write(
      `${(EACH * HOSTS) / 1e6} MB at ${rate.toFixed(0)} MB/s: ${files} files, ${packed} compressed, ${ends.length} searches\n`,
    )
  },
  60_000 + SECONDS * 20_000,
)

/** As many seconds as a busy machine takes. */
async function eventuallyLong(happened: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 40_000 + SECONDS * 15_000
  while (!(await happened())) {
    if (Date.now() > deadline) throw new Error('the output does not arrive')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
