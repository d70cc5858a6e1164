import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import { EventParser } from '../../src/app/web/event-stream.ts'
import { ShellGuest } from '../../src/sim/index.ts'
import { startGuarded, TokenFile } from '../app/access/support.ts'
import { eventually } from '../app/support.ts'
import { describeWithPeers } from '../support/peers.ts'
import { startProxy } from './proxy.ts'
import { soon, startVm, type Tab, withBrowser } from './support.ts'

const VSPC: Settings = { listen: ['tcp://127.0.0.1:0'], history: 'memory' }
const shell = () => [{ guest: new ShellGuest() }]

test('events come out as they went in, however the stream is cut', () => {
  const stream =
    ': hello\n\nid: 1\nevent: a\ndata: {"x":1}\n\nretry: 5\r\nevent: b\r\ndata: one\r\ndata:two\r\n\r\ndata\n\ndata: c\n\n'
  for (let size = 1; size <= stream.length; size++) {
    const found: string[] = []
    const parser = new EventParser((type, data) => found.push(`${type}=${data}`))
    for (let at = 0; at < stream.length; at += size) parser.push(stream.slice(at, at + size))
    expect(found).toEqual(['a={"x":1}', 'b=one\ntwo', 'message=', 'message=c'])
  }
})

describeWithPeers(['chromium'], 'the page of a server that asks who comes, in Chromium', () => {
  const newTab = withBrowser()

  async function logIn(tab: Tab, token: string): Promise<void> {
    await tab.page.getByRole('dialog', { name: 'Log in' }).waitFor()
    await tab.page.getByLabel('Token').fill(token)
    await tab.page.keyboard.press('Enter')
  }

  test('a token lets in, opens consoles by tickets, saves the log, and is in no address; logging out forgets it', async () => {
    const tokens = new TokenFile({ ops: { roles: ['operator'] } })
    const app = await startGuarded(tokens, {}, VSPC)
    await startVm(app, { name: 'web1', ports: shell() })
    const tab = await newTab(app)
    const urls: string[] = []
    tab.page.on('request', (one) => urls.push(one.url()))
    tab.page.on('websocket', (one) => urls.push(one.url()))
    await tab.open()
    await tab.page.getByRole('dialog', { name: 'Log in' }).waitFor()
    expect(await tab.violations()).toEqual([])
    tab.expected.push(/401/)
    await logIn(tab, `${tokens.of('ops').slice(0, -1)}?`)
    await tab.page.getByRole('dialog').getByRole('alert').waitFor()
    expect(await tab.violations()).toEqual([])
    await logIn(tab, ` ${tokens.of('ops')}\n`)
    await tab.page.getByRole('link', { name: 'web1' }).click()
    await tab.live()
    await tab.startTyping()
    await tab.type('echo it-$((6*7))\r')
    await tab.shows('it-')
    expect(await tab.page.locator('#who').innerText()).toBe('ops')
    const [download] = await Promise.all([
      tab.page.waitForEvent('download'),
      tab.page.getByRole('link', { name: 'Log', exact: true }).click(),
    ])
    expect(download.suggestedFilename()).toBe('web1.log')
    expect((await buffer(await download.createReadStream())).toString()).toContain('echo it-')
    // What happens comes over a stream that says who listens.
    await startVm(app, { name: 'web2', ports: shell() })
    await tab.page.getByRole('link', { name: 'web2' }).waitFor()
    await tab.page.reload()
    await tab.live()
    expect(urls.length).toBeGreaterThan(10)
    expect(urls.filter((url) => url.includes(tokens.of('ops').slice(6, 20)))).toEqual([])
    // Another tab knows nothing of it.
    const other = await tab.page.context().newPage()
    await other.goto(tab.base)
    await other.getByRole('dialog', { name: 'Log in' }).waitFor()
    await other.close()
    await tab.button('Log out').click()
    await tab.page.getByRole('dialog', { name: 'Log in' }).waitFor()
    expect(await tab.page.evaluate('JSON.stringify([{ ...sessionStorage }, { ...localStorage }])')).not.toContain(
      'vspct_',
    )
  })

  test('what may not be done is not offered, and said where it is tried; ports of others are not there', async () => {
    const tokens = new TokenFile({ viewer: { roles: ['viewer'], ports: ['web*'] } })
    const app = await startGuarded(tokens, {}, VSPC)
    await startVm(app, { name: 'web1', ports: shell() })
    await startVm(app, { name: 'db1', ports: shell() })
    const tab = await newTab(app)
    await tab.open()
    await logIn(tab, tokens.of('viewer'))
    await tab.page.getByRole('link', { name: 'web1' }).click()
    await tab.live()
    await soon(() => tab.button('Start typing').count()).toBe(0)
    for (const name of ['BREAK', 'SysRq']) expect(await tab.button(name).count()).toBe(0)
    await tab.type('x')
    await tab.news('You may read here, and not type')
    await tab.page.keyboard.press('Control+Shift+Enter')
    await tab.news(/write|may not/)
    expect(await tab.page.getByRole('link', { name: 'db1' }).count()).toBe(0)
    tab.expected.push(/40[34]/)
    await tab.open(`#/ports/db1`)
    await tab.page.locator('.status .link.waiting, .status .link.refused').waitFor()
    await tab.open('#/moves')
    await tab.page.getByText('Nothing has moved yet').waitFor()
    expect(await tab.violations()).toEqual([])
    expect(tab.sent).toEqual([])
  })

  test('a token that is revoked while the page is open ends the console, and the page asks again', async () => {
    const tokens = new TokenFile({ ops: { roles: ['operator'] }, next: { roles: ['operator'] } })
    const app = await startGuarded(tokens, {}, VSPC)
    const vm = await startVm(app, { name: 'web1', ports: shell() })
    const tab = await newTab(app)
    await tab.open('#/ports/web1')
    await logIn(tab, tokens.of('ops'))
    await tab.live()
    await tab.startTyping()
    tab.expected.push(/401/)
    tokens.remove('ops')
    await tab.page.locator('.status .link.refused').waitFor()
    await tab.page.getByRole('dialog', { name: 'Log in' }).waitFor()
    await eventually(() => app.server.table.resolve('web1').consoles.length === 0)
    vm.print('a secret\r\n')
    await eventually(() => app.server.table.resolve('web1').history.visible > 0)
    expect(await tab.shown()).not.toContain('a secret')
    await logIn(tab, tokens.of('next'))
    await tab.live()
    await tab.shows('a secret')
  })

  test('behind a proxy that logs people in no token is asked for, and the user is named', async () => {
    const app = await startGuarded(
      new TokenFile(),
      { proxies: { trusted: ['127.0.0.1'] }, rules: [{ who: ['group:ops'], role: 'operator' }] },
      VSPC,
    )
    await startVm(app, { name: 'web1', ports: shell() })
    const tab = await newTab(app)
    tab.base = await startProxy(app, { says: { 'x-forwarded-user': 'alice', 'x-forwarded-groups': 'ops' } })
    await tab.open()
    await tab.page.getByRole('link', { name: 'web1' }).click()
    await tab.live()
    await tab.startTyping()
    await tab.type('echo by proxy\r')
    await tab.shows('by proxy')
    expect(await tab.page.locator('#who').innerText()).toBe('alice')
    expect(await tab.button('Log').count()).toBe(0)
    await tab.button('More').click()
    await tab.button('Who is attached').click()
    await tab.page.getByRole('dialog').getByText('alice').waitFor()
  })

  test('a page that is open while somebody is let in by nothing shows what anyone may see', async () => {
    const app = await startGuarded(
      new TokenFile({ ops: { roles: ['operator'] } }),
      { rules: [{ who: ['anyone'], role: 'viewer', ports: ['public*'] }] },
      VSPC,
    )
    await startVm(app, { name: 'public1', ports: shell() })
    await startVm(app, { name: 'private1', ports: shell() })
    const tab = await newTab(app)
    await tab.open()
    await tab.button('Cancel').click()
    await tab.page.getByRole('link', { name: 'public1' }).click()
    await tab.live()
    expect(await tab.page.getByRole('link', { name: 'private1' }).count()).toBe(0)
    await tab.button('Log in').waitFor()
  })
})

test('the page keeps the token nowhere but in sessionStorage', () => {
  const session = readFileSync(new URL('../../src/app/web/session.ts', import.meta.url), 'utf8')
  expect(session).not.toMatch(/localStorage|document\.cookie|location/)
})
