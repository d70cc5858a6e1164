import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { silentGuest } from '../../src/sim/index.ts'
import { type AppUnderTest, eventually, startApp } from '../app/support.ts'
import { describeWithPeers } from '../support/peers.ts'
import { soon, startVm, type Tab, withBrowser } from './support.ts'

/** Numbered lines, more than a terminal holds: some 5 MB. */
const COUNT = 50_000
const line = (at: number) => `line ${String(at).padStart(6, '0')} ${'.'.repeat(86)}\r\n`
const LINE_BYTES = line(0).length

describeWithPeers(['chromium'], 'the history of a port in Chromium', () => {
  const newTab = withBrowser()

  /** A VM that has printed its lines, and a tab with its console. */
  async function chatty(options = {}): Promise<{ app: AppUnderTest; tab: Tab; print(text: string): void }> {
    const folder = mkdtempSync(join(tmpdir(), 'vspc-past-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const app = await startApp({ listen: ['tcp://127.0.0.1:0'], history: 'disk', dataDir: folder })
    const vm = await startVm(app, { name: 'chatty', ports: [{ guest: silentGuest }], recordInput: false })
    for (let at = 0; at < COUNT; at += 1_000) {
      vm.print(Array.from({ length: 1_000 }, (_, n) => line(at + n)).join(''))
      await eventually(() => app.server.table.resolve('chatty').history.visible >= (at + 1_000) * LINE_BYTES)
    }
    return { app, tab: await newTab(app, options), print: (text) => void vm.print(text) }
  }

  /** Numbers of the lines on the screen. */
  async function numbers(tab: Tab): Promise<number[]> {
    const rows = await tab.page.locator('.past .xterm-rows > div').allInnerTexts()
    return rows.flatMap((row) => /line (\d{6})/.exec(row)?.[1] ?? []).map(Number)
  }

  test('a deep link leads to an offset, its line stands out; older and newer lose no line between them', async () => {
    const { tab, print } = await chatty()
    await tab.open(`#/ports/chatty?at=${20_000 * LINE_BYTES}`)
    await tab.page.getByText('MB before now').waitFor()
    await soon(() => numbers(tab)).toContain(20_000)
    expect(
      await tab.page.locator('.past .xterm-decoration-container > *, .past .xterm-rows span').count(),
    ).toBeGreaterThan(0)
    expect(tab.page.url()).toContain(`?at=${20_000 * LINE_BYTES}`)
    const span = () => tab.page.locator('.past-strip .span').innerText()
    /** Over the edge of what is drawn, twice; what comes then goes on from where it was. */
    const pager = async (edge: string, key: string) => {
      for (let windows = 0; windows < 2; windows++) {
        const middle = await numbers(tab)
        await tab.page.keyboard.press(edge)
        await soon(() => numbers(tab)).not.toEqual(middle)
        const [last, before] = [await numbers(tab), await span()]
        await tab.page.keyboard.press(key)
        await soon(async () => [before, 'drawing…'].includes(await span())).toBe(false)
        await soon(() => numbers(tab)).not.toEqual(last)
        const next = await numbers(tab)
        expect(next).toEqual(Array.from(next, (_, at) => (next[0] ?? 0) + at))
        const [from, to] = key === 'PageUp' ? [next, last] : [last, next]
        expect(to[0] ?? 0).toBeLessThanOrEqual((from.at(-1) ?? 0) + 1)
      }
    }
    await pager('Home', 'PageUp')
    // It stands at the end of the older part.
    const end = await numbers(tab)
    await tab.page.keyboard.press('Home')
    await soon(() => numbers(tab)).not.toEqual(end)
    await pager('End', 'PageDown')
    // The live console has gone on behind it, and nothing that is typed here goes to it.
    print('meanwhile\r\n')
    await tab.page.keyboard.press('x')
    await tab.news('This is history')
    await tab.page.keyboard.press('Escape')
    await tab.shows('meanwhile')
    expect(tab.page.url()).not.toContain('at=')
    expect(tab.sent).toEqual([])
  })

  test('from the live console it is reached by "Earlier", with the oldest line at its end, and by time', async () => {
    const { app, tab, print } = await chatty()
    await tab.openConsole('chatty')
    await tab.shows('line 049999')
    // Larger screens first; at last the parts before them.
    for (let times = 0; times < 3; times++) {
      await tab.button('Earlier').click()
      await tab.live()
    }
    await tab.button('Oldest').click()
    await soon(() => numbers(tab)).toContain(0)
    expect(await tab.button('Older').isDisabled()).toBe(true)
    await tab.button('Find').click()
    await tab.page.getByLabel('Find in the output').fill('line 002000')
    await tab.page.locator('.strip .count').filter({ hasText: '1 of 1' }).waitFor()
    await soon(() => numbers(tab)).toContain(2_000)
    expect(await tab.violations()).toEqual([])
    // Two seconds later something else is printed.
    const { history } = app.server.table.resolve('chatty')
    await tab.button('Back to live').click()
    await tab.live()
    const later = new Date(Date.now() + 1_000)
    await soon(() => Date.now()).toBeGreaterThan(later.getTime() + 500)
    print('printed later\r\n')
    await eventually(() => history.visible > COUNT * LINE_BYTES)
    await tab.open(`#/ports/chatty?time=${later.toISOString()}`)
    await tab.page.getByText('up to now').waitFor()
    await soon(() => tab.page.locator('.past .xterm-rows').innerText()).toMatch(/printed.later/)
    await tab.button('Time…').click()
    await tab.page.getByRole('dialog', { name: 'Go to a time' }).waitFor()
    expect(await tab.violations()).toEqual([])
    await tab.page.getByLabel('Day and time').fill('2001-02-03T04:05:06')
    await tab.page.keyboard.press('Enter')
    await soon(() => numbers(tab)).toContain(0)
  })

  test('what is searched for is found in all histories, leads to its place, and is text', async () => {
    const { app, tab } = await chatty()
    const other = await startVm(app, { name: 'other', ports: [{ guest: silentGuest }] })
    other.print('first\r\nline <img src=x> 012345 of another VM\r\n')
    await eventually(() => app.server.table.resolve('other').history.visible > 0)
    await tab.open()
    await tab.page.getByRole('link', { name: 'Search', exact: true }).click()
    expect(await tab.violations()).toEqual([])
    await tab.page.getByLabel('Text to search for').fill('012345')
    await tab.page.keyboard.press('Enter')
    await tab.page.getByText(/^2 lines in 5\.\d MB of 2 ports/).waitFor()
    await tab.page.getByRole('link', { name: 'line <img src=x> 012345 of another VM' }).waitFor()
    expect(await tab.page.locator('.found mark').allInnerTexts()).toEqual(['012345', '012345'])
    expect(await tab.violations()).toEqual([])
    // One port, an expression, and the address that says so.
    await tab.page.getByLabel('VM: a name').fill('chat*')
    await tab.page.getByLabel('expression').check()
    await tab.page.getByLabel('Text to search for').fill('LINE 0(00007|49999) ')
    await tab.button('Search').click()
    await tab.page.getByText(/^2 lines in .* of 1 port/).waitFor()
    expect(tab.page.url()).toContain('#/search?q=LINE+0%2800007%7C49999%29+&port=chat*&regex=1')
    await tab.page.reload()
    await tab.page.getByText(/^2 lines in .* of 1 port/).waitFor()
    await tab.page.locator('.found a').first().click()
    await soon(() => numbers(tab)).toContain(7)
    expect(tab.page.url()).toContain(`?at=${7 * LINE_BYTES}`)
    await tab.page.goBack()
    await tab.page.getByText(/^2 lines in .* of 1 port/).waitFor()
    // More than is shown; and what is no expression.
    tab.expected.push(/400/)
    await tab.page.getByLabel('Text to search for').fill('line')
    await tab.page.keyboard.press('Enter')
    await tab.page.getByText('these are the first 500').waitFor()
    expect(await tab.page.locator('.found a').count()).toBe(500)
    await tab.page.getByLabel('Text to search for').fill('line(')
    await tab.page.keyboard.press('Enter')
    await tab.page
      .locator('.search .summary')
      .filter({ hasText: /pattern|expression|parenthes/ })
      .waitFor()
    // From a console: its own history.
    await tab.openConsole('other')
    await tab.button('More').click()
    await tab.button('Search the whole history…').click()
    await tab.page.getByLabel('Text to search for').fill('VM')
    await tab.page.keyboard.press('Enter')
    await tab.page.getByText(/^1 line in .* of 1 port/).waitFor()
  })

  test('on a phone it fits', async () => {
    const { tab } = await chatty({ viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true })
    await tab.open(`#/ports/chatty?at=${20_000 * LINE_BYTES}`)
    await tab.page.getByText('MB before now').waitFor()
    await soon(() => tab.page.locator('.past .xterm-rows').innerText()).toContain('020000')
    expect(await tab.page.evaluate('document.documentElement.scrollWidth')).toBe(390)
    expect(await tab.violations()).toEqual([])
    await tab.button('Back to live').tap()
    await tab.live()
  })
})
