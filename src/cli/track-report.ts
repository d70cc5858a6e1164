/** What `vspc track` says: what was changed on stdout, everything else on stderr. */
import type { PlanReport, TrackingEvent } from '../appliance/index.ts'
import { cleanText } from '../base/index.ts'
import {
  type ApplianceMove,
  type Failure,
  type RetargetEvent,
  type RetargetStep,
  type RetargetSummary,
  stepInfo,
} from '../vmotion/index.ts'
import { cleanMessage, printData, printNote } from './output.ts'
import { formatTable } from './table.ts'

export class TrackReport {
  readonly #json: boolean
  readonly #wall: () => number

  /** @param wall milliseconds since 1970. */
  constructor(json: boolean, wall: () => number) {
    this.#json = json
    this.#wall = wall
  }

  take(event: TrackingEvent): void {
    switch (event.kind) {
      case 'moved':
        this.moved(event.move)
        break
      case 'trouble':
        // Of addresses that are missing the lines below say more.
        if (event.source !== 'target' && event.source !== 'next-hops') this.#trouble(event.failure)
        break
      case 'well':
        printNote('all is well again')
        this.#event('well', {})
        break
      case 'hint':
        printNote(`warning: ${cleanMessage(event.message)}`)
        break
      case 'retarget':
        this.#retarget(event.event, event.news)
        break
      default:
        event satisfies never
    }
  }

  moved({ from, to }: ApplianceMove): void {
    this.#print('appliance', { host: to.name, from: from?.name ?? null, managementIps: to.managementIps }, () =>
      from === null || from.name === to.name
        ? `appliance on ${to.name}`
        : `appliance moved: ${from.name} -> ${to.name}`,
    )
  }

  #trouble({ kind, message }: Failure): void {
    printNote(`${cleanMessage(message)}; trying again`)
    this.#event('trouble', { kind, message })
  }

  #retarget(event: RetargetEvent, news: boolean): void {
    switch (event.kind) {
      case 'target':
        printNote(`pointing VMs at ${event.proxyURI}`)
        this.#event('target', { host: event.place.name, proxyURI: event.proxyURI })
        break
      case 'no-target':
        printNote(`no VM is re-pointed: ${cleanMessage(event.message)}`)
        this.#event('no-target', { host: event.place.name, message: event.message })
        break
      case 'no-next-hop':
        printNote(`no peer relay is told: ${cleanMessage(event.failure.message)}`)
        this.#event('no-next-hop', { host: event.place.name, message: event.failure.message })
        break
      case 'listed':
        if (event.counts.vms === 0 && news) printNote('no VM fits --vms')
        this.#event('listed', { counts: event.counts })
        break
      case 'list-failed':
        // Told as a trouble.
        break
      case 'changed':
        for (const step of event.steps) {
          const { vm, uuid, port, why, from, to } = stepInfo(step)
          this.#print('changed', { vm, uuid, port, why, from, to }, () => `${vm} ${port}: ${from ?? 'none'} -> ${to}`)
        }
        break
      case 'cannot':
        for (const step of event.steps) {
          printNote(`${cleanText(event.vm.name, 100)}: ${cleanMessage(step.message)}`)
          this.#event('cannot', { ...stepInfo(step), reason: step.why })
        }
        break
      case 'failed':
        this.#failed(event, news)
        break
      case 'forgotten':
        this.#event('forgotten', { vm: event.vm.name, uuid: event.vm.instanceUuid })
        break
      case 'pushed':
        printNote(`${event.change.peer} leads to ${cleanText(event.change.endpoint, 300)}`)
        this.#event('pushed', { ...event.change })
        break
      case 'push-failed':
        if (news) printNote(cleanMessage(`${event.change.peer}: ${event.failure.message}; trying again`))
        this.#event('push-failed', { ...event.change, ...event.failure, attempts: event.attempts })
        break
      case 'settled':
        printNote(summaryText(event.summary))
        this.#event('settled', {
          host: event.summary.place.name,
          proxyURI: event.summary.proxyURI,
          counts: event.summary.counts,
          changed: event.summary.changed,
          ms: Math.round(event.summary.ms),
        })
        break
      default:
        event satisfies never
    }
  }

  #failed(event: RetargetEvent & { readonly kind: 'failed' }, news: boolean): void {
    const { vm, failure, attempts, retryMs } = event
    if (news) printNote(cleanMessage(`${cleanText(vm.name, 100)}: ${failure.message}; trying again`))
    const { kind, message } = failure
    const ms = Math.round(retryMs)
    this.#event('failed', { vm: vm.name, uuid: vm.instanceUuid, kind, message, attempts, retryMs: ms })
  }

  #print(event: string, fields: object, text: () => string): void {
    if (this.#json) this.#event(event, fields)
    else printData(`${cleanText(text(), 2_000)}\n`)
  }

  #event(event: string, fields: object): void {
    if (!this.#json) return
    printData(`${JSON.stringify({ time: new Date(this.#wall()).toISOString(), event, ...fields })}\n`)
  }
}

function summaryText({ counts, changed, ms }: RetargetSummary): string {
  const { vms, right, cannot, stuck } = counts
  const rest = [
    ...(cannot > 0 ? [`${cannot} cannot be changed`] : []),
    ...(stuck > 0 ? [`${stuck} failed and are tried again`] : []),
  ]
  return [`${right} of ${vms} VMs are right, ${changed} changed in ${(ms / 1_000).toFixed(1)} s`, ...rest].join(', ')
}

/** What would be done: changes, and what cannot be changed; what is right already is only counted. */
export function printPlan({ place, proxyURI, steps, nextHops }: PlanReport, json: boolean): void {
  if (json) {
    const shown = { host: place.name, proxyURI, nextHops, steps: steps.map(stepInfo) }
    printData(`${JSON.stringify(shown, null, 2)}\n`)
    return
  }
  const count = (wanted: RetargetStep['do']) => steps.filter((step) => step.do === wanted).length
  printNote(
    `appliance on ${cleanText(place.name, 100)}: ${count('change')} ports would be changed, ` +
      `${count('keep')} are right, ${count('cannot')} cannot be changed`,
  )
  const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
  if ('problem' in nextHops) printNote(cleanMessage(nextHops.problem))
  else if (nextHops.length > 0) {
    const columns = [
      { title: 'NEXT HOP', min: 16 },
      { title: 'TO', min: 20 },
    ]
    const rows = nextHops.map(({ peer, endpoint }) => [peer, endpoint])
    printData(`${formatTable(columns, rows, width).join('\n')}\n\n`)
  }
  const rows = steps
    .filter((step) => step.do !== 'keep')
    .map(stepInfo)
    .map(({ vm, port, from, to, why }) => [vm, port ?? '', from ?? '', to ?? 'unchanged', why])
  if (rows.length === 0) return
  const columns = [
    { title: 'VM', min: 12 },
    { title: 'PORT', min: 8 },
    { title: 'FROM', min: 16 },
    { title: 'TO', min: 16 },
    { title: 'WHY', min: 10 },
  ]
  printData(`${formatTable(columns, rows, width).join('\n')}\n`)
}
