import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { access } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Duplex } from 'node:stream'
import { promisify } from 'node:util'
import { findProgram, peerPath, peersDir } from './peers.ts'

const run = promisify(execFile)

/**
 * What runs in the guest: busybox with all its applets (vi, less, top, stty ...), a root shell with the prompt
 * {@link GUEST_PROMPT} on every serial port there is, and `counter COUNT [MICROSECONDS] [FIRST]`.
 *
 * Each shell opens its tty as session leader, so that Ctrl-C and job control work as on a real console.
 */
const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b --install -s /bin
export PATH=/bin HOME=/root TERM=vt100 PS1='vm# '
cd /root
hostname vm
@EXTRA@
for port in 1 2 3; do
  grep -q "^$port: uart:16" /proc/tty/driver/serial || continue
  (while :; do setsid sh -c "exec sh -i </dev/ttyS$port >/dev/ttyS$port 2>&1"; done) &
done
while :; do setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1'; done
`

const COUNTER = `#!/bin/busybox sh
# counter COUNT [MICROSECONDS] [FIRST]: consecutive numbers, one per line, a pause after each
count=\${1:-100} pause=\${2:-0} n=\${3:-1}
last=$((n + count - 1))
while [ $n -le $last ]; do
  echo $n
  [ $pause = 0 ] || usleep $pause
  n=$((n + 1))
done
`

/** What the guest's shell prints when it waits for a command. */
export const GUEST_PROMPT = 'vm# '

export interface GuestOptions {
  /** One `-serial` argument of QEMU per serial port: ttyS0, ttyS1 ... */
  readonly serial: readonly string[]
  /** Shell lines run before the first prompt (part of the cached image, so keep them constant). */
  readonly init?: string
  /** Further kernel parameters. */
  readonly appendArgs?: string
  /** Further QEMU arguments. */
  readonly qemuArgs?: readonly string[]
}

/** A running virtual machine. Whoever started it calls `stop`; it is killed at the latest when the test process ends. */
export interface Guest {
  readonly pid: number
  /** What QEMU wrote to its stderr so far. */
  errors(): string
  /**
   * The TCP port that serial port `index` listens on: for `tcp:127.0.0.1:0,server=on,wait=off`, where the kernel
   * picks a free one and QEMU tells which. Throws for a serial port that does not listen on TCP.
   */
  tcpPort(index: number): Promise<number>
  /** Ends the virtual machine the hard way, like a power cut, and waits until it is gone. */
  stop(): Promise<void>
  /** Resolves when QEMU has ended, for whatever reason. */
  readonly ended: Promise<void>
}

/** Builds the initramfs, or takes it from the cache; the file's name holds a hash of all that is in it. */
async function initramfs(extra: string): Promise<string> {
  const busybox = peerPath('busybox')
  const init = INIT.replace('@EXTRA@', () => extra)
  const hash = createHash('sha256').update(readFileSync(busybox)).update('\0').update(init).update('\0').update(COUNTER)
  const image = join(peersDir(), `initramfs-${hash.digest('hex').slice(0, 16)}.cpio`)
  const present = await access(image).then(
    () => true,
    () => false,
  )
  if (present) return image

  mkdirSync(peersDir(), { recursive: true })
  const work = mkdtempSync(join(tmpdir(), 'vspc-initramfs-'))
  try {
    const root = join(work, 'root')
    for (const folder of ['bin', 'dev', 'proc', 'sys', 'tmp', 'root'])
      mkdirSync(join(root, folder), { recursive: true })
    copyFileSync(busybox, join(root, 'bin/busybox'))
    writeFileSync(join(root, 'init'), init)
    writeFileSync(join(root, 'bin/counter'), COUNTER)
    for (const program of ['init', 'bin/busybox', 'bin/counter']) chmodSync(join(root, program), 0o755)
    // Beside the final name first: two test processes may build the same image at the same moment.
    const partial = `${image}.${process.pid}`
    const pack = 'cd "$1" && find . | "$2" --create --format=newc --quiet --owner=0:0 >"$3"'
    await run('sh', ['-c', pack, 'pack', root, peerPath('cpio'), partial])
    renameSync(partial, image)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return image
}

/** QEMU's control channel (QMP): one JSON object per line, on its stdin and stdout. */
class Monitor {
  readonly #child: ChildProcess
  #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = []
  #ended = false

  constructor(child: ChildProcess) {
    this.#child = child
    // A guest that is gone makes writes fail; `end` tells those who wait.
    child.stdin?.on('error', () => {})
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => this.#line(line))
  }

  end(error: Error): void {
    this.#ended = true
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  command(execute: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(new Error('QEMU has ended'))
      this.#waiting.push({ resolve, reject })
      this.#child.stdin?.write(`${JSON.stringify({ execute })}\n`)
    })
  }

  #line(line: string): void {
    const message = JSON.parse(line) as { return?: unknown; error?: { desc?: string } }
    // Greeting and events are nobody's answer; answers come in the order of the commands.
    if (!('return' in message) && !('error' in message)) return
    const waiting = this.#waiting.shift()
    if (message.error) waiting?.reject(new Error(`QEMU: ${message.error.desc}`))
    else waiting?.resolve(message.return)
  }
}

/**
 * Boots a Linux guest under TCG (never KVM: it may be unusable where tests run). Resolves once QEMU has set up its
 * serial ports; the first prompt takes some three seconds more.
 *
 * A serial port that listens with `wait=off` discards what the guest prints while nobody is connected: press Enter
 * after dialling to get a prompt.
 */
export async function startGuest(options: GuestOptions): Promise<Guest> {
  const image = await initramfs(options.init ?? '')
  const args = ['-accel', 'tcg', '-m', '128', '-display', 'none', '-nodefaults', '-no-reboot', '-qmp', 'stdio']
  for (const serial of options.serial) args.push('-serial', serial)
  const append = ['console=ttyS0', 'quiet', 'panic=-1', options.appendArgs ?? ''].join(' ').trim()
  args.push('-kernel', peerPath('kernel'), '-initrd', image, '-append', append, ...(options.qemuArgs ?? []))

  // A test process that is killed cannot clean up: the kernel then ends the guest for it.
  const setpriv = findProgram('setpriv')
  const command = setpriv ? [setpriv, '--pdeathsig', 'KILL', peerPath('qemu')] : [peerPath('qemu')]
  const child = spawn(command[0]!, [...command.slice(1), ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  const kill = () => void child.kill('SIGKILL')
  process.once('exit', kill)

  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-16_384)
  })
  const monitor = new Monitor(child)
  const ended = new Promise<void>((resolve) => {
    const done = (reason: string) => {
      process.removeListener('exit', kill)
      monitor.end(new Error(`QEMU has ended (${reason}): ${errors.trim() || 'it said nothing'}`))
      resolve()
    }
    child.once('error', (error) => done(error.message))
    // 'close', not 'exit': by then its stderr has been read.
    child.once('close', (code, signal) => done(signal ?? `exit code ${code}`))
  })

  const stop = async () => {
    kill()
    await ended
  }
  try {
    await once(child, 'spawn')
    await monitor.command('qmp_capabilities')
  } catch (error) {
    await stop()
    throw error
  }
  return {
    pid: child.pid!,
    errors: () => errors,
    ended,
    stop,
    async tcpPort(index) {
      const chardevs = (await monitor.command('query-chardev')) as { label: string; filename: string }[]
      const filename = chardevs.find(({ label }) => label === `serial${index}`)?.filename ?? 'no such serial port'
      const port = /^(?:disconnected:)?(?:tcp|telnet):.*:(\d+),server=on/.exec(filename)?.[1]
      if (!port) throw new Error(`serial${index} does not listen on TCP: ${filename}`)
      return Number(port)
    },
  }
}

/** What came out of a stream so far, to wait for a text in it. Starts the stream flowing. */
export class Transcript {
  readonly #stream: Duplex
  #text = ''
  /** Where the next `until` starts to look. */
  #from = 0

  constructor(stream: Duplex) {
    this.#stream = stream
    // One character per byte: what is searched for may stand beside binary output.
    stream.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
    })
    stream.on('error', () => {})
  }

  /** All of it, one character per byte. */
  get text(): string {
    return this.#text
  }

  /** Sends `line` and Enter, as a terminal does. */
  enter(line: string): void {
    this.#stream.write(`${line}\r`)
  }

  /** Waits for `text` behind the last one waited for; resolves with all from there up to and including it. */
  async until(text: string, timeoutMs = 15_000): Promise<string> {
    const signal = AbortSignal.timeout(timeoutMs)
    const closed = new AbortController()
    const onClose = () => closed.abort()
    this.#stream.once('close', onClose)
    try {
      for (;;) {
        const at = this.#text.indexOf(text, this.#from)
        if (at >= 0) {
          const end = at + text.length
          const found = this.#text.slice(this.#from, end)
          this.#from = end
          return found
        }
        await once(this.#stream, 'data', { signal: AbortSignal.any([signal, closed.signal]) })
      }
    } catch {
      // Aborted, for one of two reasons.
      const why = closed.signal.aborted ? 'the stream closed' : `${timeoutMs} ms passed`
      const tail = JSON.stringify(this.#text.slice(this.#from).slice(-500))
      throw new Error(`${why} before ${JSON.stringify(text)} came; what came: ${tail}`)
    } finally {
      this.#stream.removeListener('close', onClose)
    }
  }
}
