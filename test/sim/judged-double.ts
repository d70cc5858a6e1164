/**
 * A double of a whole concentrator for the judge to judge, with consoles: right as it stands, wrong in one way when told
 * so. It knows nothing of src/telnet, src/vmotion or src/vspc and writes its bytes by hand, so that the judge is tried
 * on something other than the server it was made for.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { CheckConsoles, ConsoleLink, ConsoleListener } from '../../src/sim/index.ts'

const [SE, SB, WILL, WONT, DO, DONT, IAC] = [240, 250, 251, 252, 253, 254, 255]
const KNOWN = [0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 82, 83]
const MAX_SB = 4_096

/** One way of being wrong each; most are what some concentrator in use does. */
export type Fault =
  | 'peer-ok-unescaped'
  | 'goahead-unescaped'
  | 'sequence-of-4'
  | 'any-peer'
  | 'cookie-for-ever'
  | 'goahead-slow'
  | 'goahead-twice'
  | 'begin-once'
  | 'secret-constant'
  | 'secret-counted'
  | 'secret-short'
  | 'peer-ok-with-secret'
  | 'mirror'
  | 'argue'
  | 'confirm-confirmations'
  | 'passive'
  | 'unknown-echoed'
  | 'unknown-silent'
  | 'unknown-closes'
  | 'known-short'
  | 'echo'
  | 'nul-dropped'
  | 'empty-do-proxy-kills'
  | 'refused-closed'
  | 'do-proxy-silent'
  | 'no-chunk-state'
  | 'long-sb-kills'
  | 'stranger-completes'
  | 'abort-keeps-holding'
  | 'drop-held'
  | 'hold-until-key'
  | 'hold-reversed'
  | 'input-to-frozen'
  | 'input-to-candidate'
  | 'double-at-complete'
  | 'source-fin-ends-port'
  | 'com-port-ignored'
  | 'early-data-kills'
  | 'early-data-lost'
  | 'newcomer-closed'

const escapeIac = (bytes: readonly number[]): number[] => bytes.flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte]))
const hexOf = (bytes: readonly number[]) => Buffer.from(bytes).toString('hex')
const same = (a: readonly number[], b: readonly number[]) => hexOf(a) === hexOf(b)

class Line {
  label = ''
  source: Conn | null = null
  candidate: Conn | null = null
  open: { sequence: number[]; cookie: number[] } | null = null
  held: Uint8Array[] = []
  consoles = new Set<ConsoleListener>()
  lastOutput: Uint8Array = new Uint8Array(0)
  /** Before the VM has said who it is. */
  unseen: Uint8Array[] = []
}

class Conn {
  readonly socket: Socket
  readonly double: JudgedDouble
  line: Line | null = null
  uuid: string | null = null
  early: Uint8Array[] = []
  #us = new Map<number, 'asked' | 'on'>()
  #them = new Map<number, 'asked' | 'on'>()
  #state: 'data' | 'iac' | 'verb' | 'sb' | 'sbiac' = 'data'
  #verb = 0
  #sub: number[] = []

  constructor(socket: Socket, double: JudgedDouble) {
    this.socket = socket
    this.double = double
    socket.on('error', () => {})
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('end', () => socket.end())
    socket.on('close', () => double.gone(this))
    if (double.fault === 'passive') return
    for (const option of [0, 3, 1]) this.#ask(this.#us, WILL, option)
    for (const option of [0, 3, 232]) this.#ask(this.#them, DO, option)
  }

  send(...bytes: number[]): void {
    this.socket.write(Uint8Array.from(bytes))
  }

  sub(code: number, payload: readonly number[] = [], doubled = true): void {
    this.send(IAC, SB, 232, ...(doubled ? escapeIac([code, ...payload]) : [code, ...payload]), IAC, SE)
  }

  type(bytes: Uint8Array): void {
    if (bytes.length > 0) this.socket.write(Uint8Array.from(escapeIac([...bytes])))
  }

  #ask(side: Map<number, 'asked' | 'on'>, verb: number, option: number): void {
    side.set(option, 'asked')
    this.send(IAC, verb, option)
  }

  #receive(chunk: Buffer): void {
    const { fault } = this.double
    if (fault === 'no-chunk-state') this.#state = 'data'
    const data: number[] = []
    const flush = () => {
      if (data.length > 0) this.double.output(this, Uint8Array.from(data.splice(0)))
    }
    for (const byte of chunk) {
      if (this.#state === 'data') {
        if (byte === IAC) this.#state = 'iac'
        else data.push(byte)
      } else if (this.#state === 'iac') {
        this.#state = 'data'
        if (byte === IAC) data.push(IAC)
        else if (byte === SB) {
          this.#state = 'sb'
          this.#sub = []
        } else if (byte >= WILL) {
          this.#state = 'verb'
          this.#verb = byte
        }
      } else if (this.#state === 'verb') {
        this.#state = 'data'
        flush()
        this.#negotiate(this.#verb, byte)
      } else if (this.#state === 'sb') {
        if (byte === IAC) this.#state = 'sbiac'
        else if (this.#sub.length <= MAX_SB) this.#sub.push(byte)
        else if (fault === 'long-sb-kills') this.socket.destroy()
      } else if (byte === IAC) {
        this.#state = 'sb'
        if (this.#sub.length <= MAX_SB) this.#sub.push(IAC)
      } else {
        this.#state = byte === SE ? 'data' : byte >= WILL ? 'verb' : 'data'
        if (byte >= WILL) this.#verb = byte
        flush()
        if (byte === SE && this.#sub[0] === 232 && this.#sub.length > 1 && this.#sub.length <= MAX_SB) {
          this.double.suboption(this, this.#sub[1] as number, this.#sub.slice(2))
        }
      }
    }
    flush()
  }

  #negotiate(verb: number, option: number): void {
    const { fault } = this.double
    const theirs = verb === WILL || verb === WONT
    const side = theirs ? this.#them : this.#us
    const [yes, no] = theirs ? [DO, DONT] : [WILL, WONT]
    const was = side.get(option)
    if (verb === WILL || verb === DO) {
      const wanted = theirs ? [0, 3, 232] : [0, 1, 3]
      if (was === 'on' && fault !== 'confirm-confirmations') return
      if (option === 44 && theirs && fault === 'com-port-ignored') return
      if (!wanted.includes(option) && fault !== 'mirror') {
        this.send(IAC, no, option)
        return
      }
      side.set(option, 'on')
      if (was !== 'asked') this.send(IAC, yes, option)
      if (theirs && option === 232 && was !== 'on') {
        this.sub(1, fault === 'known-short' ? KNOWN.filter((code) => code > 3) : KNOWN)
      }
      return
    }
    if (fault === 'argue') {
      this.send(IAC, yes, option)
      return
    }
    side.delete(option)
    if (was === 'on') this.send(IAC, no, option)
  }
}

export class JudgedDouble {
  fault: Fault | null
  readonly #server: Server
  readonly #conns = new Set<Conn>()
  readonly #lines = new Map<string, Line>()
  readonly #cookies = new Map<string, Line>()
  readonly #waiting: { uuid: string; attached: (line: Line) => void }[] = []
  /** UUID of the VM that was identified last. */
  newest = ''
  #counter = 0
  #timers = new Set<NodeJS.Timeout>()

  private constructor(fault: Fault | null) {
    this.fault = fault
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
      this.#conns.add(new Conn(socket, this))
    })
  }

  static async listen(fault: Fault | null = null): Promise<JudgedDouble> {
    const double = new JudgedDouble(fault)
    double.#server.listen(0, '127.0.0.1')
    await once(double.#server, 'listening')
    return double
  }

  get target(): { host: string; port: number } {
    return { host: '127.0.0.1', port: (this.#server.address() as { port: number }).port }
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    for (const conn of this.#conns) conn.socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  /** Consoles without a wire. */
  readonly consoles: CheckConsoles = {
    address: 'double',
    single: false,
    attach: (vm, listener) =>
      new Promise<ConsoleLink>((resolve) => {
        const attached = (line: Line) => {
          line.consoles.add(listener)
          resolve({
            write: (bytes) => this.#typed(line, bytes.slice()),
            close: async () => void line.consoles.delete(listener),
          })
        }
        const line = this.#lines.get(vm.uuid.replaceAll('-', ''))
        if (line) attached(line)
        else this.#waiting.push({ uuid: vm.uuid.replaceAll('-', ''), attached })
      }),
  }

  suboption(conn: Conn, code: number, payload: number[]): void {
    switch (code) {
      case 0:
      case 2:
      case 3:
      case 82:
      case 84:
      case 86:
        return
      case 40:
        this.#begin(conn, payload)
        return
      case 44:
        this.#peer(conn, payload)
        return
      case 46:
        this.#complete(conn, payload)
        return
      case 48:
        this.#abort(conn)
        return
      case 70:
        this.#doProxy(conn, payload)
        return
      case 80:
        this.#identified(
          conn,
          Buffer.from(payload)
            .toString('latin1')
            .toLowerCase()
            .replace(/[^0-9a-f]/g, ''),
        )
        return
      default:
        if (this.fault === 'unknown-closes') conn.socket.end()
        else if (this.fault !== 'unknown-silent') conn.sub(3, this.fault === 'unknown-echoed' ? payload : [code])
    }
  }

  output(conn: Conn, bytes: Uint8Array): void {
    const { line } = conn
    if (this.fault === 'echo') conn.type(bytes)
    if (line === null) {
      if (this.fault === 'early-data-kills') conn.socket.destroy()
      conn.early.push(bytes)
      return
    }
    if (line.candidate === conn) {
      if (line.source !== null) {
        conn.early.push(bytes)
        return
      }
      // The source has gone and the destination speaks: it runs there.
      this.#take(line, conn)
    } else if (line.source === conn && line.open && !line.candidate) this.#stay(line)
    this.#emit(line, bytes)
  }

  gone(conn: Conn): void {
    this.#conns.delete(conn)
    const { line } = conn
    if (line === null) return
    if (line.candidate === conn) line.candidate = null
    if (line.source !== conn) return
    line.source = null
    if (this.fault === 'source-fin-ends-port' && line.open) this.#cookies.delete(hexOf(line.open.cookie))
  }

  #emit(line: Line, bytes: Uint8Array): void {
    const clean = this.fault === 'nul-dropped' ? bytes.filter((byte) => byte !== 0) : bytes
    line.lastOutput = clean
    if (line.consoles.size === 0) line.unseen.push(clean)
    for (const listener of line.consoles) listener.data(clean.slice())
  }

  #typed(line: Line, bytes: Uint8Array): void {
    const { fault } = this
    if (fault === 'hold-until-key' && !line.open && line.held.length > 0) this.#release(line, true)
    const frozen = line.open !== null
    if (frozen && fault === 'input-to-frozen' && line.source) line.source.type(bytes)
    else if (frozen && fault === 'input-to-candidate' && line.candidate) line.candidate.type(bytes)
    else if (frozen || line.source === null) line.held.push(bytes)
    else line.source.type(bytes)
  }

  #release(line: Line, now = false): void {
    if (this.fault === 'hold-until-key' && !now) return
    const held = line.held.splice(0)
    if (this.fault === 'drop-held') return
    for (const bytes of this.fault === 'hold-reversed' ? held.reverse() : held) line.source?.type(bytes)
  }

  #doProxy(conn: Conn, [direction, ...uri]: number[]): void {
    if (this.fault === 'do-proxy-silent') return
    if (direction === undefined && this.fault === 'empty-do-proxy-kills') conn.socket.destroy()
    if (direction !== 0x53 && direction !== 0x43) {
      conn.sub(73)
      if (this.fault === 'refused-closed') conn.socket.end()
      return
    }
    if (conn.line === null) {
      conn.line = new Line()
      conn.line.label = /[?&]port=(\w+)/.exec(Buffer.from(uri).toString('latin1'))?.[1] ?? ''
      conn.line.source = conn
    }
    conn.sub(81)
    conn.sub(71)
    conn.sub(83)
    for (const bytes of conn.early.splice(0)) this.output(conn, bytes)
  }

  #identified(conn: Conn, uuid: string): void {
    conn.uuid = uuid
    const { line } = conn
    if (uuid.length !== 32 || line === null || line.source !== conn) return
    const key = line.label === '' ? uuid : `${uuid}:${line.label}`
    const known = this.#lines.get(key)
    if (known && known !== line) {
      // Back after it was lost, or while nobody has noticed yet that it is: the newest wins.
      const old = known.source
      conn.line = known
      known.source = conn
      if (this.fault === 'newcomer-closed') conn.socket.destroy()
      else old?.socket.end()
      known.open = null
      if (this.fault !== 'early-data-lost') this.#emit(known, Buffer.concat(line.unseen))
      this.#release(known)
      return
    }
    this.#lines.set(key, line)
    this.newest = uuid
    for (const waiting of this.#waiting.splice(0)) {
      if (waiting.uuid === uuid) waiting.attached(line)
      else this.#waiting.push(waiting)
    }
  }

  #begin(conn: Conn, sequence: number[]): void {
    const { line } = conn
    if (line === null || line.source !== conn || sequence.length === 0) return
    if (line.open && this.fault === 'begin-once') {
      conn.sub(43, sequence)
      return
    }
    if (line.open) {
      this.#cookies.delete(hexOf(line.open.cookie))
      line.candidate?.socket.destroy()
      line.candidate = null
    }
    const cookie = [...sequence, ...this.#secret()]
    line.open = { sequence, cookie }
    this.#cookies.set(hexOf(cookie), line)
    const answer = () => {
      const sent = this.fault === 'sequence-of-4' ? [...sequence, 0, 0, 0].slice(0, 4) : sequence
      conn.sub(41, [...sent, ...cookie.slice(sequence.length)], this.fault !== 'goahead-unescaped')
      if (this.fault === 'goahead-twice') conn.sub(41, cookie)
    }
    if (this.fault !== 'goahead-slow') answer()
    else this.#timers.add(setTimeout(answer, 80))
  }

  #secret(): number[] {
    const n = ++this.#counter
    if (this.fault === 'secret-constant') return [1, 2, 3, 4, 5, 6, 7, 8]
    if (this.fault === 'secret-counted') return [0, 0, 0, 0, n >> 8, n & 0xff]
    const random = () => 1 + Math.floor(Math.random() * 253)
    return Array.from({ length: this.fault === 'secret-short' ? 2 : 8 }, random)
  }

  #peer(conn: Conn, payload: number[]): void {
    let line = this.#cookies.get(hexOf(payload)) ?? null
    if (line === null && this.fault === 'any-peer') {
      line =
        [...this.#cookies.values()].find((each) => each.open && same(payload.slice(0, 4), each.open.sequence)) ?? null
    }
    if (line === null || (line.open === null && this.fault !== 'cookie-for-ever')) return
    line.candidate?.socket.destroy()
    line.candidate = conn
    conn.line = line
    const sequence = line.open?.sequence ?? payload.slice(0, 4)
    const secret = this.fault === 'peer-ok-with-secret' ? payload.slice(sequence.length) : []
    conn.sub(45, [...sequence, ...secret], this.fault !== 'peer-ok-unescaped')
  }

  #complete(conn: Conn, sequence: number[]): void {
    let line = conn.line
    if (this.fault === 'stranger-completes') {
      line = [...this.#cookies.values()].find((each) => each.open && same(each.open.sequence, sequence)) ?? line
    } else if (line === null || line.candidate !== conn) return
    if (line?.open && same(line.open.sequence, sequence)) this.#take(line, conn)
  }

  #take(line: Line, conn: Conn): void {
    if (line.open && this.fault !== 'cookie-for-ever') this.#cookies.delete(hexOf(line.open.cookie))
    line.source?.socket.end()
    line.source = conn
    line.candidate = null
    line.open = null
    if (this.fault === 'double-at-complete') this.#emit(line, line.lastOutput.slice(-1))
    for (const bytes of conn.early.splice(0)) this.#emit(line, bytes)
    this.#release(line)
  }

  #abort(conn: Conn): void {
    const { line } = conn
    if (line === null || line.source !== conn || line.open === null || this.fault === 'abort-keeps-holding') return
    this.#stay(line)
  }

  #stay(line: Line): void {
    if (line.open && this.fault !== 'cookie-for-ever') this.#cookies.delete(hexOf(line.open.cookie))
    line.candidate?.socket.destroy()
    line.candidate = null
    line.open = null
    this.#release(line)
  }
}
