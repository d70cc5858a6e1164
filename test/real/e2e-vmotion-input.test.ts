import { expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { everyByte, oneTo, serve, terminal } from './support.ts'
import { movingGuest } from './support-moving.ts'
import { screenOf } from './support-screen.ts'

const LISTEN = ['--listen', 'tcp://127.0.0.1:0']

describeWithPeers([...GUEST_PEERS, 'python3'], 'what is typed to a real guest while it is moved every second', () => {
  test('commands typed in the middle of vMotions are answered, each exactly once', async () => {
    const server = await serve(...LISTEN)
    const { name, console, events, end } = await movingGuest(server)
    for (const number of oneTo(5)) {
      await events.next('vmotion-begin')
      console.enter(`echo answer-$((${number} * 1001))`)
      await console.output.until(/answer-\d+\r\n.*vm# /)
    }
    // Key by key, over some three moves.
    console.enter('stty -echo; cat >/tmp/typed; stty echo; wc -c </tmp/typed')
    const keys = 'the quick brown fox jumps over the lazy dog; '.repeat(8)
    for (const key of keys) {
      console.write(key)
      if (key === ';') await events.next('vmotion-begin', 'vmotion-complete')
    }
    console.write('\r\x04')
    await console.output.until(/\r\n361\r\n.*vm# /)
    console.enter('cat /tmp/typed')
    await console.output.until(keys)

    console.enter('clear; stty raw -echo; echo r""eady; head -c 1024; stty sane')
    await console.output.until('ready\n')
    const all = Buffer.from(everyByte)
    for (let move = 0; move < 4; move++) {
      await events.next('vmotion-begin', 'vmotion-complete')
      console.write(all)
    }
    expect(await console.output.until(GUEST_PROMPT)).toContain(Buffer.concat([all, all, all, all]).toString('latin1'))

    const history = await server.history(name)
    for (const number of oneTo(5)) expect(history.split(`\nanswer-${number * 1001}\r`)).toHaveLength(2)
    await end()
  })

  test('vi, less and top work in a real terminal while the guest moves', async () => {
    const server = await serve(...LISTEN)
    const { name, console, events, end } = await movingGuest(server)
    const pty = await terminal(['attach', name], { env: server.env })
    await pty.expect('attached to')
    pty.write('stty rows 24 cols 80; clear\r')
    await pty.expect(`\x1b[J${GUEST_PROMPT}`)
    const moved = () => events.next('vmotion-complete')
    /** What a terminal shows of the program that cleared it last. */
    const screen = () => screenOf(pty.text.slice(pty.text.lastIndexOf('\x1b[H\x1b[J')))
    const drawn = async (text: string) => {
      while (!screen().some((row) => row.includes(text))) await pty.expect(/[\s\S]+/)
    }

    pty.write('vi /tmp/note\r')
    await drawn('- /tmp/note 1/1')
    await moved()
    pty.write('ifirst line\rthird line')
    await drawn('third line')
    await moved()
    // Up, to the end of the line, and a line in between.
    pty.write('\x1b[A\x1b[F.\rsecond line')
    await drawn('second line')
    await moved()
    expect(screen().slice(0, 4)).toEqual(['first line.', 'second line', 'third line', '~'])
    pty.write('\x1b')
    await drawn('- /tmp/note')
    pty.write(':wq\r')
    await pty.expect('\x1b[?1049l')
    // The picture is gone: now it may say where the VM is.
    await pty.expect(/(?=[\s\S]*vm# )[\s\S]*\[vspc\] now on 127\.0\.1\./)
    console.enter('wc -c /tmp/note')
    await console.output.until('35 /tmp/note\r\n')

    pty.write('clear; counter 200 >/tmp/n; less /tmp/n\r')
    await drawn('23')
    await moved()
    pty.write('G')
    await drawn('200')
    await moved()
    expect(screen().slice(0, 21).map(Number)).toEqual(oneTo(200).slice(-21))
    pty.write('q')
    await pty.expect(GUEST_PROMPT)

    pty.write('top -d 1\r')
    await pty.expect('Mem:')
    await moved()
    await pty.expect('Mem:')
    pty.write('q')
    await pty.expect(GUEST_PROMPT)
    pty.write('echo still-$((6 * 7))\r')
    await pty.expect('still-42')
    pty.write('\x1d.')
    expect(await pty.exited()).toMatchObject({ code: 0, settings: pty.settingsBefore })
    await end()
  })
})
