import type { HandoverReport } from '../vmotion/index.ts'
import type { Port } from './port.ts'
import type { VmotionEventType, VmotionResult } from './types.ts'

interface VmotionReport {
  readonly counter:
    | 'vmotionsBegun'
    | 'vmotionsCompleted'
    | 'vmotionsImplicit'
    | 'vmotionsAborted'
    | 'vmotionsRefused'
    | 'vmotionsTimedOut'
  readonly event: VmotionEventType
  readonly level: 'info' | 'warn'
  readonly reason: string
  /** How it has ended. */
  readonly result?: VmotionResult
}

const VMOTION_REPORTS: Record<Exclude<HandoverReport, 'online' | 'offline'>, VmotionReport> = {
  begin: { counter: 'vmotionsBegun', event: 'vmotion-begin', level: 'info', reason: 'VMOTION-BEGIN' },
  complete: {
    counter: 'vmotionsCompleted',
    event: 'vmotion-complete',
    level: 'info',
    reason: 'VMOTION-COMPLETE',
    result: 'completed',
  },
  'implicit-complete': {
    counter: 'vmotionsImplicit',
    event: 'vmotion-complete',
    level: 'info',
    reason: 'no COMPLETE, but the destination proved its secret and the VM runs there',
    result: 'implicit',
  },
  abort: {
    counter: 'vmotionsAborted',
    event: 'vmotion-abort',
    level: 'info',
    reason: 'VMOTION-ABORT',
    result: 'aborted',
  },
  'implicit-abort': {
    counter: 'vmotionsAborted',
    event: 'vmotion-abort',
    level: 'info',
    reason: 'no ABORT, but the VM runs on at its source',
    result: 'aborted',
  },
  refused: { counter: 'vmotionsRefused', event: 'vmotion-refused', level: 'warn', reason: 'answered NOTNOW' },
  timeout: {
    counter: 'vmotionsTimedOut',
    event: 'vmotion-timeout',
    level: 'warn',
    reason: 'neither COMPLETE nor ABORT came in time',
    result: 'timed_out',
  },
}

/**
 * Counts, logs and announces what became of a port's connection or vMotion.
 * @param vmotionMs since the last VMOTION-BEGIN.
 */
export function reportHandover(port: Port, what: HandoverReport, vmotionMs: number): void {
  const { log, counters } = port.core
  const host = port.lastSession?.peer.address ?? null
  const fields = { port: port.id, vm: port.name, host }
  if (what === 'online' || what === 'offline') {
    if (what === 'online') {
      log.info(fields, 'port online')
      port.emitPort('port-online')
      tellState(port, host, 'connected')
    } else {
      const failure = port.lastSession?.failure ?? null
      const why = failure === null ? 'the host closed the connection' : `the connection was lost (${failure})`
      log.info({ ...fields, reason: why }, 'port offline')
      port.emitPort('port-offline')
      tellState(port, host, why)
    }
    return
  }
  const { counter, event, level, reason, result } = VMOTION_REPORTS[what]
  counters[counter]++
  if (result !== undefined) port.core.observeVmotion(result, vmotionMs)
  log[level]({ ...fields, reason }, event)
  port.core.emit((at) => ({ type: event, at, port: port.info(), reason }))
  tellState(port, host, reason)
}

function tellState(port: Port, host: string | null, reason: string): void {
  if (port.consoles.length > 0) port.tellConsoles({ type: 'state', state: port.state, host, reason })
}
