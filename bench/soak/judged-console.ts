/** A console that checks every byte it gets. */
import { patternFault } from '../../src/sim/index.ts'
import { RawConsole } from '../raw-console.ts'
import type { VmRecord } from './hosts.ts'
import { LineCheck } from './lines.ts'

export interface Judgement {
  bytes: number
  gapBytes: number
  /** In words; the first few. */
  readonly faults: string[]
}

const MAX_FAULTS = 50
const CLOSE_MS = 10_000

export class JudgedConsole {
  readonly vm: VmRecord
  /** Offset of the next byte. */
  offset = -1
  readonly #raw: RawConsole
  readonly #judgement: Judgement
  readonly #from: number | null
  readonly #lines: LineCheck | null
  #closed: (() => void) | null = null
  #leaving = false

  /** @param from as in the API; a place where another console stopped is checked to go on there. */
  constructor(
    vm: VmRecord,
    httpPort: number,
    address: string,
    options: { readonly mode: 'read' | 'write'; readonly from: number | null; readonly read: boolean },
    judgement: Judgement,
  ) {
    this.vm = vm
    this.#from = options.from
    this.#judgement = judgement
    this.#lines = vm.kind === 'mortal' ? new LineCheck(options.from === 0) : null
    const from = options.from === null ? '' : `&from=${options.from}`
    const path = `/api/v1/ports/${vm.id}/console?mode=${options.mode}${from}`
    this.#raw = new RawConsole(httpPort, path, address, options.read)
    this.#raw.events = {
      bytes: (bytes) => this.#received(bytes),
      message: (text) => this.#message(text),
      closed: (reason) => this.#ended(reason),
    }
  }

  async attached(): Promise<void> {
    await this.#raw.attached()
  }

  type(bytes: Uint8Array): void {
    this.#raw.type(bytes)
  }

  pause(): void {
    this.#raw.socket.pause()
  }

  resume(): void {
    this.#raw.socket.resume()
  }

  /** Leaves as a client should, and waits until the server has closed. */
  async close(): Promise<void> {
    if (!this.#raw.socket.open) return
    this.#leaving = true
    const closed = new Promise<void>((resolve) => {
      this.#closed = resolve
    })
    this.#raw.close()
    const timer = setTimeout(() => {
      this.#fault('the server does not close')
      this.#raw.socket.reset()
      this.#closed?.()
    }, CLOSE_MS)
    await closed
    clearTimeout(timer)
    if (this.#lines !== null && this.#lines.repeated > 0) this.#fault(`${this.#lines.repeated} lines repeated`)
  }

  #received(bytes: Buffer): void {
    this.#judgement.bytes += bytes.length
    if (this.offset < 0) this.#fault('bytes before "attached"')
    if (this.#lines !== null) this.#lines.feed(bytes)
    else if (patternFault(bytes, this.offset) >= 0) {
      this.#fault(`wrong bytes at ${this.offset + patternFault(bytes, this.offset)}`)
    }
    this.offset += bytes.length
  }

  #message(text: string): void {
    const message = JSON.parse(text) as {
      type: string
      offset?: number
      bytes?: number
      code?: string
      reason?: string
    }
    if (message.type === 'attached') {
      this.offset = message.offset ?? -1
      if (this.#from !== null && this.#from >= 0 && this.offset !== this.#from) {
        this.#fault(`attached at ${this.offset} instead of ${this.#from}`)
      }
    } else if (message.type === 'gap') {
      this.#judgement.gapBytes += message.bytes ?? 0
      this.offset = message.offset ?? this.offset
    } else if (message.type === 'error' || (message.type === 'detached' && !this.#leaving)) {
      this.#fault(`${message.type}: ${message.code} ${message.reason ?? ''}`)
    }
  }

  #ended(reason: string): void {
    if (!this.#leaving) this.#fault(`closed: ${reason}`)
    this.#leaving = true
    if (!this.#raw.socket.open) this.#closed?.()
  }

  #fault(text: string): void {
    const { faults } = this.#judgement
    if (faults.length < MAX_FAULTS) faults.push(`${this.vm.kind} ${this.vm.id}: ${text}`)
  }
}
