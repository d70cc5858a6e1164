/**
 * The thread in which history is searched. It reads files itself, and waits for the disk itself: nothing of that is on
 * the way of a VM's output. Where the processor is wanted by others, it gets the smaller share.
 */
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { TextPattern } from '../pattern/index.ts'
import { PortSearch, type SearchHost } from './port-search.ts'
import {
  type Found,
  type FromWorker,
  NOTHING_SEARCHED,
  type Piece,
  type SearchedPort,
  type SearchQuery,
  type SearchTotals,
  type ToWorker,
} from './types.ts'

/** Text that is sent at once, and how long it may wait for more. */
const SEND_CHARACTERS = 65_536
const SEND_MS = 250
/**
 * As "nice" has it: a tenth of what another thread gets while both want all of it, and nothing at once while that wakes up.
 * 19 makes no difference that could be measured (bench/README.md).
 */
const NICENESS = 10

const totals: SearchTotals = { ...NOTHING_SEARCHED }

class Thread implements SearchHost {
  #found: Found[] = []
  #characters = 0
  #sentAt = performance.now()
  #search: PortSearch | null = null

  async run(query: SearchQuery): Promise<void> {
    const pattern = new TextPattern(query.pattern, query)
    for (let port = await this.#next(); port !== null; port = await this.#next()) {
      this.#search = new PortSearch(port, query, pattern, totals, this)
      await this.#search.run()
      await this.pause()
      if (totals.truncated) break
    }
    await this.#send()
    post({ type: 'done', totals })
  }

  async again({ id, epoch }: SearchedPort): Promise<SearchedPort | null> {
    return portOf(await ask({ type: 'again', port: id, epoch }))
  }

  async load({ id, epoch }: SearchedPort, offset: number): Promise<Piece> {
    const answer = await ask({ type: 'load', port: id, epoch, offset })
    return answer.type === 'piece' ? answer.piece : { kind: 'gone' }
  }

  async pause(): Promise<void> {
    const search = this.#search
    if (search !== null && search.found.length > 0) {
      const text = search.found.splice(0).join('')
      this.#found.push({ port: search.port.id, epoch: search.port.epoch, text })
      this.#characters += text.length
    }
    if (this.#characters >= SEND_CHARACTERS || performance.now() - this.#sentAt >= SEND_MS) await this.#send()
  }

  async #next(): Promise<SearchedPort | null> {
    return portOf(await ask({ type: 'next' }))
  }

  async #send(): Promise<void> {
    const found = this.#found
    this.#found = []
    this.#characters = 0
    await ask({ type: 'found', found, totals })
    this.#sentAt = performance.now()
  }
}

function portOf(answer: ToWorker): SearchedPort | null {
  return answer.type === 'port' ? answer.port : null
}

let answered: (answer: ToWorker) => void = () => {}

function ask(question: FromWorker): Promise<ToWorker> {
  return new Promise((resolve) => {
    answered = resolve
    post(question)
  })
}

function post(message: FromWorker): void {
  parentPort?.postMessage(message)
}

// Elsewhere it is the priority of the whole process.
if (process.platform === 'linux') setPriority(NICENESS)
parentPort?.on('message', (answer: ToWorker) => answered(answer))
void new Thread().run(workerData as SearchQuery).finally(() => parentPort?.close())
