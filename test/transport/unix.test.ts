import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { NO_LAYERS } from '../../src/transport/endpoint.ts'
import { dial, type Listening, listen, type UnixEndpoint } from '../../src/transport/index.ts'
import { Accepted, LISTEN, readAll } from './support.ts'

let directory = ''
const open: (() => unknown)[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vspc-unix-'))
})
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
  await rm(directory, { recursive: true, force: true })
})

function at(name: string): UnixEndpoint {
  return { scheme: 'unix', path: join(directory, name), tls: null, vm: null, layers: NO_LAYERS }
}

async function listenAt(name: string, accepted = new Accepted(), mode?: number): Promise<Listening> {
  const listening = await listen(mode === undefined ? at(name) : { ...at(name), mode }, accepted, LISTEN)
  open.push(() => listening.close())
  return listening
}

describe('unix', () => {
  test('bytes go both ways, half-closed too', async () => {
    const accepted = new Accepted()
    await listenAt('s', accepted)
    const client = await dial(at('s'), { timeoutMs: 5000 })
    open.push(() => client.socket.destroy())
    const server = await accepted.nextStream()
    expect(server.peer).toEqual({ address: at('s').path, display: `unix:${at('s').path}`, transport: 'unix' })
    client.socket.end('request')
    expect(await readAll(server.socket)).toBe('request')
    server.socket.end('answer')
    expect(await readAll(client.socket)).toBe('answer')
  })

  test('only its owner may connect, unless a mode says otherwise', async () => {
    await listenAt('private')
    expect((await stat(at('private').path)).mode & 0o777).toBe(0o600)
    await listenAt('shared', new Accepted(), 0o666)
    expect((await stat(at('shared').path)).mode & 0o777).toBe(0o666)
  })

  test('the umask of the process is put back', async () => {
    const before = process.umask()
    await listenAt('s')
    await expect(listen(at('missing/s'), new Accepted(), LISTEN)).rejects.toThrow()
    expect(process.umask()).toBe(before)
  })

  test('closing removes the file', async () => {
    const listening = await listenAt('s')
    await listening.close()
    await expect(stat(at('s').path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a socket left over by a killed process is replaced', async () => {
    const script = `require('net').createServer().listen(${JSON.stringify(at('s').path)}, () => console.log('up'))`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect((await stat(at('s').path)).isSocket()).toBe(true)
    const accepted = new Accepted()
    await listenAt('s', accepted)
    const client = await dial(at('s'), { timeoutMs: 5000 })
    open.push(() => client.socket.destroy())
    await accepted.nextStream()
  })

  test('a socket that somebody listens on is left alone', async () => {
    const other = createServer()
    other.listen(at('s').path)
    await once(other, 'listening')
    open.push(() => other.close())
    await expect(listen(at('s'), new Accepted(), LISTEN)).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringContaining('a program listens on this socket already'),
    })
    expect((await stat(at('s').path)).isSocket()).toBe(true)
  })

  test('a file that is no socket is never removed', async () => {
    await writeFile(at('s').path, 'precious')
    await expect(listen(at('s'), new Accepted(), LISTEN)).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringContaining('exists and is not a socket'),
    })
    expect(await readFile(at('s').path, 'utf8')).toBe('precious')
  })

  test('a missing directory is named', async () => {
    await expect(listen(at('missing/s'), new Accepted(), LISTEN)).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringMatching(/missing\/s: the directory does not exist; create it/),
    })
  })

  test('dialling says whether the socket is missing or dead', async () => {
    await expect(dial(at('s'), { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL',
      message: expect.stringContaining('there is no such socket'),
    })
    await writeFile(at('s').path, '')
    await expect(dial(at('s'), { timeoutMs: 5000 })).rejects.toMatchObject({
      message: expect.stringContaining('nothing listens on it'),
    })
  })
})
