import * as nodeFs from 'node:fs'
import { gunzip, gzip } from 'node:zlib'
import type { HistoryFs } from '../../src/history/index.ts'

type Operation = (...args: unknown[]) => void

/** The real disk until `fault` names an error, or it is `stalled`: then nothing ends until `release`. */
export class FaultyFs implements HistoryFs {
  /** A system error's code that every operation ends with; null = none. */
  fault: string | null = null
  stalled = false
  /** Operations that were asked for. */
  operations = 0
  #held: (() => void)[] = []

  /** Lets everything that waits happen. */
  release(): void {
    this.stalled = false
    for (const run of this.#held.splice(0)) run()
  }

  readonly open = this.#wrap<HistoryFs['open']>(nodeFs.open as Operation)
  readonly write = this.#wrap<HistoryFs['write']>(nodeFs.write as Operation)
  readonly writev = this.#wrap<HistoryFs['writev']>(nodeFs.writev as Operation)
  readonly read = this.#wrap<HistoryFs['read']>(nodeFs.read as Operation)
  readonly fstat = this.#wrap<HistoryFs['fstat']>(nodeFs.fstat as Operation)
  readonly mkdir = this.#wrap<HistoryFs['mkdir']>(nodeFs.mkdir as Operation)
  readonly rename = this.#wrap<HistoryFs['rename']>(nodeFs.rename as Operation)
  readonly writeFile = this.#wrap<HistoryFs['writeFile']>(nodeFs.writeFile as Operation)
  readonly rm = this.#wrap<HistoryFs['rm']>(nodeFs.rm as Operation)
  readonly ftruncate = this.#wrap<HistoryFs['ftruncate']>(nodeFs.ftruncate as Operation)
  readonly fsync = this.#wrap<HistoryFs['fsync']>(nodeFs.fsync as Operation)
  readonly futimes = this.#wrap<HistoryFs['futimes']>(nodeFs.futimes as Operation)
  readonly compress: HistoryFs['compress'] = gzip
  readonly expand: HistoryFs['expand'] = (bytes, maxOutputLength, done) => gunzip(bytes, { maxOutputLength }, done)
  /** Closing never fails, or descriptors would be left over. */
  readonly close: HistoryFs['close'] = nodeFs.close

  #wrap<Wrapped>(operation: Operation): Wrapped {
    const wrapped: Operation = (...args) => {
      this.operations++
      const run = () => {
        const { fault } = this
        if (fault === null) {
          operation(...args)
          return
        }
        const done = args.at(-1) as (error: Error, result: number) => void
        setImmediate(() => done(Object.assign(new Error(`${fault}: made up`), { code: fault }), 0))
      }
      if (this.stalled) this.#held.push(run)
      else run()
    }
    return wrapped as Wrapped
  }
}
