import { connect, type Socket } from 'node:net'
import { encodeVerb, encodeVmware, type SimTarget, WireParser, type WireSink } from '../../../src/sim/index.ts'

/** What a peer says to a verb: verbs for the same option. */
export type VerbRule = (verb: number, option: number) => readonly number[]

/** A Telnet peer that answers by a rule of its own, however foolish, and counts what it hears. */
export class StubbornPeer implements WireSink {
  /** Verbs heard, as numbers. */
  readonly heard: [verb: number, option: number][] = []
  text = ''
  readonly ended: Promise<void>
  readonly #socket: Socket
  readonly #rule: VerbRule
  readonly #parser = new WireParser()
  #fence: { code: number; passed: () => void; failed: (why: Error) => void } | null = null
  #lastFence = 128
  #replies = 0

  constructor(target: SimTarget, rule: VerbRule) {
    this.#rule = rule
    this.#socket = connect({ ...('path' in target ? { path: target.path } : target), allowHalfOpen: true })
    this.#socket.setNoDelay(true)
    this.#socket.on('error', () => {})
    this.#socket.on('data', (chunk) => this.#parser.push(chunk, this))
    this.ended = new Promise((resolve) => {
      this.#socket.on('end', resolve)
      this.#socket.on('close', () => {
        this.#fence?.failed(new Error('closed before the fence'))
        resolve()
      })
    })
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** Resolves when the server has answered everything sent before. Needs option 232 to be on. */
  fence(): Promise<void> {
    const code = 128 + (this.#lastFence++ % 64)
    return new Promise((passed, failed) => {
      this.#fence = { code, passed, failed }
      this.send(encodeVmware(code))
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  // WireSink

  onVerb(verb: number, option: number): void {
    this.heard.push([verb, option])
    for (const answer of this.#rule(verb, option)) {
      // A loop must end the test, not the machine.
      if (this.#replies++ < 5_000) this.send(encodeVerb(answer, option))
    }
  }

  onData(bytes: Uint8Array): void {
    this.text += Buffer.from(bytes).toString('latin1')
  }

  onSub(option: number, payload: Uint8Array): void {
    const fence = this.#fence
    if (fence === null || option !== 232 || payload[0] !== 3 || payload[1] !== fence.code) return
    this.#fence = null
    fence.passed()
  }

  onCommand(): void {}

  onMalformed(): void {}
}
