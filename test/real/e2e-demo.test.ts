import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeWithPeers, GUEST_PEERS, peersDir } from '../support/peers.ts'
import { Pty } from '../support/pty.ts'
import { GUEST_PROMPT } from '../support/qemu.ts'
import { own, Program, temporary } from './support.ts'

/** Processes that have inherited this environment variable. */
function inheritorsOf(variable: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(variable)
      } catch {
        // It has ended meanwhile.
        return false
      }
    })
}

/** Every file and folder below. */
const below = (folder: string): string[] => readdirSync(folder, { recursive: true }).map(String)

/** A demo in a home of its own. `nothingLeft` waits for its end and looks. */
function demoIn(root: string, ...args: string[]) {
  const [home, tmp] = [join(root, 'home'), join(root, 'tmp')]
  for (const folder of [home, tmp]) mkdirSync(folder)
  const mark = `VSPC_E2E_MARK=${root}`
  const demo = new Program(['demo', '--qemu', ...args], {
    ...{ HOME: home, TMPDIR: tmp, VSPC_PEERS_DIR: peersDir(), VSPC_E2E_MARK: root },
  })
  const ready = () => demo.stdout.until('end the demo with Ctrl-C.\n')
  const nothingLeft = async () => {
    expect(await demo.exited, demo.stderr.text).toEqual({ code: 0, signal: null })
    expect(inheritorsOf(mark)).toEqual([])
    expect([...below(home), ...below(tmp)]).toEqual([])
  }
  return { demo, home, mark, ready, nothingLeft }
}

describeWithPeers([...GUEST_PEERS, 'python3'], 'vspc demo --qemu', () => {
  test('the printed lines work as they are; Ctrl-C ends it and leaves nothing behind', async () => {
    const { demo, home, mark, ready, nothingLeft } = demoIn(temporary(), '--every', '1s')
    const text = await ready()
    // The demo and QEMU.
    expect(inheritorsOf(mark)).toHaveLength(2)
    const line = /^ {2}(.* attach linux.*?) {3}/m.exec(text)?.[1] ?? ''
    const pty = own(await Pty.start(['sh', '-c', line], { env: { HOME: home } }))
    await pty.expect('attached to linux')
    pty.write('\r')
    await pty.expect(GUEST_PROMPT)
    pty.write('echo it-$((6 * 7))\r')
    await pty.expect('it-42')
    await pty.expect('[vspc] now on 127.0.')
    const url = /^All ports: (.*)$/m.exec(text)?.[1] ?? ''
    const page = await fetch(`${url}plain`)
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('linux')])

    demo.signal('SIGINT')
    await pty.expect('reconnecting')
    pty.write('\x1d.')
    expect((await pty.exited()).code).toBe(0)
    await nothingLeft()
  })

  test('it ends by itself after --duration and leaves nothing behind', async () => {
    const { ready, nothingLeft } = demoIn(temporary(), '--duration', '4s')
    await ready()
    await nothingLeft()
  })
})
