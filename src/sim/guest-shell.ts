/** A guest that looks like a small Linux login: prompt, line editing, a few commands. For demos and latency tests. */
import type { Timer } from '../base/index.ts'
import { type GuestMachine, SilentGuest } from './guest.ts'
import { findShellCommand, type ShellContext } from './shell-commands.ts'

const ENCODER = new TextEncoder()
const DECODER = new TextDecoder()

/** Longest line kept; the rest is refused with a bell, as a tty in canonical mode does. */
const MAX_LINE_BYTES = 1_024

const BELL = Uint8Array.of(7)
const RUB_OUT = ENCODER.encode('\b \b')
const ESC = 0x1b

/**
 * Echoes what is typed, as bytes, 8-bit clean; CR or LF runs the line. Backspace, ^U, ^W, ^C, ^D, ^L and the up arrow
 * do what they do at a shell.
 */
export class ShellGuest extends SilentGuest {
  #machine: GuestMachine | null = null
  #line: number[] = []
  #last = ''
  #startedAt = 0
  /** Bytes of an escape sequence seen so far, ESC excluded; null outside of one. */
  #escape: string | null = null
  #running: Timer | null = null
  #afterCr = false

  override start(machine: GuestMachine): void {
    this.#machine = machine
    this.#startedAt = machine.clock.now()
    this.#line = []
    this.#print(`\r\nvspc simulated guest, ${machine.vmName} ttyS0\r\nType help for what it knows.\r\n\r\n`)
    this.#prompt()
  }

  override input(bytes: Uint8Array): boolean {
    // A run of ordinary characters is echoed as one write.
    let run = 0
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] as number
      const ordinary = this.#escape === null && this.#running === null && byte >= 0x20 && byte !== 0x7f
      if (ordinary && this.#line.length < MAX_LINE_BYTES) {
        this.#line.push(byte)
        this.#afterCr = false
        continue
      }
      this.#echo(bytes.slice(run, at))
      run = at + 1
      this.#special(byte)
    }
    this.#echo(bytes.slice(run))
    return true
  }

  override break(): void {
    this.#print('\r\n[BREAK]\r\n')
    this.#interrupt()
  }

  override stop(): void {
    this.#running?.cancel()
    this.#running = null
    this.#machine = null
  }

  #echo(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#machine?.write(bytes)
  }

  #special(byte: number): void {
    const afterCr = this.#afterCr
    this.#afterCr = byte === 0x0d
    if (this.#escape !== null) this.#escapeByte(byte)
    else if (byte === ESC) this.#escape = ''
    else if (byte === 0x03) {
      this.#print('^C\r\n')
      this.#interrupt()
    } else if (this.#running !== null) return
    else if (byte === 0x0d) this.#run()
    else if (byte === 0x0a) {
      // CR LF is one Enter.
      if (!afterCr) this.#run()
    } else if (byte === 0x7f || byte === 0x08) this.#rubOut(1)
    else if (byte === 0x15) this.#rubOut(this.#line.length)
    else if (byte === 0x17) this.#rubOutWord()
    else if (byte === 0x0c) {
      this.#print('\x1b[H\x1b[2J')
      this.#prompt()
      this.#echo(Uint8Array.from(this.#line))
    } else if (byte === 0x04 && this.#line.length === 0) {
      this.#print('logout\r\n\r\n')
      this.#prompt()
    } else this.#echo(BELL)
  }

  /** Cursor keys: up recalls the last line, the rest is swallowed. */
  #escapeByte(byte: number): void {
    const sequence = (this.#escape ?? '') + String.fromCharCode(byte)
    const introducer = sequence === '[' || sequence === 'O'
    const ends = !introducer && (byte < 0x20 || byte >= 0x40 || sequence.length > 16)
    this.#escape = ends ? null : sequence
    if (!ends || (sequence !== '[A' && sequence !== 'OA')) return
    this.#rubOut(this.#line.length)
    this.#line = [...ENCODER.encode(this.#last)]
    this.#echo(Uint8Array.from(this.#line))
  }

  /** Rubs out characters, not bytes: continuation bytes of UTF-8 go with their first. */
  #rubOut(count: number): void {
    for (let left = count; left > 0 && this.#line.length > 0; left--) {
      let byte = this.#line.pop() as number
      while (byte >= 0x80 && byte < 0xc0 && this.#line.length > 0) byte = this.#line.pop() as number
      this.#echo(RUB_OUT)
    }
  }

  #rubOutWord(): void {
    while (this.#line[this.#line.length - 1] === 0x20) this.#rubOut(1)
    while (this.#line.length > 0 && this.#line[this.#line.length - 1] !== 0x20) this.#rubOut(1)
  }

  #interrupt(): void {
    this.#running?.cancel()
    this.#running = null
    this.#line = []
    this.#prompt()
  }

  #run(): void {
    const line = DECODER.decode(Uint8Array.from(this.#line)).trim()
    this.#line = []
    this.#print('\r\n')
    if (line !== '') {
      this.#last = line
      const output = findShellCommand(line)(this.#context(line))
      if (typeof output !== 'string') {
        this.#runSlowly(output.lines, output.everyMs)
        return
      }
      this.#print(output)
    }
    this.#prompt()
  }

  /** Prints lines one by one; ^C ends it. */
  #runSlowly(lines: Iterator<string>, everyMs: number): void {
    const machine = this.#machine
    if (machine === null) return
    this.#running = machine.clock.after(everyMs, () => {
      const line = lines.next()
      if (line.done) {
        this.#running = null
        this.#prompt()
        return
      }
      this.#print(`${line.value}\r\n`)
      this.#runSlowly(lines, everyMs)
    })
  }

  #context(line: string): ShellContext {
    const machine = this.#machine
    const [, ...args] = line.split(/\s+/)
    return {
      args,
      rest: line.replace(/^\S+\s*/, ''),
      vmName: machine?.vmName ?? '',
      hostName: machine?.hostName ?? '',
      upMs: machine ? machine.clock.now() - this.#startedAt : 0,
      wallMs: machine ? machine.clock.wall() : 0,
    }
  }

  #print(text: string): void {
    this.#machine?.write(ENCODER.encode(text))
  }

  #prompt(): void {
    this.#print(`${this.#machine?.vmName ?? ''}:~# `)
  }
}
