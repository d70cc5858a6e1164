import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encodeProxyMessage, encodeSubnegotiation, OPTION } from '../../src/telnet/index.ts'
import {
  alignOffsets,
  bytesFrom,
  chunkings,
  FIXTURES,
  LoggedSession,
  loadDialogue,
  loadVmwareStreams,
  timeline,
} from '../support/pages.ts'

const START = new Map([['start', '']])

describe("the four connections of VMware's capture", () => {
  const dialogue = loadVmwareStreams()

  for (const connection of dialogue.connections) {
    test(`stream ${connection.stream}: whole, at every chunk size and cut anywhere, the VM says the same [C1, C2, C6, C38]`, () => {
      const expected = dialogue.events.get(connection.name)
      expect(expected).toBeDefined()
      const bytes = bytesFrom(connection, 'vm')
      let answers: string | null = null
      for (const chunking of chunkings(bytes)) {
        const logged = new LoggedSession(START)
        for (const chunk of chunking.chunks()) logged.receive(chunk)
        expect(alignOffsets(logged.lines(), expected ?? []), chunking.name).toEqual(expected)
        answers ??= String(logged.sent)
        expect(String(logged.sent), chunking.name).toBe(answers)
      }
    })
  }

  test('our session offers what the proxy of the capture offers, and answers AUTHENTICATION as it does [C7, C8]', () => {
    const [first] = dialogue.connections
    const logged = new LoggedSession(START)
    for (const step of first?.steps ?? []) {
      if (step.frame !== null && step.frame >= 20) break
      if (step.from === 'vm') logged.receive(step.bytes.slice())
    }
    const triples = (bytes: readonly number[]) =>
      bytes
        .join(' ')
        .match(/255 25\d \d+/g)
        ?.sort()
    const seen = first?.steps.filter((step) => step.from === 'proxy' && (step.frame ?? 99) < 19) ?? []
    expect(triples(logged.sent)).toEqual(triples(seen.flatMap((step) => [...step.bytes])))
  })

  test('our encoder writes the GOAHEAD, NOTNOW and PEER-OK frames of the capture byte for byte [C2, C32, C33]', () => {
    const frame = (number: number) =>
      dialogue.connections.flatMap((connection) => connection.steps).find((step) => step.frame === number)?.bytes
    const encode = (message: Parameters<typeof encodeProxyMessage>[0]) =>
      encodeSubnegotiation(OPTION.VMWARE_TELNET_EXT, encodeProxyMessage(message))
    const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'))
    const goahead = (sequence: string, secret: string) =>
      encode({ kind: 'VMOTION-GOAHEAD', sequence: hex(sequence), secret: hex(secret) })
    expect(frame(82)).toEqual(goahead('44da87f1', '3ce64dab'))
    expect(frame(284)).toEqual(goahead('61ed26a2', 'aeec483f'))
    expect(frame(334)).toEqual(goahead('7619ffe9', '5521998c'))
    expect(frame(236)).toEqual(encode({ kind: 'VMOTION-NOTNOW', sequence: hex('cd526755') }))
    expect(frame(104)).toEqual(encode({ kind: 'VMOTION-PEER-OK', sequence: hex('44da87f1') }))
    expect(frame(23)).toEqual(encode({ kind: 'WILL-PROXY' }))
  })

  test('joined in order of time, the serial data are the printable characters in order, none missing, none twice', () => {
    const seen: number[] = []
    for (const connection of dialogue.connections) {
      const logged = new LoggedSession(START)
      logged.session.receive(bytesFrom(connection, 'vm'))
      const text = logged.lines().filter((line) => line.startsWith('data '))
      for (const line of text) {
        const unquoted = line
          .slice(6, -1)
          .replace(/\\x(..)/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
        for (const char of unquoted) seen.push(char.charCodeAt(0))
      }
    }
    expect(seen.length).toBeGreaterThan(800)
    expect(seen).toEqual(seen.map((_, i) => 0x20 + (i % 95)))
  })

  test("the timeline opens each connection before its steps, and the first source's FIN precedes COMPLETE", () => {
    const entries = timeline(dialogue)
    const opened = new Set<number>()
    for (const entry of entries) {
      if (entry.event === 'open') opened.add(entry.connection.stream)
      expect(opened.has(entry.connection.stream)).toBe(true)
    }
    const fin = entries.findIndex((entry) => entry.event === 'fin' && entry.connection.stream === 0)
    const complete = entries.findIndex((entry) => entry.event === 'step' && entry.step.frame === 108)
    expect(fin).toBeGreaterThan(0)
    expect(complete).toBe(fin + 1)
  })

  test('a page without a dialogue is a fault of the page', () => {
    expect(() => loadDialogue(join(FIXTURES, 'telnet', 'framing.md'))).toThrow(/no dialogue block/)
  })
})
