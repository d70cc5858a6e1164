import { LocalProtocolError } from '../base/index.ts'

/** Fills and returns `length` bytes from a cryptographically secure source. */
export type RandomBytes = (length: number) => Uint8Array

/** One open vMotion: what VMOTION-PEER has to present, and whose it is. */
export interface Cookie<Owner> {
  readonly owner: Owner
  readonly sequence: Uint8Array
  readonly secret: Uint8Array
}

/** Ours; 4 and 8 bytes are attested in the field [other]. */
export const SECRET_BYTES = 8

/**
 * A fresh secret: 8 bytes without 0x00 and 0xFF. Real hosts read an unescaped 0xFF as the end of the secret [other];
 * without 0x00 it also survives anything that takes it for text.
 * @throws LocalProtocolError VSPC_VMOTION_SECRET when the source of randomness yields nothing usable.
 */
export function drawSecret(random: RandomBytes): Uint8Array {
  const secret = new Uint8Array(SECRET_BYTES)
  let filled = 0
  for (let attempt = 0; attempt < 64; attempt++) {
    for (const byte of random(SECRET_BYTES * 2)) {
      if (byte !== 0x00 && byte !== 0xff) secret[filled++] = byte
      if (filled === SECRET_BYTES) return secret
    }
  }
  throw new LocalProtocolError('VSPC_VMOTION_SECRET', 'the random source yields no usable bytes for a vMotion secret')
}

/**
 * All open vMotions, looked up by the whole payload of VMOTION-PEER.
 *
 * The payload is sequence and secret without a delimiter, so it is never sliced. It is found through a hash seeded with
 * a random number, and then compared in constant time: how long a look-up takes says nothing about a secret.
 */
export class CookieTable<Owner> {
  readonly #buckets = new Map<number, Cookie<Owner>[]>()
  readonly #seed: number
  #size = 0

  constructor(random: RandomBytes) {
    const seed = random(4)
    this.#seed = seed.reduce((hash, byte) => (hash << 8) | byte, 0)
  }

  get size(): number {
    return this.#size
  }

  /** Registers a vMotion. The arrays are copied. */
  open(owner: Owner, sequence: Uint8Array, secret: Uint8Array): Cookie<Owner> {
    // Not slice(): that of a Buffer is no copy.
    const cookie = { owner, sequence: new Uint8Array(sequence), secret: new Uint8Array(secret) }
    const hash = this.#hash(sequence, secret)
    const bucket = this.#buckets.get(hash)
    if (bucket) bucket.push(cookie)
    else this.#buckets.set(hash, [cookie])
    this.#size++
    return cookie
  }

  /** The vMotion whose sequence + secret are exactly `payload`. */
  find(payload: Uint8Array): Cookie<Owner> | null {
    let found: Cookie<Owner> | null = null
    for (const cookie of this.#buckets.get(this.#hash(payload)) ?? []) {
      if (equalsInConstantTime(cookie.sequence, cookie.secret, payload)) found = cookie
    }
    return found
  }

  /** Makes the cookie useless; one that is no longer open is fine. */
  close(cookie: Cookie<Owner>): void {
    const hash = this.#hash(cookie.sequence, cookie.secret)
    const bucket = this.#buckets.get(hash)
    const index = bucket?.indexOf(cookie) ?? -1
    if (!bucket || index < 0) return
    bucket.splice(index, 1)
    if (bucket.length === 0) this.#buckets.delete(hash)
    this.#size--
  }

  /** FNV-1a, seeded. */
  #hash(first: Uint8Array, second?: Uint8Array): number {
    let hash = 0x811c9dc5 ^ this.#seed
    for (const byte of first) hash = Math.imul(hash ^ byte, 0x01000193)
    if (second) for (const byte of second) hash = Math.imul(hash ^ byte, 0x01000193)
    return hash >>> 0
  }
}

/** True when `payload` is `first` followed by `second`; looks at every byte whatever it finds. */
function equalsInConstantTime(first: Uint8Array, second: Uint8Array, payload: Uint8Array): boolean {
  if (payload.length !== first.length + second.length) return false
  let difference = 0
  for (let i = 0; i < first.length; i++) difference |= (first[i] as number) ^ (payload[i] as number)
  for (let i = 0; i < second.length; i++) difference |= (second[i] as number) ^ (payload[first.length + i] as number)
  return difference === 0
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
