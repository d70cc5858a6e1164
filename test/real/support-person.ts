/** What people do at a console, whatever they came with: `vspc attach`, a Telnet program, in a terminal or in tmux. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { expect } from 'vitest'
import { freeRange } from '../app/telnet-support.ts'
import { Pty } from '../support/pty.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { boot, Events, own, type ServeProcess, serve, temporary, terminal, WsClient } from './support.ts'
import { screenOf } from './support-screen.ts'

/** `^]`, of `vspc attach` and of every Telnet program. */
export const ESCAPE = '\x1d'
export const UP = '\x1b[A'
export const DOWN = '\x1b[B'
export const LEFT = '\x1b[D'

export const LISTEN = ['--listen', 'tcp://127.0.0.1:0?protocol=raw&name=vm1']

/**
 * With a TCP port for each serial port, and a menu.
 * @param telnet more of that section of the configuration.
 */
export async function serveTelnet(args: readonly string[] = LISTEN, telnet: object = {}): Promise<ServeProcess> {
  const folder = temporary()
  const file = join(folder, 'vspc.yaml')
  writeFileSync(file, JSON.stringify({ telnet: { ports: await freeRange(), menu: '127.0.0.1:0', ...telnet } }))
  return serve(...args, '--config', file, '--data-dir', join(folder, 'data'))
}

/** A guest called vm1 at its prompt, which dials again when the server is gone. */
export async function guestOf(server: ServeProcess): Promise<Events> {
  const events = await Events.of(server)
  await boot({ serial: [`tcp:127.0.0.1:${server.tcpPort()},reconnect=1`] })
  await events.until('vm1', ({ state }) => state === 'online')
  const console = await WsClient.attach(server, 'vm1', 'mode=read&from=0')
  await console.output.until(GUEST_PROMPT)
  console.close()
  await events.next('console-detached')
  return events
}

/** `vspc attach vm1` in a terminal of its own. */
export async function attach(server: ServeProcess, ...args: string[]): Promise<Pty> {
  const pty = await terminal(['attach', ...args, 'vm1'], { env: server.env })
  await pty.expect(/\[vspc\] attached to vm1 \(name:vm1\)[^\r]*\r\n/)
  return pty
}

/** A Telnet program (and its options) in a terminal of its own. */
export async function telnet(program: readonly string[], tcpPort: number): Promise<Pty> {
  return own(await Pty.start([...program, '127.0.0.1', String(tcpPort)]))
}

/** A Telnet program at the TCP port of vm1, at the guest's prompt. */
export async function telnetAttached(server: ServeProcess, program: readonly string[]): Promise<Pty> {
  const { telnetPort } = await server.port('vm1')
  const pty = await telnet(program, telnetPort as number)
  await pty.expect(/\[vspc\] vm1 \(name:vm1\), online on 127\.0\.0\.1; to leave: \^\] then "quit"\r\n/)
  pty.write('\r')
  await pty.expect(GUEST_PROMPT)
  return pty
}

/** A command of the Telnet program's own, `^]` and words; until it takes keys for the server again. */
export async function telnetCommand(pty: Pty, command: string): Promise<void> {
  const before = await pty.settings()
  await typeTelnetCommand(pty, command)
  // Keys that come earlier would be another command.
  while (!isDeepStrictEqual(await pty.settings(), before)) await setTimeout(10)
}

export async function quitTelnet(pty: Pty): Promise<void> {
  await typeTelnetCommand(pty, 'quit')
  await pty.expect('Connection closed')
}

async function typeTelnetCommand(pty: Pty, command: string): Promise<void> {
  pty.write(ESCAPE)
  await pty.expect('telnet> ')
  pty.write(`${command}\r`)
  await pty.expect('\r\n')
}

/** At a prompt of the guest, and at one again afterwards: editing, history, and every key that is a signal. */
export async function workInShell(pty: Pty): Promise<void> {
  const job = async (command: string) => {
    // It says itself that it runs: before that a signal would be the shell's.
    pty.write(`sh -c 'echo up""-now; exec ${command}'; echo status-$?\r`)
    await pty.expect('up-now\r\n')
  }
  pty.write('echo one-$((20 + 3))\r')
  await pty.expect('one-23\r\n')
  await pty.expect(GUEST_PROMPT)
  pty.write(`${UP}${LEFT}${LEFT}4\r`)
  await pty.expect('one-54\r\n')
  await pty.expect(GUEST_PROMPT)
  await job('counter 1000000000 10000')
  await pty.expect('\r\n10\r\n')
  pty.write('\x03')
  await pty.expect(GUEST_PROMPT)
  await job('sleep 1000')
  pty.write('\x1c')
  await pty.expect('status-131\r\n')
  await pty.expect(GUEST_PROMPT)
  await job('sleep 1000')
  pty.write('\x1a')
  await pty.expect('Stopped')
  pty.write('kill %1; stty -echo; echo cat-$((20 + 3)); cat\r')
  await pty.expect('cat-23\r\n')
  pty.write('line\x04\x04stty echo\r')
  await pty.expect('line')
  await pty.expect(GUEST_PROMPT)
}

/** Types `bytes` into a program of the guest, at its prompt. @returns what arrived, as hex. */
export async function arriving(pty: Pty, typed: Uint8Array, expected: number): Promise<string> {
  pty.write(
    `stty raw -echo; echo re""ady; head -c ${expected} >/tmp/typed; stty sane; xxd -p /tmp/typed | tr -d '\\n'; echo\r`,
  )
  await pty.expect('ready\n')
  pty.write(typed)
  const hex = await pty.expect(/[0-9a-f]{2,}(?=\r\nvm# )/)
  await pty.expect(GUEST_PROMPT)
  return hex
}

/** Has the guest print all 256 values. @returns what came out at the terminal. */
export async function everyByteShown(pty: Pty): Promise<Buffer> {
  pty.write(
    `i=0; while [ $i -lt 256 ]; do printf "\\\\x$(printf %02x $i)"; i=$((i + 1)); done >/tmp/all; wc -c </tmp/all\r`,
  )
  await pty.expect('\r\n256\r\n')
  pty.write('stty raw; echo fr""om; cat /tmp/all; echo t""o; stty sane\r')
  await pty.expect('from\n')
  const from = pty.text.lastIndexOf('from\n') + 'from\n'.length
  await pty.expect('to\n')
  await pty.expect(GUEST_PROMPT)
  return pty.output.subarray(from, pty.text.indexOf('to\n', from))
}

/** vi: a file is written, with arrow keys and a letter that is no ASCII, drawn again, saved and read back. */
export async function editInVi(pty: Pty, letter: string): Promise<void> {
  pty.write('rm -f /tmp/file; stty rows 24 columns 80; vi /tmp/file\r')
  await pty.expect('\x1b[H\x1b[J')
  const screen = () => screenOf(pty.text.slice(pty.text.lastIndexOf('\x1b[H\x1b[J')))
  const shows = async (wanted: (rows: string[]) => boolean) => {
    while (!wanted(screen())) await pty.expect(/[\s\S]+/)
  }
  const drawn = (text: string) => shows((rows) => rows.some((row) => row.includes(text)))
  pty.write('ifirst line\rsecond line\rthird')
  await drawn('third')
  // An ESC of its own, not the beginning of a key.
  pty.write('\x1b')
  await drawn('- /tmp/file')
  pty.write(`${UP}${UP}${DOWN}`)
  pty.write(`0i${letter} `)
  await drawn(' second line')
  pty.write('\x1b')
  await drawn('- /tmp/file')
  expect(screen()[0]).toBe('first line')
  expect(screen().slice(2, 4)).toEqual(['third', '~'])
  const before = screen()
  // All of it, again.
  pty.write('\x0c')
  await pty.expect('third')
  await shows((rows) => rows.join('\n') === before.join('\n'))
  pty.write(':wq\r')
  await pty.expect(GUEST_PROMPT)
  pty.write('xxd -p /tmp/file | tr -d "\\n"; echo\r')
  await pty.expect(`\r\n${Buffer.from(`first line\n${letter} second line\nthird\n`).toString('hex')}\r\n`)
  await pty.expect(GUEST_PROMPT)
}

/** less and top: programs that redraw, and end with q. */
export async function pageThrough(pty: Pty): Promise<void> {
  pty.write('seq 1000 | less -M\r')
  await pty.expect('23\r\n')
  pty.write(DOWN)
  await pty.expect('24\r\n')
  pty.write('G')
  await pty.expect('1000\r\n')
  pty.write('q')
  await pty.expect(GUEST_PROMPT)
  pty.write('top -d 1\r')
  for (let drawn = 0; drawn < 2; drawn++) await pty.expect('Load average:')
  pty.write('q')
  await pty.expect(GUEST_PROMPT)
}
