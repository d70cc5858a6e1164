import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import { portsNamed } from '../../src/app/search-source.ts'
import type { Limits } from '../../src/base/index.ts'
import type { Port } from '../../src/vspc/index.ts'
import { type AppUnderTest, eventually, RawVm, startApp } from './support.ts'

const listener = (name: string) => `tcp://127.0.0.1:0?protocol=raw&name=${name}`

/** A server with VMs that have printed something. */
async function appWith(
  outputs: { readonly [name: string]: string | Buffer },
  settings: Settings = {},
  limits: Partial<Limits> = {},
): Promise<AppUnderTest> {
  const names = Object.keys(outputs)
  const app = await startApp({ listen: names.map(listener), ...settings }, limits)
  for (const [i, name] of names.entries()) {
    const vm = await RawVm.connect(app, i)
    await vm.print(app, outputs[name] as string, name)
  }
  return app
}

interface Answer {
  readonly status: number
  readonly records: Record<string, unknown>[]
}

async function search(app: AppUnderTest, query: string, path = '/api/v1/log/search'): Promise<Answer> {
  const response = await fetch(`${app.url}${path}?${query}`)
  const text = await response.text()
  const records = text.trimEnd().split('\n')
  return { status: response.status, records: records.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

const linesOf = ({ records }: Answer) => records.filter(({ type }) => type === 'line')

describe('GET /api/v1/log/search', () => {
  test('finds lines in all ports, by name, and says how it ended', async () => {
    const app = await appWith({ web2: 'oops 1\nfine\n', db1: 'fine\noops 2', web1: 'x\r\n\x1b[31moo\x1b[0mps 3\r\n' })
    const answer = await search(app, 'pattern=oops')
    expect(answer.status).toBe(200)
    expect(linesOf(answer).map(({ name, offset, text }) => [name, offset, text])).toEqual([
      ['db1', 5, 'oops 2'],
      ['web1', 3, 'oops 3'],
      ['web2', 0, 'oops 1'],
    ])
    expect(linesOf(answer)[1]).toMatchObject({ port: 'name:web1', end: 20, matches: [[0, 4]] })
    expect(Date.parse(String(linesOf(answer)[0]?.time))).toBeGreaterThan(Date.now() - 60_000)
    expect(answer.records.at(-1)).toMatchObject({
      type: 'end',
      end: 'complete',
      ports: 3,
      matches: 3,
      truncated: false,
    })
  })

  test('an offset is where the log API has that line', async () => {
    const app = await appWith({ vm1: `${'x'.repeat(100)}\nhere it is\nend\n` })
    const [line] = linesOf(await search(app, 'pattern=here'))
    const { text } = {
      text: await (await fetch(`${app.url}/api/v1/ports/vm1/log?start=${line?.offset}&end=${line?.end}`)).text(),
    }
    expect(text).toBe('here it is\n')
  })

  test('looks at the ports that are named, or fit a pattern', async () => {
    const app = await appWith({ web1: 'oops\n', web2: 'oops\n', db1: 'oops\n' })
    const names = async (query: string) => linesOf(await search(app, `pattern=oops&${query}`)).map(({ name }) => name)
    expect(await names('ports=web*')).toEqual(['web1', 'web2'])
    expect(await names('ports=db1&ports=web?')).toEqual(['db1', 'web1', 'web2'])
    expect(await names('ports=web1&ports=web1')).toEqual(['web1'])
    expect(await search(app, 'pattern=oops&ports=nobody')).toMatchObject({ status: 404 })
    expect(await search(app, 'pattern=oops&ports=no*')).toMatchObject({ status: 404 })
    expect(await search(app, 'pattern=oops&ports=web')).toMatchObject({ status: 409 })
  })

  test('one port, by offsets', async () => {
    const app = await appWith({ vm1: 'oops 1\noops 2\noops 3\n' })
    const answer = await search(app, 'pattern=oops&start=7&end=14', '/api/v1/ports/vm1/log/search')
    expect(linesOf(answer).map(({ text }) => text)).toEqual(['oops 2'])
  })

  test('history in memory, and none at all', async () => {
    const app = await appWith({ vm1: 'one\noops\n' }, { history: 'memory' })
    expect(linesOf(await search(app, 'pattern=oops')).map(({ offset }) => offset)).toEqual([4])
    expect(linesOf(await search(app, 'pattern=oops&since=-60000'))).toHaveLength(1)
    expect(linesOf(await search(app, 'pattern=oops&until=1000'))).toHaveLength(0)
    const off = await appWith({ vm1: 'one\noops\n' }, { history: 'off' })
    expect((await search(off, 'pattern=oops')).records.at(-1)).toMatchObject({ end: 'complete', matches: 0 })
  })

  test.each([
    ['', /pattern/],
    ['pattern=', /pattern/],
    ['pattern=(x', /missing closing/],
    ['pattern=x&limit=0', /limit/],
    ['pattern=x&context=51', /context/],
    ['pattern=x&since=yesterday', /since/],
    ['pattern=x&grep=1', /grep|additional/],
  ])('%j is refused with the reason', async (query, reason) => {
    const app = await startApp()
    const { status, records } = await search(app, query)
    expect(status).toBe(400)
    expect(JSON.stringify(records)).toMatch(reason)
  })
})

describe('many, slow and lost clients', () => {
  /** So much that a client that does not read holds the search up. */
  const much = Buffer.from('oops, and then some more text to make it long\n'.repeat(300_000))

  async function open(app: AppUnderTest): Promise<IncomingMessage> {
    const request = get(`${app.url}/api/v1/log/search?pattern=oops&limit=100000`)
    request.on('error', () => {})
    onTestFinished(() => void request.destroy())
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.on('error', () => {})
    return response
  }

  const running = async (app: AppUnderTest) => {
    const metrics = await (await fetch(`${app.url}/metrics`)).text()
    return Number(/^vspc_history_searches (\d+)$/m.exec(metrics)?.[1])
  }

  test('one too many is refused, and has its turn once another client has gone', async () => {
    const app = await appWith({ vm1: much }, {}, { maxSearches: 1 })
    const first = await open(app)
    const refused = await fetch(`${app.url}/api/v1/log/search?pattern=oops`)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('2')
    expect(await refused.json()).toMatchObject({ code: 'VSPC_SEARCH_BUSY' })
    first.destroy()
    await eventually(async () => (await running(app)) === 0)
    expect(linesOf(await search(app, 'pattern=oops&limit=1'))).toHaveLength(1)
  })

  test('one that does not read is waited for, and costs no memory', async () => {
    const app = await appWith({ vm1: much })
    const before = process.memoryUsage().rss
    const first = await open(app)
    await eventually(() => first.readableLength > 0)
    expect(await running(app)).toBe(1)
    expect(process.memoryUsage().rss - before).toBeLessThan(400 << 20)
    let bytes = 0
    let last = ''
    for await (const chunk of first as AsyncIterable<Buffer>) {
      bytes += chunk.length
      last = (last + chunk.toString()).slice(-1_000)
    }
    expect(bytes).toBeGreaterThan(10_000_000)
    expect(last).toContain('"end":"limit"')
    await eventually(async () => (await running(app)) === 0)
  })

  test('a search ends after its time with what it has found', async () => {
    const app = await appWith({ vm1: much }, {}, { searchMs: 1 })
    expect((await search(app, 'pattern=nowhere.*to be')).records.at(-1)).toMatchObject({
      type: 'end',
      end: 'time',
      truncated: true,
    })
  })

  test('a server that stops does not wait for searches', async () => {
    const app = await appWith({ vm1: much })
    const first = await open(app)
    const ended = once(first, 'close')
    first.resume()
    await app.stop()
    await ended
  })
})

test('who may not search a port does not', async () => {
  const app = await appWith({ web1: 'oops\n', db1: 'oops\n' })
  const choice = {
    may: (port: Port) => port.displayName === 'web1',
    resolve(name: string): Port {
      throw new Error(`not ${name}`)
    },
  }
  const names = async (...wanted: string[]) =>
    (await portsNamed(app.server, wanted, choice)).map(({ displayName }) => displayName)
  expect(await names()).toEqual(['web1'])
  expect(await names('*')).toEqual(['web1'])
  // Several may fit the same port.
  expect(await names('web*', '*1')).toEqual(['web1'])
  await expect(names('db*')).rejects.toThrow(expect.objectContaining({ code: 'VSPC_PORT_NOT_FOUND' }))
  await expect(names('db1')).rejects.toThrow('not db1')
})

test('VMs are served while many names of ports are looked up', async () => {
  const app = await appWith({ web1: 'oops\n' })
  const [port] = [...app.server.table]
  const choice = { may: () => true, resolve: () => port as Port }
  const names = Array.from({ length: 50 }, (_, i) => `web1-${i}`)
  let [turns, over] = [0, false]
  const count = () => {
    turns++
    if (!over) setImmediate(count)
  }
  count()
  expect(await portsNamed(app.server, names, choice)).toEqual([port])
  over = true
  expect(turns).toBeGreaterThanOrEqual(names.length)
})
