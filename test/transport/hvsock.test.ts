import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { type HvsockEndpoint, NO_LAYERS } from '../../src/transport/endpoint.ts'
import { type ByteStream, dial, listen } from '../../src/transport/index.ts'
import { VmmDouble } from './hvsock-double.ts'
import { Accepted, LISTEN, readAll, readUntil } from './support.ts'

let directory = ''
const open: (() => unknown)[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vspc-hvsock-'))
})
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
  await rm(directory, { recursive: true, force: true })
})

function at(vsockPort: number, name = 'v.sock'): HvsockEndpoint {
  return { scheme: 'hvsock', path: join(directory, name), vsockPort, vm: null, layers: NO_LAYERS }
}

/** A VMM that answers requests so. */
async function vmm(answer: (request: string, socket: Socket, rest: Buffer) => void): Promise<VmmDouble> {
  const double = await VmmDouble.start(at(0).path)
  open.push(() => double.close())
  double.answers(answer)
  return double
}

async function dialled(endpoint: HvsockEndpoint): Promise<ByteStream> {
  const stream = await dial(endpoint, { timeoutMs: 5000 })
  open.push(() => stream.socket.destroy())
  return stream
}

function failure(endpoint: HvsockEndpoint): Promise<unknown> {
  return dial(endpoint, { timeoutMs: 5000 }).catch((error: unknown) => error)
}

describe('hvsock, dialled', () => {
  test('asks for the port, and the stream begins behind the answer', async () => {
    const double = await vmm((_request, socket, rest) => {
      socket.write('OK 1073741824\n')
      socket.write(rest)
      socket.pipe(socket)
    })
    const { socket, peer } = await dialled(at(52))
    expect(double.requests).toEqual(['CONNECT 52'])
    expect(peer).toEqual({ address: at(52).path, display: `hvsock:${at(52).path}:52`, transport: 'hvsock' })
    socket.end('there and back')
    expect(await readAll(socket)).toBe('there and back')
  })

  test('ports have 32 bits', async () => {
    const double = await vmm((_request, socket) => socket.write('OK 1\n'))
    const clock = new ManualClock()
    const { socket } = await dial(at(4_294_967_294), { timeoutMs: 5000, clock })
    open.push(() => socket.destroy())
    expect(clock.pending).toBe(0)
    expect(double.requests).toEqual(['CONNECT 4294967294'])
  })

  test('wherever the answer is cut, it is understood, and no byte behind it is lost', async () => {
    const text = 'OK 10\nfirst words\n'
    let cut = 0
    await vmm(async (_request, socket) => {
      socket.setNoDelay()
      socket.write(text.slice(0, cut))
      for (let turns = 0; turns < 4; turns++) await turn()
      socket.end(text.slice(cut))
    })
    for (cut = 1; cut <= text.length; cut++) {
      const { socket } = await dialled(at(52))
      expect(await readAll(socket), `cut at ${cut}`).toBe('first words\n')
    }
  })

  test('byte by byte as well, and a stream that is nothing but its end', async () => {
    await vmm(async (_request, socket) => {
      for (const byte of 'OK 4294967295\n') {
        socket.write(byte)
        await turn()
      }
      socket.end()
    })
    expect(await readAll((await dialled(at(52))).socket)).toBe('')
  })

  test('the guest that says no, or is not there: a close, and a precise message', async () => {
    await vmm((request, socket) => (request.endsWith('2') ? socket.end() : socket.destroy()))
    for (const port of [1, 2]) {
      expect(await failure(at(port))).toMatchObject({
        code: 'VSPC_TRANSPORT_DIAL',
        message: `cannot reach hvsock://${at(0).path}:${port}: the VMM closed the connection; the guest does not listen on port ${port}, or is not there`,
      })
    }
  })

  test('what is no "OK" and a number is no stream', async () => {
    let answer = ''
    const sockets: Socket[] = []
    await vmm((_request, socket) => {
      sockets.push(socket.resume())
      socket.write(answer, 'latin1')
    })
    const wrong = [
      '\n',
      'OK\n',
      'ok 1\n',
      'OK x\n',
      'OK 1 \n',
      ' OK 1\n',
      'OK 12345678901\n',
      'NO\nOK 1\n',
      '\xff\xfd\n',
    ]
    for (answer of wrong) {
      expect(await failure(at(52)), JSON.stringify(answer)).toMatchObject({
        code: 'VSPC_TRANSPORT_DIAL',
        message: expect.stringContaining('expected "OK" and a port number'),
      })
    }
    answer = '220 smtp\x1b[31m ready\n'
    expect(await failure(at(52))).toMatchObject({ message: expect.stringMatching(/answered "220 smtp[^\x1b]*ready"/) })
    while (!sockets.every(({ readableEnded, closed }) => readableEnded || closed)) await turn()
  })

  test('an answer cut short by the end is shown', async () => {
    await vmm((_request, socket) => socket.end('OK 1'))
    expect(await failure(at(52))).toMatchObject({ message: expect.stringContaining('it answered "OK 1"') })
  })

  test('an endless answer is not collected', async () => {
    let socket: Socket | undefined
    await vmm((_request, accepted) => {
      socket = accepted
      const flood = (): void => {
        while (accepted.writable && accepted.write('O'.repeat(16_384)));
      }
      accepted.on('drain', flood)
      flood()
    })
    expect(await failure(at(52))).toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL',
      message: expect.stringContaining(`answered "${'O'.repeat(39)}`),
    })
    while (!socket?.destroyed) await turn()
  })

  test('silence ends by the deadline, an abort with its reason', async () => {
    let asked = (): void => {}
    const double = await vmm((_request, socket) => {
      socket.resume()
      asked()
    })
    const clock = new ManualClock()
    const first = new Promise<void>((resolve) => (asked = resolve))
    const late = dial(at(52), { timeoutMs: 300, clock })
    late.catch(() => {})
    await first
    clock.advance(299)
    await turn()
    clock.advance(1)
    await expect(late).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL_TIMEOUT',
      message: expect.stringContaining('no answer within 300 ms; the guest may still be starting'),
    })
    expect(clock.pending).toBe(0)

    const reason = new Error('changed my mind')
    const abort = new AbortController()
    const second = new Promise<void>((resolve) => (asked = resolve))
    const aborted = dial(at(53), { timeoutMs: 5000, signal: abort.signal })
    aborted.catch(() => {})
    await second
    abort.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    expect(double.requests).toEqual(['CONNECT 52', 'CONNECT 53'])
  })

  test('no VMM: whether the socket is missing or dead, and whose it would be', async () => {
    expect(await failure(at(52))).toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL',
      message: expect.stringMatching(/v\.sock:52: there is no such socket; the VMM creates it when the VM starts/),
    })
    await writeFile(at(52).path, '')
    expect(await failure(at(52))).toMatchObject({ message: expect.stringContaining('no VMM listens on it') })
  })
})

describe('hvsock, listened on', () => {
  test('the guest dials port P of the host and comes in at PATH_P', async () => {
    const accepted = new Accepted()
    const listening = await listen(at(13_370), accepted, LISTEN)
    open.push(() => listening.close())
    expect(listening.endpoint).toEqual(at(13_370))
    const socket = `${at(0).path}_13370`
    expect((await stat(socket)).mode & 0o777).toBe(0o600)
    const guest = connect({ path: socket, allowHalfOpen: true })
    open.push(() => guest.destroy())
    // No handshake here: the first byte is the stream's.
    guest.write('CONNECT 1\n')
    const stream = await accepted.nextStream()
    open.push(() => stream.socket.destroy())
    expect(stream.peer).toEqual({
      address: at(0).path,
      display: `hvsock:${at(0).path}:13370`,
      transport: 'hvsock',
    })
    expect(await readUntil(stream.socket, '\n')).toBe('CONNECT 1\n')
    stream.socket.end('answer')
    expect(await readAll(guest)).toBe('answer')
    await listening.close()
    await expect(stat(socket)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a mode lets the user of the VMM in', async () => {
    const listening = await listen({ ...at(1), mode: 0o660 }, new Accepted(), LISTEN)
    open.push(() => listening.close())
    expect((await stat(`${at(1).path}_1`)).mode & 0o777).toBe(0o660)
  })

  test('port 0 is refused: nobody could tell the guest which one it became', async () => {
    await expect(listen(at(0), new Accepted(), LISTEN)).rejects.toMatchObject({
      code: 'VSPC_ENDPOINT_PORT',
      message: expect.stringMatching(/port 0 means "any free one".*accepted is 1 to 4294967294/),
    })
  })

  test('a path that is too long only with its port is refused, not cut', async () => {
    const name = 'x'.repeat(107 - directory.length - 1)
    await expect(listen(at(1024, name), new Accepted(), LISTEN)).rejects.toMatchObject({
      code: 'VSPC_ENDPOINT_SYNTAX',
      message: expect.stringMatching(/with _1024 at the end, has 112 bytes; the system takes at most 107/),
    })
    const fits = await listen(at(1024, name.slice(5)), new Accepted(), LISTEN)
    open.push(() => fits.close())
    expect((await stat(`${at(0, name.slice(5)).path}_1024`)).isSocket()).toBe(true)
  })

  test('what stands in the way is named, as the user wrote it and as it stands there', async () => {
    const other = createServer()
    other.listen(`${at(7).path}_7`)
    await once(other, 'listening')
    open.push(() => other.close())
    const refused = (endpoint: HvsockEndpoint) =>
      listen(endpoint, new Accepted(), LISTEN).catch((error: unknown) => error)
    expect(await refused(at(7))).toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringMatching(/hvsock:.*v\.sock:7": cannot listen on unix:.*v\.sock_7: a program listens/),
    })
    await writeFile(`${at(8).path}_8`, 'precious')
    expect(await refused(at(8))).toMatchObject({ message: expect.stringContaining('exists and is not a socket') })
    expect(await readFile(`${at(8).path}_8`, 'utf8')).toBe('precious')
    expect(await refused(at(9, 'missing/v.sock'))).toMatchObject({
      message: expect.stringContaining('the directory does not exist; create it'),
    })
  })
})
