/** The generator process: VMs and consoles as lean as they can be. */
import { consoleStream, printNumbered, readNumbered, roundTrips } from './consoles.ts'
import { type AttachParameters, type ConnectParameters, Fleet } from './fleet.ts'
import { type PacedParameters, PacedStreams, type StreamParameters, stream } from './streams.ts'
import { type VmotionParameters, vmotions } from './vmotions.ts'
import { serveWorks } from './worker.ts'

const fleet = new Fleet()
const paced = new PacedStreams()

export const generatorWorks = {
  connect: (parameters: ConnectParameters) => fleet.connect(parameters),
  printLine: () => fleet.printLine(),
  count: () => fleet.count(),
  drop: () => fleet.drop(),
  attach: (parameters: AttachParameters) => fleet.attach(parameters),
  stream: (parameters: StreamParameters) => stream(fleet, parameters),
  startStreams: (parameters: PacedParameters) => paced.start(fleet, parameters),
  stopStreams: () => paced.stop(),
  consoleStream: (parameters: Parameters<typeof consoleStream>[1]) => consoleStream(fleet, parameters),
  roundTrips: (parameters: Parameters<typeof roundTrips>[1]) => roundTrips(fleet, parameters),
  printNumbered: (parameters: Parameters<typeof printNumbered>[1]) => printNumbered(fleet, parameters),
  readNumbered: (parameters: Parameters<typeof readNumbered>[1]) => readNumbered(fleet, parameters),
  vmotions: (parameters: VmotionParameters) => vmotions(fleet, parameters),
}

serveWorks(generatorWorks)
