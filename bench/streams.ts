/** VMs that print. */
import type { Fleet } from './fleet.ts'
import type { RawVm } from './raw-vm.ts'

const BLOCK_BYTES = 262_144
const TEXT = Buffer.from('[  123.456789] The quick brown fox jumps over the lazy dog, and so on and on\r\n')

export interface StreamParameters {
  /** Over the first `vms` connections, evenly. */
  readonly vms: number
  /** Decoded, in all; rounded up to whole blocks of 256 KiB for each VM. */
  readonly bytes: number
  /** Share of the decoded bytes that are 0xFF. */
  readonly ffPercent: number
}

/** As fast as the server reads. Resolves when the kernel has everything. @returns decoded bytes really sent. */
export async function stream(fleet: Fleet, { vms, bytes, ffPercent }: StreamParameters): Promise<{ bytes: number }> {
  const block = encodedBlock(ffPercent)
  const blocks = Math.ceil(bytes / vms / BLOCK_BYTES)
  await Promise.all(Array.from({ length: vms }, (_, place) => send(fleet.vm(place), blocks, () => block)))
  return { bytes: vms * blocks * BLOCK_BYTES }
}

/** Sends `count` blocks one after the other. */
export function send(vm: RawVm, count: number, block: (number: number) => Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    let next = 0
    vm.onEnded = (reason) => reject(new Error(`VM ${vm.index}: ${reason} while it printed`))
    vm.onDrained = () => {
      while (next < count) if (!vm.socket.write(block(next++))) return
      vm.onDrained = vm.onEnded = null
      resolve()
    }
    vm.onDrained()
  })
}

/** 256 KiB of text with 0xFF in places that no branch predictor can learn, doubled. */
function encodedBlock(ffPercent: number): Buffer {
  const plain = Buffer.alloc(BLOCK_BYTES, TEXT)
  let random = 1
  for (let i = 0; i < (BLOCK_BYTES * ffPercent) / 100; i++) {
    do {
      random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fff_ffff
    } while (plain[(random >> 8) % BLOCK_BYTES] === 0xff)
    plain[(random >> 8) % BLOCK_BYTES] = 0xff
  }
  const encoded = Buffer.alloc(2 * BLOCK_BYTES)
  let length = 0
  for (const byte of plain) {
    encoded[length++] = byte
    if (byte === 0xff) encoded[length++] = byte
  }
  return encoded.subarray(0, length)
}

export interface PacedParameters {
  readonly from: number
  readonly count: number
  /** Of each. */
  readonly bytesPerSecond: number
}

const PACED_CHUNK = Buffer.alloc(16_384, TEXT)

/** VMs that print at a steady rate in the background; one whose connection is full skips its turn. */
export class PacedStreams {
  #timer: NodeJS.Timeout | null = null
  #skipped = 0
  #sent = 0

  async start(fleet: Fleet, { from, count, bytesPerSecond }: PacedParameters): Promise<void> {
    const vms = fleet.vms.slice(from, from + count)
    const waiting = new Set<RawVm>()
    for (const vm of vms) vm.onDrained = () => waiting.delete(vm)
    const chunksPerMs = (count * bytesPerSecond) / PACED_CHUNK.length / 1000
    const began = performance.now()
    let done = 0
    this.#timer = setInterval(() => {
      for (const due = (performance.now() - began) * chunksPerMs; done < due; done++) {
        const vm = vms[done % count] as RawVm
        if (waiting.has(vm)) this.#skipped++
        else {
          this.#sent++
          if (!vm.socket.write(PACED_CHUNK)) waiting.add(vm)
        }
      }
    }, 1)
  }

  /** @returns decoded bytes sent, and the share of turns that were skipped. */
  async stop(): Promise<{ bytes: number; skipped: number }> {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    const turns = Math.max(1, this.#sent + this.#skipped)
    const result = { bytes: this.#sent * PACED_CHUNK.length, skipped: this.#skipped / turns }
    this.#sent = this.#skipped = 0
    return result
  }
}
