import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import type { SimVm } from '../../src/sim/index.ts'
import { BackendGuest } from '../../src/sim/index.ts'
import { type AppUnderTest, startApp } from '../app/support.ts'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT, startGuest } from '../support/qemu.ts'
import { HOSTS, logOf, soon, startVm, withBrowser } from './support.ts'

/** Emulated, on two cores that others use: a kernel takes its time. */
const BOOT_MS = 90_000

describeWithPeers(['chromium', ...GUEST_PEERS], 'a real Linux guest in Chromium', () => {
  const newTab = withBrowser()

  /** A booted guest whose serial port is that of a VM called "linux". */
  async function boot(settings: Settings): Promise<{ app: AppUnderTest; vm: SimVm; folder: string }> {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-web-guest-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const socket = join(folder, 'serial.sock')
    const qemu = await startGuest({ serial: [`unix:${socket},server=on,wait=off`], cacheDir: folder })
    onTestFinished(() => qemu.stop())
    const history = settings.history === 'disk' ? { dataDir: join(folder, 'data') } : {}
    const app = await startApp({ listen: ['tcp://127.0.0.1:0'], ...settings, ...history })
    const vm = await startVm(app, { name: 'linux', ports: [{ guest: new BackendGuest(`unix://${socket}`) }] })
    return { app, vm, folder }
  }

  test('its shell, a full-screen program, a vMotion, and the same screen after a reload', async () => {
    const { app, vm } = await boot({ history: 'memory' })
    const tab = await newTab(app)
    await tab.openConsole('linux')
    await tab.shows(GUEST_PROMPT.trim(), BOOT_MS)
    await tab.startTyping()
    await tab.type('echo it-$((6 * 7))\r')
    await tab.shows('it-42')
    await tab.button('More').click()
    await tab.button('Tell the guest this size…').click()
    await tab.button('Type it').click()
    await tab.type('stty size\r')
    const [, cols = '', rows = ''] = /(\d+)×(\d+)/.exec(await tab.page.locator('.status .figures').innerText()) ?? []
    await tab.shows(`${rows} ${cols}`)
    await tab.type('for i in 1 2 3; do echo line-$i >> /tmp/x; done; vi /tmp/x\r')
    await tab.shows('line-3\n~')
    await vm.migrate({ to: HOSTS[1], stunMs: 100 })
    await tab.news('now on 127.0.1.2')
    await tab.type('Gonew text')
    await tab.shows('line-3\nnew text\n~')
    const before = Buffer.from(vm.input).length
    await tab.page.reload()
    await tab.live()
    await tab.shows('line-1\nline-2\nline-3\nnew text\n~')
    // The screen asked the guest's questions again, had it been played into a terminal that answers.
    expect(Buffer.from(vm.input).length).toBe(before)
    await tab.startTyping()
    await tab.page.locator('.xterm-helper-textarea').focus()
    await tab.page.keyboard.press('Escape')
    // vi takes what follows an Escape at once for a key of the terminal's.
    await tab.shows('- /tmp/x')
    await tab.type(':wq\r')
    await tab.type('tail -n 1 /tmp/x\r')
    await tab.shows('new text\n')
  })

  test('a stream that it numbers comes whole through a vMotion and a restart of the server: every byte once', async () => {
    const { app, vm, folder } = await boot({ history: 'disk' })
    const tab = await newTab(app)
    await tab.openConsole('linux')
    await tab.shows(GUEST_PROMPT.trim(), BOOT_MS)
    await tab.startTyping()
    const from = await tab.offset()
    const last = 6_000
    // So many at a time that it goes on for some seconds, whatever the machine.
    await tab.type(
      `i=0; while [ $i -lt ${last} ]; do i=$((i+1)); echo "n $i ......................."; done; echo do''ne\r`,
    )
    const reached = (number: number) => tab.received.toString('latin1').includes(`\nn ${number} .`)
    await soon(() => reached(200)).toBe(true)
    await vm.migrate({ to: HOSTS[1], stunMs: 100 })
    await tab.news('now on 127.0.1.2')
    await soon(() => reached(1_000)).toBe(true)
    const before = (await logOf(app, 'linux', from)).length
    tab.expected.push(/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/)
    const { tcpPort = 0 } = app.http ?? {}
    const listen = [...app.listening]
    await app.stop()
    const settings: Settings = { history: 'disk', dataDir: join(folder, 'data'), listen, http: `127.0.0.1:${tcpPort}` }
    const again = await startApp(settings)
    await tab.shows('done\n', BOOT_MS)
    await tab.live()
    const log = await logOf(again, 'linux', from)
    expect(log.length).toBeGreaterThan(before)
    // What came over the WebSockets is what history holds, and what the page counts.
    expect(tab.received.equals(log)).toBe(true)
    await soon(() => tab.offset()).toBe(from + log.length)
    const numbers = [...tab.received.toString('latin1').matchAll(/\nn (\d+) \.+\r/g)].map(([, number]) =>
      Number(number),
    )
    expect(numbers).toEqual(Array.from({ length: last }, (_, at) => at + 1))
    // The terminal has them in that order, as far back as it goes.
    const shown = [...(await tab.shown()).matchAll(/^n (\d+) \.+$/gm)].map(([, number]) => Number(number))
    expect(shown).toEqual(Array.from(shown, (_, at) => last - shown.length + 1 + at))
    expect(tab.sockets).toBeGreaterThan(1)
  }, 240_000)
})
