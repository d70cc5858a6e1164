/** Waiting for tasks of the server: all that are waited for are asked about in one call. */
import { errorMessage, type Timer, VspcError } from '../base/index.ts'
import { childOf, type Element, type ManagedRef, refKey, textOf } from './element.ts'
import { faultError, localizedFault } from './faults.ts'
import { retrieve } from './properties.ts'
import type { VsphereSession } from './session.ts'
import type { ObjectContent } from './specs.ts'

export interface TaskOptions {
  readonly signal?: AbortSignal
  /** Default: `limits.taskMs`. */
  readonly timeoutMs?: number
}

/** First and longest pause between two looks; quick tasks take some ten milliseconds, moves take minutes. */
const FIRST_LOOK_MS = 40
const LAST_LOOK_MS = 1_000
const GROWTH = 1.6

interface Waiting {
  readonly task: ManagedRef
  readonly doing: string
  /** The result, or null. */
  resolve(result: Element | null): void
  reject(error: unknown): void
}

/** One per session, which gives it out. */
export class TaskWaiter {
  readonly #session: VsphereSession
  readonly #waiting = new Map<string, Set<Waiting>>()
  #pauseMs = FIRST_LOOK_MS
  #timer: Timer | null = null
  #lookAt = 0
  #looking = false

  constructor(session: VsphereSession) {
    this.#session = session
    session.closing.addEventListener('abort', () => this.#failAll(session.closing.reason))
  }

  /**
   * Waits for the end of a task.
   * @param doing what it does, for errors: `cannot change vm-7`.
   * @returns the task's result, where it has one.
   * @throws VsphereFault for what the task failed with; VspcError VSPC_VSPHERE_TASK_TIMEOUT, VSPC_VSPHERE_NOT_FOUND; the
   * signal's reason. The task itself goes on.
   */
  wait(task: ManagedRef, doing: string, options: TaskOptions = {}): Promise<Element | null> {
    const { signal, timeoutMs = this.#session.limits.taskMs } = options
    return new Promise((resolve, reject) => {
      if (signal?.aborted || this.#session.closing.aborted) {
        reject(signal?.aborted ? signal.reason : this.#session.closing.reason)
        return
      }
      const settle = (): void => {
        timer.cancel()
        signal?.removeEventListener('abort', onAbort)
        this.#remove(waiting)
      }
      const waiting: Waiting = {
        task,
        doing,
        resolve: (result) => {
          settle()
          resolve(result)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      const onAbort = (): void => waiting.reject(signal?.reason)
      signal?.addEventListener('abort', onAbort)
      const timer = this.#session.clock.after(timeoutMs, () =>
        waiting.reject(
          new VspcError(
            'VSPC_VSPHERE_TASK_TIMEOUT',
            `${doing}: task ${task.value} has not ended within ${timeoutMs} ms; it may still end`,
          ),
        ),
      )
      const same = this.#waiting.get(refKey(task)) ?? new Set()
      this.#waiting.set(refKey(task), same.add(waiting))
      this.#pauseMs = FIRST_LOOK_MS
      this.#plan()
    })
  }

  #remove(waiting: Waiting): void {
    const key = refKey(waiting.task)
    const same = this.#waiting.get(key)
    same?.delete(waiting)
    if (same?.size === 0) this.#waiting.delete(key)
    if (this.#waiting.size > 0) return
    this.#timer?.cancel()
    this.#timer = null
  }

  /** Never later than planned before: new tasks that keep coming must not put off the look at older ones. */
  #plan(): void {
    if (this.#looking || this.#waiting.size === 0) return
    const { clock } = this.#session
    const at = clock.now() + this.#pauseMs
    if (this.#timer !== null && this.#lookAt <= at) return
    this.#timer?.cancel()
    this.#lookAt = at
    this.#timer = clock.after(this.#pauseMs, () => {
      this.#timer = null
      this.#looking = true
      this.#look()
        .catch((error: unknown) => this.#trouble(error))
        .finally(() => {
          this.#looking = false
          this.#plan()
        })
    })
    this.#pauseMs = Math.min(LAST_LOOK_MS, this.#pauseMs * GROWTH)
  }

  async #look(): Promise<void> {
    const asked = [...this.#waiting.values()].flatMap((same) => [...same].slice(0, 1)).map(({ task }) => task)
    const found = await this.#read(asked)
    for (const task of asked) {
      const info = found.get(refKey(task))
      if (info === undefined) this.#gone(task)
      else this.#judge(task, info)
    }
  }

  /** Some servers refuse the whole call for one task that is gone; then each is asked for alone. */
  async #read(tasks: readonly ManagedRef[]): Promise<Map<string, ObjectContent>> {
    const query = { type: 'Task', properties: ['info.state', 'info.error', 'info.result'] }
    const found = new Map<string, ObjectContent>()
    const take = (objects: readonly ObjectContent[]): void => {
      for (const object of objects) found.set(refKey(object.ref), object)
    }
    try {
      take(await retrieve(this.#session, { ...query, objects: tasks }))
    } catch (error) {
      if (!isGone(error)) throw error
      for (const task of tasks) {
        await retrieve(this.#session, { ...query, objects: [task] }).then(take, (thrown: unknown) => {
          if (!isGone(thrown)) throw thrown
        })
      }
    }
    return found
  }

  #judge(task: ManagedRef, { properties }: ObjectContent): void {
    const state = properties.get('info.state')?.text
    if (state !== 'success' && state !== 'error') return
    for (const waiting of [...(this.#waiting.get(refKey(task)) ?? [])]) {
      if (state === 'success') {
        waiting.resolve(properties.get('info.result') ?? null)
        continue
      }
      const fault = localizedFault(properties.get('info.error') ?? null)
      waiting.reject(faultError(fault ?? { name: 'unknown', message: '', detail: null }, waiting.doing))
    }
  }

  #gone(task: ManagedRef): void {
    for (const waiting of [...(this.#waiting.get(refKey(task)) ?? [])]) {
      waiting.reject(
        new VspcError('VSPC_VSPHERE_NOT_FOUND', `${waiting.doing}: the server has forgotten its task ${task.value}`),
      )
    }
  }

  /** Not reached this time: tasks go on without us, and each wait has its own deadline. */
  #trouble(error: unknown): void {
    if (error instanceof VspcError && error.retryable) {
      this.#session.log.debug({ reason: errorMessage(error) }, 'vSphere tasks not read')
    } else {
      this.#failAll(error)
    }
  }

  #failAll(error: unknown): void {
    for (const same of [...this.#waiting.values()]) for (const waiting of [...same]) waiting.reject(error)
  }
}

function isGone(error: unknown): boolean {
  return error instanceof VspcError && error.code === 'VSPC_VSPHERE_NOT_FOUND'
}

/** For a method whose name ends in `_Task`: the task that it began. */
export function taskOf(response: Element): ManagedRef {
  const task = childOf(response, 'returnval')
  const value = textOf(response, 'returnval')
  return { type: task?.refType ?? 'Task', value: value ?? '' }
}
