import { describe, expect, test } from 'vitest'
import { DO, DONT, IAC } from '../../src/telnet/index.ts'
import { type AppUnderTest, eventually, RAW_VM, RawVm, TestConsole, until } from './support.ts'
import { atMenu, BareClient, startTelnet, telnetPortOf } from './telnet-support.ts'

const VM_2 = 'tcp://127.0.0.1:0?protocol=raw&name=vm2'

async function atPrompt(app: AppUnderTest): Promise<BareClient> {
  const client = await atMenu(app)
  await client.next('> ')
  return client
}

/** At the console of vm1 by way of the menu. */
async function attached(app: AppUnderTest, line = 'vm1'): Promise<BareClient> {
  const client = await atPrompt(app)
  client.write(`${line}\r`)
  await client.next('^Ec . leaves\r\n')
  return client
}

const consoles = (app: AppUnderTest, port = 'vm1') => app.server.table.resolve(port).consoles
/** Number of the console that was attached last. */
const last = (app: AppUnderTest) => consoles(app).at(-1)?.id as number

describe('commands of a console from the menu', () => {
  test('help, who, spying, writing again, a literal escape, an unknown one: nothing of it is typed', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    client.write('\x05c?')
    await client.next('[vspc] ^Ec .  leave\r\n')
    await client.next('[vspc] ^Ec ^E  type ^Ec itself\r\n')
    client.write('\x05cw')
    await client.next('[vspc] 1 attached:\r\n')
    expect(await client.next('\r\n')).toMatch(
      /^\[vspc\] \d+ {2}telnet:127\.0\.0\.1:\d+, telnet, write, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \(you\)$/,
    )
    client.write('\x05cs')
    await client.next('[vspc] you read only now\r\n')
    client.write('lost')
    await client.next('[vspc] reading only: what you type is discarded; ^Ec q asks for the keyboard\r\n')
    client.write('\x05cl')
    await client.next('[vspc] a console attached for reading cannot send a break\r\n')
    client.write('\x05ca')
    await client.next('[vspc] you can write now\r\n')
    client.write('\x05cJ')
    await client.next('[vspc] that is no command; ^Ec ? lists them\r\n')
    client.write('\x05cl')
    await client.next('[vspc] sending a break\r\n')
    await client.next('[vspc] a raw byte stream cannot carry a break')
    client.write('a\x05c\x05b\x05xend')
    await vm.hears('a\x05cb\x05xend')
    expect(vm.received.toString('latin1')).toBe('a\x05cb\x05xend')
    client.write('\x05c.')
    await client.next('[vspc] left vm1\r\n')
    await client.ended()
  })

  test('the first key alone is for the guest, a second later; split from the next one it is still a command', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    client.write('\x05')
    await vm.hears('\x05')
    client.write('\x05')
    client.write('c')
    client.write('w')
    await client.next('1 attached')
    expect(vm.received.toString('latin1')).toBe('\x05')
  })

  test("at a port's own TCP port all bytes pass, unless it is told otherwise", async () => {
    const plain = await startTelnet()
    const vm = await RawVm.connect(plain)
    const client = await BareClient.to(await telnetPortOf(plain))
    await client.next('to leave: ^] then "quit"\r\n')
    client.write('\x05c?\x05c.end')
    await vm.hears('end')
    expect(vm.received.toString('latin1')).toBe('\x05c?\x05c.end')

    const other = await startTelnet({ telnet: { portEscape: '^Xq', escape: 'off' } })
    const second = await RawVm.connect(other)
    const withEscape = await BareClient.to(await telnetPortOf(other))
    await withEscape.next('^Xq . leaves\r\n')
    withEscape.write('\x18qw')
    await withEscape.next('1 attached')
    withEscape.write('\x18qm')
    await withEscape.next('that is no command')
    const menu = await atPrompt(other)
    menu.write('vm1\r')
    await menu.next('to leave: ^] then "quit"\r\n')
    menu.write('\x05c?\x18qw!')
    await second.hears('\x05c?\x18qw!')
  })

  test('back to the menu and to another port: what was typed for one never reaches the other', async () => {
    const app = await startTelnet({ listen: [RAW_VM, VM_2] })
    const [one, two] = [await RawVm.connect(app, 0), await RawVm.connect(app, 1)]
    const client = await attached(app)
    // In one piece: each part has its own reader.
    client.write('first\x05cmvm2\r\0second')
    await two.hears('second')
    expect(one.received.toString()).toBe('first')
    expect(two.received.toString()).toBe('second')
    expect(consoles(app)).toEqual([])
    await one.print(app, 'of vm1')
    await two.print(app, 'of vm2', 'vm2')
    await client.hears('of vm2')
    expect(client.text).not.toContain('of vm1')
  })
})

describe('several people at one port', () => {
  test('asking, waiting, handing over: both sides are told, and a spy is never made to write', async () => {
    const app = await startTelnet({ writers: 'single' })
    const vm = await RawVm.connect(app)
    const alice = await attached(app)
    const bob = await attached(app)
    const spy = await attached(app, 's vm1')
    const [a, b, s] = consoles(app).map(({ id }) => id) as [number, number, number]
    const [whoA, whoB] = consoles(app).map(({ who }) => who)
    bob.write('\x05ca')
    await bob.next(`vm1 is held by ${whoA} (mode "write")`)
    bob.write('\x05cq')
    await bob.next(`[vspc] asked ${whoA}, you are next; ^Ec c asks no longer\r\n`)
    await alice.next(`[vspc] ${whoB} asks to write; ^Ec y hands over\r\n`)

    // Nobody who has not asked.
    alice.write(`\x05cY${s}\r`)
    await alice.next('has not asked for vm1: nobody is made to write without having asked\r\n')
    alice.write('\x05cY')
    await alice.next('[vspc] hand over to which console? ')
    alice.write('9x\r')
    await alice.next('9x\r\n[vspc] nothing done\r\n')
    alice.write('\x05cY\x03still mine')
    await vm.hears('still mine')

    alice.write('\x05cy')
    await bob.next(`${whoA} handed over to ${whoB})\r\n`)
    expect(bob.text).not.toContain('no longer in the queue')
    await alice.next(`[vspc] you read only now (${whoA} handed over to ${whoB})`)
    bob.write('!')
    await vm.hears('still mine!')
    expect(consoles(app).map(({ id, mode }) => [id, mode])).toEqual([
      [a, 'read'],
      [b, 'write'],
      [s, 'read'],
    ])
    spy.write('\x05cq')
    await spy.next(`asked ${whoB}, you are next`)
    spy.write('\x05cc')
    await spy.next('[vspc] no longer in the queue: ')
    bob.write('\x05cy')
    await bob.next('you read only now')
    expect(consoles(app).map(({ mode }) => mode)).toEqual(['read', 'read', 'read'])
  })

  test('taking over by force, being the only one, throwing out: told to both, and the thrown out is at the menu', async () => {
    const app = await startTelnet({ writers: 'single' })
    await RawVm.connect(app)
    const alice = await attached(app)
    const bob = await attached(app, 'f vm1')
    const [whoA, whoB] = consoles(app).map(({ who }) => who)
    await alice.next(`[vspc] you read only now (${whoB} took over)`)
    alice.write('\x05cf')
    await alice.next('[vspc] you can write now\r\n')
    await bob.next(`[vspc] you read only now (${whoA} took over)`)
    alice.write('\x05cx')
    await alice.next('[vspc] you alone can write now\r\n')
    alice.write(`\x05ck${last(app)} go away\r`)
    await bob.next(`[vspc] kicked by ${whoA}: go away\r\n`)
    await bob.next('> ')
    await alice.next(`${whoB} was kicked by ${whoA}: go away\r\n`)
    expect(consoles(app)).toHaveLength(1)
    bob.write('q\r')
    await bob.ended()
  })

  test('thrown out at the port itself: told, and closed', async () => {
    const app = await startTelnet()
    await RawVm.connect(app)
    const client = await BareClient.to(await telnetPortOf(app))
    await client.next('"quit"\r\n')
    const web = await TestConsole.open(app, 'mode=write')
    await web.message('attached')
    web.request({ type: 'kick', console: consoles(app)[0]?.id as number, reason: 'for a reason' })
    await client.ended()
    expect(client.text).toContain(': for a reason\r\n')
  })

  test('words to all reach Telnet and web; hostile ones do no harm', async () => {
    const app = await startTelnet()
    await RawVm.connect(app)
    const client = await attached(app)
    const web = await TestConsole.open(app, 'mode=read')
    await web.message('attached')
    client.write('\x05cbreboot in 5 minutes\r')
    await client.next('says: reboot in 5 minutes\r\n')
    expect(await web.message('said')).toMatchObject({ text: 'reboot in 5 minutes' })
    web.request({ type: 'say', text: '\x1b[2Jgone\r\nlogin: \u202e' })
    expect(await client.next('login:')).toMatch(/says: \S*\[?2?J?gone $/)
    expect(client.text).not.toContain('\x1b')
    client.write('\x05cb\r')
    await client.next('nothing done\r\n')
  })

  test('the menu shows who is where', async () => {
    const app = await startTelnet({ listen: [RAW_VM, VM_2] })
    await RawVm.connect(app, 0)
    await RawVm.connect(app, 1)
    const client = await atPrompt(app)
    client.write('w\r')
    await client.next('Nobody is attached.\r\n> ')
    const web = await TestConsole.open(app, 'mode=exclusive')
    await web.message('attached')
    await attached(app, 's vm1')
    const who = consoles(app)[0]?.who
    client.write('w vm1\r')
    expect(await client.next('> ')).toMatch(
      /vm1:\r\n {2}\d+ {2}127\.0\.0\.1:\d+, websocket, exclusive, since .*\r\n {2}\d+ {2}telnet:.*, read, since/,
    )
    client.write('w\r')
    expect(await client.next('> ')).not.toContain('vm2')
    client.write('\r')
    expect(await client.next('> ')).toContain(`vm1  online     127.0.0.1  2 here, ${who} alone may write\r\n`)
    client.write('x vm1\r')
    await client.next('vm1 is held by')
    await client.next('> ')
  })
})

test('who stays at the menu and types nothing is sent away; who is at a console stays', async () => {
  const app = await startTelnet({}, { telnetMenuIdleMs: 300 })
  const vm = await RawVm.connect(app)
  const client = await attached(app)
  const idle = await atPrompt(app)
  await idle.ended()
  expect(idle.text).toContain('[vspc] nothing was typed for a while')
  await until(idle, () => idle.closed)
  client.write('still here')
  await vm.hears('still here')
  await eventually(() => consoles(app).length === 1)
  client.write('\x05cm')
  await client.ended()
})

test('options negotiated at the menu hold at the console and back', async () => {
  const app = await startTelnet()
  await RawVm.connect(app)
  const client = await atPrompt(app)
  client.write(Buffer.of(IAC, DONT, 1, IAC, DO, 0))
  client.write('vm1\r')
  expect(await client.next('^Ec . leaves')).not.toContain('vm1\r\n')
  client.write('\x05cb')
  await client.next('to all here: ')
  client.write('words\r')
  // It echoes for itself.
  expect(await client.next('says: words')).not.toContain('words')
})
