import { once } from 'node:events'
import { TerminalFilter } from './terminal-filter.ts'
import { TerminalModes } from './terminal-modes.ts'

/** Console output on stdout: for a file or pipe as it is, for a terminal made harmless. */
export class ConsolePrinter {
  readonly #filter = process.stdout.isTTY ? new TerminalFilter() : null
  readonly #modes = new TerminalModes()

  /** Null, or a promise to wait for before there is more. */
  print(bytes: Uint8Array): Promise<unknown> | null {
    let room = true
    if (this.#filter) {
      this.#filter.push(bytes, (part) => {
        this.#modes.push(part)
        room = process.stdout.write(part) && room
      })
    } else {
      room = process.stdout.write(bytes)
    }
    return room ? null : once(process.stdout, 'drain')
  }

  /** Colours and the like that the output has left on. */
  finish(): void {
    const undo = this.#filter ? this.#modes.reset() : ''
    if (undo !== '') process.stdout.write(undo)
  }
}
