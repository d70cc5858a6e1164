import type { Command } from 'commander'
import { VspcError } from '../base/index.ts'
import { readConfigFile } from '../config/index.ts'
import { CHECKS } from './doctor-checks.ts'
import { ask, type Facts } from './doctor-facts.ts'
import { runChecks } from './doctor-finding.ts'
import { gatherLocal, gatherServer } from './doctor-gather-local.ts'
import { gatherVsphere } from './doctor-gather-vsphere.ts'
import { doctorReport, formatFindings, summary } from './doctor-report.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { printData, printNote } from './output.ts'
import { printableJson } from './point-report.ts'
import { addServerOptions, resolveServer, type ServerOptions } from './server-address.ts'
import { addVsphereOptions, resolveVsphere, type VsphereFlags } from './vsphere-options.ts'

interface DoctorFlags extends VsphereFlags, ServerOptions {
  appliance?: string
  json?: true
}

const HELP = `
Looks at what a console needs on its way, and says of each thing whether it is
well: ok, -- (neither good nor bad, or not known), warn or FAIL, and what to do.
Nothing is changed. docs/doctor.md explains every line.

Without VM: this machine (Node, open files, configuration, data folder) and the
server; with --vsphere the API, too. With a VM: also its serial ports, its
host's firewall as far as the API shows it, where the proxyURI leads to, and
what the server has seen of it.

Exit codes: 0 nothing fails, 1 something does, 2 usage, 130 interrupted.

Examples:
  vspc doctor
  vspc doctor web1 --vsphere https://vc/sdk --user vspc@vsphere.local \\
    --password-file pw --pin sha256:HEX
  vspc doctor web1 --json | jq -r '.findings[] | select(.level == "fail") | .id'
`

export function registerDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .argument('[vm]', 'name, inventory path or UUID of a VM to look at')
    .option('--appliance <vm>', 'the VM that the server runs in (default: this one)')
    .option('--json', 'print JSON')
  addServerOptions(addVsphereOptions(command)).addHelpText('after', HELP).action(doctor)
}

async function doctor(vm: string | undefined, flags: DoctorFlags): Promise<void> {
  if (vm === '')
    throw new VspcError('VSPC_USAGE', 'VM is empty: give its name, inventory path or UUID, or leave it out')
  exitOnInterrupt()
  const report = doctorReport(runChecks(CHECKS, await gather(vm ?? null, flags)))
  if (flags.json === true) printData(`${printableJson(report)}\n`)
  else printData(`${formatFindings(report.findings).join('\n')}\n`)
  if (!report.ok) throw new CommandExit(EXIT.other, summary(report))
  printNote(summary(report))
}

async function gather(wanted: string | null, flags: DoctorFlags): Promise<Facts> {
  const { env } = process
  const [{ local, server }, fromVsphere] = await Promise.all([
    gatherHere(flags),
    givesVsphere(flags, env).then(async (given) =>
      gatherVsphere({
        access: given ? await ask(() => resolveVsphere(flags, env)) : null,
        vm: wanted,
        appliance: flags.appliance ?? null,
      }),
    ),
  ])
  return { local, server, wanted, ...fromVsphere }
}

async function gatherHere(flags: DoctorFlags): Promise<Pick<Facts, 'local' | 'server'>> {
  const { local, config } = await gatherLocal({ config: flags.config ?? null, env: process.env })
  const address = await ask(() => resolveServer(flags, process.env))
  return { local, server: await gatherServer(address, config) }
}

/** Whether anybody has said where vSphere is; a mistake in saying so is found later. */
async function givesVsphere(flags: DoctorFlags, env: NodeJS.ProcessEnv): Promise<boolean> {
  const { vsphere, user, passwordFile, ca, pin, dial } = flags
  const isGiven = [vsphere, user, passwordFile, ca, pin, dial].some((flag) => flag !== undefined)
  if (isGiven || env['VSPC_VSPHERE_URL']) return true
  const file = flags.config ?? env['VSPC_CONFIG']
  if (!file) return false
  const source = await ask(() => readConfigFile(file, process.cwd()))
  const values = source.ok ? source.value.values : null
  return typeof values === 'object' && values !== null && 'vsphere' in values
}
