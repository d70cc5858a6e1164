/**
 * COM-PORT-OPTION (RFC 2217), access-server side: the VM is the client that sets its line, we acknowledge.
 *
 * There is no UART behind us, so every value is taken as it is and reported back as being in force; 0 asks for the
 * current one. Flow control is the one command with an effect: SUSPEND and RESUME concern what we send to the VM.
 */

/** Client commands; the server answers with code + 100. */
const SIGNATURE = 0
const SET_BAUDRATE = 1
const SET_DATASIZE = 2
const SET_PARITY = 3
const SET_STOPSIZE = 4
const SET_CONTROL = 5
const FLOWCONTROL_SUSPEND = 8
const FLOWCONTROL_RESUME = 9
const SET_LINESTATE_MASK = 10
const SET_MODEMSTATE_MASK = 11
const PURGE_DATA = 12
const ANSWER = 100
const NOTIFY_LINESTATE = 107

const LINESTATE_BREAK = 0x10

const PARITY_NAMES = ['none', 'odd', 'even', 'mark', 'space'] as const
const STOP_NAMES = ['1', '2', '1.5'] as const
const SIGNATURE_TEXT = new TextEncoder().encode('vspc')

/** Baud in bit/s, data size in bits. */
export interface LineSettings {
  readonly baud: number
  readonly dataSize: number
  readonly parity: (typeof PARITY_NAMES)[number]
  readonly stopSize: (typeof STOP_NAMES)[number]
}

export type ComPortEvent =
  /** The VM set its line. */
  | { kind: 'line'; line: LineSettings }
  /** The VM's guest began or ended a BREAK condition. */
  | { kind: 'break'; on: boolean }
  /** The VM asks us to hold back serial data, or to go on. */
  | { kind: 'flow'; suspended: boolean }
  | { kind: 'malformed'; reason: string }

export class ComPortServer {
  #baud = 115_200
  #dataSize = 8
  #parity = 1
  #stopSize = 1
  #flowControl = 1
  #inboundFlowControl = 14
  #breakOn = false
  #dtr = true
  #rts = true
  #linestateMask = 0
  #modemstateMask = 255

  get line(): LineSettings {
    return {
      baud: this.#baud,
      dataSize: this.#dataSize,
      parity: PARITY_NAMES[this.#parity - 1] ?? 'none',
      stopSize: STOP_NAMES[this.#stopSize - 1] ?? '1',
    }
  }

  /**
   * Takes one client command.
   * @param payload command byte and value, without the option byte.
   * @param event called at most once, before the answer is returned.
   * @returns the answer's payload (code + 100, value in force), or null when the command has none.
   */
  receive(payload: Uint8Array, event: (event: ComPortEvent) => void): Uint8Array | null {
    const command = payload[0]
    const value = payload[1]
    if (command === undefined) return null
    if (command === SIGNATURE) {
      // Without text it asks for ours; with text it states the client's, which needs no answer.
      return payload.length > 1 ? null : Uint8Array.of(ANSWER + SIGNATURE, ...SIGNATURE_TEXT)
    }
    if (command === FLOWCONTROL_SUSPEND || command === FLOWCONTROL_RESUME) {
      event({ kind: 'flow', suspended: command === FLOWCONTROL_SUSPEND })
      return null
    }
    if (command === SET_BAUDRATE) return this.#setBaud(payload, event)
    if (value === undefined) {
      event({ kind: 'malformed', reason: `COM-PORT command ${command} without a value` })
      return null
    }
    switch (command) {
      case SET_DATASIZE:
        if (value >= 5 && value <= 8) this.#set(() => (this.#dataSize = value), event)
        return Uint8Array.of(ANSWER + command, this.#dataSize)
      case SET_PARITY:
        if (value >= 1 && value <= 5) this.#set(() => (this.#parity = value), event)
        return Uint8Array.of(ANSWER + command, this.#parity)
      case SET_STOPSIZE:
        if (value >= 1 && value <= 3) this.#set(() => (this.#stopSize = value), event)
        return Uint8Array.of(ANSWER + command, this.#stopSize)
      case SET_CONTROL:
        return Uint8Array.of(ANSWER + command, this.#control(value, event))
      case SET_LINESTATE_MASK:
        this.#linestateMask = value
        return Uint8Array.of(ANSWER + command, value)
      case SET_MODEMSTATE_MASK:
        this.#modemstateMask = value
        return Uint8Array.of(ANSWER + command, this.#modemstateMask)
      case PURGE_DATA:
        // Acknowledged; nothing is thrown away: what a console typed is not ours to drop.
        return Uint8Array.of(ANSWER + command, value)
      default:
        event({ kind: 'malformed', reason: `COM-PORT command ${command} is not one of RFC 2217's` })
        return null
    }
  }

  /**
   * The payload that tells the VM of a BREAK on the line, or null when the VM did not ask for it with
   * SET-LINESTATE-MASK (RFC 2217: the initial mask is 0): then Telnet's BRK has to do.
   */
  breakNotification(): Uint8Array | null {
    return (this.#linestateMask & LINESTATE_BREAK) === 0 ? null : Uint8Array.of(NOTIFY_LINESTATE, LINESTATE_BREAK)
  }

  #setBaud(payload: Uint8Array, event: (event: ComPortEvent) => void): Uint8Array | null {
    if (payload.length < 5) {
      event({ kind: 'malformed', reason: 'COM-PORT SET-BAUDRATE needs 4 bytes' })
      return null
    }
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
    const baud = view.getUint32(1)
    if (baud !== 0) this.#set(() => (this.#baud = baud), event)
    const answer = new Uint8Array(5)
    answer[0] = ANSWER + SET_BAUDRATE
    new DataView(answer.buffer).setUint32(1, this.#baud)
    return answer
  }

  #set(assign: () => void, event: (event: ComPortEvent) => void): void {
    assign()
    event({ kind: 'line', line: this.line })
  }

  /** SET-CONTROL: groups of values, the first of each asks for the state in force. */
  #control(value: number, event: (event: ComPortEvent) => void): number {
    if (value <= 3 || value === 17 || value === 19) {
      if (value !== 0) this.#flowControl = value
      return this.#flowControl
    }
    if (value <= 6) {
      if (value !== 4 && this.#breakOn !== (value === 5)) {
        this.#breakOn = value === 5
        event({ kind: 'break', on: this.#breakOn })
      }
      return this.#breakOn ? 5 : 6
    }
    if (value <= 9) {
      if (value !== 7) this.#dtr = value === 8
      return this.#dtr ? 8 : 9
    }
    if (value <= 12) {
      if (value !== 10) this.#rts = value === 11
      return this.#rts ? 11 : 12
    }
    if (value !== 13 && value <= 18) this.#inboundFlowControl = value
    return this.#inboundFlowControl
  }
}
