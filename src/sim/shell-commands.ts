/** What the simulated shell knows. Output lines end in CR LF, as a tty with onlcr makes them. */

export interface ShellContext {
  readonly args: readonly string[]
  /** The line after its first word. */
  readonly rest: string
  readonly vmName: string
  readonly hostName: string
  readonly upMs: number
  readonly wallMs: number
}

/** Text at once, or lines at an interval. */
export type ShellOutput = string | { readonly lines: Iterator<string>; readonly everyMs: number }

type ShellCommand = (context: ShellContext) => ShellOutput

const MAX_COUNT = 100_000

const lines = (...all: readonly string[]): string => all.map((line) => `${line}\r\n`).join('')

const COMMANDS: Record<string, { help: string; run: ShellCommand }> = {
  help: {
    help: 'this list',
    run: () => lines(...Object.entries(COMMANDS).map(([name, { help }]) => `  ${name.padEnd(10)} ${help}`)),
  },
  count: {
    help: 'count N [MS]: prints 1 to N, at once or every MS milliseconds; ^C ends it',
    run: ({ args }) => count(args),
  },
  date: { help: 'the date', run: ({ wallMs }) => lines(new Date(wallMs).toUTCString()) },
  echo: { help: 'echo TEXT', run: ({ rest }) => lines(rest) },
  env: {
    help: 'the environment',
    run: ({ vmName }) => lines('HOME=/root', `HOSTNAME=${vmName}`, 'SHELL=/bin/sh', 'TERM=vt220', 'USER=root'),
  },
  free: {
    help: 'memory',
    run: () =>
      lines(
        '              total        used        free',
        'Mem:         262144       18240      243904',
        'Swap:             0           0           0',
      ),
  },
  hostname: { help: "the VM's name", run: ({ vmName }) => lines(vmName) },
  ls: { help: 'files', run: () => lines('bin  dev  etc  proc  root  sys  tmp  var') },
  uname: { help: 'the system', run: ({ vmName }) => lines(`Sim ${vmName} 1.0 #1 SMP x86_64 vspc`) },
  uptime: {
    help: 'time since power-on',
    run: ({ upMs }) => lines(` up ${formatUptime(upMs)}, 1 user, load average: 0.00, 0.01, 0.05`),
  },
  where: { help: 'the simulated ESXi host it runs on', run: ({ hostName }) => lines(hostName) },
  whoami: { help: 'the user', run: () => lines('root') },
  color: {
    help: 'eight colours',
    run: () => `${[0, 1, 2, 3, 4, 5, 6, 7].map((n) => `\x1b[4${n}m  ${n}  `).join('')}\x1b[0m\r\n`,
  },
  true: { help: 'nothing, successfully', run: () => '' },
}

/** The command for a line; an unknown word gets the usual complaint. */
export function findShellCommand(line: string): ShellCommand {
  const word = line.split(/\s+/, 1)[0] ?? ''
  return Object.hasOwn(COMMANDS, word)
    ? (COMMANDS[word]?.run ?? (() => ''))
    : () => lines(`sh: ${word}: not found (try help)`)
}

function count(args: readonly string[]): ShellOutput {
  const to = Number(args[0] ?? '10')
  const everyMs = Number(args[1] ?? '0')
  if (!Number.isInteger(to) || to < 0 || to > MAX_COUNT || !(everyMs >= 0)) {
    return lines(`usage: count N [MS], N up to ${MAX_COUNT}`)
  }
  if (everyMs > 0) return { lines: numbers(to), everyMs }
  return lines(...numbers(to))
}

function* numbers(to: number): Generator<string, undefined> {
  for (let n = 1; n <= to; n++) yield String(n)
  return undefined
}

function formatUptime(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  const pad = (n: number) => String(n).padStart(2, '0')
  return `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`
}
