/**
 * How log files are called. What is put into a name was typed by whoever edits a VM: whatever that is, a name stays below
 * its directory, and two ports never share one.
 */
import { createHash } from 'node:crypto'
import { nearest, VspcError } from '../../base/index.ts'

/** What a name is made of. */
export interface NamedPort {
  readonly id: string
  readonly name: string
  /** Canonical; null where the VM has none. */
  readonly uuid: string | null
  readonly label: string | null
}

const FIELDS = ['name', 'uuid', 'uuidhex', 'label', 'id'] as const
type Field = (typeof FIELDS)[number]
type Part = string | { readonly before: string; readonly field: Field }

export const NAME_ACCEPTS =
  'a path such as "{name}/{uuid}{-label}": {name}, {uuid}, {uuidhex} (without dashes), {label}, {id}; a character -, _, . or + ' +
  'before the word is left out with an empty one'

/** As Nova looks for it. The labels of further ports keep them apart. */
export const NOVA_TEMPLATE = '{uuidhex}{+label}'

const MAX_TEMPLATE = 256
const MAX_FOLDERS = 3
/** Of a name's part; file systems take 255, and there is a suffix, and a draft of the file. */
const MAX_PART_BYTES = 180
const PLACE = /\{([-_.+]?)([a-z]*)\}/g

export class NameTemplate {
  readonly text: string
  /** A port without UUID has no file. */
  readonly #needsUuid: boolean
  /** Folders, and the file. */
  readonly #parts: readonly (readonly Part[])[]

  /** @throws VspcError VSPC_CONFIG_INVALID. */
  constructor(text: string, needsUuid = false) {
    this.text = text
    this.#needsUuid = needsUuid
    const folders = text.split('/')
    if (text.length > MAX_TEMPLATE || folders.length > MAX_FOLDERS + 1) throw invalid(text, 'is too long')
    this.#parts = folders.map((one) => parsePart(text, one))
    const fields = this.#parts.flat().flatMap((part) => (typeof part === 'string' ? [] : [part.field]))
    if (!fields.some((field) => field !== 'label')) throw invalid(text, 'says nothing of which VM it is')
  }

  /** Relative to the directory of log files; null: the port gets none. The same for the same port, not for no other. */
  nameOf(port: NamedPort): string | null {
    if (this.#needsUuid && port.uuid === null) return null
    return this.#parts.map((parts) => cleanPart(parts.map((part) => textOf(part, port)).join(''))).join('/')
  }
}

/** Another name for a port whose own one is taken. */
export function otherName(name: string, id: string): string {
  return `${name}=${createHash('sha256').update(Buffer.from(id, 'utf16le')).digest('hex').slice(0, 16)}`
}

function parsePart(template: string, text: string): Part[] {
  if (text === '' || text === '.' || text === '..') throw invalid(template, 'has an empty part, "." or ".."')
  const parts: Part[] = []
  let at = 0
  for (const found of text.matchAll(PLACE)) {
    const [whole, before = '', word = ''] = found
    const field = FIELDS.find((one) => one === word)
    if (field === undefined) {
      const meant = nearest(word, FIELDS)
      throw invalid(template, `knows no {${word}}${meant === null ? '' : `; did you mean {${meant}}?`}`)
    }
    parts.push(text.slice(at, found.index), { before, field })
    at = found.index + whole.length
  }
  parts.push(text.slice(at))
  for (const part of parts) {
    if (typeof part !== 'string' || /^[\w.+-]*$/.test(part)) continue
    throw invalid(template, `has ${JSON.stringify(part)} in it: only letters, digits and . _ - + stand for themselves`)
  }
  return parts.filter((part) => part !== '')
}

function textOf(part: Part, { id, name, uuid, label }: NamedPort): string {
  if (typeof part === 'string') return part
  const value = { id, name, uuid, uuidhex: uuid?.replaceAll('-', '') ?? null, label }[part.field]
  const clean = cleanValue(value ?? '')
  return clean === '' ? '' : part.before + clean
}

/** Letters and digits of any script, and what needs no quoting; `=` is kept for {@link otherName}. */
function cleanValue(value: string): string {
  return value.normalize('NFC').replace(/[^\p{L}\p{N}\p{M}._+-]+/gu, '_')
}

function cleanPart(text: string): string {
  // Hidden files are drafts of ours, and a name that begins with "-" is an option to most programs.
  const name = /^[.-]/.test(text) || text === '' ? `_${text}` : text
  let bytes = 0
  let kept = ''
  for (const character of name) {
    bytes += Buffer.byteLength(character)
    if (bytes > MAX_PART_BYTES) break
    kept += character
  }
  return kept
}

function invalid(template: string, fault: string): VspcError {
  return new VspcError(
    'VSPC_CONFIG_INVALID',
    `logFiles.name ${JSON.stringify(template.slice(0, MAX_TEMPLATE))} ${fault}; accepted is ${NAME_ACCEPTS}`,
  )
}
