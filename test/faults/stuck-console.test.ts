/** A console that never reads. */
import { expect, test } from 'vitest'
import { begin, sequenceOf } from '../vspc/conformance/support.ts'
import { MIB, Serve, SLACK_BYTES, until } from './support.ts'
import { Attached, Bystander, bootVm, identityOf } from './support-bystander.ts'

const LINE = '0123456789 the quick brown fox\n'
const BLOCK = Buffer.from(LINE.repeat(2_000))
const LINES = Buffer.from(LINE.repeat(50_000))
/** First while everybody reads, for the server's buffers and the compiler; then while one does not. */
const BLOCKS = { before: 500, stuck: 1_200 }

/** Counts what comes, and compares it with the lines over and over again. */
class Judge {
  length = 0
  wrong = 0

  take(bytes: Buffer): void {
    const at = this.length % LINE.length
    const expected = LINES.subarray(at, at + bytes.length)
    if (!bytes.equals(expected)) this.wrong++
    this.length += bytes.length
  }
}

test('a console that never reads costs a bounded buffer, blocks nobody, and gets every byte when it reads', async () => {
  const serve = await Serve.start()
  const bystander = await Bystander.start(serve)
  let room = (): void => {}
  const vm = await bootVm(serve, 1, { writable: () => room() })
  const witness = await judged(serve)
  const stuck = await judged(serve)
  const print = async (blocks: number): Promise<void> => {
    for (let i = 0; i < blocks; i++) {
      if (vm.data(BLOCK)) continue
      await new Promise<void>((resolve) => {
        room = resolve
      })
    }
  }
  await print(BLOCKS.before)
  await until('both have it', () => witness.judge.length + stuck.judge.length === 2 * BLOCKS.before * BLOCK.length)
  const rss = serve.rssBytes
  stuck.console.tcp.pause()
  await print(BLOCKS.stuck)
  const total = (BLOCKS.before + BLOCKS.stuck) * BLOCK.length
  await until('the witness has all of it', () => witness.judge.length === total)
  expect(BLOCKS.stuck * BLOCK.length).toBeGreaterThan(2 * SLACK_BYTES)
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES)
  // Held up by none of it: neither the VM's vMotion, nor what is typed.
  const started = performance.now()
  await begin(vm, sequenceOf())
  expect(performance.now() - started).toBeLessThan(2_000)
  vm.abortVmotion()
  stuck.console.type('typed by one that does not read')
  await vm.expectData('typed by one that does not read')
  expect(stuck.judge.length).toBeLessThan(total / 2)
  stuck.console.tcp.resume()
  await until('it has caught up', () => stuck.judge.length === total)
  expect([witness.judge.wrong, stuck.judge.wrong]).toEqual([0, 0])
  expect([...witness.console.of('gap'), ...stuck.console.of('gap')]).toEqual([])
  expect(await serve.metric('vspc_console_gap_bytes_total')).toBe(0)
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES + 8 * MIB)
  await bystander.verify()
  await serve.stop()
})

async function judged(serve: Serve): Promise<{ console: Attached; judge: Judge }> {
  const judge = new Judge()
  const console = await Attached.open(serve, identityOf(1).id, 'mode=write', (bytes) => judge.take(bytes))
  return { console, judge }
}

test('a hundred consoles that never read, and then are gone without a word: nothing of them is left', async () => {
  const serve = await Serve.start()
  const bystander = await Bystander.start(serve)
  const vm = await bootVm(serve, 1)
  const files = serve.openFiles
  const consoles = await Promise.all(Array.from({ length: 100 }, () => Attached.open(serve, identityOf(1).id)))
  for (const { tcp } of consoles) tcp.pause()
  const rss = serve.rssBytes
  for (let i = 0; i < 100; i++) vm.data(BLOCK)
  await vm.fence()
  // What the kernel took for each, and consoleBufferBytes.
  expect(serve.rssBytes - rss).toBeLessThan(100 * 0.3 * MIB + SLACK_BYTES)
  expect(await serve.metric('vspc_consoles{mode="write"}')).toBe(101)
  for (const { tcp } of consoles) tcp.resetAndDestroy()
  await serve.reaches('vspc_consoles{mode="write"}', 1)
  await serve.givesBack(files)
  expect(serve.complaints).toEqual([])
  await bystander.verify()
  await serve.stop()
})
