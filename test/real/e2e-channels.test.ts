/** Each way from a guest's serial line to the server, with a real guest; those without a relay are in e2e-plain, too. */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { PortInfo } from '../../src/vspc/index.ts'
import { runVspc } from '../support/cli.ts'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, numbersIn, oneTo, Program, WsClient } from './support.ts'
import { Appliance, Courier, expectWhole, makePipes, numbers, printNumbers, RelayProcess } from './support-channels.ts'
import { movingGuest } from './support-moving.ts'

describeWithPeers(GUEST_PEERS, 'channels of a real guest', () => {
  test('network serial port, client mode, through a relay: guest and relay come back as the same port', async () => {
    const appliance = await Appliance.start('protocol=raw&proxy=v2')
    const relay = await RelayProcess.start('--listen', 'tcp://127.0.0.1:0', '--dial', `${appliance.hop}&name=vm1`)
    const serial = [`tcp:127.0.0.1:${relay.tcpPort},reconnect=1`]
    const first = await boot({ serial })
    await appliance.until('online', 'vm1')
    const console = await appliance.attach('vm1')
    await expectWhole(console, 'ttyS0')
    const online = [{ id: 'name:vm1', name: 'vm1', host: '127.0.0.1', transport: 'unix', state: 'online' }]
    expect(await appliance.identities()).toEqual(online)

    await first.stop()
    await appliance.until('offline', 'vm1')
    await boot({ serial })
    await appliance.until('online', 'vm1')
    await console.output.until(GUEST_PROMPT)
    await expectWhole(console, 'ttyS0')

    await relay.kill()
    await appliance.until('offline', 'vm1')
    await relay.again()
    await appliance.until('online', 'vm1')
    await expectWhole(console, 'ttyS0')
    expect(await appliance.identities()).toEqual(online)
  })

  test('network serial port, server mode: dialled by the server, and by a relay that dials on', async () => {
    const listening = 'tcp:127.0.0.1:0,server=on,wait=off'
    const first = await boot({ serial: [listening, listening] })
    const places = await Promise.all([0, 1].map(async (index) => `127.0.0.1:${await first.tcpPort(index)}`))
    const dialled = `tcp://${places[1]}?protocol=raw&name=vm1&label=com2`
    const appliance = await Appliance.start('protocol=raw&proxy=v2', () => ['--dial', dialled])
    const relay = await RelayProcess.start('--dial', `tcp://${places[0]}?name=vm1&label=com1`, '--dial', appliance.hop)
    await appliance.until('online', 'vm1/com1', 'vm1/com2')
    const [com1, com2] = [await appliance.attach('vm1/com1'), await appliance.attach('vm1/com2')]
    await expectWhole(com1, 'ttyS0')
    await expectWhole(com2, 'ttyS1')
    const online = [
      { id: 'name:vm1:com1', name: 'vm1', host: '127.0.0.1', transport: 'unix', state: 'online' },
      { id: 'name:vm1:com2', name: 'vm1', host: '127.0.0.1', transport: 'tcp', state: 'online' },
    ]
    expect(await appliance.identities()).toEqual(online)

    await first.stop()
    await appliance.until('offline', 'vm1/com1', 'vm1/com2')
    await boot({ serial: places.map((place) => `tcp:${place},server=on,wait=off`) })
    await appliance.until('online', 'vm1/com1', 'vm1/com2')
    await expectWhole(com1, 'ttyS0')
    await expectWhole(com2, 'ttyS1')

    await relay.kill()
    await appliance.until('offline', 'vm1/com1')
    await relay.again()
    await appliance.until('online', 'vm1/com1')
    await expectWhole(com1, 'ttyS0')
    expect(await appliance.identities()).toEqual(online)
  })

  test('pipes: nothing that the guest prints is lost, whoever of guest, relay and server goes and comes back', async () => {
    const appliance = await Appliance.start('protocol=raw&proxy=v2', (folder) => {
      for (const name of ['vm1', 'vm2']) makePipes(join(folder, name))
      return ['--dial', `fifo://${folder}/vm2?protocol=raw&name=vm2`]
    })
    const { server, folder, socket, hop } = appliance
    const relay = await RelayProcess.start('--dial', `fifo://${folder}/vm1?name=vm1`, '--dial', hop)
    const guest = {
      serial: ['chardev:first', 'chardev:second'],
      qemuArgs: ['-chardev', `pipe,id=first,path=${folder}/vm1`, '-chardev', `pipe,id=second,path=${folder}/vm2`],
    }
    const first = await boot(guest)
    await appliance.until('online', 'vm1', 'vm2')
    const [vm1, vm2] = [await appliance.attach('vm1'), await appliance.attach('vm2')]
    await expectWhole(vm1, 'ttyS0')
    await expectWhole(vm2, 'ttyS1')
    const online = [
      { id: 'name:vm1', name: 'vm1', host: `fifo:${folder}/vm1@${socket}`, transport: 'unix', state: 'online' },
      { id: 'name:vm2', name: 'vm2', host: `${folder}/vm2`, transport: 'fifo', state: 'online' },
    ]
    expect(await appliance.identities()).toEqual(online)

    // Printed while there is no relay.
    await relay.kill()
    await printNumbers(vm2, 'ttyS0', 1500, 1)
    const next = await relay.again()
    expect(numbersIn(await vm1.output.until('\r\n1500\r\n'))).toEqual(oneTo(1500))

    // Printed while the relay reads nothing, by a guest that is gone when it does.
    next.pause()
    await printNumbers(vm2, 'ttyS0', 1500, 2001)
    await first.stop()
    await boot(guest)
    next.resume()
    expect(numbersIn(await vm1.output.until('\r\n3500\r\n'))).toEqual(numbers(2001, 3500))
    await vm1.output.until(GUEST_PROMPT)
    await expectWhole(vm1, 'ttyS0')
    await expectWhole(vm2, 'ttyS1')
    expect(await appliance.identities()).toEqual(online)

    // Printed while both are told to stop, and others start.
    for (const console of [vm1, vm2]) console.enter('echo; counter 200 5000 4001; echo e""nd')
    await vm1.output.until('\r\n4040\r\n')
    await next.stop()
    await next.again()
    await vm1.output.until('\r\n4080\r\n')
    const successor = await server.restart()
    onTestFinished(() => successor.stop())
    const events = await Events.of(successor)
    for (const name of ['vm1', 'vm2']) {
      await events.until(name, ({ state }) => state === 'online')
      const console = await WsClient.attach(successor, name)
      const printed = numbersIn(await console.output.until('\r\nend\r\n')).filter((number) => number > 4000)
      expect(printed, name).toEqual(numbers(4001, 4200))
    }
  })

  test('sockets of QEMU, either side listening: one relay with a route for each', async () => {
    const appliance = await Appliance.start('protocol=raw&proxy=v2')
    const { folder, socket, hop } = appliance
    const [listened, dialled] = [join(folder, 'com1.sock'), join(folder, 'com2.sock')]
    const config = join(folder, 'relay.yaml')
    const routes = [
      { name: 'com1', listen: `unix://${listened}?name=vm1&label=com1`, dial: hop },
      { name: 'com2', dial: [`unix://${dialled}?name=vm1&label=com2`, hop] },
    ]
    // JSON is YAML.
    writeFileSync(config, JSON.stringify({ routes }, null, 2))
    const relay = await RelayProcess.start('--config', config)
    const guest = {
      serial: ['chardev:first', 'chardev:second'],
      qemuArgs: [
        ...['-chardev', `socket,id=first,path=${listened},server=off,reconnect=1`],
        ...['-chardev', `socket,id=second,path=${dialled},server=on,wait=off`],
      ],
    }
    const first = await boot(guest)
    await appliance.until('online', 'vm1/com1', 'vm1/com2')
    const [com1, com2] = [await appliance.attach('vm1/com1'), await appliance.attach('vm1/com2')]
    const bothWhole = async (): Promise<void> => {
      await expectWhole(com1, 'ttyS0')
      await expectWhole(com2, 'ttyS1')
    }
    await bothWhole()
    const online = [
      { id: 'name:vm1:com1', name: 'vm1', host: `unix:${listened}@${socket}`, transport: 'unix', state: 'online' },
      { id: 'name:vm1:com2', name: 'vm1', host: `unix:${dialled}@${socket}`, transport: 'unix', state: 'online' },
    ]
    expect(await appliance.identities()).toEqual(online)

    await first.stop()
    await appliance.until('offline', 'vm1/com1', 'vm1/com2')
    await boot(guest)
    await appliance.until('online', 'vm1/com1', 'vm1/com2')
    await com1.output.until(GUEST_PROMPT)
    await bothWhole()

    await relay.kill()
    await appliance.until('offline', 'vm1/com1', 'vm1/com2')
    await relay.again()
    await appliance.until('online', 'vm1/com1', 'vm1/com2')
    await bothWhole()
    expect(await appliance.identities()).toEqual(online)
  })

  test('vSPC relay: vMotions pass through, and the ESXi host shows as the host, not the relay', async () => {
    const appliance = await Appliance.start('proxy=v2')
    const { server, hop } = appliance
    const relay = await RelayProcess.start('--listen', 'tcp://127.0.0.1:0', '--dial', hop)
    const { name, console, events, end } = await movingGuest(server, `tcp://127.0.0.1:${relay.tcpPort}`)
    const before = await server.port(name)
    console.enter('counter 50 50000; echo e""nd')
    const hosts = new Set<string | null>()
    for (let moves = 0; moves < 3; moves++) {
      const { port }: { port: PortInfo } = await events.next('vmotion-complete')
      hosts.add(port.host)
    }
    expect([...hosts].sort()).toEqual(['127.0.1.1', '127.0.1.2'])
    const table = await runVspc(['ports'], { env: server.env })
    expect(table.stdout.toString()).toMatch(/\b127\.0\.1\.[12]\b/)
    expect(numbersIn(await console.output.until('\r\nend\r\n'))).toEqual(oneTo(50))
    await console.output.until(GUEST_PROMPT)
    await expectWhole(console, 'ttyS0')
    await end()
    const {
      id,
      vm: { uuid },
    } = before
    expect(await server.ports()).toMatchObject([{ id, vm: { name, uuid }, transport: 'unix', protocol: 'vmware' }])
    expect(await server.history(name)).toBe(console.output.text)
  })

  test('with resume=on numbers go on where they were when the hop between is killed, and input waits', async () => {
    const appliance = await Appliance.start('protocol=raw&proxy=v2&resume=on')
    let hop = await RelayProcess.start('--listen', 'tcp://127.0.0.1:0', '--dial', `unix://${appliance.socket}`)
    const relay = await RelayProcess.start(
      ...['--listen', 'tcp://127.0.0.1:0?name=vm1'],
      ...['--dial', `tcp://127.0.0.1:${hop.tcpPort}?proxy=v2&resume=on`],
    )
    // Without reconnect=: had its connection ended, nothing would come any more.
    const guest = await boot({ serial: [`tcp:127.0.0.1:${relay.tcpPort}`] })
    await appliance.until('online', 'vm1')
    const console = await appliance.attach('vm1')
    await expectWhole(console, 'ttyS0')
    // What is typed meanwhile is not to be echoed between the numbers.
    console.enter('stty -echo; counter 200 5000; stty echo; echo e""nd')
    for (const number of [50, 120]) {
      await console.output.until(`\r\n${number}\r\n`)
      await hop.kill()
      console.enter(`echo typed-at-$((${number} + 0))`)
      hop = await hop.again()
    }
    await console.output.until('\r\nend\r\n')
    expect(numbersIn(console.output.text)).toEqual(oneTo(200))
    await console.output.until(/\r\ntyped-at-50\r\n.*\r\ntyped-at-120\r\n/s)
    expect(console.output.count('\r\ntyped-at-50\r\n')).toBe(1)
    expect(console.messages.filter(({ type }) => type === 'state' || type === 'gap')).toEqual([])
    expect(await appliance.identities()).toEqual([
      { id: 'name:vm1', name: 'vm1', host: '127.0.0.1', transport: 'unix', state: 'online' },
    ])
    // An end is no break: it passes at once.
    await guest.stop()
    await appliance.until('offline', 'vm1')
  })
})

describeWithPeers([...GUEST_PEERS, 'python3'], 'a real guest with a program at the other end', () => {
  test('files go there and back while somebody looks on; a killed relay does not part them', async () => {
    const appliance = await Appliance.start('protocol=raw&proxy=v2', (folder) => [
      ...['--forward', `vm1=unix://${folder}/{name}.sock`],
    ])
    const { server, folder, hop } = appliance
    const relay = await RelayProcess.start('--listen', 'tcp://127.0.0.1:0?name=vm1', '--dial', hop)
    await boot({ serial: [`tcp:127.0.0.1:${relay.tcpPort},reconnect=1`] })
    await appliance.until('online', 'vm1')
    const spy = new Program(['attach', '--spy', 'vm1', '--from', '0'], server.env)
    await spy.stderr.until('attached to')
    await spy.stdout.until(GUEST_PROMPT)
    const courier = await Courier.connect(join(folder, 'vm1.sock'))
    await courier.carry('first')

    await relay.kill()
    await appliance.until('offline', 'vm1')
    await relay.again()
    await appliance.until('online', 'vm1')
    await courier.carry('second')
    expect((await server.ports()).map(({ id, consoles }) => ({ id, consoles }))).toEqual([
      { id: 'name:vm1', consoles: 2 },
    ])
    const history = await server.history('vm1')
    await expect.poll(() => spy.stdout.text.length).toBe(history.length)
    expect(sha256(spy.stdout.text)).toBe(sha256(history))
    expect(spy.ended, spy.stderr.text).toBe(false)
  })
})

function sha256(latin1: string): string {
  return createHash('sha256').update(latin1, 'latin1').digest('hex')
}
