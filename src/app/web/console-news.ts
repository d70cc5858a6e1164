/** What is told of what happens around a console. Pure. */
import type { ConsoleInfo, ConsoleMessage, ConsoleMode, PortInfo } from '../../vspc/index.ts'
import { ageInWords } from './words.ts'

type State = Extract<ConsoleMessage, { type: 'state' }>

/** @param before the state known until now. */
export function stateNews({ state, host, reason }: State, before: PortInfo['state'] | null): string {
  const where = host === null ? '' : ` on ${host}`
  if (state === 'migrating') return 'vMotion begins'
  if (state === 'offline') return `the VM is disconnected (${reason})`
  if (before === 'migrating') return `vMotion ended: now${where} (${reason})`
  return before === 'offline' ? `the VM is connected again${where}` : `now${where} (${reason})`
}

/** To whose own mode has changed. */
export function ownModeNews(mode: ConsoleMode, reason: string): string {
  const news = { read: `you are reading now (${reason})`, write: 'you may type now', exclusive: 'you type alone now' }
  return news[mode]
}

/** Nothing for who has just typed. */
export function idleWords({ lastInputAt }: ConsoleInfo, now: number): string {
  const age = ageInWords(lastInputAt, now)
  return age === 'now' ? '' : age === '' ? ', and has typed nothing yet' : `, idle for ${age}`
}

/** To who waits. */
export function queueNews(
  { position, holders, idleTakeoverMs }: Extract<ConsoleMessage, { type: 'queued' }>,
  now: number,
): string {
  const [first, ...more] = holders
  const who = first === undefined ? 'Somebody' : first.who
  const held =
    more.length > 0
      ? `${who} and ${more.length} more may type.`
      : `${who} may type${first ? idleWords(first, now) : ''}.`
  const place = position === 1 ? 'You are next.' : `You are number ${position} in the queue.`
  const idle =
    idleTakeoverMs === null || position > 1
      ? ''
      : ` If they type nothing, it is yours in ${timeInWords(idleTakeoverMs)}.`
  return `${held} ${place}${idle}`
}

/** To who has what others ask for. */
export function askedNews(who: string, number: number, idleTakeoverMs: number | null): string {
  const more = number > 1 ? ` and ${number - 1} more` : ''
  const idle = idleTakeoverMs === null ? '' : ` If you type nothing, it goes there in ${timeInWords(idleTakeoverMs)}.`
  return `${who}${more} would like to type.${idle}`
}

function timeInWords(ms: number): string {
  const seconds = Math.ceil(ms / 1_000)
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`
}
