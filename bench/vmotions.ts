/** Whole vMotions, many at once. */
import type { Fleet } from './fleet.ts'
import { addressOf, peerOpening, RawVm } from './raw-vm.ts'
import { percentile } from './statistics.ts'
import { begin, CANNED_SEQUENCE, CODE, complete, findFrame } from './wire.ts'

export interface VmotionParameters {
  /** Where destinations connect. */
  readonly tcpPort: number
  /** The VMs at these places move in turn. */
  readonly from: number
  readonly count: number
  readonly total: number
  readonly atOnce: number
  /** Always the same sequence: the bare server knows no other. */
  readonly canned: boolean
}

/** BEGIN to GOAHEAD as the host sees it, in ms. */
export interface VmotionResult {
  readonly seconds: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export async function vmotions(fleet: Fleet, parameters: VmotionParameters): Promise<VmotionResult> {
  const { tcpPort, from, count, total, atOnce, canned } = parameters
  const waiting = Array.from({ length: count }, (_, i) => from + i)
  const times = new Float64Array(total)
  const began = performance.now()
  let next = 0
  const worker = async () => {
    while (next < total) {
      const number = next++
      const place = waiting.shift() as number
      const vm = fleet.vm(place)
      const sequence = canned ? CANNED_SEQUENCE : sequenceOf(number)
      const asked = performance.now()
      const cookie = await goahead(vm, sequence)
      times[number] = performance.now() - asked
      const destination = new RawVm(vm.index, tcpPort, addressOf(number), peerOpening(vm.index, cookie))
      await destination.accepted()
      // The order that is hardest for the proxy, and the commonest in VMware's capture.
      vm.socket.fin()
      destination.socket.write(complete(sequence))
      fleet.vms[place] = destination
      waiting.push(place)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  const seconds = (performance.now() - began) / 1000
  return { seconds, p50: percentile(times, 0.5), p99: percentile(times, 0.99), max: percentile(times, 1) }
}

/** Asks for a vMotion. @returns sequence and secret as they came, IAC still doubled. */
function goahead(vm: RawVm, sequence: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let heard = Buffer.alloc(0)
    vm.onEnded = (reason) => reject(new Error(`VM ${vm.index}: ${reason} instead of GOAHEAD`))
    vm.onBytes = (bytes) => {
      heard = Buffer.concat([heard, bytes])
      const answer = findFrame(heard, CODE.goahead)
      if (answer === null) {
        if (findFrame(heard, CODE.notNow) !== null) reject(new Error(`VM ${vm.index}: NOTNOW`))
        return
      }
      vm.onBytes = vm.onEnded = null
      if (answer.payload.indexOf(sequence) === 0) resolve(Buffer.from(answer.payload))
      else reject(new Error(`VM ${vm.index}: GOAHEAD does not echo the sequence`))
    }
    vm.socket.write(begin(sequence))
  })
}

/** Four bytes without 0xFF, so that they look on the wire as they are. */
function sequenceOf(number: number): Buffer {
  return Buffer.from([number & 0x7f, (number >> 7) & 0x7f, (number >> 14) & 0x7f, (number >> 21) & 0x7f])
}
