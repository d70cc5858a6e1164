import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { JsonListBody, LIST_SLICE } from '../../src/app/json-list.ts'

const numbers = (count: number) => Array.from({ length: count }, (_, at) => at)

test.each([0, 1, LIST_SLICE, LIST_SLICE + 1, 3 * LIST_SLICE])('%d items are one JSON array', async (count) => {
  const items = numbers(count)
  expect(JSON.parse(await text(new JsonListBody(items, String)))).toEqual(items)
})

test('what is gone meanwhile is left out, and hurts neither commas nor the end', async () => {
  const items = numbers(4 * LIST_SLICE)
  for (const isThere of [(n: number) => n % 2 === 1, (n: number) => n > 2 * LIST_SLICE, () => false]) {
    const body = new JsonListBody(items, (n) => (isThere(n) ? String(n) : null), { around: ['{"list":', '}'] })
    expect(JSON.parse(await text(body))).toEqual({ list: items.filter(isThere) })
  }
})

test('items of any size: no turn of the event loop describes more than fits, nor runs ahead of the reader', async () => {
  const large = JSON.stringify('x'.repeat(60_000))
  let described = 0
  const describe = () => {
    described++
    return large
  }
  const body = new JsonListBody(numbers(LIST_SLICE), describe, { characters: 128 << 10 })
  body.once('readable', () => {})
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  expect(described).toBe(3)
  expect(JSON.parse(await text(body))).toHaveLength(LIST_SLICE)
})
