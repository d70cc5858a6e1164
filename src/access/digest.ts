/**
 * What is kept of a secret.
 *
 * SHA-256 without salt and without many rounds: those slow down guessing of what people choose. Of 256 random bits nothing can
 * be guessed, at any speed, no table can hold them and no two are alike; and a check that every request pays for must be fast.
 */
import { createHash, randomBytes } from 'node:crypto'
import { formatSecret, SECRET_BYTES, type SecretPrefix } from './secret.ts'

/** SHA-256: 64 lower-case hexadecimal digits. */
export function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

export function newSecret(prefix: SecretPrefix): string {
  return formatSecret(prefix, randomBytes(SECRET_BYTES))
}
