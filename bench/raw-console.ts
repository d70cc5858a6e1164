/** A console over a WebSocket, by hand: RFC 6455 as far as a client needs it. */
import { RawSocket, type SocketOwner } from './raw-socket.ts'

const BINARY = 2
const TEXT = 1
const CLOSE = 8
const PING = 9

export interface ConsoleEvents {
  /** Console bytes; a view, valid during the call. */
  bytes?(bytes: Buffer): void
  /** A control message. */
  message?(text: string): void
  closed?(reason: string): void
}

export class RawConsole implements SocketOwner {
  readonly socket: RawSocket
  events: ConsoleEvents = {}
  readonly #path: string
  readonly #keepReading: boolean
  /** Of the HTTP answer, then of a frame header or control frame cut in two. */
  #partial: Buffer | null = Buffer.alloc(0)
  #upgraded = false
  #opcode = 0
  #payloadLeft = 0
  #text: Buffer[] = []
  #resolve: ((console: this) => void) | null = null
  #reject: ((error: Error) => void) | null = null

  /** @param keepReading false: reads nothing beyond the upgrade, until `socket.resume()`. */
  constructor(httpPort: number, path: string, from: string, keepReading: boolean) {
    this.#path = path
    this.#keepReading = keepReading
    this.socket = new RawSocket(httpPort, from, this)
  }

  attached(): Promise<this> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Sends keystrokes as one frame. */
  type(bytes: Uint8Array): void {
    this.socket.write(clientFrame(BINARY, bytes))
  }

  /** Says that we leave; the server answers, and closes. What was typed before gets there. */
  close(): void {
    this.socket.resume()
    this.socket.write(clientFrame(CLOSE, Uint8Array.of(0x03, 0xe8)))
  }

  opened(): void {
    this.socket.write(
      Buffer.from(
        `GET ${this.#path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
          'Sec-WebSocket-Protocol: vspc.v1\r\n\r\n',
      ),
    )
  }

  received(chunk: Buffer): void {
    const bytes = this.#partial === null ? chunk : Buffer.concat([this.#partial, chunk])
    this.#partial = null
    if (this.#upgraded) this.#frames(bytes)
    else this.#upgrade(bytes)
  }

  drained(): void {}

  ended(reason: string): void {
    this.#reject?.(new Error(`console ${this.#path}: ${reason}`))
    this.events.closed?.(reason)
  }

  #upgrade(bytes: Buffer): void {
    const end = bytes.indexOf('\r\n\r\n')
    if (end < 0) {
      this.#partial = Buffer.from(bytes)
      return
    }
    const head = bytes.toString('latin1', 0, end)
    if (!head.startsWith('HTTP/1.1 101')) {
      this.#reject?.(new Error(`console ${this.#path}: ${bytes.toString('latin1', 0, 500)}`))
      this.socket.reset()
      return
    }
    this.#upgraded = true
    if (!this.#keepReading) this.socket.pause()
    this.#resolve?.(this)
    this.#resolve = this.#reject = null
    this.#frames(bytes.subarray(end + 4))
  }

  #frames(bytes: Buffer): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#payloadLeft === 0) {
        const header = this.#header(bytes, at)
        if (header === null) {
          this.#partial = Buffer.from(bytes.subarray(at))
          return
        }
        at = header
        if (this.#payloadLeft === 0) this.#frameEnds()
        continue
      }
      const piece = bytes.subarray(at, at + this.#payloadLeft)
      at += piece.length
      this.#payloadLeft -= piece.length
      if (this.#opcode === BINARY) this.events.bytes?.(piece)
      else this.#text.push(Buffer.from(piece))
      if (this.#payloadLeft === 0) this.#frameEnds()
    }
  }

  /** Where the payload begins; null while the header is not there whole. Frames are never fragmented here. */
  #header(bytes: Buffer, at: number): number | null {
    if (at + 2 > bytes.length) return null
    const short = (bytes[at + 1] as number) & 0x7f
    const size = short === 126 ? 4 : short === 127 ? 10 : 2
    if (at + size > bytes.length) return null
    this.#opcode = (bytes[at] as number) & 0x0f
    this.#payloadLeft = short === 126 ? bytes.readUInt16BE(at + 2) : short === 127 ? bytes.readUInt32BE(at + 6) : short
    return at + size
  }

  #frameEnds(): void {
    if (this.#opcode === BINARY) return
    const payload = Buffer.concat(this.#text)
    this.#text = []
    if (this.#opcode === TEXT) this.events.message?.(payload.toString())
    else if (this.#opcode === PING) this.socket.write(clientFrame(0x0a, payload))
    else if (this.#opcode === CLOSE) this.events.closed?.(`close frame ${payload.toString('latin1')}`)
  }
}

/** Clients have to mask (RFC 6455 section 5.3); with a key of zero the payload stays as it is. */
function clientFrame(opcode: number, payload: Uint8Array): Buffer {
  if (payload.length > 125) throw new Error('frames of more than 125 bytes are not needed here')
  const frame = Buffer.alloc(6 + payload.length)
  frame[0] = 0x80 | opcode
  frame[1] = 0x80 | payload.length
  frame.set(payload, 6)
  return frame
}
