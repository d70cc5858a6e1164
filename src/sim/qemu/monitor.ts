import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'

/** QEMU's control channel (QMP): one JSON object per line, on its stdin and stdout. */
export class Monitor {
  readonly #child: ChildProcess
  #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = []
  #ended = false

  constructor(child: ChildProcess) {
    this.#child = child
    // A guest that is gone makes writes fail; `end` tells those who wait.
    child.stdin?.on('error', () => {})
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => this.#line(line))
  }

  end(error: Error): void {
    this.#ended = true
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  command(execute: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(new Error('QEMU has ended'))
      this.#waiting.push({ resolve, reject })
      this.#child.stdin?.write(`${JSON.stringify({ execute })}\n`)
    })
  }

  #line(line: string): void {
    const message = JSON.parse(line) as { return?: unknown; error?: { desc?: string } }
    // Greeting and events are nobody's answer; answers come in the order of the commands.
    if (!('return' in message) && !('error' in message)) return
    const waiting = this.#waiting.shift()
    if (message.error) waiting?.reject(new Error(`QEMU: ${message.error.desc}`))
    else waiting?.resolve(message.return)
  }
}
