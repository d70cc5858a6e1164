import type { ConnectionTap, TapConnection } from '../base/index.ts'
import { isRawEndpoint } from './describe.ts'
import { formatCaptureData, formatCaptureRecord } from './format.ts'
import { Redactor } from './redact.ts'
import type { Sequences } from './sequences.ts'

/** The recorder, as its streams see it. */
export interface LineSink {
  /** Seconds, as in the file. */
  time(): number
  /** Number of the file that the next line goes to; begins that file when the one before is full. */
  fileNumber(): number
  /**
   * Takes one line, or several that belong together, or drops them.
   * @param bytes of the VM connection that are in it, for the count.
   * @returns whether it was taken.
   */
  put(line: string, bytes: number): boolean
}

/** One stream's tap: formats lines, and puts zeros in the place of secrets where that is asked for. */
export class StreamRecorder implements ConnectionTap {
  readonly #recorder: LineSink
  readonly #stream: number
  readonly #connection: TapConnection
  readonly #redact: { vm: Redactor; proxy: Redactor } | null
  /** The file in which this stream was announced last; null before that worked. */
  #announcedIn: number | null = null
  #closed = false

  constructor(recorder: LineSink, stream: number, connection: TapConnection, sequences: Sequences | null) {
    this.#recorder = recorder
    this.#stream = stream
    this.#connection = connection
    this.#redact =
      sequences && !isRawEndpoint(connection.endpoint)
        ? { vm: new Redactor(sequences), proxy: new Redactor(sequences) }
        : null
    const file = recorder.fileNumber()
    if (recorder.put(this.#announcement(), 0)) this.#announcedIn = file
  }

  fromVm(bytes: Uint8Array): void {
    if (!this.#closed) this.#record('vm', this.#redact ? this.#redact.vm.push(bytes) : bytes)
  }

  toVm(bytes: Uint8Array): void {
    if (!this.#closed) this.#record('proxy', this.#redact ? this.#redact.proxy.push(bytes) : bytes)
  }

  close(): void {
    if (this.#closed) return
    if (this.#redact) {
      this.#record('vm', this.#redact.vm.end())
      this.#record('proxy', this.#redact.proxy.end())
    }
    this.#closed = true
    this.#recorder.put(formatCaptureRecord({ kind: 'close', t: this.#recorder.time(), stream: this.#stream }), 0)
  }

  #record(from: 'vm' | 'proxy', bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
    const line = formatCaptureData(this.#recorder.time(), this.#stream, from, hex)
    const file = this.#recorder.fileNumber()
    if (this.#announcedIn === file) this.#recorder.put(line, bytes.length)
    // Both or neither: data of a stream that nobody has announced would be taken for Telnet.
    else if (this.#recorder.put(this.#announcement() + line, bytes.length)) this.#announcedIn = file
  }

  #announcement(): string {
    const { peer, endpoint } = this.#connection
    const open = { kind: 'open', t: this.#recorder.time(), stream: this.#stream, peer, endpoint } as const
    return formatCaptureRecord(this.#announcedIn === null ? open : { ...open, continued: true })
  }
}
