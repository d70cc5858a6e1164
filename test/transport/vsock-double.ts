/**
 * vSockets for tests without a kernel that has them: every call goes through the real libc, but makes Unix sockets with
 * abstract names, one name per CID and port. Connects take their time, as those of vSockets do.
 */
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { type VsockSystem, vsockSystem } from '../../src/transport/vsock.ts'
import { loadVsockLibc } from '../../src/transport/vsock-libc.ts'

type Call = (...args: unknown[]) => number

const AF_UNIX = 1
const AF_VSOCK = 40
const CID_ANY = 0xffff_ffff
const LOCAL = 1

interface Connecting {
  /** Looks at it before it is connected, or not. */
  looks: number
  readonly vsockPort: number
  errno: number
}

let worlds = 0

export class VsockDouble {
  readonly system: VsockSystem
  /** Errors for calls to come, by name of the call; `placeholder` = socket(2), when it is to make a Unix socket. */
  readonly failures = new Map<string, number>()
  /** How many times poll(2) looks at a connect before it has ended; Infinity = the peer is silent. */
  looks = 1
  /** What a connect ends with, instead of what the Unix socket says. */
  connectErrno = 0
  polls = 0
  /** Values of SO_VM_SOCKETS_CONNECT_TIMEOUT that were set, in milliseconds. */
  readonly timeouts: number[] = []
  readonly #world = `vspc-vsock-double-${process.pid}-${++worlds}`
  readonly #real: Record<string, Call> = {}
  readonly #realErrno: () => number
  #errno: number | null = null
  readonly #vsocks = new Set<number>()
  readonly #connecting = new Map<number, Connecting>()
  #nextPort = 5000

  constructor() {
    const koffi = createRequire(import.meta.url)('koffi') as {
      load(library: null): { func(signature: string): Call }
      errno(): number
    }
    const libc = koffi.load(null)
    this.#realErrno = () => koffi.errno()
    const replaced: Record<string, Call | undefined> = {
      socket: (family, type) => this.#socket(family as number, type as number),
      bind: (fd, address, length) => this.#bind(fd as number, address as Uint8Array, length as number),
      connect: (fd, address) => this.#connect(fd as number, address as Uint8Array),
      getsockname: (fd, address, length) => this.#nameOf('getsockname', fd as number, address as Uint8Array, length),
      getpeername: (fd, address, length) => this.#nameOf('getpeername', fd as number, address as Uint8Array, length),
      getsockopt: (fd, _level, _option, value) => this.#error(fd as number, value as Uint32Array),
      setsockopt: (_fd, _level, _option, value) => {
        const [seconds = 0n, microseconds = 0n] = new BigInt64Array((value as Uint8Array).buffer)
        this.timeouts.push(Number(seconds * 1000n + microseconds / 1000n))
        return 0
      },
      poll: (entries) => this.#poll(entries as Uint32Array),
      close: (fd) => {
        this.#vsocks.delete(fd as number)
        this.#connecting.delete(fd as number)
        return this.#call('close', fd)
      },
    }
    const require = () => ({
      errno: () => this.#errno ?? this.#realErrno(),
      load: () => ({
        func: (signature: string): Call => {
          const name = /\w+(?=\()/.exec(signature)?.[0] ?? ''
          const real = libc.func(signature)
          this.#real[name] = real
          const call = replaced[name] ?? real
          return (...args) => {
            this.#errno = null
            const errno = this.failures.get(name === 'socket' && args[0] === AF_UNIX ? 'placeholder' : name)
            return errno === undefined ? call(...args) : this.#fail(errno)
          }
        },
      }),
    })
    this.system = vsockSystem(loadVsockLibc(require))
  }

  #call(name: string, ...args: unknown[]): number {
    return this.#real[name]?.(...args) ?? -1
  }

  #fail(errno: number): number {
    this.#errno = errno
    return -1
  }

  #socket(family: number, type: number): number {
    const fd = this.#call('socket', AF_UNIX, type, 0)
    if (family === AF_VSOCK) this.#vsocks.add(fd)
    return fd
  }

  #bind(fd: number, address: Uint8Array, length: number): number {
    if (!this.#vsocks.has(fd)) return this.#call('bind', fd, address, length)
    const [, asked = 0, cid = 0] = new Uint32Array(address.buffer)
    if (cid !== CID_ANY && cid !== LOCAL) return this.#fail(constants.errno.EADDRNOTAVAIL)
    const name = this.#name(asked === CID_ANY ? this.#nextPort++ : asked)
    return this.#call('bind', fd, name, name.length)
  }

  #connect(fd: number, address: Uint8Array): number {
    const [, vsockPort = 0] = new Uint32Array(address.buffer)
    const own = this.#name(this.#nextPort++)
    this.#call('bind', fd, own, own.length)
    this.#connecting.set(fd, { looks: this.looks, vsockPort, errno: 0 })
    return this.#fail(constants.errno.EINPROGRESS)
  }

  #poll(entries: Uint32Array): number {
    this.polls++
    const events = new Uint16Array(entries.buffer)
    let ended = 0
    for (let index = 0; index < entries.length / 2; index++) {
      const fd = entries[index * 2] ?? -1
      const connecting = this.#connecting.get(fd)
      if (connecting === undefined || --connecting.looks > 0) continue
      const name = this.#name(connecting.vsockPort)
      const failed = this.connectErrno !== 0 || this.#call('connect', fd, name, name.length) < 0
      // A vSocket knows no ECONNREFUSED.
      if (failed) connecting.errno = this.connectErrno || constants.errno.ECONNRESET
      events[index * 4 + 3] = events[index * 4 + 2] ?? 0
      ended++
    }
    return ended
  }

  #error(fd: number, value: Uint32Array): number {
    value[0] = this.#connecting.get(fd)?.errno ?? 0
    return 0
  }

  #nameOf(call: 'getsockname' | 'getpeername', fd: number, address: Uint8Array, length: unknown): number {
    const unix = new Uint8Array(110)
    const size = Uint32Array.of(unix.length)
    if (this.#call(call, fd, unix, size) < 0) return -1
    const vsockPort = Number(Buffer.from(unix.subarray(3, size[0])).toString().split(' ')[1])
    new Uint16Array(address.buffer)[0] = AF_VSOCK
    new Uint32Array(address.buffer).set([vsockPort, LOCAL], 1)
    ;(length as Uint32Array)[0] = 16
    return 0
  }

  /** struct sockaddr_un of an abstract name. */
  #name(vsockPort: number): Uint8Array {
    return Buffer.concat([Uint8Array.of(AF_UNIX, 0, 0), Buffer.from(`${this.#world} ${vsockPort}`)])
  }
}
