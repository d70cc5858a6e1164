/** Names, hosts, reasons and all other text that comes from elsewhere stays text, in every view and dialog. */
import { readdirSync, readFileSync } from 'node:fs'
import type { Page, WebSocketRoute } from 'playwright-core'
import { expect, test } from 'vitest'
import type { ApplianceInfo } from '../../src/app/appliance-view.ts'
import { silentGuest } from '../../src/sim/index.ts'
import type { ConsoleInfo, ConsoleMessage, PortInfo } from '../../src/vspc/index.ts'
import { Port } from '../../src/vspc/port.ts'
import { startApp } from '../app/support.ts'
import { campaign } from '../fuzz/campaign.ts'
import { describeWithPeers } from '../support/peers.ts'
import { HOSTILE, hostileTexts } from './hostile-texts.ts'
import { startVm, type Tab, withBrowser } from './support.ts'

const WEB = new URL('../../src/app/web/', import.meta.url)

test('no source of the page builds markup from text', () => {
  const ways =
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTMLUnsafe|\beval\(|new Function|srcdoc/
  const files = readdirSync(WEB).filter((name) => name.endsWith('.ts'))
  expect(files.length).toBeGreaterThan(10)
  expect(files.filter((name) => ways.test(readFileSync(new URL(name, WEB), 'utf8')))).toEqual([])
})

describeWithPeers(['chromium'], 'hostile text in Chromium', () => {
  const newTab = withBrowser()

  campaign('what a server that lies says stays text, in all views and dialogs', 1, async (_random, seed) => {
    const app = await startApp({ listen: ['tcp://127.0.0.1:0'], history: 'memory' })
    const tab = await newTab(app)
    const texts = hostileTexts(seed, 60)
    const lying = await lie(tab.page, texts)
    await tab.open()
    await tab.page.getByText(`${texts.length} ports`, { exact: true }).waitFor()
    const shown = (await tab.page.locator('table.ports td.name').allTextContents()).sort()
    expect(shown).toEqual(lying.ports.map(({ vm, label, id }) => shownName(vm.name, label, id)).sort())
    await isText(tab)

    await tab.page.getByRole('link', { name: 'Moves', exact: true }).click()
    await tab.page.getByRole('columnheader', { name: 'Attempts' }).waitFor()
    await tab.page.getByRole('cell', { name: 'vMotion refused' }).first().waitFor()
    await isText(tab)

    await tab.open(`#/ports/${encodeURIComponent(lying.ports[0]?.id ?? '')}`)
    await tab.live()
    for (const text of texts) {
      lying.tell(text)
      await isText(tab)
      // What asks for an answer has to be seen, and to go.
      for (const strip of await tab.page.getByRole('alert').getByRole('button', { name: 'Leave it' }).all()) {
        await strip.click()
      }
    }
    await tab.button('More').click()
    await tab.button('Who is attached').click()
    await tab.page.getByRole('dialog').waitFor()
    await isText(tab)
    await tab.page.keyboard.press('Escape')
    lying.tell('x')
    await tab.startTyping()
    for (const name of ['BREAK', 'SysRq']) {
      await tab.button(name).click()
      await tab.page.getByRole('dialog').waitFor()
      await isText(tab)
      await tab.page.keyboard.press('Escape')
    }
  })

  test('names as a real server takes them, on both pages, and in addresses that nobody made', async () => {
    const app = await startApp({ listen: ['tcp://127.0.0.1:0'], history: 'memory' })
    HOSTILE.forEach((text, at) => {
      const port = new Port(app.server, `name:${at}-${text}`, text === '' ? null : text)
      port.name = text
      app.server.table.add(port)
    })
    const vm = await startVm(app, { name: '"><x-owned>', ports: [{ guest: silentGuest }] })
    const tab = await newTab(app)
    await tab.open()
    await tab.page.getByRole('link', { name: '"><x-owned>', exact: true }).click()
    await tab.live()
    // Titles of windows and icons, notifications, links, and what a terminal would have to look up.
    for (const text of HOSTILE) {
      const plain = text.replace(/[\x00-\x1f]/g, '')
      vm.print(`\x1b]0;${plain}\x07\x1b]9;${plain}\x07\x1b]8;;${plain}\x07${plain}\x1b]8;;\x07\x1bP${plain}\x1b\\\r\n`)
    }
    vm.print('that was all\r\n')
    await tab.shows('that was all')
    expect(await tab.page.title()).toBe('"><x-owned> - vspc')
    await isText(tab)
    await tab.open('plain')
    await tab.page.getByRole('table').waitFor()
    await isText(tab)
    tab.expected.push(/404|414/)
    for (const text of HOSTILE) {
      const written = encodeURIComponent(text.toWellFormed())
      await tab.open(`#/ports/${written}`)
      await tab.open(`#/?q=${written}&state=${written}&host=${written}`)
      await isText(tab)
    }
  })
})

/** Nothing in the page that did not come from us; and nothing has run. Violations of the policy are the tab's faults. */
async function isText(tab: Tab): Promise<void> {
  expect(
    await tab.page.evaluate(`(() => {
      const found = [...document.querySelectorAll('x-owned, img, svg, iframe, object, embed, form, base, math, template')]
      for (const element of document.querySelectorAll('*')) {
        if ([...element.attributes].some(({ name }) => name.startsWith('on'))) found.push(element)
        if (element.href && new URL(element.href, location.href).origin !== location.origin) found.push(element)
      }
      if (document.scripts.length > 1 || 'owned' in window) found.push(document.documentElement)
      return found.map((element) => element.outerHTML.slice(0, 300))
    })()`),
  ).toEqual([])
  tab.check()
}

function shownName(name: string, label: string | null, id: string): string {
  return name === '' ? id : label === null ? name : `${name}/${label}`
}

/** Answers in the server's place, with those texts wherever there is text. */
async function lie(page: Page, texts: readonly string[]): Promise<{ ports: PortInfo[]; tell(text: string): void }> {
  const ports = texts.map((text, at) => portOf(text, at))
  const json = (pattern: string, body: unknown) => page.route(pattern, (route) => route.fulfill({ json: body }))
  await json('**/api/v1/ports', ports)
  await json('**/api/v1/appliance', applianceOf(texts))
  const screen = { epoch: 'e', start: 0, offset: 0, historyStart: 0, screen: '' }
  await json('**/api/v1/ports/*/screen*', { ...screen, port: ports[0]?.id })
  await page.route('**/api/v1/events', (route) =>
    route.fulfill({ contentType: 'text/event-stream', body: eventsOf(ports) }),
  )
  let socket: WebSocketRoute | null = null
  const send = (message: ConsoleMessage) => socket?.send(JSON.stringify(message))
  await page.routeWebSocket(/\/console\?/, (route) => {
    socket = route
    const { id = '' } = ports[0] ?? {}
    const attached = {
      port: id,
      name: 'x',
      offset: 0,
      start: 0,
      next: 0,
      state: 'online',
      console: 1,
      epoch: 'e',
    } as const
    send({
      type: 'attached',
      mode: 'read',
      may: ['read', 'who', 'write', 'exclusive', 'request', 'say', 'break', 'force', 'kick'],
      ...attached,
    })
    route.onMessage((text) => {
      const { type, mode } = JSON.parse(String(text)) as { type: string; mode?: 'read' | 'write' }
      if (type === 'mode')
        send({ type: 'writer', mode: mode ?? 'read', writers: [consoleOf('me', 1)], reason: 'as asked' })
    })
  })
  return {
    ports,
    tell: (text) => {
      const consoles = [1, 2, 3].map((id) => consoleOf(text, id))
      send({ type: 'consoles', consoles })
      send({ type: 'state', state: 'offline', host: text, reason: text })
      send({ type: 'state', state: 'online', host: text, reason: text })
      send({ type: 'writer', mode: 'read', writers: consoles, reason: text })
      send({ type: 'renamed', name: text, port: ports[0]?.id ?? '' })
      const waiting = { mode: 'write', idleTakeoverMs: 60_000 } as const
      send({ type: 'queued', position: 1, holders: consoles, ...waiting })
      send({ type: 'queued', position: 0, holders: [], reason: text, ...waiting })
      send({ type: 'asked', by: consoleOf(text, 2), ...waiting })
      send({ type: 'said', from: consoleOf(text, 2), text, at: text })
      send({ type: 'error', code: 'VSPC_CONSOLE_BUSY', message: text })
      send({ type: 'error', code: text, message: text })
    },
  }
}

function consoleOf(text: string, id: number): ConsoleInfo {
  const attachedAt = '2026-01-02T03:04:05Z'
  return { id, who: text, address: text, via: 'websocket', mode: 'write', attachedAt, lastInputAt: null, waiting: id }
}

/** Ids that differ, whatever is in them. */
function portOf(text: string, at: number): PortInfo {
  return {
    id: `${at} ${text}`,
    vm: { name: text, uuid: text, biosUuid: text },
    label: at % 2 === 0 ? null : text,
    state: at % 3 === 0 ? 'online' : 'offline',
    host: text,
    transport: 'tcp',
    direction: 'server',
    serviceURI: text,
    consoles: 0,
    bytesFromVm: 0,
    bytesToVm: 0,
    connectedAt: null,
    vmotions: 0,
    historyStart: 0,
    protocol: 'vmware',
    line: null,
    lastOutputAt: text,
  }
}

function applianceOf(texts: readonly string[]): ApplianceInfo {
  const text = texts.join(' ')
  return {
    tracking: true,
    vm: { name: text, uuid: null },
    host: { name: text, managementIps: [...texts] },
    since: text,
    moves: 1,
    reachable: false,
    trouble: { since: text, message: text } as ApplianceInfo['trouble'],
    proxyURI: text,
    settled: false,
    counts: { vms: 1, queued: 1, working: 0, waiting: 1, stuck: 0, right: 0, cannot: 1 },
    nextHopsOpen: 1,
    vms: texts.map((name) => ({ name, uuid: null, state: 'cannot', reason: name, attempts: 1 })),
  }
}

/** One of each kind and text, in one piece; the page is told to leave it at that. */
function eventsOf(ports: readonly PortInfo[]): string {
  const at = '2026-01-02T03:04:05Z'
  const lines = [`retry: 3600000\nevent: hello\ndata: {"version":"${'x'}"}\n\n`]
  const add = (type: string, data: object) =>
    lines.push(`event: ${type}\ndata: ${JSON.stringify({ type, at, ...data })}\n\n`)
  for (const port of ports) {
    const { name } = port.vm
    const vm = { name, uuid: null }
    add('vmotion-refused', { port, reason: name })
    add('appliance-trouble', { message: name })
    add('appliance-moved', { from: { name, managementIps: [] }, to: { name, managementIps: [] } })
    add('vm-repointed', { vm, ports: [{ port: name, to: name }] })
    add('vm-repoint-failed', { vm, message: name, attempts: 1, again: true })
    add('next-hop-failed', { peer: name, message: name })
  }
  return lines.join('')
}
