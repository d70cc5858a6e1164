/** UUIDs as vSphere's API wants them. Pure. */

/**
 * Any spelling, also VMware's own of BIOS UUIDs (`VMware-56 4d 0f 39 ...-8a cb ...`, as a VM reads it from its DMI
 * serial number): 32 hex digits, whatever separates them. Null = no UUID.
 */
export function parseUuid(text: string): string | null {
  if (text.length > 80 || !/^(?:VMware-)?[0-9a-f][0-9a-f -]*$/i.test(text.trim())) return null
  const digits = text
    .replace(/^\s*VMware-/i, '')
    .replace(/[\s-]/g, '')
    .toLowerCase()
  if (digits.length !== 32) return null
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
