/** Which VM this machine is. */
import { readFileSync } from 'node:fs'
import { VspcError } from '../base/index.ts'
import { parseUuid } from '../vsphere/index.ts'

/** Of a VM: what VMware makes of its BIOS UUID. */
const DMI_SERIAL = '/sys/class/dmi/id/product_serial'

/**
 * @param hint what to do instead.
 * @throws VspcError VSPC_USAGE where this is no VM of VMware's, or only root may know.
 */
export function ownSerial(hint: string, file: string = DMI_SERIAL): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8').trim()
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'EACCES' ? 'only root may read which VM this is' : null
    throw new VspcError('VSPC_USAGE', `${why ?? 'this is no VM that knows its own UUID'}: ${hint}`, { cause })
  }
  if (/^VMware-/i.test(text) && parseUuid(text) !== null) return text
  throw new VspcError('VSPC_USAGE', `this is no VM of VMware's: ${hint}`)
}
