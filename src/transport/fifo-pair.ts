/**
 * The files of a fifo: endpoint: `PATH.in`, which the VM reads, and `PATH.out`, which it writes.
 *
 * Both are opened for reading and writing, as QEMU does it: on Linux that never waits for the other side, there is never
 * an end of input, and what is unread stays in the kernel for as long as either side has the pipe open. POSIX leaves it
 * undefined.
 */
import { execFile } from 'node:child_process'
import { type BigIntStats, close, closeSync, constants, fstatSync, open } from 'node:fs'
import { stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { errorMessage, VspcError } from '../base/index.ts'
import { type EndpointRole, type FifoEndpoint, formatEndpoint } from './endpoint.ts'

const { O_RDWR, O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
const openFile = promisify(open)
const closeFile = promisify(close)
const run = promisify(execFile)

/** A pipe file, and which one it was: another one may stand under the same name later. */
export interface PipeFile {
  readonly file: string
  /** Device and inode. */
  readonly identity: string
}

interface OpenPipe extends PipeFile {
  readonly descriptor: number
}

/**
 * The pairs in use by this process, by the identity of the pipe that is read: two readers of one pipe would take bytes
 * from one another. Another process cannot be kept out: Node has no file locks.
 */
const taken = new Set<string>()

const NOT_A_PIPE = 'NOT_A_PIPE'

/** Our own reasons: those of sockets are about other things. */
const REASONS: Record<string, string> = {
  ENOTDIR: 'a part of the path is not a directory',
  EACCES: 'permission denied; this user has to be able to read and write both pipes, and to reach their directory',
  EPERM: 'the file system has no named pipes; choose another directory',
  EROFS: 'the file system is read-only; choose another directory',
  ENOSPC: 'no space is left on the file system',
  ELOOP: 'the path is a circle of symbolic links',
  EMFILE: 'no file descriptor is left; raise the limit of open files (ulimit -n, LimitNOFILE=)',
  ENFILE: 'no file descriptor is left; raise the limit of open files (ulimit -n, LimitNOFILE=)',
}

/** An open pair. Its owner closes it, or gives both descriptors away and calls `release` when they are closed. */
export class FifoPair {
  /** The VM reads it. */
  readonly input: OpenPipe
  /** The VM writes it. */
  readonly output: OpenPipe
  readonly #claimed: boolean

  private constructor(input: OpenPipe, output: OpenPipe, claimed: boolean) {
    this.input = input
    this.output = output
    this.#claimed = claimed
  }

  /**
   * Opens what is there. Nothing else than a pipe is opened: to open a device can do things.
   * @param claim the pair is taken until `release`, and must not be taken now.
   * @throws VspcError VSPC_TRANSPORT_DIAL or VSPC_TRANSPORT_LISTEN.
   */
  static async open(endpoint: FifoEndpoint, role: EndpointRole, claim: boolean): Promise<FifoPair> {
    const input = await openPipe(endpoint, role, `${endpoint.path}.in`)
    let output: OpenPipe
    try {
      output = await openPipe(endpoint, role, `${endpoint.path}.out`)
    } catch (error) {
      closeSync(input.descriptor)
      throw error
    }
    const wrong =
      input.identity === output.identity
        ? 'both names lead to the same pipe; what is sent would come back'
        : claim && taken.has(output.identity)
          ? 'this process has the pair in use already, and two readers would take bytes from one another; name it once'
          : null
    if (wrong !== null) {
      closeSync(input.descriptor)
      closeSync(output.descriptor)
      throw fifoError(endpoint, role, wrong)
    }
    if (claim) taken.add(output.identity)
    return new FifoPair(input, output, claim)
  }

  /** False once another file, or none, stands under one of the names. Never rejects. */
  async isCurrent(): Promise<boolean> {
    return !(await isReplaced(this.output)) && !(await isReplaced(this.input))
  }

  isSameAs(other: FifoPair): boolean {
    return this.input.identity === other.input.identity && this.output.identity === other.output.identity
  }

  /** Others may have the pair. */
  release(): void {
    if (this.#claimed) taken.delete(this.output.identity)
  }

  close(): void {
    closeSync(this.input.descriptor)
    closeSync(this.output.descriptor)
    this.release()
  }
}

async function openPipe(endpoint: FifoEndpoint, role: EndpointRole, file: string): Promise<OpenPipe> {
  let descriptor = -1
  try {
    // Follows symbolic links, as QEMU does.
    requireFifo(file, await stat(file, { bigint: true }))
    descriptor = await openFile(file, O_RDWR | O_NONBLOCK | O_NOCTTY)
    const found = fstatSync(descriptor, { bigint: true })
    requireFifo(file, found)
    return { file, descriptor, identity: identityOf(found) }
  } catch (error) {
    if (descriptor >= 0) closeSync(descriptor)
    throw fifoError(endpoint, role, reasonFor(endpoint, file, error), error)
  }
}

function requireFifo(file: string, found: BigIntStats): void {
  if (found.isFIFO()) return
  throw Object.assign(new Error(`${file} is not a named pipe`), { code: NOT_A_PIPE })
}

/**
 * Creates those files of the pair that are missing.
 * @returns what was created. @throws VspcError VSPC_TRANSPORT_LISTEN; nothing is left behind then.
 */
export async function createMissing(endpoint: FifoEndpoint, mode: number): Promise<PipeFile[]> {
  const created: PipeFile[] = []
  for (const file of [`${endpoint.path}.in`, `${endpoint.path}.out`]) {
    try {
      if (await create(file, mode)) created.push({ file, identity: identityOf(await stat(file, { bigint: true })) })
    } catch (error) {
      await removeUnused(created)
      throw fifoError(endpoint, 'listen', reasonFor(endpoint, file, error), error)
    }
  }
  return created
}

/** False when something stands there already. */
async function create(file: string, mode: number): Promise<boolean> {
  if (await exists(file)) return false
  try {
    // Node has no call for it. With -m the mode is what it says, whatever the umask.
    await run('mkfifo', ['-m', mode.toString(8), '--', file], { env: { ...process.env, LC_ALL: 'C' } })
    return true
  } catch (error) {
    // Somebody was faster.
    if (await exists(file)) return false
    // A missing directory first: what mkfifo says is only a text.
    await stat(dirname(file))
    throw error
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/**
 * Removes pipes of ours, all or none: not when a VM has one of them open, which would go on with pipes that nobody
 * else can find. One that somebody has put in their place is left alone. Never rejects.
 */
export async function removeUnused(pipes: readonly PipeFile[]): Promise<void> {
  for (const pipe of pipes) if (await hasReader(pipe)) return
  for (const pipe of pipes) {
    // Somebody may have been faster.
    if (!(await isReplaced(pipe))) await unlink(pipe.file).catch(() => {})
  }
}

/** QEMU reads both pipes as far as the kernel is concerned. A program that only writes is not seen. */
async function hasReader(pipe: PipeFile): Promise<boolean> {
  if (await isReplaced(pipe)) return false
  try {
    await closeFile(await openFile(pipe.file, O_WRONLY | O_NONBLOCK | O_NOCTTY))
    return true
  } catch (error) {
    // ENXIO: nobody has it open for reading. Anything else tells nothing.
    return (error as NodeJS.ErrnoException).code !== 'ENXIO'
  }
}

async function isReplaced(pipe: PipeFile): Promise<boolean> {
  try {
    return identityOf(await stat(pipe.file, { bigint: true })) !== pipe.identity
  } catch (error) {
    // Anything else tells nothing, as when permissions of the directory change.
    return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')
  }
}

/** An inode's number is not used again while the pipe is open somewhere. */
function identityOf(found: BigIntStats): string {
  return `${found.dev}:${found.ino}`
}

function fifoError(endpoint: FifoEndpoint, role: EndpointRole, reason: string, cause?: unknown): VspcError {
  const [code, cannot] =
    role === 'dial'
      ? (['VSPC_TRANSPORT_DIAL', 'cannot reach'] as const)
      : (['VSPC_TRANSPORT_LISTEN', 'cannot listen on'] as const)
  return new VspcError(code, `${cannot} ${formatEndpoint(endpoint)}: ${reason}`, { cause })
}

/** Why `file` could not be opened or created, and what to do. */
function reasonFor(endpoint: FifoEndpoint, file: string, thrown: unknown): string {
  const { code, path, stderr } = thrown as { code?: unknown; path?: unknown; stderr?: unknown }
  if (code === NOT_A_PIPE) return `${file} exists and is not a named pipe; remove it, or choose another path`
  if (code === 'ENOENT' && path === 'mkfifo') {
    return 'the program mkfifo is missing; install coreutils, or create both pipes by other means'
  }
  if (code === 'ENOENT' && path !== file) return `the directory ${dirname(file)} does not exist; create it`
  if (code === 'ENOENT') {
    const pair = `${endpoint.path}.in ${endpoint.path}.out`
    return `${file} does not exist; start the program that creates it, or create the pair: mkfifo -m 600 ${pair}`
  }
  const said = typeof stderr === 'string' && stderr.trim() !== '' ? stderr.trim() : errorMessage(thrown)
  const known = REASONS[String(code)]
  return known === undefined ? said : `${known} (${said})`
}
