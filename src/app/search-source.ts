/** The ports of a server, one after the other, for a search of their history. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseGlob } from '../access/index.ts'
import { type Clock, VspcError } from '../base/index.ts'
import type { Marks } from '../history/index.ts'
import type { Piece, SearchedPort, SearchSource } from '../search/index.ts'
import type { Port, Server } from '../vspc/index.ts'

/** Read from memory at a time: a copy is made of it. */
const PIECE_BYTES = 262_144
/** What was received is written before it is searched, unless the disk is in trouble. */
const SETTLE_MS = 500

/** What somebody may know of ports. */
export interface PortChoice {
  /** The port that people call so, if they may search it. @throws VspcError if not, or there is none. */
  resolve(name: string): Port
  /** They may search it. */
  may(port: Port): boolean
}

/**
 * The ports that `names` stand for, each once; all of them, by name, when there are none. A name may take a look at every
 * port, so VMs are served after each.
 * @param names as people name ports; with `*` and `?`, all that fit.
 * @throws VspcError VSPC_PORT_NOT_FOUND, VSPC_REQUEST_INVALID, or as `choice.resolve`.
 */
export async function portsNamed(server: Server, names: readonly string[], choice: PortChoice): Promise<Port[]> {
  const found = new Set<Port>()
  const all = [...server.table].filter((port) => choice.may(port))
  for (const name of new Set(names)) {
    if (/[*?]/.test(name)) for (const port of fitting(all, name)) found.add(port)
    else found.add(choice.resolve(name))
    await nextTurn()
  }
  if (names.length === 0) for (const port of all) found.add(port)
  const ports = [...found].map((port) => ({ port, name: port.displayName }))
  ports.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.port.id < b.port.id ? -1 : 1))
  return ports.map(({ port }) => port)
}

function fitting(ports: readonly Port[], name: string): Port[] {
  const glob = globOf(name)
  const found = ports.filter((port) => glob.matches(port.displayName) || glob.matches(port.id))
  if (found.length > 0) return found
  throw new VspcError('VSPC_PORT_NOT_FOUND', `no port fits "${name.slice(0, 100)}"; GET /api/v1/ports lists the ports`)
}

function globOf(text: string): ReturnType<typeof parseGlob> {
  try {
    return parseGlob(text)
  } catch (error) {
    throw new VspcError('VSPC_REQUEST_INVALID', `ports: ${(error as Error).message}`, { cause: error })
  }
}

export class PortsToSearch implements SearchSource {
  readonly ports: number
  readonly bytes: number
  readonly #server: Server
  readonly #clock: Clock
  /** From the last to the first. */
  readonly #left: { readonly id: string; readonly epoch: string }[]
  readonly #may: PortChoice['may']

  /** @param may asked again for each port and line: rights, and the names they go by, may be others by then. */
  constructor(server: Server, ports: readonly Port[], may: PortChoice['may']) {
    this.#server = server
    this.#may = may
    this.#clock = server.clock
    this.ports = ports.length
    this.bytes = ports.reduce((sum, { history }) => sum + history.visible - history.start, 0)
    // Not the ports themselves: those that are removed meanwhile need not be kept for this.
    this.#left = ports.map(({ id, epoch }) => ({ id, epoch })).reverse()
  }

  async next(): Promise<SearchedPort | null> {
    for (let one = this.#left.pop(); one !== undefined; one = this.#left.pop()) {
      const port = this.#find(one.id, one.epoch)
      if (port === null) continue
      await this.#settled(port)
      const files = this.#server.histories.filesOf(port.id)
      const marks = files?.marks ?? (await this.#marks(port))
      const searched = this.#describe(one.id, one.epoch, marks)
      if (searched !== null) return searched
    }
    return null
  }

  again(id: string, epoch: string): SearchedPort | null {
    return this.#describe(id, epoch, null)
  }

  async load(id: string, epoch: string, offset: number): Promise<Piece> {
    const port = this.#find(id, epoch)
    if (port === null) return { kind: 'gone' }
    return new Promise((resolve) => {
      port.history.load(offset, PIECE_BYTES, (result) => {
        if (result.kind === 'bytes') resolve({ kind: 'bytes', bytes: Uint8Array.from(result.bytes) })
        else if (result.kind === 'end') resolve({ kind: 'gone' })
        else resolve({ kind: 'gap', to: result.to })
      })
    })
  }

  /** @param marks of what has no files; null = those of the files. */
  #describe(id: string, epoch: string, marks: SearchedPort['marks'] | null): SearchedPort | null {
    const port = this.#find(id, epoch)
    if (port === null) return null
    const { displayName: name, history } = port
    const files = this.#server.histories.filesOf(id)
    const known = marks ?? files?.marks ?? { offsets: [], times: [] }
    return { id, name, epoch, start: history.start, end: history.visible, files, marks: known }
  }

  #find(id: string, epoch: string): Port | null {
    const port = this.#server.table.get(id)
    return port?.epoch === epoch && this.#may(port) ? port : null
  }

  #settled(port: Port): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(SETTLE_MS, resolve)
      port.history.settled(() => {
        timer.cancel()
        resolve()
      })
    })
  }

  #marks({ history }: Port): Promise<Marks> {
    return new Promise((resolve) => history.marks(history.start, resolve))
  }
}
