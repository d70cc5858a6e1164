/** Changes to a VM: devices and extraConfig. */
import { type Element, leaf, type ManagedRef, node, textOf } from './element.ts'
import type { VsphereSession } from './session.ts'
import { type TaskOptions, taskOf } from './tasks.ts'

export interface VmChange {
  /** Of editSerialPort, addSerialPort, removeSerialPort. */
  readonly devices?: readonly Element[]
  /**
   * Keys and values, `guestinfo.` ones mostly. An empty value removes the key. Only what really changes: a key that is
   * given again unchanged may become a volatile one. [doc]
   */
  readonly extraConfig?: Iterable<readonly [key: string, value: string]>
}

/**
 * Changes a VM and waits until that is done. Where this fails with VSPC_VSPHERE_UNREACHABLE or VSPC_VSPHERE_TASK_TIMEOUT
 * the change may have been made: look before you repeat it.
 * @throws VsphereFault: VSPC_VSPHERE_BUSY (again later), VSPC_VSPHERE_STATE, VSPC_VSPHERE_PERMISSION ...; and as
 * {@link VsphereSession.call} and the session's `tasks.wait`.
 */
export async function reconfigureVm(
  session: VsphereSession,
  vm: ManagedRef,
  { devices = [], extraConfig = [] }: VmChange,
  options: TaskOptions = {},
): Promise<void> {
  const spec = node('spec', [
    ...devices,
    ...Array.from(extraConfig, ([key, value]) =>
      node('extraConfig', [leaf('key', key), leaf('value', value, 'string')], 'OptionValue'),
    ),
  ])
  const signal = options.signal ? { signal: options.signal } : {}
  const response = await session.call(vm, 'ReconfigVM_Task', [spec], signal)
  await session.tasks.wait(taskOf(response), `cannot change ${vm.value}`, options)
}

/** @param element value of the property `config.extraConfig`. */
export function readExtraConfig(element: Element | null | undefined): Map<string, string> {
  const values = new Map<string, string>()
  for (const option of element?.children ?? []) {
    const key = textOf(option, 'key')
    if (key !== null) values.set(key, textOf(option, 'value') ?? '')
  }
  return values
}
