import { join } from 'node:path'
import { expect } from 'vitest'
import type { SimulationStatistics } from '../../src/sim/index.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, Program, type ServeProcess, temporary, WsClient } from './support.ts'

/**
 * A guest behind `vspc sim`, whose hosts move it every second, at a prompt.
 * @param target where the hosts connect, if not directly to the server.
 */
export async function movingGuest(server: ServeProcess, target = server.listening[0] ?? '') {
  const socket = join(temporary(), 'serial')
  await boot({ serial: [`unix:${socket},server=on,wait=off`] })
  const events = await Events.of(server)
  const sim = new Program([
    ...['sim', '--target', target, '--vms', '1', '--backend', `unix://${socket}`],
    ...['--vmotions', '1', '--stun', '100', '--json'],
  ])
  const name = 'vm-0001'
  await events.until(name, ({ state }) => state === 'online')
  const console = await WsClient.attach(server, name)
  console.enter('')
  await console.output.until(GUEST_PROMPT)

  /** Ends it; nothing may have gone wrong from the hosts' point of view. */
  const end = async (): Promise<SimulationStatistics> => {
    sim.signal('SIGTERM')
    expect(await sim.exited, sim.stderr.text).toEqual({ code: 0, signal: null })
    const statistics = JSON.parse(sim.stdout.text) as SimulationStatistics
    expect(statistics).toMatchObject({ lostInputBytes: 0, violationSamples: [], reconnects: 0 })
    const { completed, unexpected } = statistics.vmotions
    expect(unexpected).toBe(0)
    expect((await server.port(name)).vmotions).toBe(completed)
    return statistics
  }
  return { name, console, events, end }
}
