import { join } from 'node:path'
import { expect, test } from 'vitest'
import { captureLines, describeCapture, openCapture } from '../../src/capture/index.ts'
import { captureOf } from '../support/capture-fixture.ts'
import { FIXTURES, loadVmwareStreams } from '../support/pages.ts'

const FILE = join(FIXTURES, 'captures', 'vmware-streams.jsonl')

// After a change of a page, twice (the dump is made from the file): npx vitest run test/capture/fixture.test.ts -u
test('the capture file is what the dialogue pages make it, byte for byte', async () => {
  await expect(captureOf(loadVmwareStreams())).toMatchFileSnapshot(FILE)
})

test('the dump of the capture tells the four connections in protocol words', async () => {
  const lines: string[] = []
  for await (const line of describeCapture(await openCapture(FILE))) lines.push(line)
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot(join(FIXTURES, 'captures', 'vmware-streams.txt'))
})

test('every byte of the pages is in the dump once: offsets run on without a gap', async () => {
  const next = new Map<string, number>()
  for await (const line of captureLines(await openCapture(FILE))) {
    if (line.from === null) continue
    const side = `${line.stream} ${line.from}`
    expect(line.offset, side).toBe(next.get(side) ?? 0)
    next.set(side, (line.offset ?? 0) + line.bytes)
  }
  for (const connection of loadVmwareStreams().connections) {
    for (const from of ['vm', 'proxy'] as const) {
      const bytes = connection.steps
        .filter((step) => step.from === from)
        .reduce((sum, step) => sum + step.bytes.length, 0)
      expect(next.get(`${connection.stream} ${from}`)).toBe(bytes)
    }
  }
})
