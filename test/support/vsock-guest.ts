/**
 * Runs a program of ours under Node in a throw-away Linux guest, whose kernel has what this one may lack: vSockets.
 *
 * The guest is busybox, Node with its libraries, koffi, some kernel modules and the program, bundled, all in one
 * initramfs; there is no disk and no network but the loopback. What all programs share is built once and kept beside
 * the guest kernel. Boots under TCG, never KVM: it may be unusable where this runs.
 */
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { findProgram, peerPath, peersDir } from './peers.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export interface GuestProgramOptions {
  /** TypeScript file, from the root of the repository; bundled, and run by the Node that runs this. */
  readonly entry: string
  readonly args?: readonly string[]
  /** Further files, bundled likewise, for the program to start: `{ vspc: 'src/cli/main.ts' }` becomes /t/vspc.mjs. */
  readonly programs?: Readonly<Record<string, string>>
  /** Kernel modules to load first; those that they need come by themselves. */
  readonly modules?: readonly string[]
  readonly memoryMiB?: number
  /** From the start of QEMU; the guest is switched off then. */
  readonly timeoutMs?: number
  readonly qemuArgs?: readonly string[]
}

export interface GuestOutcome {
  /** Of the program; null when it did not get so far. */
  readonly exitCode: number | null
  /** What it wrote, line by line. */
  readonly lines: readonly string[]
  /** The guest's whole console, and what QEMU said. */
  readonly log: string
  readonly bootMs: number | null
  readonly totalMs: number
}

/** A guest that runs; whoever started it calls `stop`, or waits for `ended`. */
export interface RunningGuest {
  readonly ended: Promise<GuestOutcome>
  /** Resolves with the first line of the program that matches, from its beginning. */
  until(pattern: RegExp): Promise<string>
  /** Ends it the hard way, and waits until it is gone. */
  stop(): Promise<void>
}

/** The program runs, and the guest goes. Look at `exitCode` and `log`: nothing is thrown for what happens inside. */
export async function runInGuest(options: GuestProgramOptions): Promise<GuestOutcome> {
  return (await startInGuest(options)).ended
}

export async function startInGuest(options: GuestProgramOptions): Promise<RunningGuest> {
  const work = mkdtempSync(join(tmpdir(), 'vspc-guest-'))
  try {
    const image = join(work, 'initrd')
    copyFileSync(await baseImage(), image)
    appendFileSync(image, await programImage(work, options))
    return launch(options, image, () => rmSync(work, { recursive: true, force: true }))
  } catch (error) {
    rmSync(work, { recursive: true, force: true })
    throw error
  }
}

const UP = '@@up'
const OVER = '@@over '

function launch(options: GuestProgramOptions, image: string, cleanUp: () => void): RunningGuest {
  const { memoryMiB = 768, timeoutMs = 110_000, qemuArgs = [] } = options
  const args = ['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-machine', 'q35', '-m', `${memoryMiB}M`]
  args.push('-display', 'none', '-nodefaults', '-no-reboot', '-serial', 'stdio', '-kernel', peerPath('kernel'))
  args.push('-initrd', image, '-append', 'console=ttyS0 quiet loglevel=3 panic=-1', ...qemuArgs)
  const started = performance.now()
  // A process that is killed cannot clean up: the kernel then ends the guest for it.
  const setpriv = findProgram('setpriv')
  const [command, before] = setpriv ? [setpriv, ['--pdeathsig', 'KILL', peerPath('qemu')]] : [peerPath('qemu'), []]
  const child = spawn(command, [...before, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  const timer = setTimeout(kill, timeoutMs)

  const lines: string[] = []
  let log = ''
  let bootMs: number | null = null
  let exitCode: number | null = null
  const wake = new Set<() => void>()
  createInterface({ input: child.stdout }).on('line', (raw) => {
    const line = raw.replaceAll('\r', '')
    log += `${line}\n`
    if (bootMs === null) {
      if (line.includes(UP)) bootMs = Math.round(performance.now() - started)
    } else if (line.startsWith(OVER)) {
      exitCode = Number(line.slice(OVER.length))
    } else if (exitCode === null) {
      lines.push(line)
    }
    for (const look of wake) look()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })

  let over = false
  const ended = new Promise<GuestOutcome>((resolve) => {
    const done = (reason: string): void => {
      clearTimeout(timer)
      process.off('exit', kill)
      cleanUp()
      over = true
      log += `QEMU has ended: ${reason}\n`
      for (const look of wake) look()
      resolve({ exitCode, lines, log, bootMs, totalMs: Math.round(performance.now() - started) })
    }
    child.once('error', (error) => done(error.message))
    // 'close', not 'exit': by then its output has been read.
    child.once('close', (code, signal) => done(signal ?? `exit code ${code}`))
  })
  return {
    ended,
    until: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines.find((line) => pattern.test(line))
          if (found === undefined && !over) return
          wake.delete(look)
          if (found === undefined) reject(new Error(`the guest ended before ${pattern} came:\n${log}`))
          else resolve(found)
        }
        wake.add(look)
        look()
      }),
    stop: async () => {
      kill()
      await ended
    },
  }
}

const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b --install -s /bin
export PATH=/bin HOME=/root NO_COLOR=1 TERM=dumb
ifconfig lo 127.0.0.1 up
while read module; do insmod /modules/$module; done </modules/order
cd /t
echo ${UP}
sh /t/run
echo "${OVER}$?"
poweroff -f
`

/** Busybox, Node with its libraries, and koffi. */
async function baseImage(): Promise<string> {
  const files = new Map<string, string>()
  const node = realpathSync(process.execPath)
  files.set(peerPath('busybox'), '/bin/busybox')
  files.set(node, '/bin/node')
  for (const [library] of execFileSync('ldd', [node], { encoding: 'utf8' }).matchAll(/\/[^ )]+/g)) {
    files.set(realpathSync(library), library)
  }
  for (const [from, to] of koffiFiles()) files.set(from, to)

  const hash = createHash('sha256').update(INIT)
  for (const [from, to] of files) hash.update(`\0${to}\0`).update(readFileSync(from))
  const image = join(peersDir(), `node-${hash.digest('hex').slice(0, 16)}.cpio`)
  if (existsSync(image)) return image

  const work = mkdtempSync(join(tmpdir(), 'vspc-guest-'))
  try {
    for (const folder of ['dev', 'proc', 'sys', 'tmp', 'root']) mkdirSync(join(work, folder))
    for (const [from, to] of files) put(work, from, to)
    writeFileSync(join(work, 'init'), INIT)
    for (const program of ['init', 'bin/busybox', 'bin/node']) chmodSync(join(work, program), 0o755)
    // Beside the final name first: two processes may build the same image at the same moment.
    const partial = `${image}.${process.pid}`
    writeFileSync(partial, pack(work))
    renameSync(partial, image)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return image
}

function koffiFiles(): [string, string][] {
  const koffi = dirname(createRequire(import.meta.url).resolve('koffi'))
  const native = join(koffi, '../@koromix/koffi-linux-x64')
  // Not the sources of its native part, and not the build for musl.
  const files = (folder: string, name: string, pattern: RegExp) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => pattern.test(file))
      .sort()
      .map((file): [string, string] => [join(folder, file), `/t/node_modules/${name}/${file}`])
  return [
    ...files(koffi, 'koffi', /^(?:src\/.*|[^/]*)\.(?:c?js|json)$/),
    ...files(native, '@koromix/koffi-linux-x64', /^(?:[^/]*\.(?:js|json)|linux_x64\/koffi\.node)$/),
  ]
}

/** The program, and the modules that it asks for. */
async function programImage(work: string, options: GuestProgramOptions): Promise<Buffer> {
  const root = join(work, 'root')
  mkdirSync(join(root, 'modules'), { recursive: true })
  const modules = withDependencies(options.modules ?? [])
  for (const path of modules) copyFileSync(path, join(root, 'modules', basename(path)))
  writeFileSync(join(root, 'modules/order'), modules.map((path) => `${basename(path)}\n`).join(''))
  const programs = { main: options.entry, ...options.programs }
  await build({
    entryPoints: Object.entries(programs).map(([name, entry]) => ({ in: join(ROOT, entry), out: name })),
    outdir: join(root, 't'),
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external: ['koffi'],
    // Dependencies that are CommonJS ask for Node's own modules this way.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    logLevel: 'warning',
  })
  const words = ['node', '/t/main.mjs', ...(options.args ?? [])]
  writeFileSync(join(root, 't/run'), `exec ${words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')}\n`)
  return pack(root)
}

/** Files of kernel modules, in the order to load them in. */
function withDependencies(names: readonly string[]): string[] {
  const release = basename(realpathSync(peerPath('kernel'))).replace(/^vmlinuz-/, '')
  const folder = join(dirname(dirname(realpathSync(peerPath('kernel')))), 'lib/modules', release)
  const list = (file: string) =>
    new Map(
      readFileSync(join(folder, file), 'utf8')
        .split('\n')
        .map(
          (path) =>
            [
              basename(path)
                .replace(/\.ko.*$/, '')
                .replaceAll('-', '_'),
              join(folder, path),
            ] as const,
        ),
    )
  const [loadable, builtIn] = [list('modules.order'), list('modules.builtin')]
  const order = new Set<string>()
  const add = (name: string): void => {
    if (builtIn.has(name)) return
    const path = loadable.get(name)
    if (path === undefined) throw new Error(`the guest kernel ${release} has no module ${name}`)
    // What `modinfo` shows: a section of strings that end in NUL.
    const depends = /\0depends=([\w,-]*)\0/.exec(readFileSync(path, 'latin1'))?.[1]
    if (depends === undefined) throw new Error(`${path} does not say what it depends on: is it compressed?`)
    for (const needed of depends.split(',')) if (needed !== '') add(needed.replaceAll('-', '_'))
    order.add(path)
  }
  for (const name of names) add(name)
  return [...order]
}

function put(root: string, from: string, to: string): void {
  const path = join(root, to)
  mkdirSync(dirname(path), { recursive: true })
  cpSync(from, path)
}

/** A cpio archive, as the kernel unpacks it; several may follow each other. */
function pack(root: string): Buffer {
  const script = 'cd "$1" && find . | "$2" --create --format=newc --quiet --owner=0:0'
  return execFileSync('sh', ['-c', script, 'pack', root, peerPath('cpio')], { maxBuffer: 2 ** 30 })
}
