/** Where things are: paths relative to the page, so that a proxy may put us anywhere; and the part after `#`. Pure. */

/** What the address bar says. Everything after `#` stays in the browser. */
export type Place =
  | { readonly view: 'ports'; readonly query: PortQuery }
  | { readonly view: 'port'; readonly id: string; readonly past: PastPlace | null }
  | { readonly view: 'moves' }
  | { readonly view: 'search'; readonly query: SearchQuery }

/** A place in a port's history: an offset, or a time as somebody wrote it. */
export type PastPlace = { readonly around: number } | { readonly time: string }

/** What of the list is shown; empty = all. */
export interface PortQuery {
  readonly text: string
  readonly state: string
  readonly host: string
  readonly sort: string
}

/** What is searched for in the histories. */
export interface SearchQuery {
  readonly text: string
  /** A port, or a pattern with * and ? for names of VMs; empty = all. */
  readonly port: string
  /** As the server takes it: a time, or negative milliseconds. */
  readonly since: string
  readonly regex: boolean
  readonly caseCounts: boolean
}

export const NO_QUERY: PortQuery = { text: '', state: '', host: '', sort: '' }

export const NO_SEARCH: SearchQuery = { text: '', port: '', since: '', regex: false, caseCounts: false }

export function parsePlace(hash: string): Place {
  const text = hash.replace(/^#?\/?/, '')
  const mark = text.indexOf('?')
  const [path, search] = mark < 0 ? [text, ''] : [text.slice(0, mark), text.slice(mark + 1)]
  const values = new URLSearchParams(search)
  const value = (name: string) => values.get(name) ?? ''
  const id = /^ports\/(.+)$/.exec(path)?.[1]
  if (id !== undefined) return { view: 'port', id: decoded(id), past: pastPlace(value('at'), value('time')) }
  if (path === 'moves') return { view: 'moves' }
  if (path === 'search') {
    const [regex, caseCounts] = [value('regex') === '1', value('case') === '1']
    return {
      view: 'search',
      query: { text: value('q'), port: value('port'), since: value('since'), regex, caseCounts },
    }
  }
  return { view: 'ports', query: { text: value('q'), state: value('state'), host: value('host'), sort: value('sort') } }
}

/** @param at an offset in its history. */
export function portPlace(id: string, at: number | null = null): string {
  return `#/ports/${encoded(id)}${at === null ? '' : `?at=${at}`}`
}

function pastPlace(at: string, time: string): PastPlace | null {
  if (/^\d{1,15}$/.test(at)) return { around: Number(at) }
  return time === '' ? null : { time }
}

export function listPlace({ text, state, host, sort }: PortQuery): string {
  const values = Object.entries({ q: text, state, host, sort }).filter(([, value]) => value !== '')
  return values.length === 0 ? '#/' : `#/?${new URLSearchParams(values)}`
}

export function searchPlace({ text, port, since, regex, caseCounts }: SearchQuery): string {
  const all = { q: text, port, since, regex: regex ? '1' : '', case: caseCounts ? '1' : '' }
  const values = Object.entries(all).filter(([, value]) => value !== '')
  return values.length === 0 ? '#/search' : `#/search?${new URLSearchParams(values)}`
}

export function portPath(id: string, rest = ''): string {
  return `api/v1/ports/${encoded(id)}${rest}`
}

/** Half a surrogate pair is no reason to throw: what a VM is named after must not break the list. */
function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed())
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Typed by hand, with a bare percent sign.
    return text
  }
}
