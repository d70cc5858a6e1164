/** VMs that say too much of what makes no sense. */
import { expect, test } from 'vitest'
import { begin, sequenceOf } from '../vspc/conformance/support.ts'
import { bytesOf, CODE, frame, HELLO } from '../vspc/vm-peer.ts'
import { MIB, Serve, SLACK_BYTES, until } from './support.ts'
import { Attached, Bystander, bootVm, identityOf } from './support-bystander.ts'
import { Crowd } from './support-crowd.ts'

const WILL = 0xfb
const WONT = 0xfc
const DO = 0xfd
const DONT = 0xfe
const EXTENSION = 232
const COUNT = 10_000

/** `verb` for option after option, round and round; the VMware extension is left as it is. */
function everyOption(verb: number): Buffer {
  const flood = Buffer.alloc(COUNT * 3)
  for (let i = 0; i < COUNT; i++) flood.set([0xff, verb, i % 256 === EXTENSION ? 0 : i % 256], i * 3)
  return flood
}

const FLOODS: Record<string, Buffer> = {
  '10,000 WILLs': everyOption(WILL),
  '10,000 WONTs': everyOption(WONT),
  '10,000 DOs': everyOption(DO),
  '10,000 DONTs': everyOption(DONT),
  '10,000 WONTs and WILLs of one option in turn': Buffer.alloc(COUNT * 6, Uint8Array.of(0xff, WONT, 0, 0xff, WILL, 0)),
  '10,000 DONTs and DOs of one option in turn': Buffer.alloc(COUNT * 6, Uint8Array.of(0xff, DONT, 3, 0xff, DO, 3)),
}

test('10,000 WONTs, and every other flood of verbs, get a fixed number of answers, and the VM is served on', async () => {
  const serve = await Serve.start({ logLevel: 'debug' })
  const bystander = await Bystander.start(serve)
  const rss = serve.rssBytes
  let n = 0
  for (const [name, flood] of Object.entries(FLOODS)) {
    const vm = await bootVm(serve, ++n)
    const user = await Attached.open(serve, identityOf(n).id)
    const before = vm.recorded.items.length
    vm.sendRaw(flood)
    vm.data('after')
    await vm.fence()
    expect(vm.recorded.items.length - before, name).toBeLessThanOrEqual(256)
    await user.expectText('after')
    expect(user.text).toBe('after')
    // 232 was left alone: it can still migrate.
    expect((await begin(vm, sequenceOf())).secret.length).toBeGreaterThanOrEqual(4)
    vm.abortVmotion()
    user.type('typed')
    await vm.expectData('typed')
  }
  await floodsFirst(serve, ++n)
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES)
  // Once for each connection that ran out of answers, however long it goes on.
  const floods = () => serve.log.filter((line) => line['kind'] === 'negotiation-flood')
  await until('it is said of both kinds of requests', () => floods().length >= 2)
  expect(floods().length).toBeLessThanOrEqual(n)
  expect(floods()[0]).toMatchObject({ peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/) })
  await bystander.verify()
  await serve.stop()
})

/** Before a word of who it is. */
async function floodsFirst(serve: Serve, n: number): Promise<void> {
  const identity = [
    ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py')),
    ...frame(CODE.VM_VC_UUID, bytesOf(identityOf(n).vcUuid)),
  ]
  const opening = Buffer.concat([...Object.values(FLOODS), Uint8Array.from([...HELLO, ...identity])])
  const answer = Uint8Array.from(frame(CODE.WILL_PROXY))
  const crowd = new Crowd({ port: serve.vmPort, count: 1, opening: () => opening, answer })
  await crowd.until('WILL-PROXY', ({ answered }) => answered === 1)
  // Offers, at most 256 answers of three bytes, and what is said in option 232.
  expect(crowd.received).toBeLessThan(1_000)
  crowd.reset()
}

test('a suboption of 8 MiB costs no memory and nobody any time; an unknown one of 8 MiB neither', async () => {
  const serve = await Serve.start({ logLevel: 'debug' })
  const bystander = await Bystander.start(serve)
  const vm = await bootVm(serve, 1)
  const user = await Attached.open(serve, identityOf(1).id)
  const rss = serve.rssBytes
  for (const [code, filler] of [
    [82, 0x41],
    [40, 0xff],
    [200, 0x00],
  ] as const) {
    vm.sendRaw(Uint8Array.of(0xff, 0xfa, EXTENSION, code))
    // Of 0xFF, two and two are one.
    vm.sendRaw(new Uint8Array(8 * MIB).fill(filler))
    vm.sendRaw(Uint8Array.of(0xff, 0xf0))
    vm.data(`after ${code}|`)
    await vm.fence()
  }
  await user.expectText('after 200|')
  expect(user.text).toBe('after 82|after 40|after 200|')
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES)
  expect(await serve.metric('vspc_telnet_anomalies_total')).toBe(3)
  expect(await serve.logged(/Telnet anomaly/)).toMatchObject({ kind: 'subnegotiation-too-long' })
  // Not the name it tried to have, no vMotion, and no answer to the unknown one.
  expect(vm.recorded.items.some((item) => item.name.startsWith('VMOTION'))).toBe(false)
  const info = await (await fetch(`${serve.url}/api/v1/ports/${identityOf(1).id}`)).json()
  expect(info).toMatchObject({ state: 'online', vm: { name: 'vm-1' } })
  await bystander.verify()
  await serve.stop()
})

test('a thousand hosts in the middle of a suboption that never ends: 4 KiB each at most, and they are dropped in time', async () => {
  const serve = await Serve.start({ limits: { negotiationMs: 2_000, announceMs: 500, closeMs: 100 } })
  const bystander = await Bystander.start(serve)
  const rss = serve.rssBytes
  const opening = Buffer.concat([Buffer.from([...HELLO, 0xff, 0xfa, EXTENSION, 82]), Buffer.alloc(4_000, 0x41)])
  const crowd = new Crowd({ port: serve.vmPort, count: 1_000, opening: () => opening })
  await crowd.until('all are in', ({ open }) => open === 1_000)
  await crowd.until('all are sent away', ({ left }) => left === 1_000)
  await serve.reaches('vspc_vm_connections_closed_total', 1_000)
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES)
  const what = 'neither DO-PROXY nor VMOTION-PEER came in time; closed'
  const said = () => serve.log.filter(({ msg }) => msg === what).length
  const leftOut = () => serve.log.reduce((sum, { of, leftOut }) => (of === what ? sum + Number(leftOut) : sum), 0)
  await until('it is said of each, or how many are left out', () => said() + leftOut() === 1_000)
  expect(said()).toBeLessThan(1_000)
  await bystander.verify()
  await serve.stop()
})

test('nobody reads the log: the server goes on, keeps a bounded backlog, and says how many lines are missing', async () => {
  const serve = await Serve.start({ logLevel: 'debug' })
  const bystander = await Bystander.start(serve)
  const vm = await bootVm(serve, 1)
  const rss = serve.rssBytes
  serve.readLog(false)
  // A line each: 13 MB of log.
  vm.sendRaw(Buffer.alloc(200_000, Uint8Array.of(0xff, 0xf0)))
  await vm.fence()
  await bystander.beatsOn()
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES)
  serve.readLog(true)
  const { dropped } = await serve.logged(/log lines are missing here: whoever reads the log did not keep up/)
  const strays = serve.log.filter(({ kind }) => kind === 'stray-se').length
  // Some few lines of another kind may be among those that are missing.
  expect(strays + Number(dropped)).toBeGreaterThanOrEqual(100_000)
  expect(strays + Number(dropped)).toBeLessThan(100_050)
  await bystander.verify()
  await serve.stop()
})
