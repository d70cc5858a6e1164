/**
 * The Prometheus text format and PromQL, as far as tests need them: written from their documents, and knows nothing of the
 * library that makes our metrics.
 */

export interface Sample {
  readonly name: string
  readonly labels: ReadonlyMap<string, string>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly samples: Sample[]
}

const METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*/
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*/

/** @throws Error with the line, for anything that is not as the format asks. */
export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no line feed')
  const families = new Map<string, Family>()
  const helps = new Map<string, string>()
  const series = new Set<string>()
  let current: Family | null = null
  for (const [index, line] of text.split('\n').entries()) {
    const wrong = (what: string): Error => new Error(`line ${index + 1}: ${what}: ${line}`)
    if (line === '') continue
    if (line.startsWith('# HELP ')) {
      const [, name = '', help = ''] = /^# HELP (\S+) (.*)$/.exec(line) ?? []
      if (helps.has(name) || families.has(name)) throw wrong('a second HELP, or one after TYPE')
      if (/\\(?![\\n])/.test(help)) throw wrong('bad escape in HELP')
      helps.set(name, help)
    } else if (line.startsWith('# TYPE ')) {
      const [, name = '', type = ''] = /^# TYPE (\S+) (counter|gauge|histogram|summary|untyped)$/.exec(line) ?? []
      if (type === '' || METRIC.exec(name)?.[0] !== name) throw wrong('bad TYPE')
      if (families.has(name)) throw wrong('a second TYPE')
      const help = helps.get(name)
      if (help === undefined) throw wrong('no HELP before it')
      current = { name, help, type, samples: [] }
      families.set(name, current)
    } else if (line.startsWith('#')) {
      throw wrong('a comment that is neither HELP nor TYPE')
    } else {
      const sample = parseSample(line, wrong)
      const base = current?.type === 'histogram' ? sample.name.replace(/_(?:bucket|sum|count)$/, '') : sample.name
      if (current === null || base !== current.name) throw wrong('not below its TYPE')
      const key = `${sample.name}${JSON.stringify([...sample.labels].sort())}`
      if (series.has(key)) throw wrong('the same series twice')
      series.add(key)
      current.samples.push(sample)
    }
  }
  for (const name of helps.keys()) if (!families.has(name)) throw new Error(`HELP without TYPE: ${name}`)
  for (const family of families.values()) checkFamily(family)
  return families
}

function parseSample(line: string, wrong: (what: string) => Error): Sample {
  const name = METRIC.exec(line)?.[0] ?? ''
  if (name === '') throw wrong('no metric name')
  let rest = line.slice(name.length)
  const labels = new Map<string, string>()
  if (rest.startsWith('{')) {
    rest = rest.slice(1)
    while (!rest.startsWith('}')) {
      const label = LABEL.exec(rest)?.[0] ?? ''
      const quoted = /^="((?:[^"\\\n]|\\["\\n])*)"/.exec(rest.slice(label.length))
      if (label === '' || quoted === null) throw wrong('bad label')
      if (label.startsWith('__')) throw wrong('a reserved label')
      if (labels.has(label)) throw wrong('the same label twice')
      labels.set(
        label,
        (quoted[1] ?? '').replace(/\\(.)/g, (_all, one: string) => (one === 'n' ? '\n' : one)),
      )
      rest = rest.slice(label.length + quoted[0].length)
      if (rest.startsWith(',')) rest = rest.slice(1)
      else if (!rest.startsWith('}')) throw wrong('bad end of labels')
    }
    rest = rest.slice(1)
  }
  const number = /^ ([+-]?(?:Inf|[0-9][0-9.eE+-]*)|Nan|NaN)$/i.exec(rest)?.[1]
  if (number === undefined) throw wrong('bad value')
  const value = /inf/i.test(number) ? (number.startsWith('-') ? -1 : 1) * Number.POSITIVE_INFINITY : Number(number)
  if (Number.isNaN(value) && !/nan/i.test(number)) throw wrong('bad value')
  return { name, labels, value }
}

/** Counters only grow from 0, buckets are cumulative and end with all. */
function checkFamily({ name, type, samples }: Family): void {
  if (type === 'counter') {
    for (const { value } of samples) if (!(value >= 0)) throw new Error(`${name}: a counter of ${value}`)
  }
  if (type !== 'histogram') return
  const groups = new Map<string, { last: number; le: number; count: number | null; hasSum: boolean }>()
  for (const { name: of, labels, value } of samples) {
    const { le, ...rest } = Object.fromEntries(labels)
    const key = JSON.stringify(rest)
    const group = groups.get(key) ?? { last: 0, le: Number.NEGATIVE_INFINITY, count: null, hasSum: false }
    groups.set(key, group)
    if (of.endsWith('_bucket')) {
      const bound = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)
      if (!(bound > group.le) || value < group.last) throw new Error(`${name}: buckets do not rise at le=${le}`)
      group.le = bound
      group.last = value
    } else if (of.endsWith('_count')) group.count = value
    else group.hasSum = true
  }
  for (const [key, { last, le, count, hasSum }] of groups) {
    if (le !== Number.POSITIVE_INFINITY || count !== last || !hasSum)
      throw new Error(`${name}${key}: not a whole histogram`)
  }
}

const FUNCTIONS = new Set(
  'sum min max avg count rate increase histogram_quantile time label_values abs clamp_min'.split(' '),
)
const KEYWORDS = new Set('by without on ignoring and or unless group_left group_right offset bool'.split(' '))

/** A metric in an expression, with the labels that are asked of it, and what they have to be where that is plain. */
export interface Selector {
  readonly metric: string
  readonly labels: ReadonlyMap<string, { readonly op: string; readonly value: string }>
}

export interface Expression {
  readonly selectors: Selector[]
  /** Behind by, without, on, ignoring. */
  readonly groupedBy: string[]
}

/** @throws Error for what is no PromQL, as far as we know it. */
export function parsePromql(text: string): Expression {
  const selectors: Selector[] = []
  const groupedBy: string[] = []
  const closing: string[] = []
  let rest = text.trim()
  let grouping = false
  const take = (pattern: RegExp): RegExpExecArray | null => {
    const found = pattern.exec(rest)
    if (found !== null) rest = rest.slice(found[0].length).trimStart()
    return found
  }
  while (rest !== '') {
    const word = take(METRIC)?.[0]
    if (word !== undefined) {
      if (KEYWORDS.has(word)) {
        grouping = /^(?:by|without|on|ignoring)$/.test(word)
        if (grouping) {
          const list = take(/^\(([^()]*)\)/)
          if (list === null) throw new Error(`no labels behind ${word}: ${text}`)
          for (const label of (list[1] ?? '').split(',')) {
            const name = label.trim()
            if (LABEL.exec(name)?.[0] !== name) throw new Error(`"${label}" is no label: ${text}`)
            groupedBy.push(name)
          }
        }
      } else if (FUNCTIONS.has(word)) {
        if (!rest.startsWith('(') && !/^(?:by|without)\b/.test(rest)) throw new Error(`${word} is not called: ${text}`)
      } else if (rest.startsWith('(')) throw new Error(`unknown function ${word}: ${text}`)
      else selectors.push({ metric: word, labels: takeLabels(take, text) })
    } else if (take(/^\[(?:\$__rate_interval|\d+[smhd])\]/) !== null) {
      if (selectors.length === 0) throw new Error(`a range of nothing: ${text}`)
    } else if (take(/^[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?/) === null && take(/^(?:==|!=|<=|>=|[-+*/<>,])/) === null) {
      const bracket = take(/^[()]/)?.[0]
      if (bracket === '(') closing.push(')')
      else if (bracket !== ')' || closing.pop() === undefined) throw new Error(`cannot read "${rest}" of: ${text}`)
    }
  }
  if (closing.length > 0) throw new Error(`a bracket is open: ${text}`)
  if (selectors.length === 0 && !text.includes('time()')) throw new Error(`no metric: ${text}`)
  return { selectors, groupedBy }
}

function takeLabels(take: (pattern: RegExp) => RegExpExecArray | null, text: string): Selector['labels'] {
  const labels = new Map<string, { op: string; value: string }>()
  if (take(/^\{/) === null) return labels
  while (take(/^\}/) === null) {
    const [all, name = '', op = '', value = ''] = take(/^([a-zA-Z_]\w*)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"\s*,?/) ?? []
    if (all === undefined) throw new Error(`bad labels: ${text}`)
    labels.set(name, { op, value })
  }
  return labels
}
