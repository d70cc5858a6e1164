/** Finds and runs the program that talks to the host: `vmware-rpctool`, or `vmtoolsd --cmd`. */
import { execFile } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import { type Clock, pause, systemClock, VspcError } from '../base/index.ts'
import { type GuestinfoLimits, guestinfoLimits } from './limits.ts'
import { readAnswer, type ToolOutcome, type ToolRequest } from './tool-answer.ts'

export interface Tool {
  readonly path: string
  /** `vmware-rpctool MESSAGE`, quick; `vmtoolsd --cmd MESSAGE`, which alone can do what needs a privileged user. [doc] */
  readonly style: 'rpctool' | 'vmtoolsd'
}

/** Runs a program without a shell. @param signal rejects with its reason. */
export type RunTool = (
  path: string,
  args: readonly string[],
  options: { readonly timeoutMs: number; readonly maxOutputBytes: number; readonly signal?: AbortSignal | undefined },
) => Promise<ToolOutcome>

export interface RpcToolOptions {
  /** Path of the tool; one whose name begins with `vmtoolsd` is called as that. By default it is searched for. */
  readonly tool?: string
  /** For `PATH`, and what the tool is given. */
  readonly env?: NodeJS.ProcessEnv
  readonly clock?: Clock
  readonly limits?: Partial<GuestinfoLimits>
  readonly run?: RunTool
}

const NAMES =
  process.platform === 'win32'
    ? ([
        ['rpctool.exe', 'rpctool'],
        ['vmtoolsd.exe', 'vmtoolsd'],
      ] as const)
    : ([
        ['vmware-rpctool', 'rpctool'],
        ['vmtoolsd', 'vmtoolsd'],
      ] as const)

/** Where VMware Tools and the packages of open-vm-tools put them, also where a service has a short PATH. */
const FOLDERS = [
  '/usr/bin',
  '/usr/sbin',
  '/bin',
  '/sbin',
  '/usr/local/bin',
  '/usr/local/sbin',
  '/usr/lib/vmware-tools/sbin64',
  '/usr/lib/vmware-tools/bin64',
  '/usr/pkg/bin',
  '/opt/vmware-tools/bin',
]

/** All tools there are, the best one first: at most one of each style. */
export function findTools(
  env: NodeJS.ProcessEnv = process.env,
  folders: readonly string[] = knownFolders(env),
): Tool[] {
  const named = env['PATH'] ?? env['Path'] ?? ''
  // A relative folder on the PATH may be anybody's.
  const all = [...named.split(delimiter).filter((folder) => isAbsolute(folder)), ...folders]
  const tools: Tool[] = []
  for (const [name, style] of NAMES) {
    const path = all.map((folder) => join(folder, name)).find(isProgram)
    if (path !== undefined) tools.push({ path, style })
  }
  return tools
}

function knownFolders(env: NodeJS.ProcessEnv): readonly string[] {
  return process.platform === 'win32'
    ? [join(env['ProgramFiles'] ?? 'C:\\Program Files', 'VMware', 'VMware Tools')]
    : FOLDERS
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    // Not here, or not for us.
    return false
  }
}

/**
 * The calls to the host, one after the other and not too fast. Values are those on the wire: see values.ts.
 * Keys are not checked here.
 */
export class RpcTool {
  readonly #options: RpcToolOptions
  readonly #limits: GuestinfoLimits
  readonly #clock: Clock
  readonly #run: RunTool
  /** Those not yet found to be of no use; null = not searched for yet. */
  #tools: readonly Tool[] | null = null
  #lastCall: Promise<unknown> = Promise.resolve()
  #lastEnd = Number.NEGATIVE_INFINITY
  #lastSuccess = Number.NEGATIVE_INFINITY

  constructor(options: RpcToolOptions = {}) {
    this.#options = options
    this.#limits = guestinfoLimits(options.limits)
    this.#clock = options.clock ?? systemClock
    const env = options.env ?? process.env
    this.#run = options.run ?? ((path, args, how) => runTool(path, args, env, how))
  }

  /**
   * Sends one message; waits until those before it are done.
   * @returns the answer without its line feed.
   * @throws VspcError VSPC_GUESTINFO_*; the signal's reason when it is aborted, for one that waits when its turn comes.
   */
  call(request: Pick<ToolRequest, 'verb' | 'key'>, message: string, signal?: AbortSignal): Promise<string> {
    const result = this.#lastCall.then(() => this.#tryTools(request, message, signal))
    this.#lastCall = result.catch(() => {})
    return result
  }

  async #tryTools(request: Pick<ToolRequest, 'verb' | 'key'>, message: string, signal?: AbortSignal): Promise<string> {
    let repeated = false
    for (;;) {
      signal?.throwIfAborted()
      const [tool, ...others] = this.#found()
      if (tool === undefined) throw this.#noTool(request)
      const sinceSuccess = this.#clock.now() - this.#lastSuccess
      try {
        return await this.#callTool(tool, request, message, signal)
      } catch (error) {
        if (!(error instanceof VspcError)) throw error
        const denied = error.code === 'VSPC_GUESTINFO_DENIED'
        const useless = error.code === 'VSPC_GUESTINFO_NO_TOOL'
        if ((denied || useless) && others.length > 0) {
          this.#tools = others
        } else if (denied && tool.style === 'vmtoolsd' && !repeated && sinceSuccess <= this.#limits.deniedAgainMs) {
          repeated = true
          await pause(this.#clock, this.#limits.deniedAgainMs, signal)
        } else {
          throw error
        }
      }
    }
  }

  async #callTool(
    tool: Tool,
    request: Pick<ToolRequest, 'verb' | 'key'>,
    message: string,
    signal?: AbortSignal,
  ): Promise<string> {
    const { paceMs, callMs, maxOutputBytes } = this.#limits
    const early = paceMs - (this.#clock.now() - this.#lastEnd)
    if (early > 0) await pause(this.#clock, early, signal)
    const args = tool.style === 'vmtoolsd' ? ['--cmd', message] : [message]
    try {
      const outcome = await this.#run(tool.path, args, { timeoutMs: callMs, maxOutputBytes, signal })
      const answer = readAnswer(outcome, { ...request, path: tool.path, callMs })
      this.#lastSuccess = this.#clock.now()
      return answer
    } finally {
      this.#lastEnd = this.#clock.now()
    }
  }

  #found(): readonly Tool[] {
    this.#tools ??= this.#search()
    return this.#tools
  }

  #search(): readonly Tool[] {
    const { tool } = this.#options
    if (tool === undefined) return findTools(this.#options.env)
    const name = tool.split(/[/\\]/).at(-1) ?? ''
    return [{ path: tool, style: name.startsWith('vmtoolsd') ? 'vmtoolsd' : 'rpctool' }]
  }

  #noTool({ verb, key }: Pick<ToolRequest, 'verb' | 'key'>): VspcError {
    this.#tools = null
    const names = NAMES.map(([name]) => name).join(' nor ')
    const text = `cannot ${verb} ${key}: neither ${names} was found; they come with VMware Tools (open-vm-tools)`
    return new VspcError('VSPC_GUESTINFO_NO_TOOL', text)
  }
}

function runTool(
  path: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  { timeoutMs, maxOutputBytes, signal }: Parameters<RunTool>[2],
): Promise<ToolOutcome> {
  return new Promise((resolve, reject) => {
    const options = {
      // Its words in English, its values in UTF-8.
      env: { ...env, LC_ALL: 'C.UTF-8', LANGUAGE: 'en' },
      encoding: 'utf8',
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: maxOutputBytes,
      windowsHide: true,
      ...(signal === undefined ? {} : { signal }),
    } as const
    const child = execFile(path, args, options, (error, stdout, stderr) => {
      if (signal?.aborted) reject(signal.reason)
      else if (error === null) resolve({ type: 'ended', exitCode: 0, signal: null, stdout, stderr })
      else if (error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') resolve({ type: 'overflow' })
      else if (error.killed === true) resolve({ type: 'timeout' })
      else if (typeof error.code === 'string') resolve({ type: 'broken', reason: error.code })
      else resolve({ type: 'ended', exitCode: error.code ?? null, signal: error.signal ?? null, stdout, stderr })
    })
    // It does not read; a daemon that did would wait for us.
    child.stdin?.on('error', () => {})
    child.stdin?.end()
  })
}
