/** Which VMs are meant: by folder, resource pool, custom value, pattern of names, or one by one. Pure. */
import { cleanText, nearest, VspcError } from '../base/index.ts'
import type { VmPorts, WantedFacts } from './inventory.ts'

/** A VM that fits all that is given. In patterns `*` stands for any text and `?` for one character; case counts not. */
export interface VmTerm {
  /** Inventory path of a folder that holds it, at any depth: `/DC/vm/prod`. */
  readonly folder?: string
  /** Inventory path of a resource pool or vApp that holds it, at any depth. */
  readonly resourcePool?: string
  /** A custom attribute, with any value unless a pattern is given. */
  readonly customValue?: { readonly name: string; readonly value?: string }
  /** Pattern. */
  readonly name?: string
  /** Exactly this one: name, inventory path, instance or BIOS UUID in any spelling. */
  readonly vm?: string
}

const KINDS = ['folder', 'pool', 'attribute', 'vm', 'name'] as const
const ACCEPTED =
  "write a pattern of names ('web*'), or folder:/DC/vm/prod, pool:/DC/host/cluster/Resources/prod, " +
  'attribute:NAME=PATTERN, vm:NAME-PATH-OR-UUID'

/**
 * One term as text: `web*`, `folder:PATH`, `pool:PATH`, `attribute:NAME[=PATTERN]`, `vm:NAME|PATH|UUID`, `name:PATTERN`.
 * A UUID or a path with a slash in front means that VM.
 * @throws VspcError VSPC_CONFIG_INVALID.
 */
export function parseVmTerm(text: string): VmTerm {
  const fail = (wrong: string): VspcError =>
    new VspcError('VSPC_CONFIG_INVALID', `VMs "${cleanText(text, 200)}": ${wrong}; ${ACCEPTED}`)
  const [, kind = null, rest = text] = /^([A-Za-z]+):(.*)$/s.exec(text) ?? []
  if (rest.trim() === '') throw fail('there is nothing to look for')
  switch (kind?.toLowerCase()) {
    case undefined:
      return canonical(text) !== null || text.startsWith('/') ? { vm: text } : { name: text }
    case 'folder':
      return { folder: rest }
    case 'pool':
      return { resourcePool: rest }
    case 'attribute': {
      const equals = rest.indexOf('=')
      if (equals === 0) throw fail('the attribute has no name')
      return {
        customValue: equals < 0 ? { name: rest } : { name: rest.slice(0, equals), value: rest.slice(equals + 1) },
      }
    }
    case 'vm':
      return { vm: rest }
    case 'name':
      return { name: rest }
    default: {
      const near = nearest(kind ?? '', KINDS)
      throw fail(`"${cleanText(kind ?? '', 40)}:" is not known${near === null ? '' : `, did you mean ${near}:?`}`)
    }
  }
}

/** What a listing has to bring so that {@link selects} can tell. */
export function wantedFacts(terms: readonly VmTerm[]): WantedFacts {
  return {
    folders: terms.some(({ folder, vm }) => folder !== undefined || vm?.includes('/')),
    resourcePools: terms.some(({ resourcePool }) => resourcePool !== undefined),
    customValues: terms.some(({ customValue }) => customValue !== undefined),
  }
}

/** True when any of the terms fits. None selects nothing, and an empty one nothing either. */
export function selects(terms: readonly VmTerm[], vm: VmPorts): boolean {
  return terms.some((term) => fits(term, vm))
}

function fits(term: VmTerm, vm: VmPorts): boolean {
  const { folder, resourcePool, customValue, name, vm: one } = term
  const checks: boolean[] = []
  if (folder !== undefined) checks.push(holds(folder, vm.folder))
  if (resourcePool !== undefined) checks.push(holds(resourcePool, vm.resourcePool))
  if (customValue !== undefined) checks.push(hasValue(customValue, vm.customValues))
  if (name !== undefined) checks.push(matches(name, vm.name))
  if (one !== undefined) checks.push(isVm(one, vm))
  return checks.length > 0 && checks.every(Boolean)
}

function trimmed(path: string): string {
  return path.replace(/^\/+|\/+$/g, '')
}

function holds(outer: string, inner: string): boolean {
  return inner !== '' && `${trimmed(inner)}/`.startsWith(`${trimmed(outer)}/`)
}

function hasValue({ name, value }: { name: string; value?: string }, values: ReadonlyMap<string, string>): boolean {
  const found = values.get(name)
  return found !== undefined && (value === undefined || matches(value, found))
}

function isVm(selector: string, vm: VmPorts): boolean {
  const uuid = canonical(selector)
  if (uuid !== null && (uuid === canonical(vm.instanceUuid ?? '') || uuid === canonical(vm.biosUuid ?? ''))) return true
  if (selector === vm.name) return true
  return selector.includes('/') && vm.folder !== '' && trimmed(selector) === `${trimmed(vm.folder)}/${vm.name}`
}

/** 32 hex digits of a UUID in any spelling, or null. */
function canonical(text: string): string | null {
  const digits = text.replace(/[\s{}-]/g, '').toLowerCase()
  return /^[0-9a-f]{32}$/.test(digits) ? digits : null
}

/** `*` any text, `?` one character; without regard to case. Time is bounded by the product of both lengths. */
export function matches(pattern: string, text: string): boolean {
  const wanted = pattern.toLowerCase()
  const given = text.toLowerCase()
  let at = 0
  let star = -1
  let resume = 0
  let i = 0
  while (i < given.length) {
    if (wanted[at] === '*') {
      star = at++
      resume = i
    } else if (wanted[at] === '?' || wanted[at] === given[i]) {
      at++
      i++
    } else if (star >= 0) {
      at = star + 1
      i = ++resume
    } else {
      return false
    }
  }
  while (wanted[at] === '*') at++
  return at === wanted.length
}
