import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ComPortEvent, ComPortServer, encodeSubnegotiation, OPTION } from '../../src/telnet/index.ts'
import { LoggedSession } from '../support/pages.ts'

function ask(server: ComPortServer, ...payload: number[]): { answer: number[] | null; events: ComPortEvent[] } {
  const events: ComPortEvent[] = []
  const answer = server.receive(Uint8Array.from(payload), (event) => events.push(event))
  return { answer: answer && [...answer], events }
}

describe('COM-PORT, access-server side (RFC 2217) [C13]', () => {
  test('SET-BAUDRATE is acknowledged with the value in force, big-endian, and told', () => {
    const server = new ComPortServer()
    const { answer, events } = ask(server, 1, 0x00, 0x00, 0x25, 0x80)
    expect(answer).toEqual([101, 0x00, 0x00, 0x25, 0x80])
    expect(events).toEqual([{ kind: 'line', line: { baud: 9600, dataSize: 8, parity: 'none', stopSize: '1' } }])
    expect(server.line.baud).toBe(9600)
  })

  test('value 0 asks: the answer is what is in force, and nothing changes', () => {
    const server = new ComPortServer()
    ask(server, 1, 0, 0, 0x12, 0xc0)
    ask(server, 2, 7)
    ask(server, 3, 3)
    ask(server, 4, 2)
    expect(ask(server, 1, 0, 0, 0, 0)).toEqual({ answer: [101, 0, 0, 0x12, 0xc0], events: [] })
    expect(ask(server, 2, 0)).toEqual({ answer: [102, 7], events: [] })
    expect(ask(server, 3, 0)).toEqual({ answer: [103, 3], events: [] })
    expect(ask(server, 4, 0)).toEqual({ answer: [104, 2], events: [] })
    expect(server.line).toEqual({ baud: 4800, dataSize: 7, parity: 'even', stopSize: '2' })
  })

  test.each([
    ['SET-DATASIZE', 2, [5, 6, 7, 8]],
    ['SET-PARITY', 3, [1, 2, 3, 4, 5]],
    ['SET-STOPSIZE', 4, [1, 2, 3]],
  ])('%s takes every value of RFC 2217 and answers others with the value in force', (_, command, values) => {
    const server = new ComPortServer()
    for (const value of values) {
      const { answer, events } = ask(server, command, value)
      expect(answer).toEqual([command + 100, value])
      expect(events).toHaveLength(1)
    }
    const last = values.at(-1)
    for (const value of [9, 100, 255]) {
      expect(ask(server, command, value)).toEqual({ answer: [command + 100, last], events: [] })
    }
  })

  test('parity and stop size are told in words', () => {
    const server = new ComPortServer()
    const parities = [1, 2, 3, 4, 5].map((value) => {
      ask(server, 3, value)
      return server.line.parity
    })
    expect(parities).toEqual(['none', 'odd', 'even', 'mark', 'space'])
    const stops = [1, 2, 3].map((value) => {
      ask(server, 4, value)
      return server.line.stopSize
    })
    expect(stops).toEqual(['1', '2', '1.5'])
  })

  test('SET-CONTROL: BREAK is told when it begins and when it ends, once each', () => {
    const server = new ComPortServer()
    expect(ask(server, 5, 4)).toEqual({ answer: [105, 6], events: [] })
    expect(ask(server, 5, 5)).toEqual({ answer: [105, 5], events: [{ kind: 'break', on: true }] })
    expect(ask(server, 5, 5)).toEqual({ answer: [105, 5], events: [] })
    expect(ask(server, 5, 4)).toEqual({ answer: [105, 5], events: [] })
    expect(ask(server, 5, 6)).toEqual({ answer: [105, 6], events: [{ kind: 'break', on: false }] })
  })

  test('SET-CONTROL: each group answers its own state, and asking changes none', () => {
    const server = new ComPortServer()
    // Outbound flow control (0 asks), DTR (7), RTS (10), inbound flow control (13).
    expect(ask(server, 5, 0).answer).toEqual([105, 1])
    expect(ask(server, 5, 7).answer).toEqual([105, 8])
    expect(ask(server, 5, 10).answer).toEqual([105, 11])
    expect(ask(server, 5, 13).answer).toEqual([105, 14])
    for (const [set, query] of [
      [3, 0],
      [17, 0],
      [19, 0],
      [9, 7],
      [8, 7],
      [12, 10],
      [11, 10],
      [16, 13],
      [18, 13],
      [2, 0],
    ]) {
      expect(ask(server, 5, set ?? 0).answer).toEqual([105, set])
      expect(ask(server, 5, query ?? 0).answer).toEqual([105, set])
    }
  })

  test('masks are acknowledged; only a VM that asked for break is notified of one', () => {
    const server = new ComPortServer()
    expect(server.breakNotification()).toBeNull()
    expect(ask(server, 10, 0x01).answer).toEqual([110, 0x01])
    expect(server.breakNotification()).toBeNull()
    expect(ask(server, 10, 0x10).answer).toEqual([110, 0x10])
    expect(server.breakNotification()).toEqual(Uint8Array.of(107, 0x10))
    expect(ask(server, 11, 0x00).answer).toEqual([111, 0x00])
  })

  test('SIGNATURE without text gets ours; with text it is taken and not answered', () => {
    const server = new ComPortServer()
    expect(ask(server, 0).answer).toEqual([100, ...Buffer.from('vspc')])
    expect(ask(server, 0, 0x45, 0x53, 0x58)).toEqual({ answer: null, events: [] })
  })

  test('flow control: SUSPEND and RESUME are told and not answered', () => {
    const server = new ComPortServer()
    expect(ask(server, 8)).toEqual({ answer: null, events: [{ kind: 'flow', suspended: true }] })
    expect(ask(server, 9)).toEqual({ answer: null, events: [{ kind: 'flow', suspended: false }] })
  })

  test('PURGE-DATA is acknowledged', () => {
    for (const what of [1, 2, 3]) expect(ask(new ComPortServer(), 12, what).answer).toEqual([112, what])
  })

  test('too short, too long and unknown commands are told as malformed at most, and change nothing [C20]', () => {
    const server = new ComPortServer()
    const before = server.line
    expect(ask(server)).toEqual({ answer: null, events: [] })
    for (const short of [
      [1],
      [1, 0, 0, 0x25],
      [2],
      [3],
      [4],
      [5],
      [10],
      [11],
      [12],
      [6, 0],
      [7, 0],
      [13, 1],
      [107, 16],
      [255, 1],
    ]) {
      const { answer, events } = ask(server, ...short)
      expect(answer, String(short)).toBeNull()
      expect(
        events.map((event) => event.kind),
        String(short),
      ).toEqual(['malformed'])
    }
    expect(server.line).toEqual(before)
    expect(ask(server, 2, 7, 99, 99).answer).toEqual([102, 7])
  })

  test('any payload: no exception, and an answer is always the command plus 100', () => {
    const server = new ComPortServer()
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 8 }), (payload) => {
        const { answer, events } = ask(server, ...payload)
        expect(events.length).toBeLessThanOrEqual(1)
        if (answer) expect(answer[0]).toBe((payload[0] ?? 0) + 100)
      }),
      { numRuns: 1000 },
    )
  })

  test('a baud rate with 0xFF in it is doubled on the wire and halved again [C2]', () => {
    const server = new ComPortServer()
    const answer = server.receive(Uint8Array.of(1, 0x00, 0xff, 0xff, 0x00), () => {})
    expect(answer && encodeSubnegotiation(OPTION.COM_PORT, answer)).toEqual(
      Uint8Array.of(255, 250, 44, 101, 0x00, 255, 255, 255, 255, 0x00, 255, 240),
    )
    const logged = new LoggedSession()
    logged.receive(Uint8Array.of(255, 251, 44, ...encodeSubnegotiation(44, Uint8Array.of(1, 0x00, 0xff, 0xff, 0x00))))
    expect(logged.lines().at(-1)).toBe('sub COM-PORT 01 00 ff ff 00')
  })
})
