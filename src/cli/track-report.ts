/** What `vspc track` says: what was changed on stdout, everything else on stderr. */
import { cleanText, errorMessage } from '../base/index.ts'
import {
  type ApplianceMove,
  type Failure,
  type HostPlace,
  type NextHopChange,
  type RetargetEvent,
  type RetargetStep,
  type RetargetSummary,
  stepInfo,
} from '../vmotion/index.ts'
import { cleanMessage, printData, printNote } from './output.ts'
import { formatTable } from './table.ts'

/** Where it was noticed: following the appliance, waiting for news of it, or working on VMs. */
export type TroubleSource = 'appliance' | 'news' | 'vms'

export class TrackReport {
  readonly #json: boolean
  readonly #wall: () => number
  /** What is wrong with the whole, as told last. */
  readonly #troubles = new Map<TroubleSource, string>()
  /** What is wrong with single VMs and peers, as told last. */
  readonly #told = new Map<string, string>()

  /** @param wall milliseconds since 1970. */
  constructor(json: boolean, wall: () => number) {
    this.#json = json
    this.#wall = wall
  }

  moved({ from, to }: ApplianceMove): void {
    this.well('appliance')
    this.#print('appliance', { host: to.name, from: from?.name ?? null, managementIps: to.managementIps }, () =>
      from === null || from.name === to.name
        ? `appliance on ${to.name}`
        : `appliance moved: ${from.name} -> ${to.name}`,
    )
  }

  /** Told once until it is well again, or something else is wrong. */
  trouble(source: TroubleSource, { kind, message }: Failure): void {
    // While the server is away all of them say the same.
    const known = [...this.#troubles.values()].includes(message)
    this.#troubles.set(source, message)
    if (known) return
    printNote(`${cleanMessage(message)}; trying again`)
    this.#event('trouble', { kind, message })
  }

  well(source: TroubleSource): void {
    if (!this.#troubles.delete(source) || this.#troubles.size > 0) return
    printNote('all is well again')
    this.#event('well', {})
  }

  retarget(event: RetargetEvent): void {
    switch (event.kind) {
      case 'target':
        this.#told.clear()
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
        this.well('vms')
        if (event.counts.vms === 0) this.#once('', 'no VM fits --vms')
        this.#event('listed', { counts: event.counts })
        break
      case 'list-failed':
        this.trouble('vms', event.failure)
        break
      case 'changed':
        this.well('vms')
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
        this.#failed(event)
        break
      case 'forgotten':
        this.#told.delete(event.vm.id)
        this.#event('forgotten', { vm: event.vm.name, uuid: event.vm.instanceUuid })
        break
      case 'pushed':
        this.#told.delete(event.change.peer)
        printNote(`${event.change.peer} leads to ${cleanText(event.change.endpoint, 300)}`)
        this.#event('pushed', { ...event.change })
        break
      case 'push-failed':
        this.#once(event.change.peer, `${event.change.peer}: ${event.failure.message}; trying again`)
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

  #failed({ vm, failure, attempts, retryMs }: RetargetEvent & { readonly kind: 'failed' }): void {
    if (failure.kind === 'transient') this.trouble('vms', failure)
    else this.#once(vm.id, `${cleanText(vm.name, 100)}: ${failure.message}; trying again`)
    const { kind, message } = failure
    const ms = Math.round(retryMs)
    this.#event('failed', { vm: vm.name, uuid: vm.instanceUuid, kind, message, attempts, retryMs: ms })
  }

  #once(key: string, text: string): void {
    if (this.#told.get(key) === text) return
    this.#told.set(key, text)
    printNote(cleanMessage(text))
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

export interface Plan {
  readonly place: HostPlace
  readonly proxyURI: string
  readonly steps: readonly RetargetStep[]
  /** Or why they cannot be told. */
  readonly nextHops: readonly NextHopChange[] | { readonly problem: string }
}

/** What would be done: changes, and what cannot be changed; what is right already is only counted. */
export function printPlan({ place, proxyURI, steps, nextHops }: Plan, json: boolean): void {
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

/** Next hops for a place, without telling anybody. */
export function planned(changes: () => readonly NextHopChange[]): Plan['nextHops'] {
  try {
    return changes()
  } catch (error) {
    return { problem: errorMessage(error) }
  }
}
