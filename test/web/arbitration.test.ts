import { expect, test } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import { ShellGuest } from '../../src/sim/index.ts'
import { type AppUnderTest, startApp } from '../app/support.ts'
import { describeWithPeers } from '../support/peers.ts'
import { soon, startVm, type Tab, withBrowser } from './support.ts'

const VSPC: Settings = { listen: ['tcp://127.0.0.1:0'], history: 'memory', writers: 'single' }
const shell = () => [{ guest: new ShellGuest() }]

describeWithPeers(['chromium'], 'several people at one console, each in a browser', () => {
  const newTab = withBrowser()

  async function two(settings: Settings = {}): Promise<{ app: AppUnderTest; alice: Tab; bob: Tab }> {
    const app = await startApp({ ...VSPC, ...settings })
    await startVm(app, { name: 'shared', ports: shell() })
    const [alice, bob] = [await newTab(app), await newTab(app)]
    await alice.openConsole('shared')
    await alice.startTyping()
    await bob.openConsole('shared')
    await bob.page.locator('.status .mode', { hasText: /may type.* · 2 attached/ }).waitFor()
    return { app, alice, bob }
  }

  const asks = (tab: Tab, text: string | RegExp) => tab.page.getByRole('alert').filter({ hasText: text })
  const mode = (tab: Tab, text: string | RegExp) => tab.page.locator('.status .mode', { hasText: text })

  test('who asks waits and is told for whom; who has it is asked, hands it over, and gets it back', async () => {
    const { alice, bob } = await two()
    await bob.button('Start typing').click()
    await asks(bob, /127\.0\.0\.1:\d+ may type.*You are next/).waitFor()
    await mode(bob, 'waiting to type').waitFor()
    expect(await bob.violations()).toEqual([])
    await asks(alice, /would like to type/).waitFor()
    expect(await alice.violations()).toEqual([])
    await alice.button('Hand over').click()
    await mode(bob, 'you may type').waitFor()
    await alice.news('you are reading now')
    await bob.type('echo bob was here\r')
    await alice.shows('bob was here')
    // What a reader types goes nowhere, and makes nobody a writer.
    await alice.type('echo in vain\r')
    await bob.button('Stop typing').click()
    await mode(alice, /^reading/).waitFor()
    await alice.startTyping()
    await alice.type('echo alice again\r')
    await bob.shows('alice again')
    expect(await bob.shown()).not.toContain('in vain')
  })

  test('who waits can give up, or take over by force; both sides are told', async () => {
    const { alice, bob } = await two()
    await bob.button('Start typing').click()
    await bob.button('Stop waiting').first().click()
    await mode(bob, /^reading/).waitFor()
    await soon(() => asks(alice, /would like to type/).count()).toBe(0)
    await bob.button('Start typing').click()
    await asks(alice, /would like to type/).waitFor()
    await alice.button('Keep it').click()
    await soon(() => asks(alice, /would like to type/).count()).toBe(0)
    await bob.button('Take over').click()
    await mode(bob, 'you may type').waitFor()
    await alice.news(/you are reading now \(.*took over\)/)
    await alice.button('Start typing').waitFor()
    expect(await asks(bob, /./).count()).toBe(0)
  })

  test('who leaves makes room for who waits, with keys alone', async () => {
    const { alice, bob } = await two()
    await bob.page.keyboard.press('Control+Shift+Enter')
    await asks(bob, 'You are next').waitFor()
    await alice.open('#/')
    await mode(bob, 'you may type').waitFor()
    await bob.type('echo mine now\r')
    await bob.shows('mine now')
  })

  test('the list of those attached shows who waits and what they do, hands over, and puts out with a reason', async () => {
    const { alice, bob } = await two()
    await bob.button('Start typing').click()
    await asks(bob, 'You are next').waitFor()
    await alice.button('More').click()
    await alice.button('Who is attached').click()
    const dialog = alice.page.getByRole('dialog', { name: '2 consoles' })
    await dialog.getByText('waits, number 1').waitFor()
    await dialog.getByText('(you)').waitFor()
    expect(await alice.violations()).toEqual([])
    await dialog.getByRole('button', { name: 'Hand over' }).click()
    await mode(bob, 'you may type').waitFor()
    // The list stays, and follows.
    await dialog.getByRole('button', { name: 'Hand over' }).waitFor({ state: 'detached' })
    await dialog.getByRole('button', { name: 'Put out' }).click()
    await alice.page.getByLabel('Reason').fill('<b>maintenance</b>')
    expect(await alice.violations()).toEqual([])
    await alice.page.keyboard.press('Enter')
    await asks(bob, '<b>maintenance</b>').waitFor()
    await bob.page.locator('.status .link.refused').waitFor()
    const { sockets } = bob
    await alice.page.keyboard.press('Escape')
    await alice.startTyping()
    expect(bob.sockets).toBe(sockets)
    await bob.button('Come back').click()
    await bob.live()
    await mode(bob, /^reading/).waitFor()
  })

  test('what one says all read, as text, and can be answered', async () => {
    const { alice, bob } = await two()
    await bob.button('More').click()
    await bob.button('Say something to all…').click()
    await bob.page.getByLabel('Words').fill('rebooting <img src=x> in 5 min')
    await bob.button('Say it').click()
    await asks(alice, /127\.0\.0\.1:\d+: rebooting <img src=x> in 5 min/).waitFor()
    await bob.news('said to all')
    expect(await alice.violations()).toEqual([])
    await alice.button('Answer…').click()
    await alice.page.getByLabel('Words').fill('fine')
    await alice.page.keyboard.press('Enter')
    await asks(bob, /: fine/).waitFor()
    await alice.button('Close').click()
    await soon(() => asks(alice, /rebooting/).count()).toBe(0)
  })

  test('exclusive keeps others out until it is given up; then it is the turn of who waits', async () => {
    const { alice, bob } = await two({ writers: 'shared' })
    await alice.button('More').click()
    await alice.button('Type alone (exclusive)').click()
    await mode(alice, 'you type alone').waitFor()
    await bob.button('Start typing').click()
    await asks(bob, 'You are next').waitFor()
    await alice.button('Stop typing').click()
    await mode(bob, 'you may type').waitFor()
  })

  test('who was cut off while waiting waits again', async () => {
    const { app, alice, bob } = await two()
    await bob.button('Start typing').click()
    await asks(bob, 'You are next').waitFor()
    const { consoles } = app.server.table.resolve('shared')
    const waiting = [...consoles].find(({ info }) => info.waiting !== null)
    waiting?.close('the test cuts it')
    await soon(() => bob.sockets).toBe(2)
    await bob.live()
    await soon(() => [...consoles].some(({ info }) => info.waiting !== null)).toBe(true)
    await asks(bob, 'You are next').waitFor()
    await alice.button('Stop typing').click()
    await mode(bob, 'you may type').waitFor()
  })
})
