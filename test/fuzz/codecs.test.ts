/** The codecs inside subnegotiations: nothing makes them throw, and what they accept comes out as it went in. */
import { describe, expect, test } from 'vitest'
import {
  type ComPortEvent,
  ComPortServer,
  Decoder,
  decodeVmMessage,
  encodeData,
  encodeProxyMessage,
  encodeSubnegotiation,
  type ProxyMessage,
  type VmMessage,
} from '../../src/telnet/index.ts'
import { naiveDecode } from '../telnet/naive-decoder.ts'
import { campaign } from './campaign.ts'
import { soup } from './hostile.ts'
import { hexText, loadFuzzPages } from './pages.ts'
import type { Random } from './random.ts'

/** Payloads of subnegotiations in hostile bytes, and some that no framing could carry. */
function payloads(random: Random): Uint8Array[] {
  const framed = naiveDecode(Uint8Array.from(soup(random, 20)), 1 << 21)
  const found = framed.flatMap((event) => (event.kind === 'sub' ? [Uint8Array.from(event.payload)] : []))
  return [...found, Uint8Array.from(random.bytes(random.size(400))), Uint8Array.of(random.byte())]
}

/** The codes of option 232 that a VM sends, from docs/protocol.md, and the payload a message of that code stands for. */
const FIELDS: { readonly [kind in VmMessage['kind']]: readonly [code: number, body: (message: never) => number[]] } = {
  'KNOWN-SUBOPTIONS-1': [0, ({ codes }: { codes: Uint8Array }) => [...codes]],
  'UNKNOWN-SUBOPTION-RCVD-1': [2, ({ code }: { code: number }) => [code]],
  'VMOTION-BEGIN': [40, ({ sequence }: { sequence: Uint8Array }) => [...sequence]],
  'VMOTION-PEER': [44, ({ cookie }: { cookie: Uint8Array }) => [...cookie]],
  'VMOTION-COMPLETE': [46, ({ sequence }: { sequence: Uint8Array }) => [...sequence]],
  'VMOTION-ABORT': [48, () => []],
  'DO-PROXY': [
    70,
    ({ direction, serviceURI }: { direction: string; serviceURI: Uint8Array }) => [
      direction === 'server' ? 0x53 : 0x43,
      ...serviceURI,
    ],
  ],
  'VM-VC-UUID': [80, ({ text }: { text: Uint8Array }) => [...text]],
  'VM-NAME': [82, ({ text }: { text: Uint8Array }) => [...text]],
  'VM-BIOS-UUID': [84, ({ text }: { text: Uint8Array }) => [...text]],
  'VM-LOCATION-UUID': [86, ({ text }: { text: Uint8Array }) => [...text]],
}
const VM_CODES = Object.values(FIELDS).map(([code]) => code)

function checkMessage(payload: Uint8Array): void {
  const message = decodeVmMessage(payload)
  const [code, ...body] = payload
  if (message === null) {
    expect(payload.length).toBe(0)
  } else if (message.kind === 'unknown') {
    expect(message.code).toBe(code)
    // Never for 2 and 3: complaints about complaints would go on for ever.
    expect([...VM_CODES, 3]).not.toContain(code)
  } else if (message.kind === 'malformed') {
    expect(message.code).toBe(code)
    expect([...VM_CODES, 3]).toContain(code)
    expect(message.reason).toMatch(/^[\x20-\x7e]{1,200}$/)
  } else {
    const [right, fields] = FIELDS[message.kind]
    expect(code).toBe(right)
    // The payload may be the socket's own buffer: whoever keeps the message must not see it change.
    payload.fill(0x55)
    const said = fields(message as never)
    // Nothing belongs behind an ABORT or a code; what is there is ignored.
    const ignored = code === 48 ? 0 : code === 2 ? 1 : body.length
    expect(hexText(said)).toBe(hexText(body.slice(0, ignored)))
  }
}

/** By hand: IAC SB 232 code body IAC SE. */
function framedByHand(code: number, body: readonly number[]): number[] {
  const doubled = [code, ...body].flatMap((byte) => (byte === 255 ? [255, 255] : [byte]))
  return [255, 250, 232, ...doubled, 255, 240]
}

function proxyMessage(random: Random): { message: ProxyMessage; code: number; body: number[] } {
  const sequence = random.bytes(random.size(300))
  const secret = random.bytes(8)
  const bytes = Uint8Array.from(sequence)
  switch (random.below(6)) {
    case 0:
      return { message: { kind: 'KNOWN-SUBOPTIONS-2', codes: bytes }, code: 1, body: sequence }
    case 1: {
      const code = random.byte()
      return { message: { kind: 'UNKNOWN-SUBOPTION-RCVD-2', code }, code: 3, body: [code] }
    }
    case 2: {
      const message = { kind: 'VMOTION-GOAHEAD', sequence: bytes, secret: Uint8Array.from(secret) } as const
      return { message, code: 41, body: [...sequence, ...secret] }
    }
    case 3:
      return { message: { kind: 'VMOTION-NOTNOW', sequence: bytes }, code: 43, body: sequence }
    case 4:
      return { message: { kind: 'VMOTION-PEER-OK', sequence: bytes }, code: 45, body: sequence }
    default: {
      const [kind, code] = random.pick([
        ['WILL-PROXY', 71],
        ['WONT-PROXY', 73],
        ['GET-VM-VC-UUID', 81],
        ['GET-VM-NAME', 83],
        ['GET-VM-BIOS-UUID', 85],
        ['GET-VM-LOCATION-UUID', 87],
      ] as const)
      return { message: { kind }, code, body: [] }
    }
  }
}

/** RFC 2217 as a list of what is in force; answers to SETs and to questions must agree with it. */
class LineModel {
  readonly #inForce: { [command: number]: number } = { 1: 115_200, 2: 8, 3: 1, 4: 1 }
  readonly #ranges: { readonly [command: number]: readonly [number, number] } = {
    1: [1, 0xffff_ffff],
    2: [5, 8],
    3: [1, 5],
    4: [1, 3],
  }

  /** What the answer's value has to be; null where this model has no opinion. */
  after(command: number, value: number): number | null {
    const range = this.#ranges[command]
    if (range === undefined) return null
    if (value >= range[0] && value <= range[1]) this.#inForce[command] = value
    return this.#inForce[command] as number
  }
}

function checkComPort(server: ComPortServer, model: LineModel, payload: Uint8Array): void {
  const events: ComPortEvent[] = []
  const [command = -1, ...value] = payload
  const answer = server.receive(payload, (event) => events.push(event))
  expect(events.length).toBeLessThanOrEqual(1)
  const { baud, dataSize } = server.line
  expect(Number.isInteger(baud) && baud > 0 && dataSize >= 5 && dataSize <= 8).toBe(true)
  if (answer === null) return
  expect(answer[0]).toBe(command + 100)
  // Never more than a few bytes more than was asked.
  expect(answer.length).toBeLessThanOrEqual(payload.length + 4)
  const number = (bytes: Iterable<number>) => [...bytes].reduce((sum, byte) => sum * 256 + byte, 0)
  const wanted = command === 1 ? number(value.slice(0, 4)) : (value[0] ?? 0)
  const right = command === 1 && value.length < 4 ? null : model.after(command, wanted)
  if (right !== null) expect(number(answer.subarray(1))).toBe(right)
}

describe('pages', () => {
  for (const page of loadFuzzPages('suboption')) {
    test(page.name, () => {
      const server = new ComPortServer()
      for (const chunk of page.chunks) {
        checkMessage(chunk.slice())
        checkComPort(server, new LineModel(), chunk)
      }
    })
  }
})

campaign('a VM message is read or named, never thrown, and is a copy', 30, (random) => {
  for (const payload of payloads(random)) checkMessage(payload)
})

campaign('a proxy message is framed as by hand, and read back', 30, (random) => {
  for (let n = 0; n < 20; n++) {
    const { message, code, body } = proxyMessage(random)
    const wire = encodeSubnegotiation(232, encodeProxyMessage(message))
    expect(hexText(wire)).toBe(hexText(framedByHand(code, body)))
    const items: string[] = []
    const fail = (): void => void items.push('something else')
    new Decoder().push(wire.slice(), {
      data: fail,
      command: fail,
      negotiation: fail,
      anomaly: fail,
      subnegotiation: (option, payload) => items.push(`${option} ${hexText(payload)}`),
    })
    expect(items).toEqual([`232 ${hexText([code, ...body])}`])
  }
})

campaign('serial data are doubled for the wire, and halved to what they were', 30, (random) => {
  const bytes = Uint8Array.from(random.bytes(random.size(3_000)), (byte) => (random.oneIn(9) ? 255 : byte))
  const wire = encodeData(bytes.slice())
  const read = naiveDecode(wire, 16)
  expect(hexText(read.map((event) => (event.kind === 'data' ? event.byte : -1)))).toBe(hexText(bytes))
})

campaign('COM-PORT answers with what is in force, once per command', 30, (random) => {
  const server = new ComPortServer()
  const model = new LineModel()
  for (let n = 0; n < 100; n++) {
    const command = random.oneIn(8) ? random.byte() : random.below(14)
    const value = random.oneIn(3) ? [0, 0, 0, 0] : random.oneIn(2) ? [random.below(20)] : random.bytes(random.size(9))
    checkComPort(server, model, Uint8Array.of(command, ...value))
  }
})
