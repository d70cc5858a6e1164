import { expect, test } from 'vitest'
import type { ApplianceInfo } from '../../src/app/appliance-view.ts'
import type { Settings } from '../../src/app/index.ts'
import { ShellGuest } from '../../src/sim/index.ts'
import { Port } from '../../src/vspc/port.ts'
import { startApp } from '../app/support.ts'
import { describeWithPeers } from '../support/peers.ts'
import { startProxy } from './proxy.ts'
import { HOSTS, soon, startVm, withBrowser } from './support.ts'

const VSPC: Settings = { listen: ['tcp://127.0.0.1:0'], history: 'memory' }
const shell = () => [{ guest: new ShellGuest() }]
const PHONE = { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true }

describeWithPeers(['chromium'], 'the pages in Chromium', () => {
  const newTab = withBrowser()

  test('an empty list says what to do; VMs appear in it by themselves, and it follows their state', async () => {
    const app = await startApp({ ...VSPC })
    const tab = await newTab(app)
    await tab.open()
    await tab.page.getByRole('heading', { name: 'No VM has connected yet' }).waitFor()
    const vm = await startVm(app, { name: 'newcomer', ports: shell() })
    const row = tab.page.getByRole('row').filter({ hasText: 'newcomer' })
    await row.getByRole('cell', { name: 'online' }).waitFor()
    await row.getByRole('cell', { name: '127.0.1.1' }).waitFor()
    await vm.migrate({ to: HOSTS[1] })
    await row.getByRole('cell', { name: '127.0.1.2' }).waitFor()
    await vm.powerOff()
    await row.getByRole('cell', { name: 'offline' }).waitFor()
    await tab.page.getByRole('link', { name: 'Moves' }).click()
    await tab.page.getByRole('row').filter({ hasText: 'complete' }).getByRole('link', { name: 'newcomer' }).waitFor()
  })

  test('search, state and host narrow the list, stay in the address, and work with keys alone', async () => {
    const app = await startApp({ ...VSPC })
    for (const [name, host] of [
      ['web-1', HOSTS[0]],
      ['web-10', HOSTS[1]],
      ['web-2', HOSTS[1]],
      ['db-1', HOSTS[0]],
    ] as const) {
      await startVm(app, { name, host, ports: shell() })
    }
    const tab = await newTab(app)
    await tab.open()
    const names = () => tab.page.locator('table.ports td.name').allInnerTexts()
    await tab.page.getByRole('link', { name: 'web-10' }).waitFor()
    expect(await names()).toEqual(['db-1', 'web-1', 'web-2', 'web-10'])
    await tab.page.keyboard.press('/')
    await tab.page.keyboard.type('WEB 127.0.1.2')
    await soon(names).toEqual(['web-2', 'web-10'])
    expect(tab.page.url()).toContain('#/?q=WEB+127.0.1.2')
    await tab.page.keyboard.press('ArrowDown')
    await tab.page.keyboard.press('ArrowDown')
    await tab.page.keyboard.press('Enter')
    await tab.live()
    expect(await tab.page.getByRole('heading', { level: 1 }).innerText()).toBe('web-10')
    await tab.page.keyboard.press('Control+Shift+Enter')
    await tab.page.locator('.typing[aria-pressed="true"]').waitFor()
    await tab.page.keyboard.type('echo by keys\r')
    await tab.shows('by keys')
    // Out of the terminal again, which takes Tab for itself.
    await tab.page.keyboard.press('Control+Shift+L')
    await tab.page.keyboard.press('Escape')
    await soon(names).toHaveLength(4)
    await tab.open('#/?state=offline&host=127.0.1.1')
    await tab.button('Show all').click()
    await tab.page.getByLabel('Host', { exact: true }).selectOption('127.0.1.1')
    await soon(names).toEqual(['db-1', 'web-1'])
  })

  test('a deep link by name opens the console, and the address becomes the lasting one', async () => {
    const app = await startApp({ ...VSPC })
    await startVm(app, { name: 'by name', ports: shell() })
    const tab = await newTab(app)
    await tab.openConsole('by name')
    await tab.shows('Type help')
    const { id } = app.server.table.resolve('by name')
    expect(tab.page.url()).toBe(`${app.url}/#/ports/${id}`)
    await tab.page.reload()
    await tab.shows('Type help')
    await tab.page.getByRole('link', { name: 'Ports', exact: true }).click()
    await tab.page.getByRole('columnheader', { name: 'Last output' }).waitFor()
  })

  test('behind a path of a reverse proxy everything works', async () => {
    const app = await startApp({ ...VSPC })
    await startVm(app, { name: 'behind', ports: shell() })
    const tab = await newTab(app)
    tab.base = `${await startProxy(app, { prefix: '/tools/vspc' })}/tools/vspc`
    await tab.open()
    await tab.page.getByRole('link', { name: 'behind' }).click()
    await tab.live()
    await tab.startTyping()
    await tab.type('echo through\r')
    await tab.shows('through')
    await tab.page.getByRole('link', { name: 'Ports', exact: true }).click()
    await tab.page.getByRole('cell', { name: 'online' }).waitFor()
  })

  test('on a phone nothing is cut off: list and console fit 390 pixels', async () => {
    const app = await startApp({ ...VSPC })
    await startVm(app, { name: `a-vm-with-a-name-that-is-longer-than-any-phone-${'x'.repeat(60)}`, ports: shell() })
    const tab = await newTab(app, PHONE)
    await tab.open()
    const fits = async () => expect(await tab.page.evaluate('document.documentElement.scrollWidth')).toBe(390)
    await tab.page.getByRole('link', { name: 'a-vm-with' }).waitFor()
    await fits()
    await tab.page.getByRole('link', { name: 'a-vm-with' }).tap()
    await tab.live()
    await fits()
    await tab.button('Start typing').tap()
    await tab.type('help\r')
    await tab.shows('this list')
    await tab.button('Up').tap()
    await tab.shows(':~# help')
    await tab.button('Control C').tap()
    await tab.shows('help^C')
    await tab.button('More').tap()
    await tab.button('Send BREAK…').tap()
    await tab.button('Send BREAK').tap()
    await tab.shows('[BREAK]')
    await tab.page.getByRole('link', { name: 'All ports' }).tap()
    await tab.page.getByRole('link', { name: 'a-vm-with' }).waitFor()
  })

  test("the appliance's host is shown where it is followed, and its moves as they happen", async () => {
    const app = await startApp({ ...VSPC })
    const tab = await newTab(app)
    await tab.open('#/moves')
    await tab.page.getByText('Nothing has moved yet').waitFor()
    expect(await tab.page.getByRole('heading', { name: "The appliance's host" }).count()).toBe(0)
    const info: ApplianceInfo = {
      tracking: true,
      vm: { name: 'vspc-1', uuid: null },
      host: { name: 'esx-02.lab', managementIps: ['10.0.0.2'] },
      since: '2026-01-02T03:04:05Z',
      moves: 3,
      reachable: true,
      trouble: null,
      proxyURI: 'telnet://10.0.0.2:13370',
      settled: false,
      counts: { vms: 50, queued: 1, working: 0, waiting: 1, stuck: 0, right: 47, cannot: 1 },
      nextHopsOpen: 0,
      vms: [{ name: '<b>vm</b>', uuid: null, state: 'cannot', reason: 'no permission', attempts: 4 }],
    }
    await tab.page.route('**/api/v1/appliance', (route) => route.fulfill({ json: info }))
    await tab.page.reload()
    await tab.page.getByText('esx-02.lab · 10.0.0.2').waitFor()
    await tab.page.getByText('47 of 50, 2 to do, 1 cannot').waitFor()
    await tab.page.getByRole('cell', { name: '<b>vm</b>' }).waitFor()
    expect(await tab.violations()).toEqual([])
  })

  test.each(['light', 'dark'] as const)('axe finds nothing serious on any page, %s', async (colorScheme) => {
    const app = await startApp({ ...VSPC })
    const vm = await startVm(app, { name: 'web1', ports: shell() })
    await startVm(app, { name: 'web2', ports: shell() })
    const tab = await newTab(app, { colorScheme })
    await tab.open()
    await tab.page.getByRole('link', { name: 'web1' }).waitFor()
    expect(await tab.violations()).toEqual([])
    await tab.page.getByRole('link', { name: 'web1' }).click()
    await tab.live()
    await vm.migrate({ to: HOSTS[1] })
    await tab.news('now on')
    expect(await tab.violations()).toEqual([])
    await tab.startTyping()
    await tab.button('SysRq').click()
    await tab.page.getByRole('dialog').waitFor()
    expect(await tab.violations()).toEqual([])
    await tab.page.keyboard.press('Escape')
    await tab.button('More').click()
    expect(await tab.violations()).toEqual([])
    await tab.page.keyboard.press('Escape')
    await tab.page.getByRole('link', { name: 'Moves' }).click()
    await tab.page.getByRole('cell', { name: 'vMotion complete' }).waitFor()
    expect(await tab.violations()).toEqual([])
  })

  test('the theme is that of the system until somebody chooses, and then stays', async () => {
    const app = await startApp({ ...VSPC })
    const tab = await newTab(app, { colorScheme: 'dark' })
    await tab.open()
    const background = () => tab.page.evaluate('getComputedStyle(document.body).backgroundColor')
    expect(await background()).toBe('rgb(20, 23, 26)')
    await tab.button('Light').click()
    expect(await background()).toBe('rgb(251, 251, 250)')
    await tab.page.reload()
    expect(await background()).toBe('rgb(251, 251, 250)')
    await tab.button('Dark').click()
    await tab.page.emulateMedia({ colorScheme: 'light' })
    expect(await background()).toBe('rgb(251, 251, 250)')
  })

  test('names of VMs are text, whatever they look like', async () => {
    const app = await startApp({ ...VSPC })
    const name = `<img src=x onerror="document.title='owned'">`
    const port = new Port(app.server, 'name:x', null)
    port.name = name
    app.server.table.add(port)
    const tab = await newTab(app)
    await tab.open()
    await tab.page.getByRole('link', { name, exact: true }).click()
    await tab.live()
    expect(await tab.page.getByRole('heading', { level: 1 }).innerText()).toBe(name)
    expect(await tab.page.title()).toBe(`(offline) ${name} - vspc`)
  })
})
