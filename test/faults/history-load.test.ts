/** Readers far behind cost no memory, idle ports no descriptor. */
import { expect, test } from 'vitest'
import {
  eventually,
  filesOf,
  Host,
  MEMORY_DISK,
  randomFrom,
  ServerProcess,
  Stream,
  temporary,
  uuidOf,
  Watcher,
} from './history-support.ts'

const MIB = 1 << 20

test('a console that never reads costs next to no memory and delays nobody; when it reads again it gets every byte', async () => {
  const dataDir = temporary()
  const server = await ServerProcess.start(dataDir, { limits: { historyVisibleMs: 10_000 } })
  const { id } = uuidOf(1)
  const host = await Host.boot(server, 1)
  const stream = new Stream(1)
  let wrong: number | null = null
  const check = (bytes: Buffer, offset: number) => {
    const found = stream.firstWrong(offset, bytes)
    if (found !== null) wrong ??= offset + found
  }
  const live = await Watcher.attach(server, id, null, check)
  // What the server needs for this much output towards a console that keeps up is the measure.
  const WARM = 48 * MIB
  host.printFast(stream, WARM, randomFrom(1))
  await live.reaches(WARM)
  const baseline = server.memory.peak
  const stuck = await Watcher.attach(server, id, null, check)
  stuck.socket.pause()
  const END = WARM + 64 * MIB
  host.printFast(stream, END, randomFrom(2))
  await live.reaches(END)
  const growth = server.memory.peak - baseline
  process.stderr.write(
    `64 MiB towards a stuck console: ${(growth / MIB).toFixed(1)} MiB more than towards one that reads\n`,
  )
  // Peaks depend on the garbage collector; kept for the stuck one it would be all 64 MiB.
  expect(growth).toBeLessThan(24 * MIB)
  expect(stuck.offset).toBeLessThan(WARM + 8 * MIB)

  // It catches up from disk, while the VM goes on and the other one reads live.
  const before = server.memory.peak
  stuck.socket.resume()
  host.printFast(stream, END + 8 * MIB, randomFrom(3))
  await Promise.all([stuck.reaches(END + 8 * MIB), live.reaches(END + 8 * MIB)])
  expect([wrong, stuck.told('gap'), live.told('gap')]).toEqual([null, [], []])
  expect(server.memory.peak - before).toBeLessThan(32 * MIB)
  expect(await server.metric('vspc_console_gap_bytes_total')).toBe(0)
  expect(await server.metric('vspc_history_dropped_bytes_total')).toBe(0)
  expect(stream.firstWrong(0, filesOf(dataDir, id))).toBeNull()
}, 60_000)

test('2,000 ports that have printed and are idle hold no descriptor; 350 more than connections are enough', async () => {
  const VMS = 2_000
  const dataDir = temporary(MEMORY_DISK)
  const before = ['sh', '-c', `ulimit -n ${VMS + 350}; exec "$@"`, 'sh']
  const server = await ServerProcess.start(dataDir, { before, limits: { historyVisibleMs: 10_000 } })
  const idle = server.descriptors
  const hosts: Host[] = []
  for (let n = 0; n < VMS; n += 50) {
    hosts.push(...(await Promise.all(Array.from({ length: 50 }, (_, i) => Host.boot(server, n + i)))))
  }
  for (const [n, host] of hosts.entries()) host.print(`vm${n}`)
  const bytes = hosts.reduce((sum, _host, n) => sum + `vm${n}`.length, 0)
  await eventually(
    () => 'all is on disk',
    async () => (await server.metric('vspc_history_written_bytes_total')) === bytes,
  )
  // Sockets, the files used last, and what was open before; a few sockets of our own requests.
  expect(server.descriptors).toBeLessThanOrEqual(idle + VMS + 256 + 16)
  // Any of them can be read and written, in any order, again and again.
  const random = randomFrom(1)
  const chosen = Array.from({ length: 300 }, () => random(VMS))
  const again = new Set(chosen)
  for (const n of again) hosts[n]?.print('+')
  await eventually(
    () => 'that is on disk as well',
    async () => (await server.metric('vspc_history_written_bytes_total')) === bytes + again.size,
  )
  for (const n of chosen) expect((await server.log(uuidOf(n).id)).body.toString()).toBe(`vm${n}+`)
  expect(await server.metric('vspc_history_dropped_bytes_total')).toBe(0)
  await server.kill()
  for (let n = 0; n < VMS; n++) {
    expect(filesOf(dataDir, uuidOf(n).id).toString()).toBe(again.has(n) ? `vm${n}+` : `vm${n}`)
  }
}, 60_000)
