import { randomBytes } from 'node:crypto'
import { type Limits, type Logger, limitsWith, ManualClock } from '../../src/base/index.ts'
import {
  type Console,
  type ConsoleClient,
  type ConsoleMessage,
  type ConsoleMode,
  type ConsolePermit,
  type ConsoleVia,
  type Port,
  Server,
  type ServerEvent,
  type ServerOptions,
} from '../../src/vspc/index.ts'

/** Log lines, as `level message {fields}`. */
export class LogLines {
  readonly lines: string[] = []
  readonly logger: Logger

  constructor() {
    const at = (level: string) => (fields: object, message: string) => {
      this.lines.push(`${level} ${message} ${JSON.stringify(fields)}`)
    }
    this.logger = {
      trace: at('trace'),
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: () => this.logger,
    }
  }

  matching(pattern: RegExp): string[] {
    return this.lines.filter((line) => pattern.test(line))
  }
}

export interface TestServer {
  server: Server
  clock: ManualClock
  log: LogLines
  events: ServerEvent[]
}

/** A server without listeners, on a clock that stands still: its connections are `VmPeer`s. */
export function testServer(limits: Partial<Limits> = {}, options: Partial<ServerOptions> = {}): TestServer {
  const clock = new ManualClock()
  // As on a real machine, nothing happens at the very beginning of time.
  clock.advance(1_000)
  const log = new LogLines()
  const server = new Server({
    listen: [],
    dial: [],
    serviceUris: [],
    allowDial: [],
    writers: 'shared',
    limits: limitsWith(limits),
    clock,
    log: log.logger,
    random: randomBytes,
    ...options,
  })
  const events: ServerEvent[] = []
  server.subscribe((event) => events.push(event))
  return { server, clock, log, events }
}

/** A console whose transport is a list. */
export class TestConsole implements ConsoleClient {
  readonly chunks: Uint8Array[] = []
  readonly messages: ConsoleMessage[] = []
  /** What `output` answers: false = the transport is past its mark. */
  takes = true
  inputPaused = false
  closedFor: string | null = null
  readonly console: Console

  constructor(
    port: Port,
    {
      mode = 'write',
      from = null,
      who = 'test',
      force = false,
      takes = true,
      ...more
    }: Partial<AttachTestOptions> = {},
  ) {
    this.takes = takes
    this.console = port.attachConsole(this, { mode, from, who, via: 'websocket', force, ...more })
  }

  output(bytes: Uint8Array): boolean {
    this.chunks.push(bytes)
    return this.takes
  }

  notify(message: ConsoleMessage): void {
    this.messages.push(message)
  }

  setInputPaused(paused: boolean): void {
    this.inputPaused = paused
  }

  close(reason: string): void {
    this.closedFor = reason
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.chunks)
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString('latin1')
  }

  type(text: string): void {
    this.console.write(Uint8Array.from(text, (letter) => letter.charCodeAt(0)))
  }

  /** Messages of one kind. */
  told<Type extends ConsoleMessage['type']>(type: Type): Extract<ConsoleMessage, { type: Type }>[] {
    return this.messages.filter((message): message is Extract<ConsoleMessage, { type: Type }> => message.type === type)
  }
}

interface AttachTestOptions {
  mode: ConsoleMode
  from: number | null
  who: string
  force: boolean
  takes: boolean
  via: ConsoleVia
  wait: boolean
  permit: ConsolePermit
}

/** The port of an id that has to exist. */
export function portOf(server: Server, id: string): Port {
  const port = server.table.get(id)
  if (port === undefined) throw new Error(`no port ${id}; there are: ${[...server.table].map((one) => one.id)}`)
  return port
}
