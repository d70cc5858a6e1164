import type { DiskHistory } from './disk-history.ts'
import type { Work } from './work.ts'

/** A list through `Work.nextReady`: no memory of its own for each port. */
class Lane {
  #first: DiskHistory | null = null
  #last: Work | null = null

  get empty(): boolean {
    return this.#first === null
  }

  push(port: DiskHistory, work: Work): void {
    if (this.#last === null) this.#first = port
    else this.#last.nextReady = port
    this.#last = work
  }

  shift(): DiskHistory | null {
    const port = this.#first
    // A port that waits keeps its work.
    const work = port?.work ?? null
    this.#first = work?.nextReady ?? null
    if (work !== null) work.nextReady = null
    if (this.#first === null) this.#last = null
    return port
  }
}

/** Ports whose turn it is to be written, each at most once: first those that somebody waits for. */
export class ReadyQueue {
  readonly #followed = new Lane()
  readonly #others = new Lane()

  get empty(): boolean {
    return this.#followed.empty && this.#others.empty
  }

  push(port: DiskHistory, work: Work): void {
    const lane = port.followed ? this.#followed : this.#others
    lane.push(port, work)
  }

  shift(): DiskHistory | null {
    return this.#followed.shift() ?? this.#others.shift()
  }
}
