/** What is told of what happens around a console. Pure. */
import type { ConsoleMessage, ConsoleMode, PortInfo } from '../../vspc/index.ts'

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
