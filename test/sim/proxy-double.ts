/**
 * A double of a concentrator for the simulator's own tests: plays the proxy of VMware's capture by bytes written out
 * here. It knows nothing of src/telnet and uses nothing of src/sim: it cuts its input with one regular expression.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

/** One Telnet token in a latin1 string; an incomplete one at the end does not match and waits. */
const TOKEN = /\xff(?:\xff|[\xfb-\xfe][\s\S]|\xfa(?:[^\xff]|\xff\xff)*\xff\xf0|[\x00-\xf9])|[^\xff]+/y

export const hex = (text: string): Buffer => Buffer.from(text.replace(/\s+/g, ''), 'hex')

/** What the capture's proxy sends at accept (frames 6-17) and on WILL 232 (frame 19). */
export const OFFERS = hex('fffb00 fffb03 fffb01 fffd00 fffd03 fffde8 fffe25')
export const KNOWN_2 = hex('fffae801 00010203 28292b2c 2d2e3046 47495051 5253 fff0')
export const ASK_IDENTITY = hex('fffae851fff0 fffae853fff0')
export const WILL_PROXY = hex('fffae847fff0')
export const DONT_COM_PORT = hex('fffe2c')

export interface DoubleBehaviour {
  offers?: Buffer
  /** What BEGIN gets; `late` answers only when told by `release()`. */
  begin?: 'goahead' | 'notnow' | 'silence'
  /** Accept any PEER, as careless concentrators do. */
  anyPeer?: boolean
  /** Appended to PEER-OK and NOTNOW: the secret, as careless concentrators do. */
  appendSecret?: boolean
  /** Serial bytes pushed right behind GOAHEAD, into the frozen VM. */
  behindGoahead?: Buffer
  /** Serial bytes sent to a destination behind PEER-OK, before its COMPLETE. */
  behindPeerOk?: Buffer
  wontProxy?: boolean
}

export class DoubleConnection {
  readonly socket: Socket
  /** Raw bytes from the VM. */
  raw = Buffer.alloc(0)
  /** Decoded serial bytes from the VM. */
  serial = Buffer.alloc(0)
  /** Commands from the VM, in order, as upper-case hex of the unescaped token. */
  tokens: string[] = []
  ended = false
  readonly remoteAddress: string | undefined
  #tail = ''
  #wake: (() => void)[] = []
  readonly #double: ProxyDouble

  constructor(socket: Socket, double: ProxyDouble) {
    this.socket = socket
    this.remoteAddress = socket.remoteAddress
    this.#double = double
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('end', () => {
      this.ended = true
      double.events.push(`fin ${this.index}`)
      this.#wakeAll()
      if (double.scripted === null) socket.end()
    })
    socket.on('close', () => {
      this.ended = true
      this.#wakeAll()
    })
  }

  get index(): number {
    return this.#double.connections.indexOf(this)
  }

  send(bytes: Buffer): void {
    this.socket.write(bytes)
  }

  /** Resolves as soon as `test` holds; tried on every arrival. */
  async until(test: (connection: DoubleConnection) => boolean): Promise<void> {
    while (!test(this)) {
      if (this.socket.destroyed) throw new Error(`closed; tokens so far: ${this.tokens.join(' | ')}`)
      await new Promise<void>((resolve) => this.#wake.push(resolve))
    }
  }

  #wakeAll(): void {
    const wake = this.#wake
    this.#wake = []
    for (const each of wake) each()
    this.#double.wake()
  }

  #receive(chunk: Buffer): void {
    this.raw = Buffer.concat([this.raw, chunk])
    let text = this.#tail + chunk.toString('latin1')
    for (;;) {
      TOKEN.lastIndex = 0
      const match = TOKEN.exec(text)
      if (!match) break
      text = text.slice(match[0].length)
      this.#token(match[0])
    }
    this.#tail = text
    this.#wakeAll()
  }

  #token(token: string): void {
    if (token[0] !== '\xff' || token === '\xff\xff') {
      this.serial = Buffer.concat([this.serial, Buffer.from(token[0] === '\xff' ? '\xff' : token, 'latin1')])
      return
    }
    const plain = Buffer.from(token.replaceAll('\xff\xff', '\xff'), 'latin1')
    this.tokens.push(plain.toString('hex').toUpperCase())
    if (this.#double.scripted === null) this.#double.react(this, plain)
  }
}

const escapeIac = (bytes: Buffer): Buffer =>
  Buffer.from(bytes.toString('latin1').replaceAll('\xff', '\xff\xff'), 'latin1')
const sub = (code: number, ...parts: Buffer[]): Buffer =>
  Buffer.concat([hex('fffae8'), escapeIac(Buffer.concat([Buffer.of(code), ...parts])), hex('fff0')])

export class ProxyDouble {
  readonly connections: DoubleConnection[] = []
  /** What happened, in order of arrival: `begin 0`, `fin 0`, `peer 1`, `complete 1`, `abort 0`. */
  readonly events: string[] = []
  readonly behaviour: DoubleBehaviour
  /** Non-null: nothing is answered; the test writes the script. */
  readonly scripted: true | null
  /** Cookies (sequence + secret, hex) handed out and still open. */
  readonly cookies = new Map<string, Buffer>()
  readonly #server: Server
  #accept: (() => void)[] = []
  #secret = 0

  private constructor(server: Server, behaviour: DoubleBehaviour, scripted: true | null) {
    this.#server = server
    this.behaviour = behaviour
    this.scripted = scripted
    server.on('connection', (socket) => {
      const connection = new DoubleConnection(socket, this)
      this.connections.push(connection)
      if (!scripted) connection.send(behaviour.offers ?? OFFERS)
      this.wake()
    })
  }

  static async listen(behaviour: DoubleBehaviour = {}, scripted: true | null = null): Promise<ProxyDouble> {
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new ProxyDouble(server, behaviour, scripted)
  }

  get target(): { host: string; port: number } {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('not listening')
    return { host: '127.0.0.1', port: address.port }
  }

  /** The n-th connection ever accepted, from 0. */
  async connection(index: number): Promise<DoubleConnection> {
    while (this.connections.length <= index) await new Promise<void>((resolve) => this.#accept.push(resolve))
    return this.connections[index] as DoubleConnection
  }

  /** Resolves as soon as `test` holds; tried on every arrival at any connection. */
  async until(test: (proxy: ProxyDouble) => boolean): Promise<void> {
    while (!test(this)) await new Promise<void>((resolve) => this.#accept.push(resolve))
  }

  /** A connection, or bytes on one. */
  wake(): void {
    const accept = this.#accept
    this.#accept = []
    for (const each of accept) each()
  }

  async close(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  react(from: DoubleConnection, token: Buffer): void {
    const { behaviour } = this
    if (token.equals(hex('fffbe8'))) from.send(KNOWN_2)
    if (token.equals(hex('fffb2c'))) from.send(DONT_COM_PORT)
    if (token[1] !== 0xfa || token[2] !== 0xe8) return
    const code = token[3] as number
    const payload = token.subarray(4, -2)
    if (code === 70) {
      from.send(ASK_IDENTITY)
      from.send(behaviour.wontProxy ? hex('fffae849fff0') : WILL_PROXY)
    } else if (code === 40) this.#begin(from, payload)
    else if (code === 44) this.#peer(from, payload)
    else if (code === 46) this.events.push(`complete ${from.index}`)
    else if (code === 48) {
      this.events.push(`abort ${from.index}`)
      this.cookies.clear()
    } else if (code >= 128) from.send(sub(3, Buffer.of(code)))
  }

  #begin(from: DoubleConnection, sequence: Buffer): void {
    this.events.push(`begin ${from.index}`)
    const secret = Buffer.of(0x3c, 0xff, 0x4d, ++this.#secret)
    const behaviour = this.behaviour.begin ?? 'goahead'
    if (behaviour === 'silence') return
    if (behaviour === 'notnow') {
      from.send(sub(43, sequence, ...(this.behaviour.appendSecret ? [secret] : [])))
      return
    }
    this.cookies.set(Buffer.concat([sequence, secret]).toString('hex'), Buffer.from(sequence))
    from.send(Buffer.concat([sub(41, sequence, secret), this.behaviour.behindGoahead ?? Buffer.alloc(0)]))
  }

  #peer(from: DoubleConnection, payload: Buffer): void {
    this.events.push(`peer ${from.index}`)
    from.send(ASK_IDENTITY)
    const sequence = this.cookies.get(payload.toString('hex')) ?? (this.behaviour.anyPeer ? payload : null)
    if (!sequence) return
    const appended = this.behaviour.appendSecret ? payload.subarray(sequence.length) : Buffer.alloc(0)
    from.send(Buffer.concat([sub(45, sequence, appended), this.behaviour.behindPeerOk ?? Buffer.alloc(0)]))
  }
}
