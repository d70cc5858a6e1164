import { expect, test } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import { ShellGuest, silentGuest } from '../../src/sim/index.ts'
import { startGuarded, TokenFile } from '../app/access/support.ts'
import { eventually, startApp } from '../app/support.ts'
import { describeWithPeers } from '../support/peers.ts'
import { soon, startVm, type Tab, withBrowser } from './support.ts'

const LISTEN: Settings = { listen: ['tcp://127.0.0.1:0'], history: 'memory' }
const shell = () => [{ guest: new ShellGuest() }]
const PHONE = { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true }

/** Looked at as a person would find them, one after the other; pages.test.ts has what is not here. */
describeWithPeers(['chromium'], 'every view and dialog, looked at by axe', () => {
  const newTab = withBrowser()

  async function sound(tab: Tab, view: string): Promise<void> {
    expect(await tab.violations(), view).toEqual([])
  }

  /** Opens what a button leads to, looks at it, and closes it. */
  async function dialog(tab: Tab, name: string | RegExp, menu = false): Promise<void> {
    if (menu) await tab.button('More').click()
    await tab.button(name).first().click()
    await tab.page.getByRole('dialog').first().waitFor()
    await sound(tab, `dialog of ${name}`)
    await tab.page.keyboard.press('Escape')
    await soon(() => tab.page.getByRole('dialog').count()).toBe(0)
  }

  test.each(['light', 'dark'] as const)(
    '%s, several people, history and search',
    async (colorScheme) => {
      const app = await startApp({ ...LISTEN, writers: 'single' })
      await startVm(app, { name: 'web1', ports: shell() })
      const vm = await startVm(app, { name: 'kernel', ports: [{ guest: silentGuest }] })
      const gone = await startVm(app, { name: 'gone', ports: shell() })
      await gone.powerOff()
      vm.print('\x1b[31mI/O error\x1b[0m on \x1b[1;33msda\x1b[0m\r\n'.repeat(2_000))
      await eventually(() => app.server.table.resolve('kernel').history.visible > 60_000)
      const [alice, bob] = [await newTab(app, { colorScheme }), await newTab(app, { colorScheme })]
      await alice.openConsole('web1')
      await alice.startTyping()
      await bob.openConsole('web1')
      await bob.button('Start typing').click()
      await bob.page.getByRole('alert').filter({ hasText: 'You are next' }).waitFor()
      await sound(bob, 'waiting')
      await alice.page.getByRole('alert').filter({ hasText: 'would like to type' }).waitFor()
      await sound(alice, 'asked')
      for (const name of ['Send BREAK…', 'Send SysRq…', 'Say something to all…', 'Who is attached', 'Go to a time…']) {
        await dialog(alice, name, true)
      }
      await alice.button('Back to live').click()
      await dialog(alice, 'Keys')
      await alice.button('More').click()
      await alice.button('Who is attached').click()
      await alice.button('Put out').click()
      await sound(alice, 'putting out')
      await alice.page.keyboard.press('Enter')
      await bob.page.locator('.link.refused').waitFor()
      await sound(bob, 'put out')
      await alice.page.keyboard.press('Escape')
      await alice.open('#/search?q=I%2FO+error')
      await alice.page.getByText('these are the first 500').waitFor()
      await sound(alice, 'found')
      await alice.page.locator('.found a').nth(99).click()
      await alice.page.locator('.past-strip').getByText('up to now').waitFor()
      await sound(alice, 'history')
      await alice.button('Find').click()
      await alice.page.getByLabel('Find in the output').fill('sda')
      await alice.page.locator('.strip .count').filter({ hasText: ' of ' }).waitFor()
      await sound(alice, 'find')
      await alice.openConsole('gone')
      await sound(alice, 'a VM that is gone')
    },
    180_000,
  )

  test.each(['light', 'dark'] as const)(
    '%s, logging in, a viewer, and a phone',
    async (colorScheme) => {
      const tokens = new TokenFile({ viewer: { roles: ['viewer'] } })
      const app = await startGuarded(tokens, {}, LISTEN)
      await startVm(app, { name: 'web1', ports: shell() })
      const tab = await newTab(app, { colorScheme, ...PHONE })
      await tab.open('#/ports/web1')
      await tab.page.getByRole('dialog', { name: 'Log in' }).waitFor()
      await sound(tab, 'logging in')
      await tab.page.getByLabel('Token').fill(tokens.of('viewer'))
      await tab.button('Log in').last().tap()
      await tab.live()
      await sound(tab, 'a console on a phone')
      await tab.button('More').tap()
      await sound(tab, 'its menu')
      await tab.page.keyboard.press('Escape')
      for (const [place, shows] of [
        ['#/', 'table.ports'],
        ['#/search?q=help', '.search .summary'],
        ['#/moves', '.page h2'],
        ['#/ports/web1?at=0', '.past-strip .span'],
      ] as const) {
        await tab.open(place)
        await tab.page.locator(shows).waitFor()
        await sound(tab, place)
        expect(await tab.page.evaluate('document.documentElement.scrollWidth'), place).toBe(390)
      }
    },
    120_000,
  )
})
