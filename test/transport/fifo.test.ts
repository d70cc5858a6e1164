import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { lstat, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import type { FifoEndpoint } from '../../src/transport/endpoint.ts'
import { dial, type Listening, listen } from '../../src/transport/index.ts'
import { Accepted, LISTEN, readUntil } from './support.ts'

let directory = ''
const open: (() => unknown)[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vspc-fifo-'))
})
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
  await rm(directory, { recursive: true, force: true })
})

function at(name: string): FifoEndpoint {
  return { scheme: 'fifo', path: join(directory, name), vm: null }
}

/** A pair as somebody else creates it. */
function pair(name = 'vm'): FifoEndpoint {
  const endpoint = at(name)
  execFileSync('mkfifo', [`${endpoint.path}.in`, `${endpoint.path}.out`])
  return endpoint
}

async function dialled(endpoint: FifoEndpoint, clock = new ManualClock()): Promise<Duplex> {
  const { socket } = await dial(endpoint, { timeoutMs: 5000, clock })
  open.push(() => closed(socket))
  return socket
}

async function closed(socket: Duplex): Promise<void> {
  if (socket.closed) return
  const close = once(socket, 'close')
  socket.destroy()
  await close
}

async function listening(
  endpoint: FifoEndpoint,
  options: { accepted?: Accepted; clock?: ManualClock } = {},
): Promise<{ accepted: Accepted; clock: ManualClock; listener: Listening }> {
  const { accepted = new Accepted(), clock = new ManualClock() } = options
  const listener = await listen(endpoint, accepted, { ...LISTEN, clock })
  accepted.onStream = ({ socket }) => open.push(() => closed(socket))
  open.push(() => listener.close())
  return { accepted, clock, listener }
}

/** What stands at the other end: a process that knows nothing of ours. It is killed, with its children, at the end. */
class Peer {
  readonly child: ChildProcess
  readonly output: Promise<Buffer>
  readonly #exited: Promise<unknown>
  #said = ''
  #read = 0

  constructor(program: string, args: readonly string[]) {
    this.child = spawn(program, args, { cwd: directory, stdio: ['pipe', 'pipe', 'inherit'], detached: true })
    this.#exited = once(this.child, 'close')
    this.child.stdout!.on('data', (chunk: Buffer) => {
      this.#said += chunk.toString('latin1')
    })
    this.output = buffer(this.child.stdout!)
    this.output.catch(() => {})
    open.push(() => this.kill())
  }

  async text(): Promise<string> {
    return (await this.output).toString('latin1').trim()
  }

  /** The next line it prints. */
  async line(): Promise<string> {
    while (!this.#said.includes('\n', this.#read)) await once(this.child.stdout!, 'data')
    const end = this.#said.indexOf('\n', this.#read)
    const line = this.#said.slice(this.#read, end)
    this.#read = end + 1
    return line
  }

  async kill(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      process.kill(-(this.child.pid as number), 'SIGKILL')
    }
    await this.#exited
  }
}

/** The shell opens with `<>` for reading and writing, as QEMU does. */
function shell(script: string): Peer {
  return new Peer('sh', ['-c', script])
}

function node(script: string, ...args: string[]): Peer {
  return new Peer(process.execPath, ['-e', `const fs = require('node:fs'); ${script}`, ...args])
}

/** Fills the pipe without waiting, tells how much it took, and keeps it open. */
const FILL = `
  const fd = fs.openSync(process.argv[1], fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
  let sent = 0
  try { for (;;) sent += fs.writeSync(fd, Buffer.alloc(4096, 'x')) } catch (error) { if (error.code !== 'EAGAIN') throw error }
  process.stdout.write(sent + '\\n')
  process.stdin.resume()`

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Takes exactly `count` bytes, then pauses. */
function take(socket: Duplex, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk)
      length += chunk.length
      if (length < count) return
      socket.off('data', onData)
      socket.off('close', onClose)
      socket.pause()
      if (length > count) reject(new Error(`${length} bytes came, ${count} were expected`))
      else resolve(Buffer.concat(chunks))
    }
    const onClose = (): void => reject(new Error(`closed after ${length} of ${count} bytes`))
    socket.on('close', onClose)
    socket.on('data', onData).resume()
  })
}

async function end(socket: Duplex): Promise<void> {
  const ended = once(socket, 'close')
  socket.end()
  socket.resume()
  await ended
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

async function descriptors(): Promise<number> {
  return (await readdir('/proc/self/fd')).length
}

describe('fifo, dialled', () => {
  test('megabytes both ways at once arrive as they were sent', async () => {
    const socket = await dialled(pair())
    const fromVm = randomBytes(4_000_003)
    const toVm = randomBytes(4_000_037)
    await writeFile(join(directory, 'data'), fromVm)
    const vm = shell(`exec 3<>vm.in 4<>vm.out; head -c ${toVm.length} <&3 | sha256sum & cat data >&4; wait`)
    for (let sent = 0; sent < toVm.length; sent += 100_000) socket.write(toVm.subarray(sent, sent + 100_000))
    expect(sha256(await take(socket, fromVm.length))).toBe(sha256(fromVm))
    expect((await vm.text()).split(' ')[0]).toBe(sha256(toVm))
  })

  test('programs that only read or only write do as well, and come and go unnoticed', async () => {
    const socket = await dialled(pair())
    for (const word of ['one', 'two']) {
      shell(`printf ${word} >vm.out`)
      expect(await readUntil(socket, word)).toBe(word)
      const reader = shell('head -c 3 <vm.in')
      socket.write(word)
      expect(await reader.text()).toBe(word)
    }
    expect(socket.readableEnded).toBe(false)
  })

  test('many small writes to a full pipe arrive in order', async () => {
    const socket = await dialled(pair())
    const words = Array.from({ length: 20_000 }, (_, index) => `${index}\n`)
    for (const word of words) socket.write(word)
    const sent = words.join('')
    const vm = shell(`head -c ${sent.length} <vm.in | sha256sum`)
    expect((await vm.text()).split(' ')[0]).toBe(sha256(Buffer.from(sent)))
  })

  test('who does not read holds the VM back, and nothing is read ahead', async () => {
    const socket = await dialled(pair())
    const vm = node(FILL, join(directory, 'vm.out'))
    const held = Number(await vm.line())
    // The capacity of a pipe; less where the system is short of memory for pipes.
    expect(held).toBeLessThanOrEqual(65_536)
    expect(socket.readableLength).toBe(0)
    expect((await take(socket, held)).length).toBe(held)
    // The same for one that has read and pauses.
    const again = Number(await node(FILL, join(directory, 'vm.out')).line())
    await turns(3)
    expect([again, socket.readableLength]).toEqual([held, 0])
    expect((await take(socket, again)).length).toBe(again)
  })

  test('who pauses and goes on while nothing comes still hears what comes then', async () => {
    const socket = await dialled(pair())
    const heard = readUntil(socket, 'word')
    await turns(3)
    socket.pause()
    await turns(3)
    socket.resume()
    await turns(3)
    socket.pause().resume()
    shell('printf word >vm.out')
    expect(await heard).toBe('word')
  })

  test('a VM that does not read holds the writer back, and gets all of it later', async () => {
    const socket = await dialled(pair())
    const chunk = randomBytes(10_000)
    let sent = 0
    // Full is one that is still full after it had time to write.
    while (!socket.writableNeedDrain) {
      socket.write(chunk)
      sent++
      await turns(10)
    }
    expect(sent * chunk.length).toBeLessThanOrEqual(65_536 + 2 * socket.writableHighWaterMark + chunk.length)
    const vm = shell(`head -c ${sent * chunk.length} <vm.in | sha256sum`)
    await once(socket, 'drain')
    expect((await vm.text()).split(' ')[0]).toBe(sha256(Buffer.concat(Array(sent).fill(chunk))))
  })

  test('nothing that a killed writer has written is lost, and the next one is heard', async () => {
    const endpoint = pair()
    const socket = await dialled(endpoint)
    const chunks: Buffer[] = []
    let waiting: (() => void) | null = null
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      waiting?.()
    })
    const received = () => Buffer.concat(chunks).toString('latin1')
    for (const name of ['a', 'b', 'c']) {
      // Says after each record that it is written.
      const script = `
        const fd = fs.openSync(process.argv[1], 'w')
        for (let n = 0; ; n++) {
          fs.writeSync(fd, '${name}' + String(n).padStart(9, '0') + '\\n')
          fs.writeSync(1, String(n).padStart(9, '0') + '\\n')
        }`
      const writer = node(script, `${endpoint.path}.out`)
      await once(writer.child.stdout!, 'data')
      await writer.kill()
      const said = Math.floor((await writer.output).length / 10)
      const last = `${name}${String(said - 1).padStart(9, '0')}\n`
      while (!received().includes(last)) await new Promise<void>((resolve) => (waiting = resolve))
    }
    for (const name of ['a', 'b', 'c']) {
      const records = received()
        .split('\n')
        .filter((record) => record.startsWith(name))
      expect(records).toEqual(records.map((_, index) => `${name}${String(index).padStart(9, '0')}`))
    }
    expect(received()).toMatch(/^(a\d{9}\n)+(b\d{9}\n)+(c\d{9}\n)+$/)
  })

  test('our side goes in the middle and comes again: the stream goes on at the byte where it was', async () => {
    const endpoint = pair()
    const sent = randomBytes(1_500_000)
    await writeFile(join(directory, 'data'), sent)
    shell('exec 3<>vm.in 4<>vm.out; cat data >&4; cat <&3')
    const got: Buffer[] = []
    for (let length = 0; length < sent.length; ) {
      const socket = await dialled(endpoint)
      const [chunk] = (await once(socket, 'data')) as [Buffer]
      got.push(chunk)
      length += chunk.length
      await closed(socket)
    }
    expect(got.length).toBeGreaterThan(20)
    expect(sha256(Buffer.concat(got))).toBe(sha256(sent))
  })

  test('end: what was written reaches the VM, what the VM wrote stays for the next, and the stream closes', async () => {
    const endpoint = pair()
    const holder = shell('exec 3<>vm.in 4<>vm.out; printf unread >&4; echo; head -c 5 <&3')
    await holder.line()
    const socket = await dialled(endpoint)
    socket.pause()
    socket.write('input')
    await end(socket)
    expect([socket.readableEnded, socket.errored]).toEqual([true, null])
    expect(await holder.text()).toBe('input')
  })

  test('what nobody has read is there for the next stream', async () => {
    const endpoint = pair()
    const vm = shell('exec 3<>vm.in 4<>vm.out; printf first >&4; echo; cat <&3 >&4')
    await vm.line()
    const socket = await dialled(endpoint)
    await end(socket)
    const next = await dialled(endpoint)
    next.write('-second')
    expect(await readUntil(next, 'second')).toBe('first-second')
  })

  test('closing with input that the VM does not take is no error, and does not wait', async () => {
    const socket = await dialled(pair())
    while (socket.write(Buffer.alloc(65_536)));
    const errors: unknown[] = []
    socket.on('error', (error) => errors.push(error))
    await closed(socket)
    expect(errors).toEqual([])
  })

  test('a pair that is replaced: the rest of the old one, then the end; the next dial gets the new one', async () => {
    const endpoint = pair()
    const clock = new ManualClock()
    const socket = await dialled(endpoint, clock)
    const old = shell('exec 4<>vm.out; printf last-words >&4; echo; read wait')
    await old.line()
    pair('new')
    await rename(`${at('new').path}.in`, `${endpoint.path}.in`)
    await rename(`${at('new').path}.out`, `${endpoint.path}.out`)
    clock.advance(1000)
    // Nobody reads yet: the end has to wait behind what is in the pipe.
    await turns(50)
    expect(socket.destroyed).toBe(false)
    const close = once(socket, 'close')
    expect((await buffer(socket)).toString()).toBe('last-words')
    await close
    const next = await dialled(endpoint)
    shell('exec 4<>vm.out; printf first-words >&4; read wait')
    expect(await readUntil(next, 'words')).toBe('first-words')
  })

  test('either file alone is enough: removed while data flow, the stream delivers and ends', async () => {
    for (const missing of ['in', 'out']) {
      const endpoint = pair(missing)
      const clock = new ManualClock()
      const socket = await dialled(endpoint, clock)
      const all = buffer(socket)
      const close = once(socket, 'close')
      const vm = shell(`exec 4<>${missing}.out; echo open; head -c 300000 /dev/zero >&4; echo; read wait`)
      await vm.line()
      await rm(`${endpoint.path}.${missing}`)
      await vm.line()
      clock.advance(1000)
      expect((await all).length).toBe(300_000)
      await close
      expect(clock.pending).toBe(0)
      await expect(dial(endpoint, { timeoutMs: 5000 })).rejects.toThrow(`${missing}.${missing} does not exist`)
    }
  })

  test('a pair that stays is looked at again and again, and goes on', async () => {
    const clock = new ManualClock()
    const socket = await dialled(pair(), clock)
    for (let round = 0; round < 3; round++) {
      expect(clock.pending).toBe(1)
      clock.advance(1000)
      while (clock.pending === 0) await turns(1)
    }
    shell('printf here >vm.out')
    expect(await readUntil(socket, 'here')).toBe('here')
  })

  test('200 pairs at once: each its own bytes, no thread waits for a pipe, no descriptor is left', async () => {
    const before = await descriptors()
    const names = Array.from({ length: 200 }, (_, index) => `vm${index}`)
    execFileSync(
      'mkfifo',
      names.flatMap((name) => [`${name}.in`, `${name}.out`]),
      { cwd: directory },
    )
    const sockets = await Promise.all(names.map((name) => dialled(at(name))))
    // All of them wait now. If that took threads, there would be none left to read a file with.
    expect(await readFile('/proc/self/comm', 'utf8')).toBeTruthy()
    expect((await descriptors()) - before).toBe(400)
    const echo = names.map((name) => `cat <>${name}.in >${name}.out &`).join('\n')
    const vms = shell(`${echo}\nwait`)
    const answers = sockets.map((socket, index) => readUntil(socket, `<${index}>`))
    sockets.forEach((socket, index) => void socket.write(`<${index}>`))
    expect(await Promise.all(answers)).toEqual(names.map((_, index) => `<${index}>`))
    await Promise.all(sockets.map(closed))
    await vms.kill()
    expect(await descriptors()).toBe(before)
  })

  test('the pair is opened once: two readers would take bytes from one another', async () => {
    const endpoint = pair()
    const socket = await dialled(endpoint)
    await symlink('vm.in', join(directory, 'alias.in'))
    await symlink('vm.out', join(directory, 'alias.out'))
    for (const again of [endpoint, at('alias')]) {
      await expect(dial(again, { timeoutMs: 5000 })).rejects.toMatchObject({
        code: 'VSPC_TRANSPORT_DIAL',
        message: expect.stringContaining('has the pair in use already'),
      })
    }
    await closed(socket)
    await dialled(at('alias'))
  })

  test('a failed dial says what is wrong and what to do, and leaves no descriptor open', async () => {
    const before = await descriptors()
    const refused = (name: string) => dial(at(name), { timeoutMs: 5000 }).catch((error: Error) => error)
    const path = (name: string) => join(directory, name)
    expect(await refused('none')).toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL',
      message: `cannot reach fifo://${path('none')}: ${path('none.in')} does not exist; start the program that creates it, or create the pair: mkfifo -m 600 ${path('none.in')} ${path('none.out')}`,
    })
    execFileSync('mkfifo', ['half.in', 'file.in', 'device.in', 'same.in'], { cwd: directory })
    expect(await refused('half')).toMatchObject({ message: expect.stringContaining('half.out does not exist') })
    await writeFile(path('file.out'), 'precious')
    expect(await refused('file')).toMatchObject({
      message: expect.stringContaining('file.out exists and is not a named pipe; remove it'),
    })
    await symlink('/dev/tty', path('device.out'))
    expect(await refused('device')).toMatchObject({ message: expect.stringContaining('is not a named pipe') })
    await symlink('same.in', path('same.out'))
    expect(await refused('same')).toMatchObject({ message: expect.stringContaining('lead to the same pipe') })
    await symlink('circle.in', path('circle.in'))
    expect(await refused('circle')).toMatchObject({ message: expect.stringContaining('circle of symbolic links') })
    const reason = new Error('changed my mind')
    await expect(dial(at('none'), { timeoutMs: 5000, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const abort = new AbortController()
    const dialling = dial(pair(), { timeoutMs: 5000, signal: abort.signal })
    abort.abort(reason)
    await expect(dialling).rejects.toBe(reason)
    expect(await descriptors()).toBe(before)
    expect(await readFile(path('file.out'), 'utf8')).toBe('precious')
  })
})

describe('fifo, listened on', () => {
  test('the pair is created, for its owner alone, and one stream handed out', async () => {
    const umask = process.umask(0)
    open.push(() => process.umask(umask))
    const { accepted } = await listening(at('vm'))
    for (const file of ['vm.in', 'vm.out']) {
      const found = await lstat(join(directory, file))
      expect([found.isFIFO(), found.mode & 0o777]).toEqual([true, 0o600])
    }
    const { socket, peer } = await accepted.nextStream()
    expect(peer).toEqual({ address: at('vm').path, display: `fifo:${at('vm').path}`, transport: 'fifo' })
    shell('exec 3<>vm.in 4<>vm.out; cat <&3 >&4')
    socket.write('there and back')
    expect(await readUntil(socket, 'back')).toBe('there and back')
  })

  test('a mode opens it to others, whatever the umask', async () => {
    const umask = process.umask(0o077)
    open.push(() => process.umask(umask))
    await listening({ ...at('vm'), mode: 0o660 })
    expect((await stat(`${at('vm').path}.in`)).mode & 0o777).toBe(0o660)
  })

  test('a closed stream is followed by another, after a pause', async () => {
    const { accepted, clock } = await listening(at('vm'))
    const first = await accepted.nextStream()
    await closed(first.socket)
    clock.advance(99)
    await turns(20)
    expect(accepted.streams).toEqual([])
    clock.advance(1)
    const second = await accepted.nextStream()
    shell('printf hello >vm.out')
    expect(await readUntil(second.socket, 'hello')).toBe('hello')
  })

  test('what a program writes between two streams is kept for the second', async () => {
    const { accepted, clock } = await listening(at('vm'))
    await closed((await accepted.nextStream()).socket)
    const writer = shell('printf meanwhile >vm.out; echo done')
    expect(await writer.text()).toBe('done')
    clock.advance(100)
    expect(await readUntil((await accepted.nextStream()).socket, 'while')).toBe('meanwhile')
  })

  test('files that somebody removed are created again, and lead somewhere', async () => {
    const { accepted, clock } = await listening(at('vm'))
    const first = await accepted.nextStream()
    const close = once(first.socket.resume(), 'close')
    await rm(`${at('vm').path}.in`)
    clock.advance(1000)
    await close
    clock.advance(100)
    const second = await accepted.nextStream()
    const vm = shell('head -c 5 <vm.in')
    second.socket.write('hello')
    expect(await vm.text()).toBe('hello')
  })

  test('a file in its place is reported once, and left alone; without it the listener goes on', async () => {
    const { accepted, clock } = await listening(at('vm'))
    const first = await accepted.nextStream()
    await rm(`${at('vm').path}.out`)
    await writeFile(`${at('vm').path}.out`, 'precious')
    await closed(first.socket)
    clock.advance(100)
    expect(await accepted.nextProblem()).toMatchObject({
      kind: 'accept',
      peer: null,
      error: {
        code: 'VSPC_TRANSPORT_LISTEN',
        message: expect.stringContaining('vm.out exists and is not a named pipe'),
      },
    })
    for (let round = 0; round < 2; round++) {
      while (clock.pending === 0) await turns(1)
      clock.advance(1000)
    }
    while (clock.pending === 0) await turns(1)
    expect(accepted.problems).toEqual([])
    expect(await readFile(`${at('vm').path}.out`, 'utf8')).toBe('precious')
    await rm(`${at('vm').path}.out`)
    clock.advance(1000)
    await accepted.nextStream()
  })

  test('closing removes what it created, and only that', async () => {
    const before = await descriptors()
    execFileSync('mkfifo', ['half.in'], { cwd: directory })
    for (const name of ['whole', 'half']) {
      const { accepted, clock, listener } = await listening(at(name))
      const { socket } = await accepted.nextStream()
      await closed(socket)
      await listener.close()
      await listener.close()
      expect(clock.pending).toBe(0)
    }
    expect(await readdir(directory)).toEqual(['half.in'])
    expect(await descriptors()).toBe(before)
  })

  test('a stream outlives its listener; the files go when it closes', async () => {
    const { accepted, listener } = await listening(at('vm'))
    const { socket } = await accepted.nextStream()
    await listener.close()
    await expect(listen(at('vm'), new Accepted(), LISTEN)).rejects.toThrow('in use already')
    const vm = shell('exec 3<>vm.in 4<>vm.out; head -c 5 <&3 >&4')
    socket.write('hello')
    expect(await readUntil(socket, 'hello')).toBe('hello')
    await vm.text()
    await closed(socket)
    while ((await readdir(directory)).length > 0) await turns(1)
  })

  test('a VM that has the pair open finds it again after our restart', async () => {
    const first = await listening(at('vm'))
    const vm = shell('exec 3<>vm.in 4<>vm.out; echo ready; cat <&3 >&4')
    await vm.line()
    await closed((await first.accepted.nextStream()).socket)
    await first.listener.close()
    const second = await listening(at('vm'))
    const { socket } = await second.accepted.nextStream()
    socket.write('still here')
    expect(await readUntil(socket, 'here')).toBe('still here')
  })

  test('closing at any moment before the first stream: none comes after it, and nothing stays', async () => {
    const before = await descriptors()
    for (let moment = 0; moment < 30; moment++) {
      const { accepted, listener } = await listening(at('vm'))
      await turns(moment)
      const closing = listener.close()
      const handedOver = accepted.streams.length
      await closing
      await turns(20)
      expect(accepted.streams.length).toBe(handedOver)
      for (const { socket } of accepted.streams) await closed(socket)
      while ((await readdir(directory)).length > 0) await turns(1)
      expect(await descriptors()).toBe(before)
    }
  })

  test('two listeners of one pair, or a listener and a dial, are refused', async () => {
    const { accepted } = await listening(at('vm'))
    await closed((await accepted.nextStream()).socket)
    await expect(listen(at('vm'), new Accepted(), LISTEN)).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringContaining('in use already'),
    })
    await expect(dial(at('vm'), { timeoutMs: 5000 })).rejects.toThrow('in use already')
    expect((await readdir(directory)).sort()).toEqual(['vm.in', 'vm.out'])
  })

  test('what stands in the way is named, with the fix, and nothing is left behind', async () => {
    const refused = (name: string) => listen(at(name), new Accepted(), LISTEN).catch((error: Error) => error)
    expect(await refused('missing/vm')).toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: `cannot listen on fifo://${directory}/missing/vm: the directory ${directory}/missing does not exist; create it`,
    })
    await writeFile(join(directory, 'vm.out'), '')
    expect(await refused('vm')).toMatchObject({
      message: expect.stringContaining('vm.out exists and is not a named pipe'),
    })
    expect(await readdir(directory)).toEqual(['vm.out'])
    const path = process.env['PATH']
    process.env['PATH'] = directory
    try {
      expect(await refused('other')).toMatchObject({
        message: expect.stringContaining('the program mkfifo is missing; install coreutils'),
      })
    } finally {
      process.env['PATH'] = path
    }
  })
})
