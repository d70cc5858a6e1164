/** What is measured at consoles: throughput, round trips, and what one gets that has not read for a long time. */
import type { Fleet } from './fleet.ts'
import { percentile } from './statistics.ts'
import { send } from './streams.ts'

const BLOCK_BYTES = 65_536
const STALL_MS = 30_000

/** Runs `body` with a check that `progress` keeps changing. */
async function watched<T>(progress: () => number, what: string, body: Promise<T>): Promise<T> {
  let last = progress()
  let timer: NodeJS.Timeout | undefined
  const stalled = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      if (progress() === last) reject(new Error(`${what}: nothing moved for ${STALL_MS / 1000} s`))
      last = progress()
    }, STALL_MS)
  })
  try {
    return await Promise.race([body, stalled])
  } finally {
    clearInterval(timer)
  }
}

/**
 * The first VM prints, the first console reads. No more than `windowBytes` are on their way, so that nothing has to be
 * skipped or fetched from history.
 */
export async function consoleStream(
  fleet: Fleet,
  { bytes, windowBytes }: { readonly bytes: number; readonly windowBytes: number },
): Promise<{ seconds: number; gapBytes: number }> {
  const vm = fleet.vm(0)
  const console = fleet.console(0)
  const block = Buffer.alloc(BLOCK_BYTES, 'The quick brown fox jumps over the lazy dog, and so on and on\r\n')
  const began = performance.now()
  let sent = 0
  let arrived = 0
  let gapBytes = 0
  let full = false
  const print = () => {
    while (!full && sent < bytes && sent - arrived < windowBytes) {
      sent += BLOCK_BYTES
      full = !vm.socket.write(block)
    }
  }
  const finished = new Promise<void>((resolve, reject) => {
    vm.onDrained = () => {
      full = false
      print()
    }
    console.events = {
      bytes: (piece) => {
        arrived += piece.length
        print()
        if (arrived >= bytes) resolve()
      },
      message: (text) => {
        const lost = gapOf(text)
        gapBytes += lost
        arrived += lost
      },
      closed: (reason) => reject(new Error(`console: ${reason}`)),
    }
    print()
  })
  await watched(() => arrived, 'console throughput', finished)
  console.events = {}
  return { seconds: (performance.now() - began) / 1000, gapBytes }
}

/** One keystroke at a time: console, VM, which echoes it, console. Microseconds. */
export async function roundTrips(
  fleet: Fleet,
  { count }: { readonly count: number },
): Promise<{ p50: number; p99: number }> {
  const vm = fleet.vm(0)
  const console = fleet.console(0)
  const key = Buffer.from('x')
  const times = new Float64Array(count)
  let done = 0
  vm.onBytes = (bytes) => {
    vm.socket.write(Buffer.from(bytes))
  }
  const finished = new Promise<void>((resolve, reject) => {
    let typed = performance.now()
    console.events = {
      bytes: () => {
        const now = performance.now()
        times[done++] = (now - typed) * 1000
        if (done === count) {
          resolve()
          return
        }
        typed = performance.now()
        console.type(key)
      },
      closed: (reason) => reject(new Error(`console: ${reason}`)),
    }
    console.type(key)
  })
  await watched(() => done, 'round trips', finished)
  vm.onBytes = null
  console.events = {}
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) }
}

/** A VM that prints numbered blocks, whoever reads. @returns how long the server took to take them. */
export async function printNumbered(
  fleet: Fleet,
  { place, blocks }: { readonly place: number; readonly blocks: number },
): Promise<{ seconds: number; bytes: number }> {
  const began = performance.now()
  await send(fleet.vm(place), blocks, numberedBlock)
  return { seconds: (performance.now() - began) / 1000, bytes: blocks * BLOCK_BYTES }
}

/** A console reads at last; counts what comes, and checks it. It may miss what it was told of in `gap`. */
export async function readNumbered(
  fleet: Fleet,
  { place, bytes }: { readonly place: number; readonly bytes: number },
): Promise<{ bytes: number; gapBytes: number; wrong: number }> {
  const console = fleet.console(place)
  let offset = 0
  let arrived = 0
  let gapBytes = 0
  let wrong = 0
  const finished = new Promise<void>((resolve, reject) => {
    console.events = {
      bytes: (piece) => {
        for (let at = 0; at < piece.length; ) {
          const expected = numberedBlock(Math.floor(offset / BLOCK_BYTES)).subarray(offset % BLOCK_BYTES)
          const length = Math.min(expected.length, piece.length - at)
          if (piece.compare(expected, 0, length, at, at + length) !== 0) wrong++
          at += length
          offset += length
        }
        arrived += piece.length
        if (arrived + gapBytes >= bytes) resolve()
      },
      message: (text) => {
        const lost = gapOf(text)
        gapBytes += lost
        offset += lost
      },
      closed: (reason) => reject(new Error(`console: ${reason}`)),
    }
    console.socket.resume()
  })
  await watched(() => arrived, 'a console that reads at last', finished)
  return { bytes: arrived, gapBytes, wrong }
}

/** 64 KiB that begin with their number. */
function numberedBlock(number: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES, 0x61)
  block.write(String(number).padStart(10, '0'))
  return block
}

function gapOf(text: string): number {
  const message = JSON.parse(text) as { type: string; bytes?: number }
  return message.type === 'gap' ? (message.bytes ?? 0) : 0
}
