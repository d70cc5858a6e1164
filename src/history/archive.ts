/**
 * Compressed files: gzip members of `MEMBER_BYTES` of output each, one after the other, then an empty one whose extra
 * field (RFC 1952, 2.3.1.1) holds where they are. So any gzip tool reads such a file, and we read from any offset without
 * what is before it. Pure.
 *
 * The extra field has one subfield, "VS": u32 bytes in a member, u48 bytes in all, u32 length of each member on disk, u32
 * length of this last member. Little-endian, as gzip is. What follows the field is always the same ten bytes, so that
 * the last number is found from the file's end.
 */

/** Small enough to be read for a line in it, large enough that compressing it apart costs some percent only. */
export const MEMBER_BYTES = 262_144

const HEADER = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]
/** An empty final block, CRC-32 and size of nothing. */
const END = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0]
const FIELD_HEADER = 6
const FIXED = 4 + 6 + 4
/** Nobody makes larger ones: what says so is damaged. */
const MAX_MEMBER_BYTES = 16 << 20
const MAX_MEMBERS = Math.floor((0xffff - 4 - FIXED) / 4)

/** Files with more are not compressed. */
export const MAX_ARCHIVE_BYTES = MAX_MEMBERS * MEMBER_BYTES
/** The last member is not longer. */
export const MAX_TRAILER_BYTES = HEADER.length + 2 + 0xffff + END.length

/** Where the members of a file are. */
export interface Archive {
  readonly memberBytes: number
  /** Before compression. */
  readonly plainBytes: number
  /** Where each member begins, and where the last one ends. */
  readonly places: readonly number[]
}

/** The last member of a file whose others have these lengths. */
export function formatTrailer(lengths: readonly number[], plainBytes: number): Uint8Array {
  const field = FIXED + 4 * lengths.length
  const size = HEADER.length + FIELD_HEADER + field + END.length
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  bytes.set(HEADER)
  let at = HEADER.length
  const u16 = (value: number) => {
    view.setUint16(at, value, true)
    at += 2
  }
  const u32 = (value: number) => {
    view.setUint32(at, value, true)
    at += 4
  }
  u16(field + 4)
  bytes.set([0x56, 0x53], at)
  at += 2
  u16(field)
  u32(MEMBER_BYTES)
  u32(plainBytes % 2 ** 32)
  u16(Math.floor(plainBytes / 2 ** 32))
  for (const length of lengths) u32(length)
  u32(size)
  bytes.set(END, at)
  return bytes
}

/** @param tail the last bytes of the file, `MAX_TRAILER_BYTES` if it has so many. @returns null for what is not ours. */
export function parseTrailer(tail: Uint8Array, fileBytes: number): Archive | null {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.length)
  const end = tail.length - END.length
  const least = HEADER.length + FIELD_HEADER + FIXED
  if (end < least || END.some((byte, i) => tail[end + i] !== byte)) return null
  const size = view.getUint32(end - 4, true)
  let at = tail.length - size
  if (size < least + END.length || at < 0 || HEADER.some((byte, i) => tail[at + i] !== byte)) return null
  at += HEADER.length
  const field = view.getUint16(at + 4, true)
  const count = (field - FIXED) / 4
  const marked = tail[at + 2] === 0x56 && tail[at + 3] === 0x53 && view.getUint16(at, true) === field + 4
  if (!marked || at + FIELD_HEADER + field !== end || !Number.isInteger(count)) return null
  at += FIELD_HEADER
  const memberBytes = view.getUint32(at, true)
  const plainBytes = view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * 2 ** 32
  at += 10
  const places = [0]
  for (let i = 0; i < count; i++, at += 4) places.push((places[i] as number) + view.getUint32(at, true))
  const fits =
    places[count] === fileBytes - size &&
    memberBytes > 0 &&
    memberBytes <= MAX_MEMBER_BYTES &&
    Math.ceil(plainBytes / memberBytes) === count
  return fits ? { memberBytes, plainBytes, places } : null
}
