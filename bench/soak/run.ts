/** One endurance run: server, hosts and consoles, and what became of every byte. */
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuMs, type Machine, machine, rssKib } from '../os.ts'
import { ServerProcess } from '../server-process.ts'
import { WorkerProcess } from '../worker-process.ts'
import { type Audit, audit, ports } from './audit.ts'
import { Crowd } from './crowd.ts'
import type { HostsStatistics, hostsWorks, VmTotals } from './hosts.ts'

export interface SoakParameters {
  readonly program: string
  /** For `vspc serve`. */
  readonly serve: readonly string[]
  readonly seconds: number
  readonly vms: number
  readonly mortal: number
  readonly fast: number
  readonly vmotionsPerSecond: number
  readonly failing: number
  readonly deathEveryMs: number
  readonly consoles: number
  readonly stuck: number
  /** History in memory only: what it no longer holds is no loss. */
  readonly allowGaps: boolean
}

export interface Sample {
  /** Since the run began. */
  readonly seconds: number
  readonly rssMib: number
  /** Of one CPU, since the last sample. */
  readonly cpuPercent: number
  readonly loopP99Ms: number
  readonly loopMaxMs: number
}

export interface SoakReport {
  readonly when: string
  readonly machine: Machine
  readonly parameters: SoakParameters
  readonly seconds: number
  /** In words: whatever was lost, doubled or wrong. Empty is good. */
  readonly faults: readonly string[]
  readonly hosts: HostsStatistics
  readonly consoles: { attachments: number; bytes: number; gapBytes: number; typedBytes: number }
  readonly printedBytes: number
  readonly audit: Omit<Audit, 'faults'>
  /** Warnings and errors of the server's log, by message. */
  readonly complaints: { readonly [message: string]: number }
  readonly samples: readonly Sample[]
}

const INPUT_MS = 15_000

export async function soak(parameters: SoakParameters, say: (text: string) => void): Promise<SoakReport> {
  const began = performance.now()
  const when = new Date().toISOString()
  const conditions = machine()
  const { program, serve } = parameters
  const server = await ServerProcess.start({ contender: 'ours', program, serve })
  const hosts = new WorkerProcess<typeof hostsWorks>(new URL('./hosts.js', import.meta.url), null)
  try {
    const vms = await hosts.run('start', { ...parameters, tcpPort: server.ports.vm })
    say(`${vms.length} VMs attached after ${((performance.now() - began) / 1000).toFixed(1)} s`)
    const crowd = new Crowd({ ...parameters, httpPort: server.ports.http, vms })
    await crowd.start()
    const samples = await watch(server, parameters.seconds, async (sample) => {
      const { vmotions } = await hosts.run('statistics')
      const moved = vmotions['completed'] ?? 0
      const { attachments, judgement } = crowd
      say(
        `${sample.seconds.toFixed(0)} s: ${sample.rssMib.toFixed(0)} MiB, CPU ${sample.cpuPercent.toFixed(0)} %, ` +
          `loop p99 ${sample.loopP99Ms.toFixed(1)} ms; ${moved} vMotions, ${attachments} consoles, ` +
          `${judgement.bytes} bytes seen, ${judgement.faults.length} faults`,
      )
    })
    await crowd.leave()
    await hosts.run('calm')
    await inputRead(server, crowd)
    const statistics = await hosts.run('statistics')
    const totals = await hosts.run('finish')
    await settled(server, totals)
    const known = await ports(server.ports.http)
    await crowd.readOn((id) => known.get(id)?.bytesFromVm ?? 0)
    say('checking what the server has kept')
    const { faults, ...audited } = await audit(server.ports.http, totals, crowd.typed)
    const { judgement, attachments, typedBytes } = crowd
    const complaints = Object.fromEntries(server.complaints())
    await server.stop()
    return {
      when,
      machine: conditions,
      parameters,
      seconds: (performance.now() - began) / 1000,
      faults: [...judgement.faults, ...faults, ...hostFaults(statistics), ...gapFaults(judgement.gapBytes, parameters)],
      hosts: statistics,
      consoles: { attachments, bytes: judgement.bytes, gapBytes: judgement.gapBytes, typedBytes },
      printedBytes: totals.reduce((sum, { bytesOut }) => sum + bytesOut, 0),
      audit: audited,
      complaints,
      samples,
    }
  } finally {
    await hosts.stop()
    server.kill()
  }
}

/** Samples the server for so long. */
async function watch(
  server: ServerProcess,
  seconds: number,
  tell: (sample: Sample) => Promise<void>,
): Promise<Sample[]> {
  const samples: Sample[] = []
  const everyMs = Math.max(1_000, (seconds * 1_000) / 150)
  const began = performance.now()
  let cpu = cpuMs(server.pid)
  let at = began
  let before = await server.metrics()
  while (performance.now() - began < seconds * 1_000) {
    await sleep(everyMs)
    const metrics = await server.metrics()
    const now = performance.now()
    const used = cpuMs(server.pid)
    samples.push({
      seconds: (now - began) / 1000,
      rssMib: rssKib(server.pid) / 1024,
      cpuPercent: ((used - cpu) / (now - at)) * 100,
      loopP99Ms: loopP99Ms(before, metrics),
      loopMaxMs: (metrics.get('vspc_event_loop_delay_recent_max_seconds') ?? 0) * 1000,
    })
    before = metrics
    cpu = used
    at = now
    if (samples.length % 10 === 0) await tell(samples.at(-1) as Sample)
  }
  return samples
}

/** Of what came between two looks: the upper bound of the bucket that it is in. */
function loopP99Ms(before: ReadonlyMap<string, number>, now: ReadonlyMap<string, number>): number {
  const more = (name: string): number => (now.get(name) ?? 0) - (before.get(name) ?? 0)
  const wanted = more('vspc_event_loop_delay_seconds_count') * 0.99
  for (const name of now.keys()) {
    const bound = /^vspc_event_loop_delay_seconds_bucket\{le="([\d.]+)"\}$/.exec(name)?.[1]
    if (bound !== undefined && more(name) >= wanted) return Number(bound) * 1000
  }
  return Number.POSITIVE_INFINITY
}

/** Waits until the VMs have been sent what was typed; whether they have read it is checked later. */
async function inputRead(server: ServerProcess, crowd: Crowd): Promise<void> {
  for (let waited = 0; waited < INPUT_MS; waited += 100) {
    if (((await server.metrics()).get('vspc_vm_sent_bytes_total') ?? 0) >= crowd.typedBytes) return
    await sleep(100)
  }
}

/** Waits until every connection that ended was read to its end. */
async function settled(server: ServerProcess, totals: readonly VmTotals[]): Promise<void> {
  const printed = totals.reduce((sum, { bytesOut }) => sum + bytesOut, 0)
  for (let waited = 0; waited < INPUT_MS; waited += 100) {
    const metrics = await server.metrics()
    const arrived = metrics.get('vspc_vm_received_bytes_total') ?? 0
    if (arrived >= printed || metrics.get('vspc_vm_connections') === 0) return
    await sleep(100)
  }
}

function hostFaults({ violations, unexpected, lostInputBytes }: HostsStatistics): string[] {
  return [
    ...violations.map((text) => `protocol: ${text}`),
    ...unexpected.map((text) => `vMotion: ${text}`),
    ...(lostInputBytes > 0 ? [`${lostInputBytes} bytes of input sent where no VM reads them`] : []),
  ]
}

function gapFaults(bytes: number, { allowGaps }: SoakParameters): string[] {
  return bytes === 0 || allowGaps ? [] : [`consoles were told of gaps: ${bytes} bytes`]
}
