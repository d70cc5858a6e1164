import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runVspc } from '../support/cli.ts'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { numbersIn, oneTo, Program, serve, temporary } from './support.ts'
import { movingGuest } from './support-moving.ts'

const LISTEN = ['--listen', 'tcp://127.0.0.1:0']

describeWithPeers(GUEST_PEERS, 'what a real guest prints while it is moved every second', () => {
  test('ten seconds of counting: WebSocket, attach and history have every number once and in order', async () => {
    const server = await serve(...LISTEN)
    const { name, console, end } = await movingGuest(server)
    const attached = new Program(['attach', name, '--from', '0'], server.env)
    await attached.stderr.until('attached to')
    attached.write('counter 100 100000; echo e""nd\n')
    expect(numbersIn(await console.output.until('\r\nend\r\n'))).toEqual(oneTo(100))
    await console.output.until(GUEST_PROMPT)
    attached.end()
    expect((await attached.exited).code).toBe(0)
    expect(attached.stdout.text).toBe(console.output.text)
    expect(await server.history(name)).toBe(console.output.text)
    expect((await end()).vmotions.completed).toBeGreaterThanOrEqual(8)
  })

  test('recorded and played against a fresh server: the same output, the same vMotions', async () => {
    const folder = join(temporary(), 'captures')
    const server = await serve(...LISTEN, '--capture', folder)
    const { name, console, events, end } = await movingGuest(server)
    for (let moves = 0; moves < 2; moves++) await events.next('vmotion-complete')
    console.enter('echo recorded-$((6 * 7))')
    await console.output.until(/recorded-42\r\n.*vm# /)
    const { vmotions } = await end()
    const before = await server.port(name)
    const history = await server.history(name)
    await server.stop()

    const [file] = readdirSync(folder)
    const path = join(folder, file ?? '')
    const shown = await runVspc(['replay', path])
    expect([shown.code, shown.stderr]).toEqual([0, ''])
    expect(shown.stdout.toString().match(/ VMOTION-COMPLETE /g)).toHaveLength(vmotions.completed)
    const lines = (await runVspc(['replay', path, '--json'])).stdout.toString().trim().split('\n')
    const printed = lines
      .map((line) => JSON.parse(line) as { from: string; kind: string; hex?: string })
      .filter(({ from, kind }) => from === 'vm' && kind === 'data')
      .map(({ hex }) => Buffer.from(hex ?? '', 'hex').toString('latin1'))
    expect(printed.join('')).toBe(history)

    const fresh = await serve(...LISTEN)
    const played = await runVspc(['replay', path, '--to', fresh.listening[0] ?? '', '--speed', 'max'])
    expect([played.code, played.stderr]).toEqual([0, ''])
    const { id, bytesFromVm } = before
    expect(await fresh.ports()).toMatchObject([{ id, bytesFromVm, vmotions: vmotions.completed, state: 'offline' }])
    expect(await fresh.history(name)).toBe(history)
  })
})
