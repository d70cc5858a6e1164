/** The decoder and the session around it, against the slow and obvious decoder: the same items, however they are cut. */
import { describe, expect, test } from 'vitest'
import { formatHex } from '../../src/base/index.ts'
import {
  Decoder,
  type DecoderSink,
  TELNET_POLICY,
  type TelnetOwner,
  TelnetSession,
  VMWARE_POLICY,
} from '../../src/telnet/index.ts'
import { naiveDecode } from '../telnet/naive-decoder.ts'
import { campaign, shrink } from './campaign.ts'
import { heldBytes } from './held-bytes.ts'
import { cut, mutated, soup } from './hostile.ts'
import { hexLines, loadFuzzPages } from './pages.ts'
import type { Random } from './random.ts'

/** Items as text; data that follow each other are one item. */
class Tape {
  readonly items: string[] = []
  #data: number[] = []

  data(bytes: Iterable<number>): void {
    for (const byte of bytes) this.#data.push(byte)
  }

  item(text: string): void {
    this.end()
    this.items.push(text)
  }

  end(): string[] {
    if (this.#data.length > 0) this.items.push(`data ${formatHex(Uint8Array.from(this.#data), '')}`)
    this.#data = []
    return this.items
  }
}

function expected(bytes: Uint8Array, cap: number): string[] {
  const tape = new Tape()
  for (const event of naiveDecode(bytes, cap)) {
    if (event.kind === 'data') tape.data([event.byte])
    else if (event.kind === 'command') tape.item(`${event.end} command ${event.code}`)
    else if (event.kind === 'negotiation') tape.item(`${event.end} negotiation ${event.verb} ${event.option}`)
    else if (event.kind === 'sub') tape.item(`${event.end} sub ${event.option} ${hex(event.payload)}`)
    else tape.item(`${event.end} anomaly ${event.anomaly}`)
  }
  return tape.end()
}

const hex = (bytes: Iterable<number>): string => formatHex(Uint8Array.from(bytes), '')

function decoded(pieces: readonly Uint8Array[], cap: number): string[] {
  const tape = new Tape()
  const decoder = new Decoder(cap)
  const sink: DecoderSink = {
    data: (bytes) => tape.data(bytes),
    command: (code) => tape.item(`${decoder.offset - 1} command ${code}`),
    negotiation: (verb, option) => tape.item(`${decoder.offset - 1} negotiation ${verb} ${option}`),
    subnegotiation: (option, payload) => tape.item(`${decoder.offset - 1} sub ${option} ${hex(payload)}`),
    anomaly: (kind, offset) => tape.item(`${offset} anomaly ${kind}`),
  }
  // The decoder overwrites what it is given.
  for (const piece of pieces) decoder.push(piece.slice(), sink)
  return tape.end()
}

/** What a whole session reports and answers. */
function spoken(pieces: readonly Uint8Array[], vmware: boolean, cap: number): string[] {
  const tape = new Tape()
  const sent: number[] = []
  const owner: TelnetOwner = {
    telnetData: (bytes) => tape.data(bytes),
    telnetOption: (side, option, change) => tape.item(`option ${side} ${option} ${change}`),
    telnetSubnegotiation: (option, payload) => {
      tape.item(`sub ${option} ${hex(payload)}`)
      session.sendSubnegotiation(option, payload)
    },
    telnetCommand: (code) => tape.item(`command ${code}`),
    telnetAnomaly: (kind, offset) => tape.item(`${offset} anomaly ${kind}`),
    telnetSend: (bytes) => {
      for (const byte of bytes) sent.push(byte)
    },
  }
  const session = new TelnetSession(owner, vmware ? VMWARE_POLICY : TELNET_POLICY, {
    maxSubnegotiationBytes: cap,
    maxNegotiationReplies: 20,
  })
  session.start()
  for (const piece of pieces) session.receive(piece.slice())
  return [...tape.end(), `sent ${hex(sent)}`]
}

function holdsFor(bytes: Uint8Array, cap: number, cuts: readonly (readonly Uint8Array[])[]): boolean {
  const right = expected(bytes, cap).join('\n')
  const said = [spoken([bytes], true, cap).join(), spoken([bytes], false, cap).join()]
  return cuts.every(
    (pieces) =>
      decoded(pieces, cap).join('\n') === right &&
      spoken(pieces, true, cap).join() === said[0] &&
      spoken(pieces, false, cap).join() === said[1],
  )
}

async function check(random: Random, bytes: Uint8Array): Promise<void> {
  const cap = random.pick([16, 256, 4_096, 4_096])
  const cuts = [[bytes], cut(random, bytes), cut(random, bytes)]
  if (holdsFor(bytes, cap, cuts)) return
  const single = (list: readonly number[]): boolean => {
    const all = Uint8Array.from(list)
    const bytewise = Array.from(all, (byte) => Uint8Array.of(byte))
    return !holdsFor(all, cap, [[all], bytewise, [all.slice(0, 1), all.slice(1)]])
  }
  const least = single([...bytes]) ? await shrink([...bytes], single) : [...bytes]
  throw new Error(`not as the naive decoder sees it, cap ${cap}; the least of it:\n${hexLines(least)}`)
}

describe('pages', () => {
  for (const page of loadFuzzPages('decoder')) {
    test(page.name, () => {
      const bytes = page.bytes
      const bytewise = Array.from(bytes, (byte) => Uint8Array.of(byte))
      for (const cap of [16, 4_096]) {
        expect(decoded([bytes], cap)).toEqual(expected(bytes, cap))
        expect(holdsFor(bytes, cap, [[bytes], page.chunks, bytewise])).toBe(true)
      }
    })
  }
})

campaign('any bytes, cut anywhere, give what the naive decoder gives', 50, async (random) => {
  const bytes = random.oneIn(2) ? mutated(random) : soup(random, random.between(1, 30))
  await check(random, Uint8Array.from(bytes))
})

test('subnegotiations that never end hold no more than their cap [C5]', () => {
  const cap = 4_096
  const decoders = Array.from({ length: 100 }, () => new Decoder(cap))
  const sink: DecoderSink = {
    data: () => {},
    command: () => {},
    negotiation: () => {},
    subnegotiation: () => {},
    anomaly: () => {},
  }
  const held = heldBytes(() => {
    for (const decoder of decoders) {
      decoder.push(Uint8Array.of(0xff, 0xfa, 232), sink)
      // Just below the cap, where a buffer is largest: beyond it nothing is kept.
      for (let at = 0; at < 40; at++) decoder.push(new Uint8Array(100).fill(7), sink)
    }
    return decoders
  })
  expect(held).toBeLessThan(100 * 2 * cap)
  const past = heldBytes(() => {
    for (const decoder of decoders) for (let at = 0; at < 8; at++) decoder.push(new Uint8Array(65_536).fill(7), sink)
    return decoders
  })
  // All let go of: less is held than before.
  expect(past).toBeLessThan(-75 * cap)
})
