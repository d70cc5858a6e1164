/** The child's end of a process that is told by its parent what to do: requests and answers over Node's IPC. */

/** What a worker can do. Parameters and results have to survive JSON. */
// biome-ignore lint/suspicious/noExplicitAny: each one has a type of its own, which `WorkerProcess.run` gives back.
export type Works = { readonly [name: string]: (parameters: any) => Promise<unknown> }

export interface WorkRequest {
  readonly id: number
  readonly name: string
  readonly parameters: unknown
}

export type WorkAnswer =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string }

export function serveWorks(works: Works): void {
  process.on('message', async ({ id, name, parameters }: WorkRequest) => {
    let answer: WorkAnswer
    try {
      answer = { id, result: await works[name]?.(parameters) }
    } catch (error) {
      answer = { id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
    process.send?.(answer)
  })
  // The parent is gone.
  process.on('disconnect', () => process.exit(0))
}
