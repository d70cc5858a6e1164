/**
 * One Telnet client: its socket, the options of both sides, and the rules for CR. What is behind it (the menu, a console)
 * is its user, and may change.
 *
 * What is sent and not yet taken by the client is bounded by its users: output waits for {@link TelnetUser.drained}, and
 * what is said for people's sake is left out when the client is far behind.
 */
import { cleanText, type Timer } from '../../base/index.ts'
import {
  NvtInput,
  NvtOutput,
  OPTION,
  PERSON_NVT_POLICY,
  PERSON_POLICY,
  type TelnetAnomaly,
  type TelnetOwner,
  TelnetSession,
} from '../../telnet/index.ts'
import type { ByteStream } from '../../transport/index.ts'
import type { Server } from '../../vspc/index.ts'
import type { AccessControl } from '../access/control.ts'
import type { Visitor } from '../access/visitor.ts'

/** More than this unsent: lines for people are left out. */
const SAY_BYTES = 65_536
/** More than this unsent: keys are not echoed. */
const ECHO_BYTES = 32_768
const LF = 10
/**
 * How a browser begins. The page of any site can have it send a request to any address, on loopback too, and what the page
 * makes its body of would be typed: a name at the menu, then commands to that VM. Nobody's keys come so, in one piece.
 */
const HTTP_REQUEST = /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) \//

/** What a client is connected to. */
export interface TelnetUser {
  /** Keys; nobody changes `bytes` afterwards. */
  input(bytes: Uint8Array): void
  /** BRK, IP, AYT, EC, ... */
  command(code: number): void
  /** The client took what was sent: there is room again. In a later turn of the event loop. */
  drained(): void
  /** The client left. Nothing is called any more. */
  gone(): void
}

export class TelnetConnection implements TelnetOwner {
  readonly server: Server
  readonly access: AccessControl
  /** Where from: shown to others, and recorded. */
  readonly from: string
  /** The same, for limits. */
  readonly address: string
  /** Who it is, as far as known. */
  visitor: Visitor
  readonly #stream: ByteStream
  readonly #session: TelnetSession
  readonly #input = new NvtInput()
  readonly #output = new NvtOutput()
  readonly #closed: () => void
  #user: TelnetUser | null = null
  #atLineStart = true
  #over = false
  /** What is sent meanwhile goes out at its end. */
  #receiving = false
  #heard = false
  #deadline: Timer | null = null

  /**
   * Takes ownership of `stream`.
   * @param binary offer BINARY.
   * @param closed called once, when the socket is.
   */
  constructor(stream: ByteStream, server: Server, access: AccessControl, binary: boolean, closed: () => void) {
    this.server = server
    this.access = access
    this.from = `telnet:${stream.peer.display}`
    this.address = stream.peer.address ?? stream.peer.display
    this.visitor = access.anonymous(this.from, this.address)
    this.#stream = stream
    this.#closed = closed
    this.#session = new TelnetSession(this, binary ? PERSON_POLICY : PERSON_NVT_POLICY, server.limits)
  }

  /** Begins to listen to the client; `user` gets what it says. */
  start(user: TelnetUser): void {
    this.#user = user
    const { socket } = this.#stream
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Uint8Array) => this.#receive(chunk))
    socket.on('drain', () => setImmediate(() => this.#user?.drained()))
    socket.on('end', () => this.end())
    socket.on('close', () => {
      this.#deadline?.cancel()
      this.#leave()
      this.#closed()
    })
    this.#session.start()
  }

  /** From now on, `user` gets what the client says. */
  handOver(user: TelnetUser): void {
    this.#user = user
  }

  /** Null once the client has left. */
  get user(): TelnetUser | null {
    return this.#user
  }

  /** Bytes that the client has not taken. */
  get unsent(): number {
    return this.#stream.socket.writableLength
  }

  /** False once the client has refused that we echo: it does so itself. */
  get echoes(): boolean {
    return this.#session.options.state('us', OPTION.ECHO) !== 'NO'
  }

  /** Bytes as a serial line has them. @returns false: the client is behind; go on when `drained` is called. */
  send(bytes: Uint8Array): boolean {
    const { socket } = this.#stream
    if (this.#over || bytes.length === 0) return !socket.writableNeedDrain
    const binary = this.#session.options.isOn('us', OPTION.BINARY)
    this.#session.sendData(this.#output.encode(bytes, binary))
    this.#atLineStart = bytes[bytes.length - 1] === LF
    return !socket.writableNeedDrain
  }

  /** A line for people, on a line of its own. */
  say(text: string): void {
    this.print(`${this.#atLineStart ? '' : '\r\n'}[vspc] ${cleanText(text, 500)}\r\n`)
  }

  /** The beginning of a line that somebody is to complete. */
  ask(text: string): void {
    this.print(`${this.#atLineStart ? '' : '\r\n'}[vspc] ${text}`)
  }

  /** What somebody types into a line of ours. */
  echo(text: string | Uint8Array): void {
    if (!this.echoes) return
    if (typeof text === 'string') this.print(text)
    else if (this.unsent <= ECHO_BYTES) this.send(text)
  }

  /** Text for people. Left out when the client is far behind. */
  print(text: string): void {
    if (this.unsent <= SAY_BYTES) this.send(new TextEncoder().encode(text))
  }

  setPaused(paused: boolean): void {
    if (this.#over) return
    if (paused) this.#stream.socket.pause()
    else this.#stream.socket.resume()
  }

  /** Flushes and closes; what the client does not take in time is dropped. */
  end(): void {
    if (this.#over) return
    this.#leave()
    const { socket } = this.#stream
    const { limits, clock, stopping } = this.server
    this.#deadline = clock.after(stopping ? limits.drainMs : limits.closeMs, () => socket.destroy())
    if (!this.#receiving) socket.end()
    // Unread input would turn the close into a reset, which may overtake what is being flushed.
    socket.resume()
  }

  #receive(chunk: Uint8Array): void {
    if (!this.#heard) {
      this.#heard = true
      if (HTTP_REQUEST.test(String.fromCharCode(...chunk.subarray(0, 16)))) {
        this.server.log.warn({ peer: this.from }, 'telnet: a browser, or another HTTP client, was turned away')
        this.say('this is Telnet, not HTTP')
        this.end()
        return
      }
    }
    this.#receiving = true
    this.#session.receive(chunk)
    this.#receiving = false
    // What was said last has only now been sent.
    if (this.#over) this.#stream.socket.end()
  }

  #leave(): void {
    if (this.#over) return
    this.#over = true
    const user = this.#user
    this.#user = null
    user?.gone()
  }

  // TelnetOwner

  telnetData(bytes: Uint8Array): void {
    if (this.#user === null) return
    const keys = this.#input.decode(bytes, this.#session.options.isOn('them', OPTION.BINARY))
    if (keys.length > 0) this.#user.input(keys)
  }

  telnetCommand(code: number): void {
    this.#user?.command(code)
  }

  telnetSend(bytes: Uint8Array): void {
    const { socket } = this.#stream
    if (socket.writable) socket.write(bytes)
  }

  telnetOption(): void {}

  telnetSubnegotiation(): void {}

  telnetAnomaly(_kind: TelnetAnomaly): void {
    this.server.counters.telnetAnomalies++
  }
}
