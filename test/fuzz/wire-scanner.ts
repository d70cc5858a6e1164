/** Telnet read by hand, a byte at a time: what the other side of a connection said, and whether it may say so. */

export interface Subnegotiation {
  readonly option: number
  readonly payload: Uint8Array
}

export class WireScanner {
  readonly subs: Subnegotiation[] = []
  /** Serial data, in pieces. */
  readonly data: Uint8Array[] = []
  readonly commands: number[] = []
  /** Bytes that no Telnet program sends in this order. */
  readonly faults: string[] = []
  negotiations = 0
  /** Of everything that is no serial data, framing included. */
  controlBytes = 0
  #state: 'data' | 'iac' | 'option' | 'sb' | 'sb-iac' = 'data'
  #sub: number[] = []

  push(chunk: Uint8Array): void {
    const data: number[] = []
    for (const byte of chunk) {
      if (this.#state === 'data' && byte !== 0xff) data.push(byte)
      else if (this.#state === 'iac' && byte === 0xff) {
        data.push(byte)
        this.#state = 'data'
        this.controlBytes--
      } else {
        this.controlBytes++
        this.#control(byte)
      }
    }
    if (data.length > 0) this.data.push(Uint8Array.from(data))
  }

  /** Suboptions of 232 with that code: what follows it. */
  messages(code: number): Uint8Array[] {
    const found = this.subs.filter(({ option, payload }) => option === 232 && payload[0] === code)
    return found.map(({ payload }) => payload.subarray(1))
  }

  get text(): string {
    return Buffer.concat(this.data).toString('latin1')
  }

  #control(byte: number): void {
    switch (this.#state) {
      case 'data':
        this.#state = 'iac'
        break
      case 'iac':
        this.#afterIac(byte)
        break
      case 'option':
        this.negotiations++
        this.#state = 'data'
        break
      case 'sb':
        if (byte === 0xff) this.#state = 'sb-iac'
        else this.#sub.push(byte)
        break
      case 'sb-iac':
        if (byte === 0xff) {
          this.#sub.push(byte)
          this.#state = 'sb'
        } else if (byte === 0xf0) {
          const [option, ...payload] = this.#sub
          this.#state = 'data'
          if (option === undefined) this.faults.push('empty subnegotiation')
          else this.subs.push({ option, payload: Uint8Array.from(payload) })
        } else {
          this.faults.push(`IAC ${byte} in a subnegotiation`)
          this.#afterIac(byte)
        }
        break
    }
  }

  #afterIac(byte: number): void {
    this.#state = byte === 0xfa ? 'sb' : byte > 0xfa ? 'option' : 'data'
    if (byte === 0xfa) this.#sub = []
    else if (byte === 0xf0) this.faults.push('IAC SE without SB')
    else if (byte < 0xfa) this.commands.push(byte)
  }
}
