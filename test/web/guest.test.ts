import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BackendGuest } from '../../src/sim/index.ts'
import { startApp } from '../app/support.ts'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { GUEST_PROMPT, startGuest } from '../support/qemu.ts'
import { HOSTS, startVm, withBrowser } from './support.ts'

describeWithPeers(['chromium', ...GUEST_PEERS], 'a real Linux guest in Chromium', () => {
  const newTab = withBrowser()

  test('its shell, a full-screen program, a vMotion, and the same screen after a reload', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-web-guest-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const socket = join(folder, 'serial.sock')
    const qemu = await startGuest({ serial: [`unix:${socket},server=on,wait=off`], cacheDir: folder })
    onTestFinished(() => qemu.stop())
    const app = await startApp({ listen: ['tcp://127.0.0.1:0'], history: 'memory' })
    const vm = await startVm(app, { name: 'linux', ports: [{ guest: new BackendGuest(`unix://${socket}`) }] })
    const tab = await newTab(app)
    await tab.openConsole('linux')
    await tab.shows(GUEST_PROMPT.trim())
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
})
