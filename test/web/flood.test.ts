import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { silentGuest } from '../../src/sim/index.ts'
import { eventually, startApp } from '../app/support.ts'
import { describeWithPeers } from '../support/peers.ts'
import { soon, startVm, type Tab, withBrowser } from './support.ts'

const LINE = '\x1b[32mall work and no play\x1b[0m makes a long line longer\r\n'
const BLOCK = Buffer.from(LINE.repeat(2_000))
/** Printed as fast as the server takes it. */
const MEGABYTES = 240
/** What the page's process may take more than before, garbage and pictures included. */
const MOST_BYTES = 300 << 20

describeWithPeers(['chromium'], 'a VM that floods, in Chromium', () => {
  const newTab = withBrowser()

  test('the page answers keys all the while, holds little, says what it left out, and shows the end', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-flood-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const app = await startApp({ listen: ['tcp://127.0.0.1:0'], history: 'disk', dataDir: folder })
    const vm = await startVm(app, { name: 'flood', ports: [{ guest: silentGuest }], recordInput: false })
    const tab = await newTab(app)
    await tab.openConsole('flood')
    const { history } = app.server.table.resolve('flood')
    const news = await watchNews(tab)
    const longestBusy = await tab.watchBusy()
    const quietBytes = await peakBytes(tab)
    const began = performance.now()
    let left = Math.ceil((MEGABYTES * 1e6) / BLOCK.length)
    const push = () => {
      // What is printed into a full line is kept and sent, too.
      for (let more = true; more && left > 0; left--) more = vm.print(BLOCK)
      if (left > 0) setTimeout(push, 1)
    }
    push()
    // In the midst of it somebody uses the page.
    await eventually(() => history.visible > 20e6)
    const clicked = performance.now()
    await tab.button('Find').click()
    await tab.page.getByLabel('Find in the output').fill('long line')
    await tab.page.keyboard.press('Escape')
    const answeredMs = performance.now() - clicked
    await soon(() => left).toBe(0)
    vm.print('that was all\r\n')
    await soon(() => history.visible === history.next && left === 0).toBe(true)
    const seconds = (performance.now() - began) / 1_000
    await tab.shows('that was all', 60_000)
    await tab.live()
    await soon(() => tab.offset()).toBe(history.next)
    const busyMs = await longestBusy()
    const grown = (await peakBytes(tab)) - quietBytes
    // A machine that others use, too: generous.
    expect(busyMs).toBeLessThan(3_000)
    expect(answeredMs).toBeLessThan(15_000)
    expect(grown).toBeLessThan(MOST_BYTES)
    // Nothing is left out without a word. (Where the machine is slow enough, the page keeps up with all of it.)
    const told = (await news()).some((text) => text.includes('too much to show'))
    expect(told || tab.receivedBytes >= history.next).toBe(true)
    process.stdout.write(
      `flood: ${Math.round(MEGABYTES / seconds)} MB/s from the VM, page busy for at most ${Math.round(busyMs)} ms, ` +
        `a click and a search took ${Math.round(answeredMs)} ms, ${Math.round(grown / 1e6)} MB more memory at most, ` +
        `${Math.round(tab.receivedBytes / 1e6)} MB received over ${tab.sockets} connections` +
        `${told ? ', the rest skipped and said so' : ''}\n`,
    )
  }, 240_000)
})

/** All that the status line has said. */
async function watchNews({ page }: Tab): Promise<() => Promise<string[]>> {
  await page.evaluate(`{
    window.allNews = []
    const element = document.querySelector('.status .news')
    new MutationObserver(() => window.allNews.push(element.textContent)).observe(element, { childList: true, characterData: true, subtree: true })
  }`)
  return () => page.evaluate('window.allNews')
}

/** The most that the page's process has held so far, in memory of its own, from Linux. */
async function peakBytes({ page }: Tab): Promise<number> {
  const session = await page.context().browser()?.newBrowserCDPSession()
  const answer = await session?.send('SystemInfo.getProcessInfo')
  const pids = (answer?.processInfo ?? []).filter(({ type }) => type === 'renderer').map(({ id }) => id)
  const peaks = pids.map((pid) => /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  return Math.max(...peaks.map((peak) => Number(peak) * 1024))
}
