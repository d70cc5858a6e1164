/**
 * Runs in the guest: simulated hosts, and relays and the server as processes of their own, joined by real vSockets.
 * Prints a line for each thing shown: `ok NAME`, or `not ok NAME: WHY`; nothing else of that scenario is tried then.
 *
 * The guest is all ours, so ports are fixed.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { RouteStatus } from '../../src/relay/index.ts'
import { dial, parseEndpoint } from '../../src/transport/index.ts'
import type { PortInfo } from '../../src/vspc/index.ts'
import { Checked, Conversation, getJson, Program, TalkingConsole, until, Vms } from './vsock-chain-support.ts'

// Programs look for their version where a package has it.
writeFileSync('/package.json', '{"version":"0.0.0"}')

let failures = 0
const shown = new Set<unknown>()

async function show(name: string, run: () => Promise<void>): Promise<void> {
  try {
    await run()
    process.stdout.write(`ok ${name}\n`)
  } catch (error) {
    failures++
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
    process.stdout.write(`not ok ${name}: ${why.replaceAll(/\s*\n\s*/g, ' | ')}\n`)
    shown.add(error)
    throw error
  }
}

const server = new Program(
  'vspc',
  ...['serve', '--data-dir', '/tmp/data', '--trusted-proxy', 'vsock:1', '--trusted-proxy', '127.0.0.1'],
  ...['--listen', 'vsock://any:13370?proxy=v2', '--listen', 'vsock://any:13371?proxy=v2&resume=on'],
  ...['--listen', 'tcp://127.0.0.1:13372?protocol=raw&proxy=v2'],
)
// All at once: starting is what takes the time here.
const chained = new Program('relay', '--listen', 'tcp://127.0.0.1:4001', '--dial', 'vsock://1:13370?proxy=v2')
const nearHosts = new Program(
  'relay',
  ...['--listen', 'tcp://127.0.0.1:4002', '--dial', 'next-hop:appliance', '--control', 'unix:///tmp/a-control'],
  ...['--next-hop', 'appliance=unix:///tmp/b?proxy=v2&resume=on'],
)
let nearServer = startNearServer('b')
const forVsockVms = new Program(
  'relay',
  ...['--listen', 'vsock://any:5000?name=vm-{peer}', '--dial', 'tcp://127.0.0.1:13372?proxy=v2'],
)

function startNearServer(name: string): Program {
  const control = `unix:///tmp/${name}-control`
  return new Program('relay', '--listen', `unix:///tmp/${name}`, '--dial', 'vsock://1:13371', '--control', control)
}

async function streamsOf(name: string): Promise<number | undefined> {
  const routes = await getJson<RouteStatus[]>({ socketPath: `/tmp/${name}-control` }, '/api/v1/routes')
  return routes[0]?.streams
}

async function chain(): Promise<void> {
  const vms = await Vms.connect('chained', 3, 4001)
  await show('a relay by vsock: the server knows the hosts that VMs connect from', () => vms.checkHosts())
  await show('a relay by vsock: six vMotions, and the list of ports follows', async () => {
    for (let round = 1; round <= 2; round++) {
      await vms.goOn(10_000)
      await vms.move()
      await vms.goOn(10_000)
      await vms.checkHosts()
    }
    assert.deepEqual(
      (await vms.ports()).map(({ vmotions }) => vmotions),
      [2, 2, 2],
    )
  })
  await show('a relay by vsock: no byte is lost, doubled or another, either way', () => vms.end())
  await vms.close()
  await show('a relay by vsock: it ends well', () => chained.stop())
}

async function resumed(): Promise<void> {
  const vms = await Vms.connect('resumed', 3, 4002)
  await show('resume=on: the relay on the way is killed in the middle of a vMotion, and started again', async () => {
    await vms.goOn(10_000)
    assert.equal(await streamsOf('b'), 3)
    await vms.move(vms.all.slice(0, 1), async () => {
      await nearServer.kill()
      nearServer = startNearServer('b')
    })
    await nearServer.ready()
    await vms.goOn(10_000)
    await vms.checkHosts()
    // The moved VM's former stream may still be on its end.
    assert.ok(Number(await streamsOf('b')) >= 3)
  })
  const former = nearServer
  await show(
    'resume=on: another next hop: a VM that moves comes that way, the others stay while they can',
    async () => {
      nearServer = startNearServer('c')
      await nearServer.ready()
      const to = 'unix:///tmp/c?proxy=v2&resume=on'
      await new Program('relay', 'next-hop', 'set', 'appliance', to, '--control', 'unix:///tmp/a-control').endsWell()
      await vms.move(vms.all.slice(0, 1))
      await vms.goOn(10_000)
      assert.equal(await streamsOf('c'), 1)
      await until('only two are left', async () => (await streamsOf('b')) === 2)
    },
  )
  await show('resume=on: the former relay is killed, and all streams go on by the new one', async () => {
    await former.kill()
    await vms.goOn(10_000)
    assert.equal(await streamsOf('c'), 3)
    await vms.move()
    await vms.goOn(10_000)
    await vms.checkHosts()
  })
  await show('resume=on: no byte is lost, doubled or another, either way', () => vms.end())
  await vms.close()
  await show('resume=on: the relays end well', async () => {
    await Promise.all([nearHosts.stop(), nearServer.stop()])
  })
}

async function vsockVm(): Promise<void> {
  const { socket } = await dial(parseEndpoint('vsock://1:5000', 'dial', 'plain'), { timeoutMs: 5_000 })
  const [printed, read] = [new Checked(1), new Checked(2)]
  socket.on('data', (chunk: Buffer) => read.take(chunk))
  const talk = (): void => {
    if (!socket.writableNeedDrain) socket.write(printed.next())
  }
  await show('a VM that connects by vsock is known by its CID', async () => {
    const port = await until('it is known', async () => {
      const ports = await getJson<PortInfo[]>({ port: 13371 }, '/api/v1/ports')
      return ports.find(({ id }) => id === 'name:vm-1')
    })
    const { state, host, protocol } = port
    assert.deepEqual({ state, host, protocol }, { state: 'online', host: 'vsock:1@127.0.0.1', protocol: 'raw' })
  })
  const console = await TalkingConsole.attach('vm-1', 1)
  const conversation = new Conversation({ printed, read, talk }, console)
  await show('a VM that connects by vsock: no byte is lost, doubled or another, either way', () => conversation.end())
  await show('a VM that connects by vsock: its end is its end', async () => {
    const closed = once(socket, 'close')
    socket.end()
    assert.deepEqual(await closed, [false])
    await until('it is offline', () => console.complaints.some(({ type }) => type === 'state'))
  })
  console.close()
  await show('a VM that connects by vsock: the relay ends well', () => forVsockVms.stop())
}

for (const program of [server, chained, nearHosts, nearServer, forVsockVms]) await program.ready()
for (const scenario of [chain, resumed, vsockVm]) {
  await scenario().catch((error: Error) => {
    failures++
    // What `show` has not told already.
    if (!shown.has(error)) process.stdout.write(`${scenario.name} broke off: ${error.stack}\n`)
  })
}
await show('the server ends well', () => server.stop()).catch(() => {})
process.exit(failures === 0 ? 0 : 1)
