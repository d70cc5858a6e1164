import { describe, expect, test } from 'vitest'
import { Decoder } from '../../src/telnet/index.ts'
import {
  alignOffsets,
  chunkings,
  EventLog,
  LoggedSession,
  loadPages,
  loggingSink,
  type PageCase,
} from '../support/pages.ts'

/** Cases about a session are those on pages that say what it sends, or that speak VMware's words. */
function needsSession(page: PageCase): boolean {
  return page.sent !== null || page.events.some((line) => /^(@\d+ )?(vm|option) /.test(line))
}

describe('pages', () => {
  for (const page of loadPages('telnet')) {
    test(page.name, () => {
      for (const chunking of chunkings(page.input)) {
        if (needsSession(page)) runSession(page, chunking.chunks(), chunking.name)
        else runDecoder(page, chunking.chunks(), chunking.name)
      }
    })
  }
})

function runDecoder(page: PageCase, chunks: Iterable<Uint8Array>, name: string): void {
  const decoder = new Decoder(Number(page.options.get('max-sub') ?? 4096))
  const log = new EventLog()
  const sink = loggingSink(log, () => decoder.offset)
  for (const chunk of chunks) expect(decoder.push(chunk, sink)).toBe(chunk.length)
  expect(alignOffsets(log.lines(), page.events), name).toEqual(page.events)
  expect(decoder.offset, name).toBe(page.input.length)
}

function runSession(page: PageCase, chunks: Iterable<Uint8Array>, name: string): void {
  const logged = new LoggedSession(page.options)
  for (const chunk of chunks) logged.receive(chunk)
  expect(alignOffsets(logged.lines(), page.events), name).toEqual(page.events)
  if (page.sent !== null) expect(Uint8Array.from(logged.sent), name).toEqual(page.sent)
}
