import { Command } from 'commander'
import { runProgram } from './run.ts'
import { productVersion } from './version.ts'

/** Adds a command; `whole` gives a program with all commands loaded, for those that describe it. */
type Register = (program: Command, whole: () => Promise<Command>) => void

interface CommandEntry {
  readonly name: string
  readonly alias?: string
  /** One line for `vspc --help`. */
  readonly summary: string
  /** Options whose value only counts after `=`, so that `--wait PORT` does not take PORT for a duration. */
  readonly valueByEquals?: readonly string[]
  readonly load: () => Promise<Register>
}

/** Every command. Its file is loaded only when it, or its help, is asked for. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'serve',
    summary: 'start the concentrator',
    load: async () => (await import('./serve.ts')).registerServe,
  },
  {
    name: 'relay',
    summary: 'join endpoints: pass streams of VMs on to where the server is',
    load: async () => (await import('./relay.ts')).registerRelay,
  },
  {
    name: 'ports',
    alias: 'ls',
    summary: 'list the serial ports of all VMs',
    valueByEquals: ['--watch'],
    load: async () => (await import('./ports.ts')).registerPorts,
  },
  {
    name: 'attach',
    summary: "open a VM's console",
    valueByEquals: ['--wait', '--queue'],
    load: async () => (await import('./attach.ts')).registerAttach,
  },
  {
    name: 'who',
    summary: 'list who is attached to the consoles',
    load: async () => (await import('./who.ts')).registerWho,
  },
  {
    name: 'say',
    summary: 'say something to those who are attached',
    load: async () => (await import('./say.ts')).registerSay,
  },
  {
    name: 'kick',
    summary: 'end a console of somebody else',
    load: async () => (await import('./kick.ts')).registerKick,
  },
  {
    name: 'log',
    summary: 'print what a VM has sent',
    load: async () => (await import('./log.ts')).registerLog,
  },
  {
    name: 'grep',
    summary: 'search what VMs have sent',
    load: async () => (await import('./grep.ts')).registerGrep,
  },
  {
    name: 'send',
    summary: "type a line, a file or a break on a VM's console",
    valueByEquals: ['--wait-port', '--queue'],
    load: async () => (await import('./send.ts')).registerSend,
  },
  {
    name: 'expect',
    summary: "wait for output on a VM's console, and answer it",
    valueByEquals: ['--wait-port', '--queue'],
    load: async () => (await import('./expect.ts')).registerExpect,
  },
  {
    name: 'alerts',
    summary: 'list what the alert rules have found in the output of VMs, and follow them',
    load: async () => (await import('./alerts.ts')).registerAlerts,
  },
  {
    name: 'hooks',
    summary: 'try the webhooks and programs that are told of events',
    load: async () => (await import('./hooks.ts')).registerHooks,
  },
  {
    name: 'demo',
    summary: 'try it: a server and simulated VMs that migrate, in one process',
    load: async () => (await import('./demo.ts')).registerDemo,
  },
  {
    name: 'sim',
    summary: 'play ESXi hosts with VMs that connect, print, echo and migrate',
    load: async () => (await import('./sim.ts')).registerSim,
  },
  {
    name: 'replay',
    summary: "show a recorded session, or play its VMs' side against a server",
    load: async () => (await import('./replay.ts')).registerReplay,
  },
  {
    name: 'track',
    summary: "follow the appliance: point the VMs' serial ports at the relay where it is",
    load: async () => (await import('./track.ts')).registerTrack,
  },
  {
    name: 'point',
    summary: "point VMs' serial ports at the concentrator, or add one",
    valueByEquals: ['--print'],
    load: async () => (await import('./point.ts')).registerPoint,
  },
  {
    name: 'guestinfo',
    summary: 'read, publish and follow what a VM and its appliance tell each other',
    valueByEquals: ['--wait', '--until-exit'],
    load: async () => (await import('./guestinfo.ts')).registerGuestinfo,
  },
  {
    name: 'doctor',
    summary: 'look at what a console needs on its way, and say what is wrong',
    load: async () => (await import('./doctor.ts')).registerDoctor,
  },
  {
    name: 'uri',
    summary: 'print what to paste into vCenter or Nova, certificates pinned',
    load: async () => (await import('./uri.ts')).registerUri,
  },
  {
    name: 'token',
    summary: 'make, list and remove the tokens that let programs and people in',
    load: async () => (await import('./token.ts')).registerToken,
  },
  {
    name: 'config',
    summary: 'check or describe the configuration file',
    load: async () => (await import('./config.ts')).registerConfig,
  },
  {
    name: 'completion',
    summary: 'print a script that completes commands in a shell',
    load: async () => (await import('./completion.ts')).registerCompletion,
  },
]

/** The program with the command that `args` names loaded, and the others as names with a summary, unless `whole`. */
export async function buildProgram(
  args: readonly string[],
  commands: readonly CommandEntry[] = COMMANDS,
  whole = false,
): Promise<Command> {
  const program = new Command('vspc')
    .description('Virtual serial port concentrator for VMware VMs: consoles that survive vMotion')
    .version(productVersion(), '-V, --version')
    .exitOverride()
    .showHelpAfterError("(try 'vspc --help' or 'vspc COMMAND --help')")
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'vspc: ')) })
    .addHelpText('after', HELP)
  const wanted = commandNamed(args)
  for (const entry of commands) {
    if (whole || (wanted !== undefined && (wanted === entry.name || wanted === entry.alias))) {
      const register = await entry.load()
      register(program, () => buildProgram(args, commands, true))
      program.commands.at(-1)?.summary(entry.summary).description(capitalized(entry.summary))
    } else {
      const stub = program.command(entry.name).description(entry.summary)
      if (entry.alias) stub.alias(entry.alias)
    }
  }
  return program
}

const HELP = `
The client commands find their server by --server or VSPC_SERVER, by default
http://127.0.0.1:13371.

Examples:
  vspc serve                    start the concentrator
  vspc ports                    see the VMs that are connected
  vspc attach web1              open web1's console; Ctrl-] then . leaves
`

/** Runs one command line and returns its exit code. Commands end by returning or throwing, never by exiting. */
export function runCli(args: readonly string[]): Promise<number> {
  return runProgram('vspc', async () => {
    const program = await buildProgram(args)
    await program.parseAsync(bindOptionalValues(args), { from: 'user' })
  })
}

/** The command's name: the first argument that is no option; after `help`, the second. */
function commandNamed(args: readonly string[]): string | undefined {
  const [first, second] = args.filter((arg) => !arg.startsWith('-'))
  return first === 'help' ? second : first
}

/** `--wait` becomes `--wait=`, so that Commander does not take the next argument for its value. */
function bindOptionalValues(args: readonly string[]): string[] {
  const wanted = commandNamed(args)
  const entry = COMMANDS.find(({ name, alias }) => wanted !== undefined && (name === wanted || alias === wanted))
  const end = args.indexOf('--')
  return args.map((arg, index) => {
    const bind = entry?.valueByEquals?.includes(arg) && (end < 0 || index < end)
    return bind ? `${arg}=` : arg
  })
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
