/**
 * The calls of the C library that AF_VSOCK takes, through koffi (optional, loaded at the first `vsock:` endpoint).
 *
 * Linux only, with its numbers. ESXi has vSockets too, but another family number (ioctl 1976 on its /dev/vsock tells
 * it) and perhaps other struct sizes: nothing here was ever tried there.
 */
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { errorMessage } from '../base/index.ts'

const AF_UNIX = 1
const AF_VSOCK = 40
/** SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC */
const STREAM = 0o2004001
const O_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_ERROR = 4
const SO_VM_SOCKETS_CONNECT_TIMEOUT = 6
const POLLOUT = 4

/** sizeof(struct sockaddr_vm) */
const ADDRESS_BYTES = 16

export const CID_ANY = 0xffff_ffff
export const CID_LOCAL = 1
export const CID_HOST = 2
const PORT_ANY = 0xffff_ffff

export interface VsockAddress {
  readonly cid: number
  readonly vsockPort: number
}

/**
 * What the transport asks of the system; tests put another one in its place. All calls return at once. Descriptors are
 * the caller's to `close`. @throws an Error like Node's own: `code`, `errno`, `syscall`.
 */
export interface VsockLibc {
  /** A listening descriptor. @param vsockPort 0 = any free one; the one taken comes back. */
  listen(address: VsockAddress, backlog: number): { readonly fd: number; readonly vsockPort: number }
  /** A descriptor on its way to be connected: `connected`, or soon one of those that `connecting` tells. */
  connect(address: VsockAddress, timeoutMs: number): { readonly fd: number; readonly connected: boolean }
  /** Those of `fds` whose connect has ended, well or not. */
  connectEnded(fds: readonly number[]): number[]
  /** How the connect of `fd` ended; null = well. */
  connectError(fd: number): Error | null
  /** Who is connected to `fd`; null when that cannot be known any more. */
  peer(fd: number): VsockAddress | null
  /** A Unix socket that nobody is connected to, for Node to take for a descriptor that it knows. */
  placeholder(kind: 'stream' | 'listener'): number
  /** Puts `fd` into the place of `placeholder`; `fd` itself is free afterwards, also when this throws. */
  replace(placeholder: number, fd: number): void
  close(fd: number): void
}

/** koffi cannot be used; `message` says why. */
export class KoffiMissing extends Error {}

type Call = (...args: (number | Uint8Array | Uint32Array)[]) => number

interface Koffi {
  load(library: null): { func(signature: string): Call }
  errno(): number
}

/** @throws KoffiMissing. @param require of koffi; default: from where this module, or the bundle it is part of, lies. */
export function loadVsockLibc(require: (name: 'koffi') => unknown = createRequire(import.meta.url)): VsockLibc {
  if (process.platform !== 'linux')
    throw new KoffiMissing(`vSockets are known on Linux only, not on ${process.platform}`)
  let koffi: Koffi
  try {
    koffi = require('koffi') as Koffi
  } catch (error) {
    // The first line says it; the rest lists who required it.
    const why = errorMessage(error).split('\n', 1)[0]
    throw new KoffiMissing(
      `the optional package koffi is not installed; run "npm install koffi" beside vspc (${why})`,
      {
        cause: error,
      },
    )
  }
  return new KoffiLibc(koffi)
}

class KoffiLibc implements VsockLibc {
  readonly #errno: () => number
  readonly #socket: Call
  readonly #bind: Call
  readonly #listen: Call
  readonly #connect: Call
  readonly #getsockname: Call
  readonly #getpeername: Call
  readonly #getsockopt: Call
  readonly #setsockopt: Call
  readonly #poll: Call
  readonly #dup3: Call
  readonly #close: Call

  constructor(koffi: Koffi) {
    const libc = koffi.load(null)
    this.#errno = () => koffi.errno()
    this.#socket = libc.func('int socket(int, int, int)')
    this.#bind = libc.func('int bind(int, void *, uint32_t)')
    this.#listen = libc.func('int listen(int, int)')
    this.#connect = libc.func('int connect(int, void *, uint32_t)')
    this.#getsockname = libc.func('int getsockname(int, void *, void *)')
    this.#getpeername = libc.func('int getpeername(int, void *, void *)')
    this.#getsockopt = libc.func('int getsockopt(int, int, int, void *, void *)')
    this.#setsockopt = libc.func('int setsockopt(int, int, int, void *, uint32_t)')
    this.#poll = libc.func('int poll(void *, unsigned long, int)')
    this.#dup3 = libc.func('int dup3(int, int, int)')
    this.#close = libc.func('int close(int)')
  }

  listen(address: VsockAddress, backlog: number): { fd: number; vsockPort: number } {
    const vsockPort = address.vsockPort === 0 ? PORT_ANY : address.vsockPort
    return this.#open(AF_VSOCK, (fd) => {
      this.#check('bind', this.#bind(fd, sockaddr({ ...address, vsockPort }), ADDRESS_BYTES))
      this.#check('listen', this.#listen(fd, backlog))
      return { fd, vsockPort: this.#name(this.#getsockname, fd)?.vsockPort ?? address.vsockPort }
    })
  }

  connect(address: VsockAddress, timeoutMs: number): { fd: number; connected: boolean } {
    return this.#open(AF_VSOCK, (fd) => {
      // Its own default is 2 s. Where it cannot be set, that is what holds.
      this.#setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, timeval(timeoutMs), 16)
      const connected = this.#connect(fd, sockaddr(address), ADDRESS_BYTES) === 0
      if (!connected && this.#errno() !== constants.errno.EINPROGRESS) throw this.#failure('connect')
      return { fd, connected }
    })
  }

  connectEnded(fds: readonly number[]): number[] {
    // struct pollfd: descriptor (32 bits), events asked for (16), events seen (16).
    const entries = new Uint32Array(fds.length * 2)
    const events = new Uint16Array(entries.buffer)
    for (const [index, fd] of fds.entries()) {
      entries[index * 2] = fd
      events[index * 4 + 2] = POLLOUT
    }
    // Interrupted, or out of memory for a moment: asked again soon.
    if (this.#poll(entries, fds.length, 0) <= 0) return []
    return fds.filter((_, index) => events[index * 4 + 3] !== 0)
  }

  connectError(fd: number): Error | null {
    const value = new Uint32Array(1)
    if (this.#getsockopt(fd, SOL_SOCKET, SO_ERROR, value, Uint32Array.of(4)) < 0) return this.#failure('getsockopt')
    const errno = value[0] ?? 0
    return errno === 0 ? null : systemError('connect', errno)
  }

  peer(fd: number): VsockAddress | null {
    return this.#name(this.#getpeername, fd)
  }

  placeholder(kind: 'stream' | 'listener'): number {
    return this.#open(AF_UNIX, (fd) => {
      // listen(2) takes only a bound one; with the family alone, the kernel makes up a name that is in no directory.
      if (kind === 'listener') {
        this.#check('bind', this.#bind(fd, new Uint8Array(Uint16Array.of(AF_UNIX).buffer), 2))
      }
      return fd
    })
  }

  replace(placeholder: number, fd: number): void {
    try {
      this.#check('dup3', this.#dup3(fd, placeholder, O_CLOEXEC))
    } finally {
      this.#close(fd)
    }
  }

  close(fd: number): void {
    this.#close(fd)
  }

  /** A new descriptor, closed again when `use` throws. */
  #open<T>(family: number, use: (fd: number) => T): T {
    const fd = this.#socket(family, STREAM, 0)
    this.#check('socket', fd)
    try {
      return use(fd)
    } catch (error) {
      this.#close(fd)
      throw error
    }
  }

  #name(call: Call, fd: number): VsockAddress | null {
    const bytes = new Uint8Array(ADDRESS_BYTES)
    if (call(fd, bytes, Uint32Array.of(ADDRESS_BYTES)) < 0) return null
    if (new Uint16Array(bytes.buffer)[0] !== AF_VSOCK) return null
    const [, vsockPort = 0, cid = 0] = new Uint32Array(bytes.buffer)
    return { cid, vsockPort }
  }

  #check(syscall: string, result: number): void {
    if (result < 0) throw this.#failure(syscall)
  }

  #failure(syscall: string): Error {
    return systemError(syscall, this.#errno())
  }
}

function systemError(syscall: string, errno: number): Error {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${syscall} ${code}`), { code, errno: -errno, syscall })
}

/** struct sockaddr_vm: family (16 bits), reserved (16), port (32), CID (32), zeros; all in the machine's byte order. */
function sockaddr({ cid, vsockPort }: VsockAddress): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES)
  new Uint16Array(bytes.buffer)[0] = AF_VSOCK
  new Uint32Array(bytes.buffer).set([vsockPort, cid], 1)
  return bytes
}

/** struct timeval of a 64-bit system. */
function timeval(ms: number): Uint8Array {
  const whole = Math.max(1, Math.ceil(ms))
  const fields = BigInt64Array.of(BigInt(Math.floor(whole / 1000)), BigInt((whole % 1000) * 1000))
  return new Uint8Array(fields.buffer)
}
