import { type Command, Option } from 'commander'
import { VspcError } from '../base/index.ts'
import { GUEST_PREFIX } from '../guestinfo/index.ts'
import { parseDuration } from './duration.ts'
import { GUESTINFO_HELP } from './guestinfo-help.ts'
import { getInside, setInside, watchInside } from './guestinfo-inside.ts'
import { getOutside, setOutside, watchOutside } from './guestinfo-outside.ts'
import type { GuestinfoFlags } from './guestinfo-values.ts'
import { addVsphereOptions } from './vsphere-options.ts'

const RAW = 'as the host keeps it: do not decode <nil> and vspc-base64:'

export function registerGuestinfo(program: Command): void {
  const guestinfo = program.command('guestinfo').addHelpText('after', GUESTINFO_HELP)
  leaf(guestinfo, 'get')
    .description('Print the values of keys')
    .argument('[vm-or-key...]', 'the VM, if from outside; then guestinfo.NAME, several are printed as KEY=VALUE')
    .option('--raw', RAW)
    .option('--wait [=duration]', 'until all keys have a value; --wait=30s gives up then', (text) =>
      text === '' ? Number.POSITIVE_INFINITY : parseDuration(text, '--wait'),
    )
    .action((args: string[], flags: GuestinfoFlags) => dispatch(args, flags, getInside, getOutside))
  leaf(guestinfo, 'set')
    .description('Set keys')
    .argument('[vm-or-key=value...]', 'the VM, if from outside; then KEY=VALUE, an empty value is kept as <nil>')
    .option('--stdin <key>', 'set this key to what comes from standard input')
    .option('--prepare', 'from outside: make the keys that are named without value, before the VM is switched on')
    .addOption(
      new Option('--remove', 'from outside: remove the keys that are named without value').conflicts('prepare'),
    )
    .action((args: string[], flags: GuestinfoFlags) => dispatch(args, flags, setInside, setOutside))
  leaf(guestinfo, 'watch')
    .description('Print the values of keys, and each change')
    .argument('[vm-or-key...]', 'the VM, if from outside; then guestinfo.NAME')
    .option('--raw', RAW)
    .option(
      '--until-exit [=process]',
      'from outside: wait until this process (or any) has ended, print its exit status',
    )
    .option('--timeout <duration>', 'give up after this, with exit code 124', (text) =>
      parseDuration(text, '--timeout'),
    )
    .action((args: string[], flags: GuestinfoFlags) => dispatch(args, flags, watchInside, watchOutside))
}

function leaf(guestinfo: Command, name: string): Command {
  const command = guestinfo
    .command(name)
    .option('--tool <path>', 'inside: vmware-rpctool or vmtoolsd; by default it is searched for')
    .option('--json', 'print JSON')
  return addVsphereOptions(command).addHelpText('after', GUESTINFO_HELP)
}

type Inside = (args: readonly string[], flags: GuestinfoFlags) => Promise<void>
type Outside = (vm: string, args: readonly string[], flags: GuestinfoFlags) => Promise<void>

async function dispatch(
  args: readonly string[],
  flags: GuestinfoFlags,
  inside: Inside,
  outside: Outside,
): Promise<void> {
  const how = outsideBy(args, flags)
  if (how === null) return inside(args, flags)
  const [vm, ...rest] = args
  const example = 'such as "vspc guestinfo get web1 guestinfo.hostname"'
  if (vm === undefined) throw new VspcError('VSPC_USAGE', `with ${how} name a VM first, ${example}`)
  if (vm.startsWith(GUEST_PREFIX)) {
    const away = how.startsWith('--') ? `leave ${how} out` : `unset ${how}, or give --tool`
    const text = `with ${how} the first argument is the VM, not a key: ${example}. To work inside this VM, ${away}`
    throw new VspcError('VSPC_USAGE', text)
  }
  return outside(vm, rest, flags)
}

/** What says that the API is meant; null = inside. */
function outsideBy([first]: readonly string[], flags: GuestinfoFlags): string | null {
  const { vsphere, user, passwordFile, ca, pin, dial, config } = flags
  const given = { '--vsphere': vsphere, '--user': user, '--password-file': passwordFile, '--ca': ca, '--pin': pin }
  const option = Object.entries({ ...given, '--dial': dial, '--config': config }).find(
    ([, value]) => value !== undefined,
  )
  if (flags.tool !== undefined) {
    if (option === undefined) return null
    throw new VspcError('VSPC_USAGE', `--tool works inside a VM, ${option[0]} outside: give one of them`)
  }
  if (option !== undefined) return option[0]
  if (process.env['VSPC_VSPHERE_URL']) return 'VSPC_VSPHERE_URL'
  // The file may be one of a server without these settings: what cannot be a VM decides.
  return process.env['VSPC_CONFIG'] && first !== undefined && !first.startsWith(GUEST_PREFIX) ? 'VSPC_CONFIG' : null
}
