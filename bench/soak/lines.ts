/** Reads `line 17` after `line 16`; says where that is not so. */
export class LineCheck {
  /** Places where lines are missing or cut. */
  breaks = 0
  /** Lines that came twice or too late. */
  repeated = 0
  #last = 0
  #broken = true
  #partial = ''
  #begun: boolean

  /** @param fromStart false: the first bytes may be the end of a line. */
  constructor(fromStart: boolean) {
    this.#begun = fromStart
  }

  feed(bytes: Uint8Array): void {
    const lines = (this.#partial + Buffer.from(bytes).toString('latin1')).split('\r\n')
    this.#partial = lines.pop() as string
    for (const line of lines) {
      if (this.#begun) this.#line(line)
      this.#begun = true
    }
  }

  #line(line: string): void {
    const digits = /^line (\d+)$/.exec(line)?.[1]
    if (digits === undefined) {
      this.breaks++
      this.#broken = true
      return
    }
    const number = Number(digits)
    if (number <= this.#last) this.repeated++
    else if (number !== this.#last + 1 && !this.#broken) this.breaks++
    this.#last = number
    this.#broken = false
  }
}
