/**
 * The operators' side under fire: every answer is an answer of ours, nothing is a 500, nothing ends the process, and a
 * console that someone is working at gets every byte.
 */
import { connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { type AppUnderTest, eventually, RAW_VM, RawVm, startApp, TestConsole } from '../app/support.ts'
import { campaign } from './campaign.ts'
import { cut } from './hostile.ts'
import { CLOSE_FRAME, handshake, hostileFrame, hostileRequest, readFrames } from './hostile-http.ts'
import { loadFuzzPages } from './pages.ts'
import type { Random } from './random.ts'

/** A request that keeps the server waiting, or an answer without end, is given up after this. */
const PATIENCE_MS = 150
const SENTINEL = '\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

/** The app, and somebody at work on vm1 while the fuzzers have vm2. */
class Workplace {
  readonly app: AppUnderTest
  readonly #vm: RawVm
  readonly #console: TestConsole
  #printed = ''
  #typed = ''
  #count = 0

  private constructor(app: AppUnderTest, vm: RawVm, console: TestConsole) {
    this.app = app
    this.#vm = vm
    this.#console = console
  }

  static async open(): Promise<Workplace> {
    const app = await startApp({ listen: [RAW_VM, RAW_VM.replace('vm1', 'vm2')], logLevel: 'debug' })
    const vm = await RawVm.connect(app, 0)
    const other = await RawVm.connect(app, 1)
    await vm.print(app, 'up\n', 'vm1')
    await other.print(app, 'up\n'.repeat(200), 'vm2')
    return new Workplace(app, vm, await TestConsole.open(app, 'mode=write', 'vm1'))
  }

  get httpPort(): number {
    return Number(new URL(this.app.url).port)
  }

  work(): void {
    const n = this.#count++
    this.#printed += `printed ${n}\n`
    this.#typed += `typed ${n}\n`
    this.#vm.socket.write(`printed ${n}\n`)
    this.#console.socket.send(Buffer.from(`typed ${n}\n`))
  }

  async check(): Promise<void> {
    await this.#console.hasBytes(this.#printed.length)
    await eventually(() => this.#vm.received.length >= this.#typed.length)
    expect(this.#console.output.toString()).toBe(this.#printed)
    expect(this.#vm.received.toString()).toBe(this.#typed)
    expect((await fetch(`${this.app.url}/livez`)).status).toBe(200)
    expect(this.app.server.counters.internalErrors).toBe(0)
    expect(this.app.logged.lines.filter(({ level }) => Number(level) >= 50 || level === 'error')).toEqual([])
    const fuzzed = this.app.server.table.resolve('vm2')
    await eventually(() => fuzzed.consoles.length === 0)
  }
}

/** Sends the pieces, then waits for the end, but not for long; what was received until then. */
function exchange(port: number, pieces: readonly Uint8Array[], isOver: (all: Buffer) => boolean): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    const socket: Socket = connect({ host: '127.0.0.1', port, noDelay: true })
    const finish = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(Buffer.concat(chunks))
    }
    const timer = setTimeout(finish, PATIENCE_MS)
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      if (isOver(Buffer.concat(chunks))) finish()
    })
    socket.on('error', () => {})
    socket.on('close', finish)
    for (const piece of pieces) socket.write(piece)
  })
}

interface Answer {
  readonly status: number
  readonly headers: string
  readonly body: string
}

/** Answers, one after the other; where a body begins like the next answer there was none (HEAD). */
function answersOf(text: string): Answer[] {
  return text
    .split(/(?=HTTP\/1\.1 \d{3} )/)
    .filter((one) => one.startsWith('HTTP/'))
    .map((one) => {
      const end = one.indexOf('\r\n\r\n')
      const headers = end < 0 ? one : one.slice(0, end)
      return { status: Number(one.slice(9, 12)), headers, body: end < 0 ? '' : one.slice(end + 4) }
    })
}

function checkAnswer({ status, headers, body }: Answer): void {
  expect([
    100, 101, 200, 204, 206, 304, 400, 403, 404, 405, 408, 409, 411, 413, 414, 415, 417, 421, 426, 431,
  ]).toContain(status)
  if (status < 400) return
  expect(headers).toMatch(/\r\ncontent-type: application\/problem\+json\r\n/i)
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(headers)?.[1])
  // Cut off by our own impatience, or HEAD.
  if (body.length < length) return
  expect(JSON.parse(body.slice(0, length))).toMatchObject({ status, code: expect.stringMatching(/^VSPC_/) })
}

/** One server for all seeds of a test. */
function onePlace(): () => Promise<Workplace> {
  let place: Promise<Workplace> | null = null
  return () => {
    place ??= Workplace.open()
    return place
  }
}

describe('pages', () => {
  for (const page of loadFuzzPages('http')) {
    test(page.name, async () => {
      const { httpPort } = await Workplace.open()
      for (const chunk of page.chunks) {
        const received = await exchange(httpPort, [chunk], (all) => all.includes('}'))
        const [answer] = answersOf(received.toString('latin1'))
        expect(answer?.status).toBeGreaterThanOrEqual(400)
        checkAnswer(answer as Answer)
        expect(answer?.body).not.toBe('')
      }
    })
  }
})

const requestPlace = onePlace()

campaign('any request is answered with a problem, or as it should be', 6, async (random) => {
  const place = await requestPlace()
  const requests = Array.from({ length: 8 }, () => hostileRequest(random))
  const all = await Promise.all(
    requests.map((request) => {
      place.work()
      const pieces = cut(random, Buffer.from(request + SENTINEL, 'latin1'), 20)
      return exchange(place.httpPort, pieces, () => false)
    }),
  )
  for (const [i, received] of all.entries()) {
    const answers = answersOf(received.toString('latin1'))
    try {
      for (const answer of answers) checkAnswer(answer)
    } catch (error) {
      const said = JSON.stringify(received.toString('latin1').slice(0, 1_500))
      throw new Error(`to ${JSON.stringify(requests[i])}\nanswered ${said}`, { cause: error })
    }
  }
  await place.check()
})

const consolePlace = onePlace()

campaign('any WebSocket frames cost their own console at most', 6, async (random) => {
  const place = await consolePlace()
  await Promise.all(Array.from({ length: 4 }, () => fuzzConsole(random, place)))
  await place.check()
})

async function fuzzConsole(random: Random, place: Workplace): Promise<void> {
  const query = random.pick(['mode=write', 'mode=read&from=0', 'mode=exclusive&force=1', 'mode=write&from=-100', ''])
  const frames = Array.from({ length: random.between(1, 25) }, () => hostileFrame(random))
  place.work()
  const head = Buffer.from(handshake('vm2', query), 'latin1')
  const pieces = cut(random, Uint8Array.from([...frames.flat(), ...CLOSE_FRAME]), 60)
  const received = await exchange(place.httpPort, [head, ...pieces], () => false)
  const text = received.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  if (!text.startsWith('HTTP/1.1 101 ')) {
    for (const answer of answersOf(text)) checkAnswer(answer)
    return
  }
  try {
    const { frames: heard } = readFrames(Uint8Array.from(received.subarray(end + 4)))
    for (const { opcode, payload } of heard) {
      expect([1, 2, 8, 9, 10]).toContain(opcode)
      if (opcode === 1) expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({ type: expect.any(String) })
    }
    expect(heard[0]?.opcode).toBe(1)
  } catch (error) {
    throw new Error(`after ${JSON.stringify(frames.map((one) => Buffer.from(one).toString('hex')))}`, { cause: error })
  }
}
