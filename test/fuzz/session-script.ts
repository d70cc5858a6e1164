/**
 * What a fuzzer does to a server, as data: generated from a seed, shrunk when it fails, kept as a page.
 *
 *     A > ff fb e8 {cookie 0}   connection A sends bytes; {cookie N} is the Nth sequence and secret any of these
 *                               connections was granted (N counts around, -1 is the last), {cookie N short}, {cookie N long}
 *                               nearly it
 *     A fin, A reset            A closes, or vanishes
 *     A stall, A go             A stops reading, goes on
 *     wait 1500                 that many ms pass
 *     watch 0 write             a console on the Nth port of the fuzzers; read, write, exclusive, or stuck: never reads
 *     type 0, break 0, leave 0  what the console of that port does
 *     move                      the bystander's next step of a vMotion: BEGIN, PEER, COMPLETE, or ABORT
 *
 * Connections are named by a letter and open with their first act: T speaks plain Telnet, R raw, all others option 232.
 */
import {
  cut,
  doubled,
  HELLO,
  introduction,
  mutated,
  piece,
  SEQUENCES,
  soup,
  subnegotiation,
  suboption,
} from './hostile.ts'
import { hexBytes, hexText } from './pages.ts'
import type { Random } from './random.ts'

export interface CookieRef {
  readonly cookie: number
  readonly form: 'whole' | 'short' | 'long'
}

export type Part = readonly number[] | CookieRef

export const WATCH_MODES = ['read', 'write', 'exclusive', 'stuck'] as const

export type Act =
  | { readonly line: string; readonly do: 'send'; readonly parts: readonly Part[] }
  | { readonly line: string; readonly do: 'fin' | 'reset' | 'stall' | 'go' }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'watch'; readonly port: number; readonly mode: (typeof WATCH_MODES)[number] }
  | { readonly do: 'type' | 'break' | 'leave'; readonly port: number }
  | { readonly do: 'move' }

// Pages

export function formatAct(act: Act): string {
  switch (act.do) {
    case 'send':
      return `${act.line} > ${act.parts.map(formatPart).join(' ')}`
    case 'wait':
      return `wait ${act.ms}`
    case 'watch':
      return `watch ${act.port} ${act.mode}`
    case 'type':
    case 'break':
    case 'leave':
      return `${act.do} ${act.port}`
    case 'move':
      return 'move'
    default:
      return `${act.line} ${act.do}`
  }
}

function formatPart(part: Part): string {
  if (!('cookie' in part)) return hexText(part)
  return part.form === 'whole' ? `{cookie ${part.cookie}}` : `{cookie ${part.cookie} ${part.form}}`
}

export function parseAct(line: string, where: string): Act {
  const send = /^([A-Z]) > (.*)$/.exec(line)
  if (send) return { line: send[1] as string, do: 'send', parts: parseParts(send[2] as string, where) }
  const [first = '', second = '', third = ''] = line.split(' ')
  if (first === 'wait') return { do: 'wait', ms: Number(second) }
  if (first === 'move') return { do: 'move' }
  if (first === 'type' || first === 'break' || first === 'leave') return { do: first, port: Number(second) }
  const mode = WATCH_MODES.find((one) => one === third)
  if (first === 'watch' && mode !== undefined) return { do: 'watch', port: Number(second), mode }
  if (/^[A-Z]$/.test(first) && (second === 'fin' || second === 'reset' || second === 'stall' || second === 'go')) {
    return { line: first, do: second }
  }
  throw new Error(`${where}: not an act: ${line}`)
}

function parseParts(text: string, where: string): Part[] {
  return text.split(/(\{[^}]*\})/).flatMap((token): Part[] => {
    const ref = /^\{cookie (-?\d+)(?: (short|long))?\}$/.exec(token)
    if (ref) return [{ cookie: Number(ref[1]), form: (ref[2] ?? 'whole') as CookieRef['form'] }]
    return token.trim() === '' ? [] : [[...hexBytes(token, where)]]
  })
}

// Generation

const WAITS_MS = [1, 1, 30, 60, 300, 300, 1_100, 3_100, 6_000, 11_000, 31_000, 121_000]
const NAMES = ['A', 'B', 'C', 'D', 'E', 'F', 'T', 'R']

export function generateScript(random: Random): Act[] {
  const lines = NAMES.filter(() => random.oneIn(2)).map((line) => lineActs(random, line))
  if (random.oneIn(2)) lines.push(duet(random))
  const acts: Act[] = []
  for (let left = lines.filter((line) => line.length > 0); left.length > 0; left = left.filter((l) => l.length > 0)) {
    const line = random.pick(left)
    acts.push(...line.splice(0, random.between(1, 3)))
    if (random.oneIn(4)) acts.push(aside(random))
  }
  return acts
}

function aside(random: Random): Act {
  const port = random.below(4)
  switch (random.below(8)) {
    case 0:
    case 1:
      return { do: 'move' }
    case 2:
    case 3:
      return { do: 'wait', ms: random.pick(WAITS_MS) }
    case 4:
      return { do: 'watch', port, mode: random.pick(WATCH_MODES) }
    case 5:
      return { do: random.pick(['break', 'leave'] as const), port }
    default:
      return { do: 'type', port }
  }
}

function lineActs(random: Random, line: string): Act[] {
  const acts = random.oneIn(2) ? actor(random, line) : noise(random, line)
  if (random.oneIn(3)) acts.push({ line, do: random.pick(['fin', 'reset'] as const) })
  if (random.oneIn(6)) acts.splice(random.below(acts.length + 1), 0, { line, do: 'stall' })
  if (random.oneIn(8)) acts.push({ line, do: 'go' })
  return acts
}

const send = (line: string, ...parts: Part[]): Act => ({ line, do: 'send', parts })

/** Bytes that know nothing of each other; mostly behind an agreement on option 232, where more is listened to. */
function noise(random: Random, line: string): Act[] {
  const opening = random.pick([[], HELLO, HELLO, introduction(random.pick(UUIDS), 'vSPC.py', 'noise')])
  const bytes = random.oneIn(2) ? mutated(random) : soup(random, random.between(1, 25))
  return cut(random, Uint8Array.from([...opening, ...bytes]), 30).map((chunk) => send(line, [...chunk]))
}

const UUIDS = ['1', '2', '3'].map((n) => `fa 11 ed 00 00 00 00 00-00 00 00 00 00 00 00 0${n}`)

/** A host that can do everything, and does it at the wrong moments. */
function actor(random: Random, line: string): Act[] {
  const uuid = random.pick(UUIDS)
  const uri = random.pick(['vSPC.py', 'vSPC.py', 'vSPC.py?port=a', 'nobody.knows'])
  const opening = random.oneIn(4) ? send(line, HELLO) : send(line, introduction(uuid, uri, `vm${random.below(3)}`))
  return [opening, ...Array.from({ length: random.between(1, 16) }, () => send(line, ...message(random)))]
}

/** Two hosts that know each other's cookie, in a vMotion that is not quite one. */
function duet(random: Random): Act[] {
  const sequence = random.pick(SEQUENCES)
  const said = (): Part[] => {
    const some = random.oneIn(3) ? random.pick(SEQUENCES) : sequence
    switch (random.below(6)) {
      case 0:
        return [suboption(48)]
      case 1:
        return [suboption(40, some)]
      case 2:
        return [doubled(random.bytes(5))]
      case 3:
        return [[0xff, 0xfa, 232, 44], { cookie: -1, form: 'whole' }, [0xff, 0xf0]]
      default:
        return [suboption(46, some)]
    }
  }
  return [
    send('X', introduction(random.pick(UUIDS), 'vSPC.py', 'duet')),
    send('X', suboption(40, sequence)),
    send('Y', HELLO),
    send('Y', [0xff, 0xfa, 232, 44], { cookie: -1, form: 'whole' }, [0xff, 0xf0]),
    ...Array.from({ length: random.between(1, 6) }, () => send(random.pick(['X', 'Y', 'Y']), ...said())),
  ]
}

function message(random: Random): Part[] {
  const sequence = random.pick(SEQUENCES)
  const presented: CookieRef = { cookie: random.below(6), form: random.pick(['whole', 'whole', 'short', 'long']) }
  switch (random.below(15)) {
    case 0:
    case 1:
      return [suboption(40, sequence)]
    case 2:
    case 3:
    case 4:
      return [[0xff, 0xfa, 232, 44], presented, [0xff, 0xf0]]
    case 5:
      return [suboption(44, [...sequence, ...random.bytes(8)])]
    case 6:
    case 7:
      return [suboption(46, sequence)]
    case 8:
      return [suboption(48)]
    case 9:
      return [doubled(random.bytes(random.size(200)))]
    case 10:
      return [[0xff, 0xfc, 232, 0xff, 0xfb, 232]]
    case 11: {
      // The same again and again: a server that answers with more than it got makes a loop or a flood of it.
      const again = random.oneIn(4) ? [0xff, 0xfc, 232, 0xff, 0xfb, 232] : subnegotiation(random)
      return Array.from({ length: Math.min(1_500, Math.ceil(9_000 / again.length)) }, () => again)
    }
    case 12:
    case 13:
      return [subnegotiation(random)]
    default:
      return [piece(random)]
  }
}
