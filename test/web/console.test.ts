import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import { ShellGuest, silentGuest } from '../../src/sim/index.ts'
import { type AppUnderTest, eventually, startApp } from '../app/support.ts'
import { describeWithPeers } from '../support/peers.ts'
import { HOSTS, logOf, startVm, type Tab, withBrowser } from './support.ts'

const VSPC: Settings = { listen: ['tcp://127.0.0.1:0'], history: 'memory' }
const shell = () => [{ guest: new ShellGuest() }]
/** The page shows its figures once a second. */
const WAIT = { timeout: 15_000, interval: 100 }

describeWithPeers(['chromium'], "a port's console in Chromium", () => {
  const newTab = withBrowser()

  test('what is typed reaches the VM, and its answer the screen; a reader types nothing', async () => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'web1', ports: shell() })
    const tab = await newTab(app)
    await tab.openConsole('web1')
    await tab.shows('Type help for what it knows.')
    await tab.type('in vain')
    await tab.news('You are reading')
    await tab.startTyping()
    await tab.type('echo it-$42-ä\r')
    await tab.shows('it-$42-ä')
    expect(Buffer.from(vm.input).toString()).toBe('echo it-$42-ä\r')
  })

  test('a vMotion in mid-stream loses and doubles nothing, and is told', async () => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'mover', ports: shell() })
    const tab = await newTab(app)
    await tab.openConsole('mover')
    const from = await tab.offset()
    await tab.startTyping()
    await tab.type('count 400 2\r')
    await tab.shows('50\n')
    await vm.migrate({ to: HOSTS[1], stunMs: 100 })
    await tab.news('now on 127.0.1.2')
    await tab.shows('400\nmover:~#')
    expect(await tab.page.locator('.bar .host').innerText()).toBe('127.0.1.2')
    const log = await logOf(app, 'mover', from)
    expect(tab.received.toString('latin1')).toBe(log.toString('latin1'))
    expect(tab.sockets).toBe(1)
  })

  test('after a restart of the server it goes on where it was: every byte once', async () => {
    const data = { history: 'disk' as const, dataDir: freshDir() }
    const app = await startApp({ ...VSPC, ...data })
    const vm = await startVm(app, { name: 'stayer', ports: [{ guest: silentGuest }] })
    const tab = await newTab(app)
    vm.print('before we looked\r\n')
    await eventually(() => app.server.table.resolve('stayer').history.visible > 0)
    await tab.openConsole('stayer')
    await tab.shows('before we looked')
    const from = await tab.offset()
    vm.print('first\r\n')
    await tab.shows('first')
    tab.expected.push(/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/)
    const { tcpPort = 0 } = app.http ?? {}
    const listen = [...app.listening]
    await app.stop()
    await tab.page.locator('.status .link.waiting').waitFor()
    vm.print('while it was away\r\n')
    const again = await startApp({ ...data, listen, http: `127.0.0.1:${tcpPort}` })
    await tab.shows('while it was away')
    await tab.live()
    vm.print('and after\r\n')
    await tab.shows('first\nwhile it was away\nand after')
    expect(tab.received.toString()).toBe('first\r\nwhile it was away\r\nand after\r\n')
    expect(await logOf(again, 'stayer', from)).toEqual(tab.received)
    await vi.waitFor(async () => expect(await tab.offset()).toBe(from + tab.received.length), WAIT)
    expect(tab.sockets).toBeGreaterThan(1)
  })

  test('no query in old output is answered, nor one that came while reading; a live one is, once', async () => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'asker', ports: [{ guest: silentGuest }] })
    vm.print(`${QUERIES}old questions\r\n`)
    await eventually(() => app.server.table.resolve('asker').history.visible > QUERIES.length)
    const tab = await newTab(app)
    await tab.openConsole('asker')
    await tab.shows('old questions')
    vm.print(`${QUERIES}while reading\r\n`)
    await tab.shows('while reading')
    await tab.startTyping()
    // Whatever had been on its way would come before this.
    await tab.type('x')
    await vm.expectInput('x')
    expect(Buffer.from(vm.input).toString('latin1')).toBe('x')
    // Output from while the connection was away is old, too: nothing has answered at that time.
    dropConsoles(app)
    vm.print(`${QUERIES}while away\r\n`)
    await tab.shows('while away')
    await tab.live()
    await tab.type('y')
    await vm.expectInput('y')
    expect(Buffer.from(vm.input).toString('latin1')).toBe('xy')
    vm.print('\x1b[5n')
    await vm.expectInput('\x1b[0n')
    await tab.type('z')
    await vm.expectInput('z')
    expect(Buffer.from(vm.input).toString('latin1')).toBe('xy\x1b[0nz')
  })

  test('output made to occupy a terminal for hours costs nothing', async () => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'hostile', ports: [{ guest: silentGuest }] })
    const tab = await newTab(app)
    await tab.openConsole('hostile')
    vm.print(`a${[...'LMSTPIZ@Xb'].map((final) => `\x1b[2147483647${final}`).join('')}`)
    vm.print("\x1b[2147483647'}\x1b[2147483647'~\x1b[2147483647 @\x1b[2147483647 A")
    vm.print('\x1b[38;2;200;30;30mstill here\x1b[m\r\n')
    await tab.shows('still here')
  })

  test('several lines are pasted only when somebody agrees; control characters never', async () => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'paste', ports: [{ guest: silentGuest }] })
    const tab = await newTab(app)
    await tab.openConsole('paste')
    await tab.startTyping()
    await pasteText(tab, 'one line')
    await vm.expectInput('one line')
    await pasteText(tab, 'rm -rf /\n\x1b[201~reboot\n')
    await tab.page.getByRole('dialog', { name: 'Paste 2 lines?' }).waitFor()
    await tab.button('Cancel').click()
    await pasteText(tab, 'a\n\x1b[201~b\n')
    await tab.button('Paste 2 lines').click()
    await vm.expectInput('a\r[201~b\r')
    await pasteText(tab, 'c\nd\n')
    await tab.button('Paste as one line').click()
    await vm.expectInput('c d')
    expect(Buffer.from(vm.input).toString('latin1')).toBe('one linea\r[201~b\rc d')
  })

  test('BREAK and SysRq ask first', async () => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'broken', ports: shell() })
    const tab = await newTab(app)
    await tab.openConsole('broken')
    await tab.startTyping()
    await tab.button('BREAK').click()
    await tab.button('Cancel').click()
    expect(await tab.shown()).not.toContain('[BREAK]')
    await tab.button('BREAK').click()
    await tab.button('Send BREAK').click()
    await tab.shows('[BREAK]')
    await tab.button('SysRq').click()
    await tab.button('Reboot at once').click()
    await tab.button('Send SysRq b').click()
    await vm.expectInput('b')
    expect(Buffer.from(vm.input).toString('latin1')).toBe('b')
  })

  test('earlier output is loaded on demand, found by searching, and downloaded as it was sent', async () => {
    const app = await startApp({ ...VSPC, history: 'disk', dataDir: freshDir() })
    const vm = await startVm(app, { name: 'chatty', ports: [{ guest: silentGuest }], recordInput: false })
    const line = (at: number) => `line ${String(at).padStart(6, '0')} ${'.'.repeat(80)}\r\n`
    const count = 6_000
    for (let at = 0; at < count; at += 500) {
      vm.print(Array.from({ length: 500 }, (_, n) => line(at + n)).join(''))
      await eventually(() => app.server.table.resolve('chatty').history.visible >= (at + 500) * line(0).length)
    }
    const tab = await newTab(app)
    await tab.openConsole('chatty')
    await tab.shows('line 005999')
    const find = async (text: string, result: string | RegExp) => {
      await tab.button('Find').click()
      await tab.page.getByLabel('Find in the output').fill(text)
      await tab.page.locator('.strip .count').filter({ hasText: result }).waitFor()
    }
    await find('line 005123', '1 of 1')
    await tab.shows('line 005123')
    await find('line 000123', 'not found')
    await tab.button('Earlier').click()
    await tab.live()
    await find('line 000123', '1 of 1')
    await tab.shows('line 000123')
    await tab.page.keyboard.press('Escape')
    vm.print('and on it goes\r\n')
    await vi.waitFor(async () => expect(await tab.offset()).toBe(app.server.table.resolve('chatty').history.next), WAIT)
    expect(await tab.button('Earlier').isDisabled()).toBe(true)
    const [download] = await Promise.all([
      tab.page.waitForEvent('download'),
      tab.page.getByRole('link', { name: 'Log', exact: true }).click(),
    ])
    expect(download.suggestedFilename()).toBe('chatty.log')
    const saved = await buffer(await download.createReadStream())
    expect(saved.equals(await logOf(app, 'chatty', 0))).toBe(true)
  })

  test('a link that does not show where it leads is asked about, and one that is no web link is not opened', async () => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'linker', ports: [{ guest: silentGuest }] })
    const tab = await newTab(app)
    await tab.openConsole('linker')
    const link = (uri: string, text: string) => `\x1b]8;;${uri}\x07${text}\x1b]8;;\x07\r\n`
    vm.print(`${link('https://evil.invalid/x', 'READ_THIS')}${link('javascript:alert(1)', 'OR_THAT')}`)
    await tab.shows('OR_THAT')
    // The rows lie below what takes the mouse.
    const click = async (row: number) => {
      const box = await tab.page.locator('.xterm-rows > div').nth(row).boundingBox()
      await tab.page.mouse.click((box?.x ?? 0) + 20, (box?.y ?? 0) + 6)
    }
    await click(0)
    await tab.page.getByRole('dialog', { name: 'Open this link?' }).getByText('https://evil.invalid/x').waitFor()
    await tab.button('Cancel').click()
    await click(1)
    await tab.page.getByRole('dialog', { name: 'This is no web link' }).getByText('javascript:alert(1)').waitFor()
    expect(await tab.button('Open').count()).toBe(0)
    await tab.button('Cancel').click()
    expect(tab.page.context().pages()).toHaveLength(1)
  })
})

/** All that xterm.js would answer to: device attributes, status, cursor, modes, settings, colours, focus. */
const QUERIES = [
  ...['\x1b[c', '\x1b[>c', '\x1b[5n', '\x1b[6n', '\x1b[?6n', '\x1b[4$p', '\x1b[?25$p', '\x1b[?1004h'],
  ...[
    '\x1bP$qm\x1b\\',
    '\x1bP$qr\x1b\\',
    '\x1b]10;?\x07',
    '\x1b]11;?\x07',
    '\x1b]4;1;?\x07',
    '\x1b[18t',
    '\x1b[?1004l',
  ],
].join('')

function freshDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'vspc-web-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Cuts every console's connection, as a network would. */
function dropConsoles(app: AppUnderTest): void {
  for (const port of app.server.table) for (const console of port.consoles) console.close('the test cuts it')
}

/** In the page's own language, since the tests are not compiled for a browser. */
async function pasteText({ page }: Tab, text: string): Promise<void> {
  await page.evaluate(`{
    const data = new DataTransfer()
    data.setData('text/plain', ${JSON.stringify(text)})
    const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })
    document.querySelector('.xterm-helper-textarea').dispatchEvent(event)
  }`)
}
