/**
 * Which serial port has which TCP port, for ever: kept in the data directory, so that what stands in somebody's script
 * leads to the same VM after any number of restarts.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errorMessage, type Logger } from '../../base/index.ts'

const VERSION = 1
const FILE_MODE = 0o600
const FOLDER_MODE = 0o700

export class TelnetPortMap {
  readonly #file: string
  readonly #log: Logger
  /** By port id, in the order in which they were given out. */
  readonly #numbers = new Map<string, number>()
  readonly #holders = new Map<number, string>()
  #changed = false
  #failed = false

  private constructor(file: string, log: Logger) {
    this.#file = file
    this.#log = log
  }

  /** What the file says. One that cannot be used is moved aside, and told: numbers then begin anew. */
  static read(file: string, log: Logger): TelnetPortMap {
    const map = new TelnetPortMap(file, log)
    let text: string
    try {
      text = readFileSync(file, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        log.error({ file, reason: errorMessage(error) }, 'telnet: the TCP ports given out cannot be read')
      }
      return map
    }
    try {
      map.#fill(JSON.parse(text))
    } catch (error) {
      map.#numbers.clear()
      map.#holders.clear()
      map.#moveAside(errorMessage(error))
    }
    return map
  }

  #fill(value: unknown): void {
    const { ports, ...head } = value as { ports: Record<string, unknown>; 'vspc-telnet-ports': unknown }
    if (head['vspc-telnet-ports'] !== VERSION) throw new Error('it is of another version')
    for (const [id, tcpPort] of Object.entries(ports)) {
      if (!Number.isInteger(tcpPort) || this.#holders.has(Number(tcpPort))) {
        throw new Error(`TCP port ${String(tcpPort)} is wrong, or there twice`)
      }
      this.#put(id, Number(tcpPort))
    }
  }

  #moveAside(reason: string): void {
    const aside = `${this.#file}.damaged`
    try {
      renameSync(this.#file, aside)
      this.#log.error({ file: aside, reason }, 'telnet: the TCP ports given out are damaged; new ones are given out')
    } catch (error) {
      this.#log.error({ file: this.#file, reason: errorMessage(error) }, 'telnet: the TCP ports given out are damaged')
    }
  }

  get(id: string): number | null {
    return this.#numbers.get(id) ?? null
  }

  holderOf(tcpPort: number): string | null {
    return this.#holders.get(tcpPort) ?? null
  }

  /** Ids with their numbers, in the order in which they got them. */
  entries(): Iterable<[id: string, tcpPort: number]> {
    return this.#numbers
  }

  /** Gives `tcpPort` to `id`, whoever had it. */
  set(id: string, tcpPort: number): void {
    if (this.#numbers.get(id) === tcpPort) return
    const holder = this.#holders.get(tcpPort)
    if (holder !== undefined) this.#numbers.delete(holder)
    this.forget(id)
    this.#put(id, tcpPort)
    this.#changed = true
  }

  /** The port is called `id` now. What is kept for that name counts, and only else what `previousId` had. */
  rename(previousId: string, id: string): void {
    const tcpPort = this.#numbers.get(previousId)
    if (tcpPort === undefined || this.#numbers.has(id)) return
    this.forget(previousId)
    this.#put(id, tcpPort)
  }

  forget(id: string): void {
    const tcpPort = this.#numbers.get(id)
    if (tcpPort === undefined) return
    this.#numbers.delete(id)
    this.#holders.delete(tcpPort)
    this.#changed = true
  }

  #put(id: string, tcpPort: number): void {
    this.#numbers.set(id, tcpPort)
    this.#holders.set(tcpPort, id)
  }

  /** Written whole beside the old file and put in its place, if there is anything new. Never rejects; one call at a time. */
  async save(): Promise<void> {
    if (!this.#changed) return
    this.#changed = false
    const fresh = `${this.#file}.${randomBytes(4).toString('hex')}`
    try {
      await mkdir(dirname(this.#file), { recursive: true, mode: FOLDER_MODE })
      const handle = await open(fresh, 'wx', FILE_MODE)
      try {
        const content = { 'vspc-telnet-ports': VERSION, ports: Object.fromEntries(this.#numbers) }
        await handle.writeFile(`${JSON.stringify(content, null, 2)}\n`)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(fresh, this.#file)
      this.#failed = false
    } catch (error) {
      this.#changed = true
      await rm(fresh, { force: true }).catch(() => {})
      if (this.#failed) return
      this.#failed = true
      this.#log.error(
        { file: this.#file, reason: errorMessage(error) },
        'telnet: the TCP ports given out cannot be kept: after a restart they may be others',
      )
    }
  }
}
