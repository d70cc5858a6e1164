import { type Command, Option } from 'commander'
import { nearest, VspcError } from '../base/index.ts'
import type { Direction } from '../vsphere/index.ts'
import { printData, printNote } from './output.ts'
import { POINT_HELP } from './point-help.ts'
import { type PointChoice, type WantedPort, wantedHints, wantedPort } from './point-plan.ts'
import { formatPrinted, PRINT_TOOLS, type PrintTool, printedVm, printOthers } from './point-print.ts'
import { printableJson } from './point-report.ts'
import { runPoint } from './point-run.ts'
import { EXAMPLE_SERVICE_URI } from './point-uris.ts'
import { parseVmArgument, type VmArgument } from './point-vms.ts'
import { addVsphereOptions, resolveVsphere, type VsphereFlags } from './vsphere-options.ts'

interface PointFlags extends VsphereFlags {
  serviceUri?: string
  proxyUri?: string
  direction: Direction
  label?: string
  port?: number | string
  add?: true
  plan?: true
  dryRun?: true
  print?: string
  json?: true
}

export function registerPoint(program: Command): void {
  const command = program
    .command('point')
    .argument('<vm...>', 'name, inventory path or UUID; or a pattern: see below')
    .option('--service-uri <uri>', `what the port says to the server, such as ${EXAMPLE_SERVICE_URI}`)
    .option('--proxy-uri <uri>', 'where its host connects to, such as telnet://10.0.0.9:13370')
    .addOption(
      new Option('--direction <direction>', 'client asks the server to dial the serviceURI')
        .choices(['server', 'client'])
        .default('server'),
    )
    .option('--label <label>', 'tells several ports of a VM apart: it is put into the serviceURI')
    .option('--port <port>', 'number, from 1, or label of the device ("Serial port 2")', parsePort)
    .addOption(new Option('--add', 'always add a port').conflicts('port'))
    .option('--plan', 'print what would change, and change nothing')
    .option('--dry-run', 'the same as --plan')
    .addOption(
      new Option('--print [=tool]', `print the lines for ${PRINT_TOOLS.join(', ')} instead`).conflicts([
        'plan',
        'dryRun',
      ]),
    )
    .option('--json', 'print JSON')
  addVsphereOptions(command).addHelpText('after', POINT_HELP).action(point)
}

async function point(texts: string[], flags: PointFlags): Promise<void> {
  const wanted = readWanted(flags)
  const choice: PointChoice = { port: flags.port ?? null, add: flags.add === true }
  const vms = texts.map(parseVmArgument)
  for (const hint of wantedHints(wanted)) printNote(`warning: ${hint}`)
  if (flags.print !== undefined) {
    print(vms, wanted, choice, parseTool(flags.print), flags.json === true)
    return
  }
  const plan = flags.plan === true || flags.dryRun === true
  const access = resolveVsphere(flags, process.env)
  await runPoint({ access, vms, wanted, choice, plan, json: flags.json === true })
}

function readWanted({ serviceUri, proxyUri, direction, label }: PointFlags): WantedPort {
  if (serviceUri === undefined) throw missing('--service-uri', EXAMPLE_SERVICE_URI)
  if (proxyUri === undefined) {
    const without =
      'a port without one cannot be migrated, and is not what this command is for: see docs/esxi.md, section 6'
    throw missing('--proxy-uri', 'telnet://10.0.0.9:13370', without)
  }
  return wantedPort({ serviceUri, proxyUri, direction, ...(label === undefined ? {} : { label }) })
}

function missing(option: string, example: string, more?: string): VspcError {
  const rest = more === undefined ? '' : `; ${more}`
  return new VspcError('VSPC_USAGE', `${option} is missing, such as ${option} ${example}${rest}`)
}

function parsePort(text: string): number | string {
  if (text === '') throw new VspcError('VSPC_USAGE', '--port: give a number, from 1, or the label of the device')
  if (!/^\d+$/.test(text)) return text
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text)
  throw new VspcError('VSPC_USAGE', `--port: "${text}" is no number of a serial port: they count from 1`)
}

/** Empty: all. */
function parseTool(text: string): PrintTool | null {
  if (text === '') return null
  const tool = PRINT_TOOLS.find((one) => one === text.toLowerCase())
  if (tool !== undefined) return tool
  const near = nearest(text, PRINT_TOOLS)
  const hint = near === null ? '' : `, did you mean ${near}?`
  throw new VspcError('VSPC_USAGE', `--print: "${text}" is none of ${PRINT_TOOLS.join(', ')}${hint}`)
}

function print(
  vms: readonly VmArgument[],
  wanted: WantedPort,
  choice: PointChoice,
  only: PrintTool | null,
  json: boolean,
): void {
  const all = vms.map((vm) => printOthers(printedVm(vm), wanted, choice))
  const isForGovc = only === null || only === 'govc'
  if (isForGovc && /^(?:-$|\[)/.test(wanted.serviceURI)) {
    printNote('warning: govc takes a serviceURI of "-", or one that begins with "[", for a file')
  }
  printData(json ? `${printableJson(all)}\n` : formatPrinted(all, only))
}
