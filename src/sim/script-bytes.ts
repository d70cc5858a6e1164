/** The steps of a script that put bytes of their own on the wire. */
import { parseHex } from '../base/index.ts'
import type { SimStep } from './script.ts'
import type { SimVm } from './sim-vm.ts'
import { concatBytes, encodeVmware } from './wire.ts'

/** Hex that the script's parser has let pass. */
export function scriptBytes(hex: string | undefined): Uint8Array {
  return parseHex(hex ?? '') ?? new Uint8Array(0)
}

/** Nothing is sent while the port has no connection: a step does not wait for one. */
export function sendStep(step: Extract<SimStep, { do: 'send' | 'suboption' }>, vm: SimVm): void {
  const { connection } = vm.port(step.port ?? 0)
  if (step.do === 'send') {
    const bytes = scriptBytes(step.hex)
    connection?.sendRaw(concatBytes(...Array.from({ length: step.times ?? 1 }, () => bytes)))
  } else {
    const filling = new Uint8Array(step.bytes ?? 0).fill(0x41)
    connection?.sendRaw(encodeVmware(step.code, scriptBytes(step.hex), filling))
  }
}
