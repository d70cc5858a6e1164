/** Everything that goes to the VM from a console, and what has to be agreed to first. */
import type { ConsoleFeed } from './console-feed.ts'
import { ask, askBreak, askPaste, askSysRq } from './dialogs.ts'
import { make } from './dom.ts'
import { preparePaste } from './paste.ts'
import type { Terminal } from './terminal.ts'

/** What is typed or pasted goes out in messages of at most this size. */
const MESSAGE_BYTES = 4_096

export interface InputHost {
  /** Of the VM, for questions. */
  name(): string
  news(text: string): void
  /** This console only reads. */
  refused(): void
}

export class ConsoleInput {
  readonly #feed: ConsoleFeed
  readonly #terminal: Terminal
  readonly #host: InputHost
  readonly #encoder = new TextEncoder()

  constructor(feed: ConsoleFeed, terminal: Terminal, host: InputHost) {
    this.#feed = feed
    this.#terminal = terminal
    this.#host = host
  }

  /** Now or never: what cannot be sent is told and forgotten. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    for (let at = 0; at < bytes.length; at += MESSAGE_BYTES) {
      const result = this.#feed.send(bytes.subarray(at, at + MESSAGE_BYTES))
      if (result === 'sent') continue
      const full = 'the VM takes no more input: the rest was not sent'
      this.#host.news(result === 'full' ? full : 'not connected: nothing was sent')
      return
    }
  }

  async paste(raw: string): Promise<void> {
    if (!this.#mayType()) return
    const paste = preparePaste(raw)
    const text = paste.ask ? await askPaste(paste, this.#terminal.bracketsPaste) : paste.text
    if (text !== null && text !== '') this.#terminal.paste(text)
    this.#terminal.focus()
  }

  async sendBreak(): Promise<void> {
    if (!this.#mayType() || !(await askBreak(this.#host.name()))) return
    if (this.#feed.request({ type: 'break' })) this.#host.news('BREAK sent')
    this.#terminal.focus()
  }

  async sendSysRq(): Promise<void> {
    if (!this.#mayType()) return
    const one = await askSysRq(this.#host.name())
    this.#terminal.focus()
    if (one === null || !this.#feed.request({ type: 'break' })) return
    this.send(this.#encoder.encode(one.key))
    this.#host.news(`SysRq ${one.key} sent`)
  }

  /** A serial line has no window size of its own. */
  async tellSize(): Promise<void> {
    if (!this.#mayType()) return
    const { cols, rows } = this.#terminal
    const line = `stty rows ${rows} cols ${cols}`
    const why =
      'A serial line does not tell the guest how large the window is. This is typed, with Enter, into whatever runs:'
    const shown = make('code', { className: 'uri' }, line)
    const yes = await ask('Tell the guest this size?', [why, shown], [{ label: 'Type it', value: true, kind: 'main' }])
    if (yes === true) this.send(this.#encoder.encode(`${line}\r`))
    this.#terminal.focus()
  }

  #mayType(): boolean {
    if (this.#feed.mode !== 'read') return true
    this.#host.refused()
    return false
  }
}
