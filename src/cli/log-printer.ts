import { once } from 'node:events'
import { TerminalFilter } from './terminal-filter.ts'
import { TerminalModes } from './terminal-modes.ts'

/** Output for a file as it is, for a terminal made harmless. */
export class LogPrinter {
  readonly #filter = process.stdout.isTTY ? new TerminalFilter() : null
  readonly #modes = new TerminalModes()

  /** False: wait for stdout's `drain`. */
  write(bytes: Uint8Array): boolean {
    if (!this.#filter) return process.stdout.write(bytes)
    let room = true
    this.#filter.push(bytes, (part) => {
      this.#modes.push(part)
      room = process.stdout.write(part) && room
    })
    return room
  }

  async print(bytes: Uint8Array): Promise<void> {
    if (!this.write(bytes)) await once(process.stdout, 'drain')
  }

  /** Colours and the like that the log has left on. */
  finish(): void {
    const undo = this.#filter ? this.#modes.reset() : ''
    if (undo !== '') process.stdout.write(undo)
  }
}
