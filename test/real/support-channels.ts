/** For the end-to-end tests of channels: server and relays as processes, and what is to be true of every serial line. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, onTestFailed, onTestFinished } from 'vitest'
import type { PortState } from '../../src/vspc/index.ts'
import { peerPath } from '../support/peers.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { Events, everyByte, Output, Program, type ServeProcess, serve, temporary, WsClient } from './support.ts'

const DEADLINE_MS = 25_000

/** A server on a Unix socket that takes what relays announce. */
export class Appliance {
  readonly server: ServeProcess
  /** A directory of its own; the server's socket is in it, too. */
  readonly folder: string
  readonly socket: string
  readonly #events: Events

  private constructor(server: ServeProcess, folder: string, socket: string, events: Events) {
    this.server = server
    this.folder = folder
    this.socket = socket
    this.#events = events
  }

  /** @param query what stands behind the `?` of its listener. @param more further arguments, for the directory it is in. */
  static async start(query: string, more: (folder: string) => string[] = () => []): Promise<Appliance> {
    const folder = temporary()
    const socket = join(folder, 'appliance.sock')
    const server = await serve(
      '--listen',
      `unix://${socket}?${query}`,
      '--data-dir',
      join(folder, 'data'),
      ...more(folder),
    )
    return new Appliance(server, folder, socket, await Events.of(server))
  }

  /** How relays dial it. */
  get hop(): string {
    return `unix://${this.socket}?proxy=v2`
  }

  /** Waits for ports, each as NAME or NAME/LABEL. */
  async until(state: PortState, ...names: string[]): Promise<void> {
    for (const name of names) {
      const [vm = '', com = null] = name.split('/')
      const reached = this.#events.until(vm, (port) => port.label === com && port.state === state)
      await orLate(reached, async () => `${name} is not ${state}; ports: ${JSON.stringify(await this.identities())}`)
    }
  }

  attach(name: string): Promise<WsClient> {
    return WsClient.attach(this.server, name)
  }

  /** Which ports there are and where from: what the API says to everybody. By id. */
  async identities(): Promise<Identity[]> {
    const ports = await this.server.ports()
    return ports
      .map(({ id, vm, host, transport, state }) => ({ id, name: vm.name, host, transport, state }))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
  }
}

export interface Identity {
  id: string
  name: string
  host: string | null
  transport: string | null
  state: string
}

async function orLate<T>(work: Promise<T>, what: () => Promise<string>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      void what().then((text) => reject(new Error(`${DEADLINE_MS} ms passed: ${text}`)), reject)
    }, DEADLINE_MS)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

/** Both pipes of a QEMU chardev, as an administrator makes them. */
export function makePipes(path: string): void {
  execFileSync('mkfifo', ['-m', '600', `${path}.in`, `${path}.out`])
}

/** A running `vspc relay`. */
export class RelayProcess {
  readonly #program: Program
  readonly #args: readonly string[]
  /** What its routes join, with ports as bound. */
  readonly relaying: readonly { readonly from: string; readonly to: string }[]

  private constructor(program: Program, args: readonly string[], relaying: RelayProcess['relaying']) {
    this.#program = program
    this.#args = args
    this.relaying = relaying
  }

  /** Starts it and waits until it is ready; it is stopped, and has to stop well, when the test ends. */
  static async start(...args: string[]): Promise<RelayProcess> {
    const program = new Program(['relay', '--json', ...args])
    let state = 'runs'
    void program.exited.then(({ code, signal }) => {
      state = `ended with ${signal ?? code}`
    })
    onTestFailed(() => void process.stderr.write(`vspc relay ${args.join(' ')}\n${program.stderr.text}(${state})\n`))
    const line = await program.stdout.until('\n').catch((error: Error) => {
      throw new Error(`${error.message}; on stderr: ${program.stderr.text}`)
    })
    const relay = new RelayProcess(program, args, JSON.parse(line).relaying)
    onTestFinished(async () => {
      if (!program.ended) await relay.stop()
    })
    return relay
  }

  /** TCP port that the first route listens on. */
  get tcpPort(): number {
    return Number(new URL((this.relaying[0]?.from ?? '').replace(/^\w+:/, 'http:')).port)
  }

  /** Stands still, until `resume`. */
  pause(): void {
    this.#program.signal('SIGSTOP')
  }

  resume(): void {
    this.#program.signal('SIGCONT')
  }

  /** SIGTERM, a clean end, and nothing to be ashamed of in the log. */
  async stop(): Promise<void> {
    this.#program.signal('SIGTERM')
    expect(await this.#program.exited, this.#program.stderr.text).toEqual({ code: 0, signal: null })
    expect(this.#program.stderr.text).not.toMatch(/"level":"(?:error|fatal)"/)
  }

  /** As by a power cut. */
  async kill(): Promise<void> {
    this.#program.signal('SIGKILL')
    await this.#program.exited
  }

  /** Another one at the same addresses, after this one has ended. */
  again(): Promise<RelayProcess> {
    const args = this.#args.map((arg, at) =>
      this.#args[at - 1] === '--listen' ? (this.relaying[0]?.from ?? arg) : arg,
    )
    return RelayProcess.start(...args)
  }
}

/** A prompt, a command and its answer, and all byte values there and back. */
export async function expectWhole(console: WsClient, tty: string): Promise<void> {
  console.enter('')
  await console.output.until(GUEST_PROMPT)
  console.enter('echo $((6 * 7)) $(tty)')
  await console.output.until(`\r\n42 /dev/${tty}\r\n${GUEST_PROMPT}`)
  console.enter('stty raw -echo; echo r""eady; head -c 256; stty sane')
  await console.output.until('ready\n')
  console.write(everyByte)
  const all = Buffer.from(everyByte).toString('latin1')
  // Not the prompt alone: what is missing would be shown as a deadline that passed.
  expect(await console.output.until(GUEST_PROMPT), `all byte values through ${tty}`).toBe(`${all}${GUEST_PROMPT}`)
}

/** The shell of `console` prints numbers to another line of its guest; done when they have left the guest. */
export async function printNumbers(console: WsClient, tty: string, count: number, first: number): Promise<void> {
  // A change of modes waits for the output before it.
  console.enter(`echo >/dev/${tty}; counter ${count} 0 ${first} >/dev/${tty}; stty -F /dev/${tty} opost; echo d""one`)
  await console.output.until(`\r\ndone\r\n${GUEST_PROMPT}`)
}

export function numbers(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

/** Puts a file of all byte values into the guest over its shell, has it hashed there, and reads it back. */
const COURIER = `
import hashlib, os, socket, sys

line = socket.socket(socket.AF_UNIX)
line.settimeout(25)
line.connect(sys.argv[1])
heard = b''

def take(enough, what):
    global heard
    while enough() < 0:
        chunk = line.recv(65536)
        if not chunk:
            sys.exit('the line was closed before ' + what)
        heard += chunk
    end = enough()
    taken, heard = heard[:end], heard[end:]
    return taken

def until(mark):
    return take(lambda: heard.index(mark) + len(mark) if mark in heard else -1, repr(mark))

def enter(command):
    line.sendall(command.encode() + b'\\r')

def ask(command):
    enter(command)
    return until(b'vm# ')

ask('')
print('connected', flush=True)
for order in sys.stdin:
    name = order.strip()
    data = bytes(range(256)) * 8 + os.urandom(10000)
    enter('stty raw -echo; echo r""eady; head -c %d >%s; stty sane' % (len(data), name))
    until(b'ready\\n')
    line.sendall(data)
    until(b'vm# ')
    there = hashlib.sha256(data).hexdigest().encode() in ask('sha256sum ' + name)
    enter('stty raw -echo; echo r""eady; cat %s; stty sane' % name)
    until(b'ready\\n')
    back = take(lambda: len(data) if len(heard) >= len(data) else -1, 'the whole file')
    until(b'vm# ')
    print('%s: there %s, back %s' % (name, there, back == data), flush=True)
`

/** A program that works with the shell at the other end of a line, without a console between. */
export class Courier {
  readonly #child: ChildProcess
  readonly said = new Output('courier')

  /** Connects to the Unix socket at `path`; resolves at a prompt. */
  static async connect(path: string): Promise<Courier> {
    const courier = new Courier(path)
    await courier.said.until('connected\n')
    return courier
  }

  private constructor(path: string) {
    this.#child = spawn(peerPath('python3'), ['-c', COURIER, path], { stdio: ['pipe', 'pipe', 'pipe'] })
    const child = this.#child
    child.stdin?.on('error', () => {})
    child.stdout?.on('data', (chunk: Buffer) => this.said.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => this.said.push(chunk))
    child.on('close', () => this.said.end())
    onTestFinished(() => void child.kill('SIGKILL'))
  }

  async carry(name: string): Promise<void> {
    this.#child.stdin?.write(`${name}\n`)
    expect(await this.said.until(new RegExp(`${name}: .*\n`))).toBe(`${name}: there True, back True\n`)
  }
}
