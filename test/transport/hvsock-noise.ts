import { createCipheriv, createHash } from 'node:crypto'

/** What goes over a serial port of the guest, in each direction. */
export const SERIAL_BYTES = 1_000_003

/** The same for the same name, on the host and in the guest, and all byte values. */
export function noise(name: string): Buffer {
  const key = createHash('sha256').update(name).digest()
  const zeros = Buffer.alloc(SERIAL_BYTES)
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(zeros)
}
