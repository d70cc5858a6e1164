/** What has moved, as lines of a table. Pure. */
import type { ServerEvent } from '../../vspc/index.ts'
import type { ApplianceEvent } from '../appliance-view.ts'
import { count, portName } from './words.ts'

export interface Move {
  /** ISO 8601. */
  readonly at: string
  readonly who: string
  /** Of the port, where it is one. */
  readonly port: string | null
  readonly what: string
  readonly kind: 'good' | 'bad' | ''
  readonly host: string
  readonly why: string
}

const VMOTIONS: { readonly [type in ServerEvent['type']]?: readonly [what: string, kind: Move['kind']] } = {
  'vmotion-begin': ['vMotion begins', ''],
  'vmotion-complete': ['vMotion complete', 'good'],
  'vmotion-abort': ['vMotion aborted', ''],
  'vmotion-timeout': ['vMotion timed out', 'bad'],
  'vmotion-refused': ['vMotion refused', 'bad'],
}

/** Null for what is no move. */
export function vmotionMove(event: ServerEvent): Move | null {
  const words = VMOTIONS[event.type]
  if (words === undefined || !('reason' in event)) return null
  const { at, port, reason } = event
  const [what, kind] = words
  return { at, who: portName(port), port: port.id, what, kind, host: port.host ?? '', why: reason }
}

export const APPLIANCE_EVENTS: readonly ApplianceEvent['type'][] = [
  'appliance-moved',
  'appliance-trouble',
  'appliance-well',
  'vm-repointed',
  'vm-repoint-failed',
  'repoint-settled',
  'next-hop-set',
  'next-hop-failed',
]

export function applianceMove(event: ApplianceEvent): Move {
  const { at } = event
  const appliance = { at, who: 'the appliance', port: null, kind: '', host: '', why: '' } as const
  switch (event.type) {
    case 'appliance-moved':
      return {
        ...appliance,
        what: event.from === null ? 'found' : 'moved',
        kind: 'good',
        host: event.to.name,
        why: event.from === null ? '' : `from ${event.from.name}`,
      }
    case 'appliance-trouble':
      return { ...appliance, what: 'vCenter does not answer', kind: 'bad', why: event.message }
    case 'appliance-well':
      return { ...appliance, what: 'vCenter answers again', kind: 'good' }
    case 'vm-repointed':
      return {
        ...appliance,
        who: event.vm.name,
        what: 'serial port re-pointed',
        kind: 'good',
        why: event.ports.map(({ port, to }) => `${port}: ${to ?? 'no proxy'}`).join(', '),
      }
    case 'vm-repoint-failed': {
      const again = event.again ? '; tried again by itself' : ''
      return {
        ...appliance,
        who: event.vm.name,
        what: 're-pointing failed',
        kind: 'bad',
        why: `${event.message} (attempt ${event.attempts}${again})`,
      }
    }
    case 'repoint-settled':
      return {
        ...appliance,
        what: 'all VMs follow',
        kind: 'good',
        host: event.host,
        why: `${count(event.changed, 'VM')} changed in ${(event.ms / 1_000).toFixed(1)} s`,
      }
    case 'next-hop-set':
      return { ...appliance, who: event.peer, what: 'next hop set', kind: 'good', why: event.endpoint }
    case 'next-hop-failed':
      return { ...appliance, who: event.peer, what: 'next hop not set', kind: 'bad', why: event.message }
  }
}
