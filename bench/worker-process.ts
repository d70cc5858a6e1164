import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { generatorWorks } from './generator.ts'
import { pinned } from './pinning.ts'
import type { WorkAnswer, Works } from './worker.ts'

/** The parent's end of a worker process. */
export class WorkerProcess<Does extends Works> {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  #last = 0

  /** @param cpu it has to run on; null = any. */
  constructor(module: URL, cpu: number | null) {
    const [program, ...before] = pinned(cpu, [process.execPath])
    this.#child = fork(module, {
      execPath: program as string,
      execArgv: before,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#child.on('message', (answer: WorkAnswer) => {
      const waiting = this.#waiting.get(answer.id)
      this.#waiting.delete(answer.id)
      if ('error' in answer) waiting?.reject(new Error(answer.error))
      else waiting?.resolve(answer.result)
    })
    this.#child.on('exit', (code, signal) => this.#fail(new Error(`a worker ended (${signal ?? code})`)))
    this.#child.on('error', (error) => this.#fail(error))
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** Has the worker do one thing. */
  run<Name extends keyof Does>(
    name: Name,
    ...parameters: Parameters<Does[Name]>
  ): Promise<Awaited<ReturnType<Does[Name]>>> {
    const id = ++this.#last
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: (result) => resolve(result as Awaited<ReturnType<Does[Name]>>), reject })
      this.#child.send({ id, name, parameters: parameters[0] })
    })
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

export type Generator = WorkerProcess<typeof generatorWorks>

export function startGenerator(cpu: number | null): Generator {
  return new WorkerProcess(new URL('./generator.js', import.meta.url), cpu)
}
