/** What a host says over the wire, written by hand, so that it can be cut off at every byte. */
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { bytesOf, CODE, frame, HELLO, serial } from '../vspc/vm-peer.ts'
import { until } from './support.ts'

export type Cut = 'fin' | 'reset'

/** A whole stream, and where its output begins. */
export interface Spoken {
  readonly bytes: Uint8Array
  readonly outputAt: number
  readonly output: string
}

/** Everything a source says, from its first byte to VMOTION-BEGIN. */
export function sourceStream(vm: { esxUuid: string; name: string }, sequence: Uint8Array, output: string): Spoken {
  const before = [
    ...HELLO,
    ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py')),
    ...frame(CODE.VM_VC_UUID, bytesOf(vm.esxUuid)),
    ...frame(CODE.VM_NAME, bytesOf(vm.name)),
  ]
  const bytes = Uint8Array.from([...before, ...serial(bytesOf(output)), ...frame(CODE.BEGIN, sequence)])
  return { bytes, outputAt: before.length, output }
}

/** Everything a destination says, from its first byte to its first output, which follows COMPLETE at once. */
export function destinationStream(
  vm: { esxUuid: string },
  cookie: Uint8Array,
  sequence: Uint8Array,
  output: string,
): Spoken {
  const before = [
    ...HELLO,
    ...frame(CODE.PEER, cookie),
    ...frame(CODE.VM_VC_UUID, bytesOf(vm.esxUuid)),
    ...frame(CODE.COMPLETE, sequence),
  ]
  return { bytes: Uint8Array.from([...before, ...serial(bytesOf(output))]), outputAt: before.length, output }
}

/** What of the output is in the first `length` bytes; it has no 0xFF in it. */
export function outputWithin({ outputAt, output }: Spoken, length: number): string {
  return output.slice(0, Math.max(0, length - outputAt))
}

/** One TCP connection that says what it is given, keeps what it hears, and ends as it is told. */
export class RawHost {
  readonly socket: Socket
  readonly #heard: Buffer[] = []
  closed = false

  private constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    this.socket.on('data', (chunk) => this.#heard.push(chunk))
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
    })
    onTestFinished(() => void this.socket.destroy())
  }

  /** Resolves when the server has said its first words: it knows of this connection. */
  static async connect(port: number): Promise<RawHost> {
    const host = new RawHost(port)
    await until('the greeting', () => host.heard !== '')
    return host
  }

  get localAddress(): string {
    return `${this.socket.localAddress}:${this.socket.localPort}`
  }

  get heard(): string {
    return Buffer.concat(this.#heard).toString('latin1')
  }

  /** Says `bytes`, not one more, and is gone. */
  async sayAndEnd(bytes: Uint8Array, how: Cut): Promise<void> {
    await new Promise<void>((resolve) => this.socket.write(bytes, () => resolve()))
    if (how === 'fin') this.socket.end()
    else this.socket.resetAndDestroy()
  }
}
