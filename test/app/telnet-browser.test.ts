import { request } from 'node:http'
import { expect, test } from 'vitest'
import { eventually, RawVm } from './support.ts'
import { atMenu, BareClient, menuPortOf, startTelnet, telnetPortOf } from './telnet-support.ts'

/** What the page of any site can have a browser do, without asking anybody. */
function postFromAPage(tcpPort: number, body: string): void {
  const headers = { 'content-type': 'text/plain', origin: 'http://evil.example' }
  const post = request({ host: '127.0.0.1', port: tcpPort, method: 'POST', path: `/${'x'.repeat(100)}`, headers })
  post.on('error', () => {})
  post.end(body)
}

test("what a web page has a browser send is not typed into a VM, neither at the menu nor at a port's own TCP port", async () => {
  const app = await startTelnet()
  const vm = await RawVm.connect(app)
  await eventually(() => app.server.table.size === 1)
  const turnedAway = () => app.logged.lines.filter(({ msg }) => String(msg).includes('turned away')).length
  postFromAPage(menuPortOf(app), '\r\nvm1\r\nreboot from the menu\r\n')
  postFromAPage(await telnetPortOf(app), '\r\nreboot from the port\r\n')
  await eventually(() => turnedAway() === 2 || vm.received.toString().includes('reboot'))
  // People's keys, and programs that begin with a word, arrive as before.
  const client = await BareClient.to(await telnetPortOf(app))
  client.write('GETTY\r')
  await vm.hears('GETTY\r')
  expect(vm.received.toString()).toBe('GETTY\r')
  const menu = await atMenu(app)
  await menu.next('> ')
})
