/** `vspc point --print`: the same with govc, PowerCLI and Ansible, to be copied. Pure. */
import { cleanText, VspcError } from '../base/index.ts'
import { parseUuid } from '../vsphere/index.ts'
import type { PointChoice, WantedPort } from './point-plan.ts'
import { govcName, powershellString, shellWord, yamlString } from './point-quoting.ts'
import type { VmArgument } from './point-vms.ts'

export const PRINT_TOOLS = ['govc', 'powercli', 'ansible'] as const
export type PrintTool = (typeof PRINT_TOOLS)[number]

export type PrintedVm = { readonly [kind in 'name' | 'path' | 'uuid']?: string }

/** @throws VspcError VSPC_USAGE for what no other tool could look up in one go, or no line could hold. */
export function printedVm(argument: VmArgument): PrintedVm {
  if (!('exactly' in argument)) {
    const text = `--print knows no patterns such as "${cleanText(argument.text, 100)}": name each VM, or give its inventory path or UUID`
    throw new VspcError('VSPC_USAGE', text)
  }
  const text = argument.exactly
  if (text === '' || /[\p{Cc}\p{Cs}\u2028\u2029]/u.test(text)) {
    throw new VspcError(
      'VSPC_USAGE',
      `"${cleanText(text, 100)}" holds control characters, or nothing: no VM is called so`,
    )
  }
  const uuid = parseUuid(text)
  if (uuid !== null) return { uuid }
  return text.includes('/') ? { path: `/${text.replace(/^\/+|\/+$/g, '')}` } : { name: text }
}

export interface Printed {
  readonly vm: string
  readonly govc: string
  readonly powercli: string
  readonly ansible: string
}

export function printOthers(vm: PrintedVm, wanted: WantedPort, choice: PointChoice): Printed {
  return {
    vm: vm.name ?? vm.path ?? vm.uuid ?? '',
    govc: govc(vm, wanted, choice),
    powercli: powercli(vm, wanted, choice),
    ansible: ansible(vm, wanted, choice),
  }
}

const TITLES: Record<PrintTool, string> = {
  govc: 'govc, in a POSIX shell',
  powercli: 'PowerCLI',
  ansible: 'Ansible: tasks of a playbook',
}

/** @param only null: all three. */
export function formatPrinted(all: readonly Printed[], only: PrintTool | null): string {
  const sections = PRINT_TOOLS.filter((tool) => only === null || tool === only).map((tool) => {
    const title = only === null ? [`### ${TITLES[tool]}`] : []
    return [...title, ...all.map((printed) => printed[tool])].join('\n')
  })
  return `${sections.join('\n\n')}\n`
}

function govc(vm: PrintedVm, { serviceURI, proxyURI, direction }: WantedPort, { port, add }: PointChoice): string {
  const which =
    vm.uuid !== undefined
      ? `-vm.uuid ${shellWord(vm.uuid)}`
      : vm.path !== undefined
        ? `-vm.ipath ${shellWord(vm.path)}`
        : `-vm ${shellWord(govcName(vm.name ?? ''))}`
  const added = `$(govc device.serial.add ${which})`
  const at = typeof port === 'number' ? port : 1
  const first = `$(govc device.ls ${which} 'serialport-*' | sort -t- -k2n | awk 'NR == ${at} { print $1 }')`
  const labelled =
    `$(govc device.info ${which} 'serialport-*' | LABEL=${shellWord(String(port))} ` +
    `awk '$1 == "Name:" { name = $2 } sub(/^ *Label: */, "") && $0 == ENVIRON["LABEL"] { print name }')`
  const found = typeof port === 'string' ? labelled : first
  const head = add
    ? ['# A new port; the VM has to be off for this.', `port=${added}`]
    : port !== null
      ? [`port=${found}`]
      : [
          '# The first serial port. A VM without any gets one, and has to be off for this.',
          `port=${found}`,
          `[ -n "$port" ] || port=${added}`,
        ]
  const client = direction === 'client' ? ' -client' : ''
  // What comes last is taken literally, even if it begins with a dash.
  const to = `-vspc-proxy ${shellWord(proxyURI)}${client} -- ${shellWord(serviceURI)}`
  return [
    ...head,
    // Without a name govc would take the first port.
    '[ -n "$port" ] &&',
    `  govc device.disconnect ${which} "$port" &&`,
    `  govc device.serial.connect ${which} -device "$port" ${to} &&`,
    `  govc device.connect ${which} "$port"`,
  ].join('\n')
}

function powercli(vm: PrintedVm, { serviceURI, proxyURI, direction }: WantedPort, choice: PointChoice): string {
  const index = '(Get-View ServiceInstance).Content.SearchIndex'
  const view =
    vm.uuid !== undefined
      ? [
          `$index = Get-View ${index}`,
          `$uuid = ${powershellString(vm.uuid)}`,
          '$found = $index.FindByUuid($null, $uuid, $true, $true)',
          'if (-not $found) { $found = $index.FindByUuid($null, $uuid, $true, $false) }',
          '$vm = Get-View $found',
        ]
      : vm.path !== undefined
        ? [`$vm = Get-View (Get-View ${index}).FindByInventoryPath(${powershellString(vm.path.slice(1))})`]
        : // By -Name a name would be taken for a pattern.
          [`$vm = (Get-VM | Where-Object { $_.Name -ceq ${powershellString(vm.name ?? '')} }).ExtensionData`]
  return [
    ...view,
    "if (-not $vm -or @($vm).Count -ne 1) { throw 'not exactly one VM' }",
    ...powercliPort(choice),
    'function Set-SerialPort($operation, $device) {',
    '  $change = New-Object VMware.Vim.VirtualDeviceConfigSpec',
    '  $change.Operation = $operation',
    '  $change.Device = $device',
    '  $spec = New-Object VMware.Vim.VirtualMachineConfigSpec',
    '  $spec.DeviceChange = @($change)',
    '  $vm.ReconfigVM($spec)',
    '}',
    "$operation = 'edit'",
    'if (-not $port) {',
    '  # vSphere adds serial ports only to a VM that is off.',
    "  $operation = 'add'",
    '  $port = New-Object VMware.Vim.VirtualSerialPort',
    '  $port.Key = -1',
    '  $port.YieldOnPoll = $true',
    '  $port.Connectable = New-Object VMware.Vim.VirtualDeviceConnectInfo',
    '  $port.Connectable.AllowGuestControl = $true',
    '} elseif ($port.Connectable.Connected) {',
    '  # The backing of a connected port may not change.',
    '  $port.Connectable.Connected = $false',
    "  Set-SerialPort 'edit' $port",
    '}',
    '$port.Backing = New-Object VMware.Vim.VirtualSerialPortURIBackingInfo',
    `$port.Backing.Direction = ${powershellString(direction)}`,
    `$port.Backing.ServiceURI = ${powershellString(serviceURI)}`,
    `$port.Backing.ProxyURI = ${powershellString(proxyURI)}`,
    '$port.Connectable.StartConnected = $true',
    "$port.Connectable.Connected = ($vm.Runtime.PowerState -eq 'poweredOn')",
    'Set-SerialPort $operation $port',
  ].join('\n')
}

function powercliPort({ port, add }: PointChoice): string[] {
  if (add) return ['$port = $null']
  const devices =
    '$vm.Config.Hardware.Device | Where-Object { $_ -is [VMware.Vim.VirtualSerialPort] } | Sort-Object Key'
  if (port === null) {
    return [
      '# The first network port; a VM without any gets one.',
      `$port = ${devices} |`,
      '  Where-Object { $_.Backing -is [VMware.Vim.VirtualSerialPortURIBackingInfo] } | Select-Object -First 1',
    ]
  }
  const one =
    typeof port === 'number'
      ? `Select-Object -Index ${port - 1}`
      : `Where-Object { $_.DeviceInfo.Label -ceq ${powershellString(port)} }`
  return [`$port = ${devices} | ${one}`, "if (-not $port) { throw 'no such serial port' }"]
}

function ansible(vm: PrintedVm, { serviceURI, proxyURI, direction }: WantedPort, { port }: PointChoice): string {
  const { name, path, uuid } = vm
  const which =
    uuid !== undefined
      ? [`    uuid: ${yamlString(uuid)}`, '    use_instance_uuid: true']
      : [`    name: ${yamlString(name ?? path?.slice(path.lastIndexOf('/') + 1) ?? '')}`]
  const notes = [
    '# The VM has to be off. The port that has this service_uri is changed; where none has, one is added.',
    ...(port === null ? [] : ['# The module cannot tell ports apart otherwise: --port is left out.']),
    ...(path === undefined ? [] : ['# It knows no folders: the name has to be the only one.']),
    ...(uuid === undefined ? [] : ['# For a BIOS UUID: use_instance_uuid: false.']),
  ]
  return [
    ...notes,
    '- name: Serial port to the concentrator',
    '  community.vmware.vmware_guest_serial_port:',
    '    hostname: "{{ vcenter_hostname }}"',
    '    username: "{{ vcenter_username }}"',
    '    password: "{{ vcenter_password }}"',
    ...which,
    '    backings:',
    '      - backing_type: network',
    '        state: present',
    `        direction: ${direction}`,
    `        service_uri: ${yamlString(serviceURI)}`,
    `        proxy_uri: ${yamlString(proxyURI)}`,
    '        yield_on_poll: true',
    '  delegate_to: localhost',
  ].join('\n')
}
